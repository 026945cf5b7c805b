//! The webhook as its callers see it; every answer is held against the description.

use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use forebay_core::fleet::Role;
use forebay_core::ids::VariantId;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::front::Front;
use crate::metrics::Sources;
use crate::testing;

mod waiting;

const MANIFESTS: &str = r#"
apiVersion: forebay.dev/v1alpha1
kind: InferenceFleet
metadata: {name: demo}
spec:
  models: [base]
  slos:
    - {tier: high, ttft: 60s, tpot: 100ms}
    - {tier: batch, completion: 1h}
  variants:
    - {name: l40s, acceleratorClass: l40s, profile: llama-3.1-8b-fp8-l40s-tp1, endpoints: ["127.0.0.1:8000"]}
---
apiVersion: forebay.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: policy}
spec:
  enforcement: Enforce
  defaultTier: high
  identity:
    tenant: [{type: Header, name: x-tenant, trustedProxies: [127.0.0.0/8]}]
  tiers:
    - {name: high, priority: 10, holdSecondsMax: 30}
    - {name: batch, priority: 0, holdSecondsMax: 30, deferrable: true, floor: 10%, late: ServeLast}
  tenants:
    - {name: acme, limits: {requestsPerMinute: 2}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: later}
spec: {priority: 5}
"#;

struct Face {
    admission: Admission,
    front: Front,
    description: Value,
}

fn face() -> Face {
    with_access(Access::new("127.0.0.1:1".parse().unwrap(), None, false).unwrap())
}

fn with_access(access: Access) -> Face {
    let front = testing::front(MANIFESTS);
    let fronts = Fronts::new(vec![("demo".to_owned(), front.clone())]);
    Face { admission: Admission::new(fronts, access), front, description: description() }
}

/// A face with one engine that is ready.
fn ready() -> Face {
    let face = face();
    face.front.endpoint_ready("127.0.0.1:8000", VariantId(0), Role::Both);
    face
}

