//! How each call refuses: made of the refusals themselves, so that statuses and texts are those that are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{AnyOfBuilder as AnyOf, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{IntoResponses, ToSchema};

use crate::api::issue::Issue;
use crate::api::{BODY_LIMIT, Refusal};

/// Answers by status.
pub(super) type Answers = BTreeMap<String, RefOr<Response>>;

/// Nobody is found.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(super) struct NotFound {
    /// `false`.
    found: bool,
    /// Why.
    message: String,
}

/// A host is refused.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(super) struct HostRefused {
    /// `false`.
    success: bool,
    /// Why.
    error: String,
}

/// Fields are refused.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(super) struct FieldsRefused {
    /// `false`.
    success: bool,
    /// Why.
    error: String,
    /// Each wrong field.
    #[schema(min_items = 1)]
    issues: Vec<Issue>,
}

/// A request is refused.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(super) struct Refused {
    /// Why.
    error: String,
    /// Why a match is over.
    #[schema(nullable = false)]
    reason: Option<String>,
}

/// Says how a call refuses.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: [$($refusal:expr),+ $(,)?];)+) => {$(
        $(#[$doc])*
        pub(in crate::api) struct $name;

        impl IntoResponses for $name {
            fn responses() -> Answers {
                answers([$($refusal),+])
            }
        }
    )+};
}

refusals! {
    /// Of `POST /api/host/heartbeat`.
    OfHeartbeat: [
        Refusal::Unauthorized, Refusal::Forbidden, invalid(), Refusal::Unreadable, Refusal::TooSlow, too_large(), taken(),
        Refusal::HeartbeatFailed, Refusal::Unavailable,
    ];
    /// Of `POST /api/host/status`.
    OfStatus: [
        Refusal::Unauthorized, Refusal::Forbidden, invalid(), Refusal::Unreadable, Refusal::TooSlow, too_large(),
        Refusal::UnknownHost, Refusal::Internal, Refusal::Unavailable,
    ];
    /// Of `DELETE /api/host/{id}`.
    OfLeave: [
        Refusal::Unauthorized, Refusal::Forbidden, Refusal::UnknownHost, Refusal::Internal, Refusal::Unavailable,
    ];
    /// Of `POST /api/match/find`.
    OfFind: [
        too_many(), invalid(), Refusal::Unreadable, Refusal::TooSlow, too_large(), Refusal::NoHosts, Refusal::NoneMatching,
        Refusal::Draining, Refusal::OtherRequest, Refusal::Over("host_left"), Refusal::Internal, Refusal::Unavailable,
        Refusal::NoIceServers,
    ];
    /// Of `POST /api/match/{id}/resume`.
    OfResume: [
        too_many(), invalid(), Refusal::Unreadable, Refusal::TooSlow, too_large(), Refusal::WrongResumeToken,
        Refusal::UnknownMatch, Refusal::Over("host_left"), Refusal::Internal, Refusal::Unavailable, Refusal::NoIceServers,
    ];
    /// Of `DELETE /api/match/{id}`.
    OfGiveUp: [too_many(), Refusal::UnknownMatch, Refusal::Internal, Refusal::Unavailable];
    /// Of the lists of hosts.
    OfLists: [invalid(), Refusal::ListInternal, Refusal::Internal, Refusal::Unavailable];
}

fn invalid() -> Refusal {
    Refusal::Invalid(vec![Issue::value("FIELD", "What is wrong and what is allowed")])
}

fn taken() -> Refusal {
    Refusal::Conflict(vec![Issue::taken("roomId", "Which host has it".to_owned())])
}

fn too_large() -> Refusal {
    Refusal::TooLarge { limit: BODY_LIMIT }
}

fn too_many() -> Refusal {
    Refusal::TooManyFinds {
        wait: Duration::from_secs(1),
    }
}

/// The answers that these refusals are.
pub(super) fn answers(refusals: impl IntoIterator<Item = Refusal>) -> Answers {
    let mut by_status: BTreeMap<u16, Vec<(Value, bool)>> = BTreeMap::new();
    for refusal in refusals {
        let waits = refusal.retry_after().is_some();
        let (status, body) = refusal.into_parts();
        by_status.entry(status.as_u16()).or_default().push((body, waits));
    }
    let answers = by_status
        .into_iter()
        .map(|(status, bodies)| (status.to_string(), RefOr::T(answer(&bodies))));
    answers.collect()
}

/// The answer with these bodies; some of them say when to come again.
fn answer(bodies: &[(Value, bool)]) -> Response {
    let texts: Vec<&str> = bodies.iter().map(|(body, _)| text(body)).collect();
    let mut schemas: Vec<&str> = bodies.iter().map(|(body, _)| schema(body)).collect();
    schemas.sort_unstable();
    schemas.dedup();
    let schema: RefOr<Schema> = if let [one] = schemas[..] {
        Ref::from_schema_name(one).into()
    } else {
        // What is refused for a field has all that a request has which is refused: any of them, not exactly one.
        let forms = schemas.into_iter().map(Ref::from_schema_name);
        forms.fold(AnyOf::new(), AnyOf::item).into()
    };
    let content = bodies.iter().fold(
        ContentBuilder::new().schema(Some(schema)),
        |content, (body, _)| {
            let example = ExampleBuilder::new().value(Some(body.clone())).build();
            content.examples_from_iter([(text(body), example)])
        },
    );
    let answer = ResponseBuilder::new()
        .description(texts.join("; "))
        .content("application/json", content.build());
    if bodies.iter().any(|(_, waits)| *waits) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let header = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("Seconds after which to try again"));
        return answer.header("Retry-After", header.build()).build();
    }
    answer.build()
}

/// What a body says to a person.
fn text(body: &Value) -> &str {
    body["error"]
        .as_str()
        .or(body["message"].as_str())
        .unwrap_or_default()
}

/// Name of the schema of a body.
fn schema(body: &Value) -> &'static str {
    let has = |name: &str| body.get(name).is_some();
    match (has("found"), has("issues"), has("success")) {
        (true, ..) => "NotFound",
        (_, true, _) => "FieldsRefused",
        (_, _, true) => "HostRefused",
        _ => "Refused",
    }
}
