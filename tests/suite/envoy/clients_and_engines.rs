//! Clients that leave, are slow, or come as a crowd of one; engines that die.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout};

use super::Setup;
use super::client::{BODY, PATIENCE};
use super::engine::{ANSWER, END, event, large};
use super::gate::DO;
use super::proxy::Config;

impl Setup {
    /// Waits until something is so.
    pub(super) async fn until(&self, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            let log = self.gate.log();
            let (some, all) = (&log[..log.len().min(10)], log.len());
            assert!(Instant::now() < until, "it never came about: {some:?} of {all}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_the_queue_is_gone_and_the_others_stay() {
    let Some(setup) = Setup::new(Config::answers_pass()).await else { return };
    let id = ("x-request-id", "the same");
    let stays = tokio::spawn({
        let client = setup.client.clone();
        async move { client.post(&[(DO, "hold"), id]).await }
    });
    let request = setup.client.request(Method::POST, &[(DO, "hold"), id], BODY);
    let leaves = tokio::spawn({
        let client = setup.client.clone();
        async move { client.send(request).await }
    });
    setup.until(|| setup.gate.held() == 2).await;
    leaves.abort();
    setup.until(|| setup.gate.log() == ["gone"]).await;
    setup.gate.release();
    assert_eq!(stays.await.unwrap().status, StatusCode::OK);
    setup.until(|| setup.gate.log() == ["gone", "finished 7"]).await;
    assert_eq!(setup.engine.seen().len(), 1, "whoever has left is not sent on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_a_stream_is_gone() {
    let Some(setup) = Setup::new(Config::answers_pass()).await else { return };
    let headers = [(ANSWER, "events 1000 20")];
    let mut body =
        setup.client.open(setup.client.request(Method::POST, &headers, BODY)).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    setup.until(|| setup.gate.log() == ["gone"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_before_it_answers_has_failed() {
    for config in [Config::answers_pass(), Config::answers_survive()] {
        let Some(setup) = Setup::new(config).await else { return };
        let got = setup.client.post(&[(ANSWER, "die")]).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "Envoy's own answer");
        setup.until(|| setup.gate.log() == ["failed"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_in_the_middle_breaks_its_answer_off_and_no_other() {
    let Some(setup) = Setup::new(Config::answers_pass()).await else { return };
    let other = tokio::spawn({
        let client = setup.client.clone();
        async move { client.post(&[(ANSWER, "events 20 20")]).await }
    });
    let got = setup.client.post(&[(ANSWER, "die 3")]).await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(got.broken, "{}", got.text());
    assert!(got.text().starts_with(&event(0)));
    let other = other.await.unwrap();
    assert!(!other.broken && other.text().ends_with("data: [DONE]\n\n"));
    // Envoy does not tell us why an answer broke off.
    setup.until(|| setup.gate.log().len() == 2).await;
    let mut log = setup.gate.log();
    log.sort();
    assert_eq!(log, ["finished 7", "gone"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_answers_are_not_shown_none_is_said_to_have_ended_well() {
    let Some(setup) = Setup::new(Config::answers_survive()).await else { return };
    // Whole, broken off by the engine, left by the client: Envoy shows the same of each.
    let whole = setup.client.post(&[(ANSWER, "events 3 20")]).await;
    assert!(!whole.broken && whole.text().ends_with("data: [DONE]\n\n"));
    setup.until(|| setup.gate.log() == ["unobserved"]).await;
    setup.gate.forget();
    let dead = setup.client.post(&[(ANSWER, "die 3 20")]).await;
    assert!(dead.broken, "{}", dead.text());
    setup.until(|| setup.gate.log() == ["unobserved"]).await;
    setup.gate.forget();
    let headers = [(ANSWER, "events 1000 20")];
    let mut body =
        setup.client.open(setup.client.request(Method::POST, &headers, BODY)).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    setup.until(|| setup.gate.log() == ["unobserved"]).await;
    setup.gate.forget();
    // What is known is said: an answer without a body, and one that never came.
    assert_eq!(setup.client.post(&[(ANSWER, "none")]).await.status, StatusCode::NO_CONTENT);
    setup.until(|| setup.gate.log() == ["finished 0"]).await;
    setup.gate.forget();
    assert_eq!(setup.client.post(&[(ANSWER, "die")]).await.status, StatusCode::SERVICE_UNAVAILABLE);
    setup.until(|| setup.gate.log() == ["failed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_delays_nobody_else() {
    let Some(setup) = Setup::new(Config::answers_pass()).await else { return };
    // 200 events are 16 MB: more than all buffers on the way hold.
    let headers = [(ANSWER, "large 200")];
    let mut slow =
        setup.client.open(setup.client.request(Method::POST, &headers, BODY)).await.into_body();
    let first = slow.frame().await.unwrap().unwrap();
    sleep(Duration::from_secs(1)).await;
    for _ in 0..20 {
        let got = timeout(PATIENCE, setup.client.post(&[])).await.unwrap();
        assert_eq!(got.status, StatusCode::OK);
    }
    let mut taken = first.into_data().unwrap().to_vec();
    while let Some(frame) = timeout(PATIENCE, slow.frame()).await.unwrap() {
        taken.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
    let sent: String = (0..200).map(large).chain([END.into()]).collect();
    assert!(taken == sent.as_bytes(), "{} bytes of {}", taken.len(), sent.len());
}
