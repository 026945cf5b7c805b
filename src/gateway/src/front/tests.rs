use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use forebay_core::fleet::Role;
use forebay_core::ids::VariantId;
use tokio::time::sleep;

use super::*;
use crate::body;
use crate::desk::Reason;
use crate::testing::terms;

/// Headers, and nothing else.
#[derive(Debug, Default)]
pub(super) struct Headers(BTreeMap<&'static str, &'static str>);

impl Facts for Headers {
    fn header(&self, name: &str) -> Option<&str> {
        self.0.get(name).copied()
    }

    fn peer(&self) -> Option<IpAddr> {
        None
    }

    fn model(&self) -> Option<&str> {
        Some("base")
    }
}

const FLEET: &str = r#"
apiVersion: forebay.dev/v1alpha1
kind: InferenceFleet
metadata: {name: demo}
spec:
  models: [base]
  trafficPolicyRef: {name: policy}
  slos:
    - {tier: high, ttft: 2s, tpot: 100ms, percentile: 0.99}
  variants:
    - {name: l40s, role: Both, acceleratorClass: l40s, profile: llama-3.1-8b-fp8-l40s-tp1, endpoints: ["127.0.0.1:8000"]}
"#;

const POLICY: &str = r#"
---
apiVersion: forebay.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: policy}
spec:
  enforcement: ENFORCEMENT
  identity: {trustClients: true}
  tiers:
    - {name: high, priority: 10, holdSecondsMax: 5}
    - {name: low, priority: 0, holdSecondsMax: 5}
  tenants:
    - {name: acme, limits: {requestsPerMinute: 2}}
"#;

pub(super) fn manifests(enforcement: &str) -> String {
    format!("{FLEET}{}", POLICY.replace("ENFORCEMENT", enforcement))
}

fn front(enforcement: &str) -> Front {
    let front = Front::new(terms(&manifests(enforcement)), 7);
    front.endpoint_ready("127.0.0.1:8000", VariantId(0), Role::Both);
    front
}

pub(super) fn admit(front: &Front, headers: &Headers) -> Result<Waiting, Denied> {
    ask(front, headers, "tell me more")
}

