//! Tickets that wait while somebody listens for them.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_ticket_waits_for_an_endpoint_where_there_is_none() {
    let face = face();
    let mut work = question();
    work["tier"] = json!("batch");
    work["wait"] = json!("ticket");
    let given = face.post("/v1/admit", &work).await;
    assert!(given.header("retry-after").is_some(), "a poller does not spin");
    let path = format!("/v1/admit/{}", given.text("ticket"));
    let seconds = |since: tokio::time::Instant| since.elapsed().as_secs();

    let since = tokio::time::Instant::now();
    let not_yet = face.get(&format!("{path}?wait_s=20")).await;
    assert_eq!((not_yet.status, seconds(since)), (StatusCode::ACCEPTED, 20));
    assert!(not_yet.header("retry-after").is_some());
    let at_once = face.get(&path).await;
    assert_eq!((at_once.status, seconds(since)), (StatusCode::ACCEPTED, 20));
    assert_eq!(at_once.header("retry-after"), Some("1"));
    // Nobody is held for longer than his tier allows.
    let not_yet = face.get(&format!("{path}?wait_s=300")).await;
    assert_eq!((not_yet.status, seconds(since)), (StatusCode::ACCEPTED, 50));

    let front = face.front.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        front.endpoint_ready("127.0.0.1:8000", VariantId(0), Role::Both);
    });
    let since = tokio::time::Instant::now();
    let admitted = face.get(&format!("{path}?wait_s=20")).await;
    assert_eq!((admitted.status, seconds(since)), (StatusCode::OK, 5), "{}", admitted.body);
}

#[tokio::test]
async fn whoever_hangs_up_while_he_waits_finds_his_ticket_again() {
    let face = face();
    // Somebody starts engines for whoever waits: so requests without an endpoint are held.
    face.front.desk().outlook(&forebay_core::gate::Outlook { coming: &[], on_demand: true });
    let mut work = question();
    work["wait"] = json!("ticket");
    work["tier"] = json!("batch");
    let ticket = face.post("/v1/admit", &work).await.text("ticket").to_owned();
    let path = format!("/v1/admit/{ticket}?wait_s=20");
    {
        let waiting = face.get(&path);
        tokio::pin!(waiting);
        let held = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
        assert!(held.is_err(), "it is held");
        let second = face.get(&format!("/v1/admit/{ticket}")).await;
        assert_eq!((second.status, second.code()), (StatusCode::CONFLICT, "ticket_in_use"));
    }
    face.front.endpoint_ready("127.0.0.1:8000", VariantId(0), Role::Both);
    assert_eq!(face.get(&path).await.status, StatusCode::OK);
}
