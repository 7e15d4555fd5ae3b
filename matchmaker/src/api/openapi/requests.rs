//! What requests carry, with the bounds by which they are checked: bodies are read field by field, so nothing could derive this.

use std::ops::RangeInclusive;

use berth_crds::api::Rooms;
use serde_json::{Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, SchemaType,
    Type,
};
use utoipa::openapi::{RefOr, Required};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::api::wire::info::{
    LARGEST_GAME_INFO, LARGEST_LATITUDE, LARGEST_LONGITUDE, LONGEST_FQDN, LONGEST_PLACE, LONGEST_PORT_NAME,
    MOST_PORTS,
};
use crate::api::wire::list::LARGEST_LIMIT;
use crate::api::wire::{
    DEFAULT_REGION, LARGEST_CAPACITY, LARGEST_LATENCY, LONGEST_HOST_ID, LONGEST_LABEL, LONGEST_REGION,
    LONGEST_RESUME_TOKEN, MOST_LABELS, MOST_LATENCIES, MOST_RESERVATIONS, OFFLINE,
};
use crate::host::{HostStatus, Protocol};
use crate::idempotency;

/// A name in DNS, or nothing: labels that neither begin nor end with a hyphen, the last one no number.
const FQDN: &str = concat!(
    r"^$|^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*",
    r"(?=[A-Za-z0-9_-]*[A-Za-z_-])[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$",
);

/// Names a body and its schema.
macro_rules! body {
    ($(#[$doc:meta])* $name:ident, $schema:expr) => {
        $(#[$doc])*
        pub(in crate::api) struct $name;

        impl ToSchema for $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }
    };
}

body!(
    /// Of `POST /api/host/heartbeat`.
    HeartbeatBody,
    heartbeat()
);
body!(
    /// Of `POST /api/host/status`.
    StatusBody,
    status()
);
body!(
    /// Of `POST /api/match/find`.
    FindBody,
    find()
);
body!(
    /// Of `POST /api/match/{id}/resume`.
    ResumeBody,
    resume()
);

/// The parameters of a list.
pub(in crate::api) struct ListParameters;

impl IntoParams for ListParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = integer(1, Some(LARGEST_LIMIT as u64)).build();
        vec![
            parameter("limit", ParameterIn::Query, "Most hosts in the answer", limit),
            parameter(
                "after",
                ParameterIn::Query,
                "The first host behind this id is the first one in the answer",
                text(0..=LONGEST_HOST_ID).build(),
            ),
        ]
    }
}

/// The header of a find that may be repeated.
pub(in crate::api) struct IdempotencyKey;

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let bounds = idempotency::SHORTEST..=idempotency::LONGEST;
        // Visible ASCII.
        let pattern = format!("^[!-~]{{{},{}}}$", bounds.start(), bounds.end());
        vec![parameter(
            idempotency::HEADER,
            ParameterIn::Header,
            "A random text: whoever sends it again with the same body gets the same match",
            text(bounds).pattern(Some(pattern)).build(),
        )]
    }
}

/// The id that the answer is to carry.
pub(super) fn request_id() -> Parameter {
    parameter(
        "x-request-id",
        ParameterIn::Header,
        "An id that the answer shall carry; blanks around it are dropped",
        ObjectBuilder::new().schema_type(Type::String).build(),
    )
}

fn heartbeat() -> Object {
    // A cluster may allow another length; a document of all of them can only tell the usual one.
    let longest = usize::try_from(Rooms::default().id_max_length).ok();
    let room = text(1..=longest.unwrap_or(1))
        .pattern(Some("^[A-Za-z0-9_.:-]+$"))
        .description(Some(
            "Its room on signaling, its own alone; the cluster's `spec.rooms.idMaxLength` is the bound of its length",
        ));
    let capacity = integer(1, Some(LARGEST_CAPACITY));
    let ids = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    let reservations = ArrayBuilder::new()
        .items(ids)
        .max_items(Some(MOST_RESERVATIONS))
        .description(Some("The matches that it serves, if it says so"));
    let lenient = |about: String| {
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some(about))
    };
    ObjectBuilder::new()
        .description(Some("What a host says of itself. Fields that are not known are dropped."))
        .examples([json!({"hostId": "host-1", "roomId": "room-1", "region": "eu-west", "status": "idle", "capacity": 1})])
        .property("hostId", text(1..=LONGEST_HOST_ID).description(Some("Its id, unique in the pool")))
        .required("hostId")
        .property("roomId", room)
        .required("roomId")
        .property("region", text(0..=LONGEST_REGION).default(Some(DEFAULT_REGION.into())).description(Some("Its region")))
        .property("status", word(HostStatus::ALL.map(HostStatus::as_str)).default(Some(HostStatus::default().as_str().into())).description(Some("What it does")))
        .property("capacity", capacity.description(Some("Sessions that it serves at the same time; `spec.slotsPerHost` where absent")))
        .property("availableSlots", integer(0, None).description(Some("Further sessions that it would take now; the capacity where absent, none unless idle. More than the capacity counts as the capacity")))
        .property("labels", labels("What finds can ask for"))
        .property("reservations", reservations)
        .property("publicIp", lenient("Its address on the internet, as text; anything else is left out".to_owned()))
        .property("gameInfo", lenient(format!("What runs on it: an object of at most {LARGEST_GAME_INFO} bytes of JSON; anything else is left out")))
        .property("fqdn", text(0..=LONGEST_FQDN).pattern(Some(FQDN)).description(Some("Its name in DNS")))
        .property("ports", ports())
        .property("location", location())
        .build()
}

