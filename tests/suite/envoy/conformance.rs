//! The headers of the Gateway API Inference Extension's conformance tests, where they are let.

use http::StatusCode;
use tokio::task::block_in_place;
use tokio::time::{Duration, Instant, sleep};

use super::client::{Client, PATIENCE};
use super::engine::Engine;
use super::proxy::{Config, Proxy, binary};
use crate::admission::fleet;
use crate::support::{Folder, Forebay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_tests_choose_an_endpoint_and_hear_which_one_answered() {
    if binary().is_none() {
        return;
    }
    let folder = Folder::new("conformance");
    let engines = [Engine::start().await, Engine::start().await];
    let addresses: Vec<_> = engines.iter().map(|engine| engine.address.parse().unwrap()).collect();
    let file = folder.write("fleet.yaml", &fleet(&addresses));
    let more = ["--scrape-seconds", "0.1", "--conformance-ports", "8000"];
    let (gate, at) = block_in_place(|| Forebay::gate(&file, &["--ext-proc"], &more));
    let Some(envoy) = Proxy::start(&Config::answers_pass(), &at[0].to_string()).await else {
        return;
    };
    let client = Client::new(&envoy.address);
    for engine in engines.iter().chain(&engines) {
        let chosen = [("test-epp-endpoint-selection", engine.address.as_str())];
        let until = Instant::now() + PATIENCE;
        let answer = loop {
            let answer = client.post(&chosen).await;
            if answer.status == StatusCode::OK {
                break answer;
            }
            assert!(Instant::now() < until, "it is not in the fleet: {}", gate.said());
            sleep(Duration::from_millis(50)).await;
        };
        let served = answer.header("x-conformance-test-served-endpoint");
        assert_eq!(served, Some(engine.address.as_str()));
    }
    let nobody = client.post(&[("test-epp-endpoint-selection", "10.0.0.1")]).await;
    assert_eq!(nobody.status, StatusCode::SERVICE_UNAVAILABLE);
}