fn ask(front: &Front, headers: &Headers, prompt: &str) -> Result<Waiting, Denied> {
    let body = format!(r#"{{"model":"base","prompt":"{prompt}","max_tokens":10}}"#);
    let body = body::read_request("/v1/completions", None, body.as_bytes()).unwrap();
    front.admit(Request {
        facts: headers,
        body: Some(&body),
        candidates: None,
        told: Told::default(),
        line: None,
        retry: None,
    })
}

/// Fills the fleet; returns what it holds and the first that waits.
fn fill(front: &Front, headers: &Headers) -> (Vec<Waiting>, Waiting) {
    let mut sent = Vec::new();
    loop {
        let waiting = admit(front, headers).unwrap();
        if waiting.is_held() {
            return (sent, waiting);
        }
        sent.push(waiting);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_over_its_limit_hears_when_to_come_back() {
    let front = front("Enforce");
    let acme = Headers([("x-llm-d-inference-fairness-id", "acme")].into());
    for _ in 0..2 {
        admit(&front, &acme).unwrap().await.unwrap().finished(body::Usage::default());
    }
    let denied = admit(&front, &acme).unwrap_err();
    let reply = denied.reply(Some("abc"));
    assert_eq!(reply.status, 429);
    let header = |name| reply.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    assert_eq!(header("retry-after").map(String::as_str), Some("30"));
    assert_eq!(header(HEADER_DROPPED_REASON).map(String::as_str), Some("rejected-tenant-limit"));
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["error"]["code"], "rejected-tenant-limit");
    assert_eq!(body["error"]["request_id"], "abc");
    // Others are not concerned.
    assert!(admit(&front, &Headers::default()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn whoever_only_watches_refuses_nobody_and_counts() {
    let front = front("Observe");
    let acme = Headers([("x-llm-d-inference-fairness-id", "acme")].into());
    let mut passes = Vec::new();
    for _ in 0..500 {
        let waiting = admit(&front, &acme).unwrap();
        assert!(!waiting.is_held());
        passes.push(waiting.await.unwrap());
    }
    front.inspect_meters(|meters| {
        let counted: u64 = meters.tenants.values().map(|tenant| tenant.would_have_limited).sum();
        assert_eq!(counted, 498);
    });
    front.desk().inspect(|view| {
        let low = forebay_core::ids::TierId(1);
        assert!(view.gate.would_have(low).unwrap().held > 0, "500 at once on one engine");
    });
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_saw_is_an_outcome_of_its_own() {
    let front = front("Enforce");
    let acme = Headers([("x-llm-d-inference-fairness-id", "acme")].into());
    admit(&front, &acme).unwrap().await.unwrap().unobserved();
    front.desk().inspect(|view| {
        let tier = &view.meters.tiers()[1];
        assert_eq!((tier.unobserved, tier.finished, tier.failed, tier.client_gone), (1, 0, 0, 0));
        assert_eq!((tier.arrived(), tier.ended()), (1, 1), "it ended, once");
        assert!(tier.router.output_tokens_total < 0.5, "no page has told how long answers are");
        assert!(tier.duration.count() < 0.5, "nor is it known how long it took");
    });
    front.inspect_meters(|meters| {
        let acme = meters.tenants.values().next().unwrap();
        assert_eq!((acme.requests, acme.unobserved, acme.finished), (1, 1, 0));
    });
    assert!(front.is_idle(), "its capacity came back");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_seen_to_end_keeps_its_place_for_as_long_as_others_stay() {
    let front = front("Enforce");
    let mut pass = admit(&front, &Headers::default()).unwrap().await.unwrap();
    let engine = pass.endpoint().to_owned();
    // Four run and one ends each second: each stays for four seconds.
    for second in 0..20_u32 {
        let load = EndpointLoad { running: 4.0, waiting: 0.0, kv_usage: 0.1 };
        let requests_total = f64::from(second);
        let served = Served { output_tokens_total: 100.0 * requests_total, requests_total };
        front.scraped(&engine, Span::ZERO, Some(load), Some(served));
        sleep(Duration::from_secs(1)).await;
    }
    assert!(pass.first_token());
    sleep(Duration::from_secs(1)).await;
    pass.unobserved();
    sleep(Duration::from_millis(2_900)).await;
    assert!(!front.is_idle(), "its engine is still at it");
    sleep(Duration::from_millis(200)).await;
    assert!(front.is_idle());
    front.desk().inspect(|view| {
        let tier = &view.meters.tiers()[1];
        assert_eq!((tier.unobserved, tier.client_gone, tier.ended()), (1, 0, 1));
    });
}

#[tokio::test(start_paused = true)]
async fn held_too_long_it_gets_a_ticket_and_its_old_place() {
    let front = front("Enforce");
    tokio::spawn(front.desk().keep_time());
    let nobody = Headers::default();
    let (mut sent, held) = fill(&front, &nobody);
    let denied = held.await.unwrap_err();
    let Denied::Refused { refused, ticket: Some(ticket) } = &denied else {
        panic!("no ticket: {denied:?}");
    };
    assert_eq!(refused.reason, Reason::Gate(forebay_core::gate::Refusal::TtlExpired));
    let text: &'static str = ticket.to_string().leak();
    let told = refused.retry_after.unwrap();
    tokio::time::sleep(std::time::Duration::from_nanos(told.0)).await;

    // Another request: the same one again would be taken for the one that was refused.
    let behind = ask(&front, &nobody, "something else altogether").unwrap();
    assert!(behind.is_held());
    let back = admit(&front, &Headers([("x-forebay-ticket", text)].into())).unwrap();
    assert!(back.is_held());
    // The credit may have shrunk while nothing moved: give back until one may go.
    let instant = std::time::Duration::from_millis(1);
    let (mut back, mut behind) = (Box::pin(back), Box::pin(behind));
    let pass = loop {
        drop(sent.pop().expect("an empty engine takes somebody"));
        if let Ok(decided) = tokio::time::timeout(instant, &mut back).await {
            break decided.unwrap();
        }
        let later = tokio::time::timeout(instant, &mut behind).await;
        assert!(later.is_err(), "who came later goes later");
    };
    drop(pass);
    // A ticket is good once.
    assert!(front.tickets().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_queue_under_its_old_terms() {
    let front = front("Enforce");
    let nobody = Headers::default();
    let (mut sent, held) = fill(&front, &nobody);
    let before = front.desk();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;

    // Other tenants: the same gate goes on.
    front.reload(terms(&manifests("Enforce").replace("acme", "emca")));
    assert!(front.desk().is_same(&before));
    // Other tiers: another gate, beside the old one.
    let slower = manifests("Enforce").replace("ttft: 2s", "ttft: 3s");
    front.reload(terms(&slower));
    assert!(!front.desk().is_same(&before));
    assert_eq!(front.desk().now(), before.now(), "one clock, so that places keep their meaning");
    assert_eq!(front.desk().inspect(|view| view.directory.len()), 1);
    assert!(!front.is_idle());
    drop(sent.pop());
    let pass = held.await.unwrap();
    assert_eq!(pass.endpoint(), "127.0.0.1:8000");
    drop((pass, sent));
    assert!(front.is_idle(), "nothing was lost");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_to_the_gate_does_not_reach_the_engine() {
    let front = front("Observe");
    let said = Headers(
        [("x-llm-d-inference-fairness-id", "acme"), ("x-forebay-tier", "high"), ("accept", "*/*")]
            .into(),
    );
    let pass = admit(&front, &said).unwrap().await.unwrap();
    let stripped: Vec<_> = pass.stripped().iter().map(String::as_str).collect();
    assert_eq!(stripped, ["x-llm-d-inference-fairness-id", "x-forebay-tier"]);
    assert_eq!(pass.tier(), forebay_core::ids::TierId(0));
}
