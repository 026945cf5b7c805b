//! Envoy that asks Forebay by `ext_authz`, with the configuration that is shipped.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::task::block_in_place;
use tokio::time::{Duration, Instant, sleep};

use super::client::{Client, PATIENCE};
use super::engine::Engine;
use super::proxy::{Config, Proxy, binary};
use crate::admission::fleet;
use crate::support::{Folder, Forebay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_let_in_says_as_what_and_refusals_reach_the_client_whole() {
    if binary().is_none() {
        return;
    }
    let folder = Folder::new("ext-authz");
    let engine = Engine::start().await;
    let endpoint: SocketAddr = engine.address.parse().unwrap();
    let file = folder.write("fleet.yaml", &fleet(&[endpoint]));
    let (gate, at) =
        block_in_place(|| Forebay::gate(&file, &["--admit"], &["--scrape-seconds", "0.1"]));
    let port = |at: SocketAddr| format!("port_value: {}", at.port());
    let config = Config::ext_authz()
        .with("port_value: 9300", &port(at[0]))
        .with("port_value: 8000", &port(endpoint));
    let Some(proxy) = Proxy::start(&config, &engine.address).await else { return };
    let client = Client::new(&proxy.address);
    let until = Instant::now() + PATIENCE;
    while client.post(&[]).await.status != StatusCode::OK {
        assert!(Instant::now() < until, "the engine does not come into the fleet: {}", gate.said());
        sleep(Duration::from_millis(50)).await;
    }

    let told = [("x-forebay-tenant", "forged"), ("x-forebay-tier", "batch")];
    assert_eq!(client.post(&told).await.status, StatusCode::OK);
    let seen = engine.seen();
    let last = seen.iter().rfind(|seen| seen.method == Method::POST).unwrap();
    let of = |name| last.headers.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(of("x-forebay-tier"), ["batch"], "this policy trusts its clients");
    assert_eq!(of("x-forebay-tenant"), ["unknown"], "what it was taken for, not what it said");
    assert!(!last.body.is_empty(), "the body goes on, though Forebay did not see it");

    let trial = [("x-llm-d-inference-fairness-id", "trial")];
    let mut passed = 0;
    let refused = loop {
        let got = client.post(&trial).await;
        if got.status != StatusCode::OK {
            break got;
        }
        passed += 1;
        assert!(passed < 100, "the limit is 30 a minute");
    };
    assert!(passed >= 30, "{passed}");
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.text());
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("x-llm-d-request-dropped-reason"), Some("rejected-tenant-limit"));
    let body: Value = refused.json();
    assert_eq!(body["error"]["code"], "rejected-tenant-limit");
    // Envoy's own: at the edge it does not take one over from a client.
    assert!(body["error"]["request_id"].is_string(), "{body}");
    assert_eq!(client.post(&[]).await.status, StatusCode::OK, "others go on");

    drop(gate);
    assert_eq!(client.post(&[]).await.status, StatusCode::SERVICE_UNAVAILABLE, "nobody to ask");
}