/// A status, headers, and what was said.
struct Said {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

use http::HeaderMap;

impl Said {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
    fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Face {
    async fn call(&self, mut request: Request<Body>) -> Said {
        let peer: std::net::SocketAddr = "127.0.0.1:4711".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.admission.router().oneshot(request).await.unwrap();
        self.described(method.as_str(), &path, response).await
    }

    async fn get(&self, path: &str) -> Said {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Said {
        let request = Request::post(path).header("content-type", "application/json");
        self.call(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Reads an answer, which must be one that the description knows.
    async fn described(&self, method: &str, path: &str, response: Response<Body>) -> Said {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let template = match path {
            _ if path.starts_with("/v1/admit/") => "/v1/admit/{ticket}",
            _ if path.starts_with("/auth/") => "/auth",
            _ => path,
        };
        let method = method.to_ascii_lowercase();
        let status = parts.status.as_str().to_owned();
        let answer = &self.description["paths"][template][&method]["responses"][&status];
        assert!(answer.is_object(), "{method} {template} answers {status}, which is not described");
        match answer["content"]["application/json"].get("schema") {
            Some(schema) => {
                if let Err(wrong) = fits(&self.description, schema, &body, "") {
                    panic!("{method} {template} {status}: {wrong}\n{body:#}");
                }
            }
            None => assert!(bytes.is_empty(), "{method} {template} {status} has a body"),
        }
        Said { status: parts.status, headers: parts.headers, body }
    }
}

/// Whether a value is what a schema says, as far as our schemas go. A keyword that is not known
/// here fails, so that nothing goes unchecked.
fn fits(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = schema.as_object().ok_or_else(|| format!("{at}: no schema"))?;
    for (keyword, rule) in schema {
        let right = match keyword.as_str() {
            "$ref" => {
                let target = rule.as_str().unwrap_or_default().trim_start_matches('#');
                let target =
                    root.pointer(target).ok_or_else(|| format!("{at}: {rule} is not there"))?;
                fits(root, target, value, at)?;
                true
            }
            "type" => {
                let kinds = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                kinds.iter().any(|kind| is_a(kind.as_str().unwrap_or_default(), value))
            }
            "required" => {
                let names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                names.into_iter().all(|name| value.get(name).is_some())
            }
            "properties" => {
                for (name, inner) in rule.as_object().into_iter().flatten() {
                    if let Some(inside) = value.get(name) {
                        fits(root, inner, inside, &format!("{at}/{name}"))?;
                    }
                }
                let known = |name: &String| rule.get(name).is_some();
                value.as_object().is_none_or(|members| members.keys().all(known))
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(root, rule, item, &format!("{at}/{index}"))?;
                }
                true
            }
            "oneOf" | "anyOf" => {
                let any = rule.as_array().into_iter().flatten();
                any.into_iter().any(|one| fits(root, one, value, at).is_ok())
            }
            "const" => rule == value,
            "enum" => rule.as_array().is_some_and(|values| values.contains(value)),
            "minimum" => value.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap()),
            "pattern" => {
                assert_eq!(rule, "^[0-9a-f]{32}$", "the only pattern that is checked here");
                value.as_str().is_some_and(|text| {
                    text.len() == 32 && text.bytes().all(|b| b"0123456789abcdef".contains(&b))
                })
            }
            "description" | "format" | "title" => true,
            other => return Err(format!("{at}: the keyword {other} is not checked")),
        };
        if !right {
            return Err(format!("{at}: {value} breaks {keyword}: {rule}"));
        }
    }
    Ok(())
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

fn question() -> Value {
    json!({"model": "base", "prompt_tokens": 100, "max_tokens": 10})
}

#[tokio::test]
async fn admitted_with_a_lease_and_released_once() {
    let face = ready();
    let admitted = face.post("/v1/admit", &question()).await;
    assert_eq!(admitted.status, StatusCode::OK);
    assert_eq!(admitted.text("endpoint"), "127.0.0.1:8000");
    assert_eq!((admitted.text("model"), admitted.text("tier")), ("base", "high"));
    assert_eq!(face.admission.lease_meters().held, 1);
    assert!(!face.front.is_idle(), "the capacity is held");

    let release = json!({
        "lease": admitted.text("lease"),
        "usage": {"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95},
    });
    let first = face.post("/v1/release", &release).await;
    assert_eq!((first.status, first.text("state")), (StatusCode::OK, "released"));
    assert!(face.front.is_idle(), "and given back");
    let again = face.post("/v1/release", &release).await;
    assert_eq!((again.status, again.text("state")), (StatusCode::OK, "already_released"));
    let unknown = face.post("/v1/release", &json!({"lease": "0".repeat(32)})).await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::NOT_FOUND, "unknown_lease"));
    let counted = face.front.inspect_meters(|meters| {
        meters
            .tenants
            .values()
            .map(|tenant| (tenant.finished, tenant.output_tokens))
            .collect::<Vec<_>>()
    });
    assert_eq!(counted, [(1, 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_first_token_is_reported_once_and_while_the_lease_is_held() {
    let face = ready();
    let counted = |tpot: bool| {
        face.front.desk().inspect(|view| {
            let router = &view.meters.tiers()[0].router;
            let times = if tpot { &router.tpot } else { &router.ttft };
            (times.counts.iter().sum::<f64>(), times.sum)
        })
    };
    let lease = face.post("/v1/admit", &question()).await.text("lease").to_owned();
    let reached = json!({"lease": lease, "reached": "first_token"});
    tokio::time::sleep(Duration::from_millis(250)).await;
    let first = face.post("/v1/progress", &reached).await;
    assert_eq!((first.status, first.text("state")), (StatusCode::OK, "noted"));
    assert_eq!(counted(false), (1.0, 0.25), "a time to the first token, in seconds");
    tokio::time::sleep(Duration::from_millis(400)).await;
    let again = face.post("/v1/progress", &reached).await;
    assert_eq!((again.status, again.text("state")), (StatusCode::OK, "already_noted"));

    let release = json!({"lease": lease, "usage": {"completion_tokens": 5}});
    assert_eq!(face.post("/v1/release", &release).await.text("state"), "released");
    let late = face.post("/v1/progress", &reached).await;
    assert_eq!((late.status, late.text("state")), (StatusCode::OK, "already_released"));
    assert_eq!(counted(false), (1.0, 0.25), "nothing more was counted");
    assert_eq!(counted(true), (1.0, 0.1), "four gaps in 0.4 s");

    let of = |lease: &str| json!({"lease": lease, "reached": "first_token"});
    for unknown in ["0".repeat(32), "nonsense".to_owned()] {
        let said = face.post("/v1/progress", &of(&unknown)).await;
        assert_eq!((said.status, said.code()), (StatusCode::NOT_FOUND, "unknown_lease"));
    }
    for wrong in [json!({"lease": lease}), json!({"lease": lease, "reached": "half"})] {
        let said = face.post("/v1/progress", &wrong).await;
        assert_eq!((said.status, said.code()), (StatusCode::BAD_REQUEST, "invalid_request_body"));
    }
}

#[tokio::test]
async fn the_body_of_the_request_may_stand_for_its_numbers() {
    let face = ready();
    let body = json!({
        "body": {"model": "base", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
        "objective": "later",
    });
    let admitted = face.post("/v1/admit", &body).await;
    assert_eq!((admitted.status, admitted.text("tier")), (StatusCode::OK, "batch"));
    assert_eq!(admitted.text("model"), "base");
}

#[tokio::test]
async fn what_is_wrong_is_told_by_member() {
    let face = ready();
    for (body, param) in [
        (json!({"prompt_tokens": 1}), "model"),
        (json!({"model": "base", "deadline_s": -1}), "deadline_s"),
        (json!({"model": "base", "hold_s": 1e9}), "hold_s"),
        (json!({"model": "base", "lease_s": 1e9}), "lease_s"),
        (json!({"model": "base", "slo": {"ttft_ms": -5}}), "slo.ttft_ms"),
        (json!({"model": "base", "body": "text"}), "body"),
        (json!({"model": "base", "body": {"model": 5}}), "body"),
        (json!({"model": "base", "prompt_tokens": 4_000_000_000_u64}), "prompt_tokens"),
    ] {
        let said = face.post("/v1/admit", &body).await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(said.body["error"]["param"], param, "{body}");
    }
    for unreadable in ["", "{", "[]", "{\"model\": \"base\", \"unknown\": 1}"] {
        let request = Request::post("/v1/admit").header("content-type", "application/json");
        let said = face.call(request.body(Body::from(unreadable)).unwrap()).await;
        assert_eq!((said.status, said.code()), (StatusCode::BAD_REQUEST, "invalid_request_body"));
    }
    let plain = Request::post("/v1/admit").body(Body::from("{}")).unwrap();
    assert_eq!(face.call(plain).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = Request::post("/v1/admit").header("content-type", "application/json");
    let large = large.body(Body::from(vec![b' '; BODY_BYTES_MAX + ENVELOPE_BYTES_MAX + 1]));
    assert_eq!(face.call(large.unwrap()).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    for ticket in ["nonsense", &"0".repeat(32)] {
        let said = face.get(&format!("/v1/admit/{ticket}")).await;
        assert_eq!((said.status, said.code()), (StatusCode::NOT_FOUND, "unknown_ticket"));
    }
    let said = face.get("/v1/admit/0?wait_s=1e9").await;
    assert_eq!((said.status, said.code()), (StatusCode::BAD_REQUEST, "invalid_value"));
}

#[tokio::test]
async fn nobody_ready_is_503_and_a_ticket_waits_for_somebody() {
    let face = face();
    let mut hold = question();
    hold["hold_s"] = json!(0);
    let refused = face.post("/v1/admit", &hold).await;
    assert!(matches!(refused.status.as_u16(), 429 | 503), "{}", refused.body);
    assert!(refused.header("x-llm-d-request-dropped-reason").is_some());

    let mut work = question();
    work["tier"] = json!("batch");
    work["wait"] = json!("ticket");
    let ticketed = face.post("/v1/admit", &work).await;
    assert_eq!(ticketed.status, StatusCode::ACCEPTED, "{}", ticketed.body);
    let ticket = ticketed.text("ticket").to_owned();
    assert_eq!(ticketed.header("x-forebay-ticket"), Some(ticket.as_str()));
    let path = format!("/v1/admit/{ticket}");
    assert_eq!(ticketed.header("location"), Some(path.as_str()));

    // Not yet: the same ticket goes on being good.
    let not_yet = face.get(&path).await;
    assert_eq!((not_yet.status, not_yet.text("ticket")), (StatusCode::ACCEPTED, ticket.as_str()));
    assert_eq!(face.admission.tickets(), 1);

    face.front.endpoint_ready("127.0.0.1:8000", VariantId(0), Role::Both);
    let admitted = face.get(&path).await;
    assert_eq!((admitted.status, admitted.text("tier")), (StatusCode::OK, "batch"));
    assert_eq!(face.get(&path).await.status, StatusCode::NOT_FOUND, "a place is there once");
    assert_eq!(face.admission.tickets(), 0);
}

#[tokio::test]
async fn a_tenant_over_its_limit_hears_when_to_come_back() {
    let face = ready();
    let mut ours = question();
    ours["fairness_id"] = json!("acme");
    for _ in 0..2 {
        assert_eq!(face.post("/v1/admit", &ours).await.status, StatusCode::OK);
    }
    let limited = face.post("/v1/admit", &ours).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u32 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((29..=30).contains(&seconds), "{seconds}");
    assert!(limited.header("retry-after-ms").is_some());
    assert_eq!(limited.header("x-llm-d-request-dropped-reason"), Some("rejected-tenant-limit"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_never_released_is_given_back_and_counted() {
    let face = ready();
    let timer = tokio::spawn(face.admission.clone().keep_time());
    let mut short = question();
    short["lease_s"] = json!(5);
    let lease = face.post("/v1/admit", &short).await.text("lease").to_owned();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!face.front.is_idle());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(face.front.is_idle(), "the capacity is back");
    let said = face.post("/v1/release", &json!({"lease": lease})).await;
    assert_eq!(said.text("state"), "expired");
    let counted = face.admission.lease_meters();
    assert_eq!((counted.granted, counted.released, counted.expired, counted.held), (1, 0, 1, 0));
    timer.abort();
    face.post("/v1/admit", &question()).await;
    let fronts = face.admission.shared.fronts.clone();
    let page = Sources { fronts, admission: Some(face.admission.clone()), spans: None };
    let page = crate::metrics::page(&page).unwrap();
    for line in [
        "forebay_admit_leases_open 1.0",
        "forebay_admit_leases_total{event=\"granted\"} 2.0",
        "forebay_admit_leases_total{event=\"expired\"} 1.0",
        "forebay_admit_tickets_open 0.0",
        "forebay_gate_tickets_open{fleet=\"demo\"} 0.0",
    ] {
        assert!(page.lines().any(|said| said == line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn the_budget_is_told_by_tier() {
    let budget = ready().get("/v1/budget").await;
    let tiers = budget.body["tiers"].as_array().unwrap();
    assert_eq!(tiers.len(), 2);
    assert_eq!((&tiers[1]["tier"], &tiers[1]["deferrable"]), (&json!("batch"), &json!(true)));
    assert!(tiers[1]["requests"].as_u64().unwrap() > 0, "an idle engine has room");
    let none = face().get("/v1/budget").await;
    assert_eq!(none.body["tiers"][1]["requests"], 0, "no engine has none");
}

#[tokio::test]
async fn forward_auth_names_tier_and_tenant_and_refuses_in_a_form_that_proxies_pass() {
    let face = ready();
    let ask = |path: &str, tenant: &str| {
        Request::get(path).header("x-tenant", tenant).body(Body::empty()).unwrap()
    };
    for _ in 0..2 {
        let said = face.call(ask("/auth", "acme")).await;
        assert_eq!(said.status, StatusCode::OK);
        assert_eq!(said.header("x-forebay-tier"), Some("high"));
        assert_eq!(said.header("x-forebay-tenant"), Some("acme"));
    }
    let refused = face.call(ask("/auth", "acme")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let refused = face.call(ask("/auth?deny=403", "acme")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.header("x-forebay-status"), Some("429"));
    assert!(refused.header("retry-after").is_some());
    let refused = face.call(ask("/auth/v1/completions?deny=403&fleet=another", "acme")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "that query is the client's");
    let other = face.call(ask("/auth", "nobody-listed")).await;
    assert_eq!(other.header("x-forebay-tenant"), Some("other"));

    let empty = super::tests::face();
    assert_eq!(empty.get("/auth").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(face.get("/auth?fleet=another").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn where_a_token_is_wanted_nothing_goes_without() {
    let token = "a-token-of-some-length";
    let listen = "0.0.0.0:1".parse().unwrap();
    let face = with_access(Access::new(listen, Some(token), false).unwrap());
    face.front.endpoint_ready("127.0.0.1:8000", VariantId(0), Role::Both);
    assert_eq!(face.get("/v1/budget").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(face.get("/auth").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(face.post("/v1/admit", &question()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(face.get("/openapi.json").await.status, StatusCode::OK);
    let with = |name: &str, value: &str, path: &str| {
        Request::get(path).header(name, value).body(Body::empty()).unwrap()
    };
    let bearer = format!("Bearer {token}");
    let asked = |name, value, path| face.call(with(name, value, path));
    assert_eq!(asked("authorization", &bearer, "/v1/budget").await.status, StatusCode::OK);
    assert_eq!(asked("x-forebay-token", token, "/v1/budget").await.status, StatusCode::OK);
    assert_eq!(
        asked("x-forebay-token", "wrong", "/v1/budget").await.status,
        StatusCode::UNAUTHORIZED
    );
    // There `authorization` is the end user's, whatever it says.
    assert_eq!(asked("authorization", &bearer, "/auth").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(asked("x-forebay-token", token, "/auth").await.status, StatusCode::OK);
}

#[tokio::test]
async fn tickets_and_leases_are_their_callers_own() {
    let tokens = "token-number-one\ntoken-number-two\n";
    let face = with_access(Access::new("0.0.0.0:1".parse().unwrap(), Some(tokens), false).unwrap());
    face.front.endpoint_ready("127.0.0.1:8000", VariantId(0), Role::Both);
    let by = |token: &str, path: &str, body: &Value| {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("x-forebay-token", token);
        face.call(request.body(Body::from(body.to_string())).unwrap())
    };
    let admitted = by("token-number-one", "/v1/admit", &question()).await;
    let release = json!({"lease": admitted.text("lease")});
    let stolen = by("token-number-two", "/v1/release", &release).await;
    assert_eq!(stolen.status, StatusCode::NOT_FOUND);
    assert_eq!(by("token-number-one", "/v1/release", &release).await.text("state"), "released");
}
