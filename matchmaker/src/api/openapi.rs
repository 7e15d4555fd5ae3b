//! The `OpenAPI` document of the public API: made of the handlers, the types of their answers and the bounds of their checks.

mod refused;
mod requests;

use std::sync::LazyLock;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, RefOr, Required, ResponseBuilder, ResponsesBuilder};
use utoipa::{OpenApi as _, PartialSchema};

pub(super) use refused::{OfFind, OfGiveUp, OfHeartbeat, OfLeave, OfLists, OfResume, OfStatus};
pub(super) use requests::{FindBody, HeartbeatBody, IdempotencyKey, ListParameters, ResumeBody, StatusBody};

use super::Refusal;

/// Media type of metrics, without its parameters.
const METRICS_TYPE: &str = "application/openmetrics-text";
/// Name of the only way to prove who one is.
const HOST_SECRET: &str = "hostSecret";

/// The document as it is served and kept: JSON that is the same in each build of a version.
pub static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    // Nothing in it can fail to become JSON.
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// What no handler says.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Berth matchmaker",
        description = "Hosts register themselves by heartbeats; players find a host, its room and ICE servers. Every answer carries \
                       `x-request-id` and may be read by pages of any origin; OPTIONS is answered 204 on every path. A path that is not \
                       listed here answers 404, `{\"error\": \"Not found\"}`.",
        contact()
    ),
    // Relative to this document, so that it holds behind a proxy with a path of its own.
    servers((url = "..", description = "Where this document comes from")),
    components(schemas(refused::NotFound, refused::HostRefused, refused::FieldsRefused, refused::Refused)),
    tags(
        (name = "hosts", description = "What streaming hosts say"),
        (name = "matches", description = "What players ask"),
        (name = "lists", description = "Which hosts there are"),
        (name = "service", description = "How the matchmaker itself is, and this document")
    )
)]
struct Frame;

/// The document.
fn document() -> OpenApi {
    let mut document = Frame::openapi();
    document.merge(super::routes().into_openapi());
    document
        .paths
        .add_path_operation("/metrics", vec![HttpMethod::Get], metrics());
    let secret = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The host secret of the pool"));
    document
        .components
        .get_or_insert_default()
        .add_security_scheme(HOST_SECRET, SecurityScheme::Http(secret.build()));
    for name in ["HostInfo", "HostLocation", "HostPort"] {
        if let Some(schema) = document.components.get_or_insert_default().schemas.get_mut(name) {
            forget_defaults(schema);
        }
    }
    // An absent body asks for any host.
    if let Some(find) = document
        .paths
        .paths
        .get_mut("/api/match/find")
        .and_then(|path| path.post.as_mut())
        && let Some(RefOr::T(body)) = &mut find.request_body
    {
        body.required = Some(Required::False);
    }
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        complete(operation);
    }
    document
}

/// `GET /metrics`, whose handler all services share.
fn metrics() -> Operation {
    let text = ContentBuilder::new().schema(Some(String::schema())).build();
    let answer = ResponseBuilder::new()
        .description("Metrics of this process")
        .content(METRICS_TYPE, text);
    let mut answers = refused::answers([Refusal::UnknownPath]);
    answers.insert("200".to_owned(), answer.into());
    OperationBuilder::new()
        .tag("service")
        .operation_id(Some("metrics"))
        .summary(Some("Metrics, in the text format of Prometheus"))
        .description(Some(
            "Where the public port shows them; in a cluster the internal port alone does.",
        ))
        .responses(ResponsesBuilder::new().responses_from_iter(answers).build())
        .build()
}

/// Takes away what the types of answers say of their defaults: those are for reading them back from the store.
fn forget_defaults(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::Ref(reference) => reference.default = None,
        RefOr::T(Schema::Object(object)) => {
            object.default = None;
            object.properties.values_mut().for_each(forget_defaults);
        }
        RefOr::T(_) => {}
    }
}

/// The operations of a path.
fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post, &mut path.delete]
        .into_iter()
        .flatten()
}

/// Adds what holds for every operation.
fn complete(operation: &mut Operation) {
    operation
        .parameters
        .get_or_insert_default()
        .push(requests::request_id().into());
    let responses = &mut operation.responses.responses;
    responses.extend(refused::answers([Refusal::UnknownMethod]));
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            let text = ObjectBuilder::new().schema_type(Type::String);
            let header = HeaderBuilder::new()
                .schema(Some(text))
                .description(Some("The id of the request, else a new one"));
            response
                .headers
                .insert("x-request-id".to_owned(), header.build().into());
        }
    }
}