fn ports() -> ObjectBuilder {
    let port = ObjectBuilder::new()
        .property(
            "port",
            integer(1, Some(u16::MAX.into())).description(Some("As players reach it")),
        )
        .required("port")
        .property(
            "internal",
            integer(1, Some(u16::MAX.into()))
                .description(Some("As the game listens on it, where a router maps ports")),
        )
        .property(
            "protocol",
            word(Protocol::WORDS.map(|(word, _)| word)).description(Some("What is spoken there")),
        )
        .required("protocol");
    map(port.build(), 1..=LONGEST_PORT_NAME, MOST_PORTS)
        .description(Some("Ports that players reach beside the stream, by name"))
}

fn location() -> ObjectBuilder {
    let place = |about: &str| text(0..=LONGEST_PLACE).description(Some(about));
    let degrees = |most: f64, about: &str| number(-most..=most).description(Some(about));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("Where it stands"))
        .property("city", place("City"))
        .property("administrativeDivision", place("State, province or department"))
        .property("country", place("Country"))
        .property("continent", place("Continent"))
        .property("timezone", place("Time zone"))
        .property("latitude", degrees(LARGEST_LATITUDE, "Degrees north"))
        .property("longitude", degrees(LARGEST_LONGITUDE, "Degrees east"))
}

fn status() -> Object {
    let words = HostStatus::ALL
        .map(HostStatus::as_str)
        .into_iter()
        .chain([OFFLINE]);
    ObjectBuilder::new()
        .description(Some("What a host says of itself between heartbeats."))
        .examples([json!({"hostId": "host-1", "status": "busy"})])
        .property("hostId", text(1..=LONGEST_HOST_ID).description(Some("Its id")))
        .required("hostId")
        .property(
            "status",
            word(words).description(Some("What it does from now on; `offline`: it leaves")),
        )
        .required("status")
        .build()
}

fn find() -> Object {
    let latencies = map(
        number(0.0..=LARGEST_LATENCY).build(),
        1..=LONGEST_REGION,
        MOST_LATENCIES,
    );
    ObjectBuilder::new()
        .description(Some(
            "What a player asks for. Fields that are not known are dropped.",
        ))
        .examples([json!({"region": "eu-west"})])
        .property(
            "region",
            text(0..=LONGEST_REGION).description(Some("The region to prefer; empty: none")),
        )
        .property(
            "hostId",
            text(0..=LONGEST_HOST_ID).description(Some("Only this host; empty: any")),
        )
        .property(
            "latencies",
            latencies.description(Some("Milliseconds to each region that the player has measured")),
        )
        .property("labels", labels("What the host must have"))
        .build()
}

fn resume() -> Object {
    ObjectBuilder::new()
        .description(Some("The right to get a match again."))
        .property(
            "resumeToken",
            text(1..=LONGEST_RESUME_TOKEN).description(Some("As the find gave it")),
        )
        .required("resumeToken")
        .build()
}

fn labels(about: &str) -> ObjectBuilder {
    map(text(0..=LONGEST_LABEL).build(), 1..=LONGEST_LABEL, MOST_LABELS).description(Some(about))
}

/// An object with at most `most` entries of the same kind, under keys of so many characters.
fn map(entry: Object, key: RangeInclusive<usize>, most: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(Schema::from(text(key).build())))
        .max_properties(Some(most))
        .additional_properties(Some(AdditionalProperties::from(Schema::from(entry))))
}

/// A text of so many characters.
fn text(length: RangeInclusive<usize>) -> ObjectBuilder {
    let (least, most) = length.into_inner();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length((least > 0).then_some(least))
        .max_length(Some(most))
}

fn word<'a>(words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.into_iter().map(Value::from)))
}

fn integer(least: u64, most: Option<u64>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(least))
        .maximum(most)
}

fn number(range: RangeInclusive<f64>) -> ObjectBuilder {
    let (least, most) = range.into_inner();
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(least))
        .maximum(Some(most))
}

fn parameter(name: &str, place: ParameterIn, about: &str, schema: Object) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}
