//! Thousands at a time, through the limits that Envoy has by default and the shipped
//! configurations lift.

use http::StatusCode;

use super::Setup;
use super::gate::DO;
use super::proxy::Config;

/// More than Envoy's circuit breakers let through by default (1,024).
const HELD: usize = 1_500;

/// A setup whose connection to the picker stands: a crowd on a machine busy with other tests may
/// take Envoy longer than a connection may.
async fn crowded() -> Option<Setup> {
    let setup = Setup::new(Config::answers_pass()).await?;
    assert_eq!(setup.client.post(&[]).await.status, StatusCode::OK);
    setup.until(|| setup.gate.log() == ["finished 7"]).await;
    setup.gate.forget();
    Some(setup)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_held_and_everybody_is_answered() {
    let Some(setup) = crowded().await else { return };
    let crowd: Vec<_> = (0..HELD)
        .map(|_| {
            let client = setup.client.clone();
            tokio::spawn(async move { client.post(&[(DO, "hold")]).await })
        })
        .collect();
    setup.until(|| setup.gate.held() == HELD).await;
    setup.gate.release();
    for one in crowd {
        assert_eq!(one.await.unwrap().status, StatusCode::OK);
    }
    setup.until(|| setup.gate.log().len() == HELD).await;
    assert!(setup.gate.log().iter().all(|end| end == "finished 7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_leaves_at_once_takes_nobody_along() {
    let Some(setup) = crowded().await else { return };
    let stays = tokio::spawn({
        let client = setup.client.clone();
        async move { client.post(&[(DO, "hold")]).await }
    });
    let crowd: Vec<_> = (0..HELD)
        .map(|_| {
            let client = setup.client.clone();
            tokio::spawn(async move { client.post(&[(DO, "hold")]).await })
        })
        .collect();
    setup.until(|| setup.gate.held() == HELD + 1).await;
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    setup.until(|| setup.gate.log().len() == HELD).await;
    assert!(setup.gate.log().iter().all(|end| end == "gone"));
    setup.gate.release();
    assert_eq!(stays.await.unwrap().status, StatusCode::OK);
    assert_eq!(setup.client.post(&[]).await.status, StatusCode::OK);
}
