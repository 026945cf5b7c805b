//! The OpenAPI 3.1 description of the webhook: paths are written here, shapes come from the types
//! that are read and written.

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::answer::{Admitted, BudgetAnswer, ErrorAnswer, ProgressAnswer, ReleaseAnswer, Ticketed};
use super::ask::{AdmitRequest, HOLD_SECONDS_MAX};
use super::progress::ProgressRequest;
use super::release::ReleaseRequest;

/// `GET /openapi.json`. Whoever may not ask may still read how.
pub(super) async fn serve() -> Json<Value> {
    Json(description())
}

/// The description.
#[must_use]
pub fn description() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let paths = json!({
        "/v1/admit": {"post": {
            "operationId": "admit",
            "summary": "May this request go, and where to?",
            "description": "Holds until the request is admitted or refused. With `wait: ticket` it does not hold, unless `hold_s` says so.",
            "requestBody": body::<AdmitRequest>(&mut schemas),
            "responses": with_errors(&mut schemas, &[400, 401, 404, 413, 415, 429, 503], &[
                ("200", json::<Admitted>, "It may go: send it, then release the lease."),
                ("202", json::<Ticketed>, "It waits outside: ask with the ticket, after `retry-after`."),
            ]),
        }},
        "/v1/admit/{ticket}": {"get": {
            "operationId": "redeem",
            "summary": "Is it this ticket's turn?",
            "parameters": [
                {"name": "ticket", "in": "path", "required": true,
                 "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}},
                {"name": "wait_s", "in": "query", "required": false,
                 "description": "Seconds to hold the connection, also while there is no endpoint; never more than the tier's.",
                 "schema": {"type": "number", "minimum": 0, "maximum": HOLD_SECONDS_MAX}},
            ],
            "responses": with_errors(&mut schemas, &[400, 401, 404, 409, 429, 503], &[
                ("200", json::<Admitted>, "It may go: send it, then release the lease."),
                ("202", json::<Ticketed>, "Not yet: ask again with the same ticket, after `retry-after` where that is given."),
            ]),
        }},
        "/v1/progress": {"post": {
            "operationId": "progress",
            "summary": "The first token has come.",
            "description": "Optional, for callers that stream. May be repeated; the first call counts, at the time at which it comes.",
            "requestBody": body::<ProgressRequest>(&mut schemas),
            "responses": with_errors(&mut schemas, &[400, 401, 404, 413], &[
                ("200", json::<ProgressAnswer>, "What became of the report."),
            ]),
        }},
        "/v1/release": {"post": {
            "operationId": "release",
            "summary": "A request has ended.",
            "description": "A repetition changes nothing and hears so.",
            "requestBody": body::<ReleaseRequest>(&mut schemas),
            "responses": with_errors(&mut schemas, &[400, 401, 404, 413], &[
                ("200", json::<ReleaseAnswer>, "What became of the lease."),
            ]),
        }},
        "/v1/budget": {"get": {
            "operationId": "budget",
            "summary": "How much work of each tier may be sent now?",
            "responses": with_errors(&mut schemas, &[401], &[
                ("200", json::<BudgetAnswer>, "By tier."),
            ]),
        }},
        "/auth": {"get": {
            "operationId": "authorize",
            "summary": "May this request go on? For proxies that cannot use an endpoint.",
            "description": "By any method; sees headers alone, no body and no end, so nothing is reserved.",
            "parameters": [
                {"name": "deny", "in": "query", "required": false,
                 "description": "403 = refuse with 403, the true status in `x-forebay-status`.",
                 "schema": {"type": "integer"}},
                {"name": "fleet", "in": "query", "required": false,
                 "description": "The fleet whose policy counts, where there are several.",
                 "schema": {"type": "string"}},
            ],
            "responses": with_errors(&mut schemas, &[400, 401, 403, 429, 503], &[
                ("200", empty, "It may; `x-forebay-tier` and `x-forebay-tenant` say what it was taken for."),
            ]),
        }},
        "/openapi.json": {"get": {
            "operationId": "describe",
            "summary": "This description.",
            "security": [],
            "responses": {"200": {"description": "OpenAPI 3.1.", "content": {
                "application/json": {"schema": {"type": "object"}},
            }}},
        }},
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Forebay: request admission",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "security": [{}, {"bearer": []}, {"token": []}],
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "header", "name": super::caller::HEADER_TOKEN},
            },
        },
    })
}

/// What an answer carries.
type Content = fn(&mut SchemaGenerator) -> Option<Value>;

fn json<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Option<Value> {
    Some(json!({"application/json": {"schema": schemas.subschema_for::<T>()}}))
}

const fn empty(_: &mut SchemaGenerator) -> Option<Value> {
    None
}

fn body<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!({"required": true, "content": json::<T>(schemas)})
}

fn with_errors(
    schemas: &mut SchemaGenerator,
    errors: &[u16],
    answers: &[(&str, Content, &str)],
) -> Value {
    let mut responses = Map::new();
    for (status, content, description) in answers {
        let mut response = json!({"description": description});
        if *status == "202" {
            response["headers"] = headers_of(202);
        }
        if let Some(content) = content(schemas) {
            response["content"] = content;
        }
        responses.insert((*status).to_owned(), response);
    }
    for status in errors {
        let response = json!({
            "description": meaning(*status),
            "headers": headers_of(*status),
            "content": json::<ErrorAnswer>(schemas),
        });
        responses.insert(status.to_string(), response);
    }
    responses.into()
}

const fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The question cannot be read, or something in it is out of range.",
        401 => "A token or a client certificate is wanted.",
        403 => "Refused, for proxies that pass no other status.",
        404 => "No such ticket or lease of this caller, or no such model.",
        409 => "Somebody waits for this ticket already.",
        413 => "The question is too large.",
        415 => "The question is not JSON.",
        429 => "Refused: others were there first, or a limit is reached. Come back when told.",
        _ => "Refused: nobody could serve it now.",
    }
}

/// Headers that come with a refusal.
fn headers_of(status: u16) -> Value {
    let text =
        |description: &str| json!({"description": description, "schema": {"type": "string"}});
    let seconds = text("Whole seconds until it is worth to come back, where known.");
    let millis = text("The same in milliseconds.");
    match status {
        403 | 429 | 503 => {}
        202 => return json!({"retry-after": seconds, "retry-after-ms": millis}),
        _ => return json!({}),
    }
    json!({
        "retry-after": seconds,
        "retry-after-ms": millis,
        crate::front::HEADER_DROPPED_REASON: text("Why."),
    })
}
