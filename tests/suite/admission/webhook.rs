//! The webhook between real processes.

use serde_json::json;

use super::fleet;
use super::http::{ask, get, post};
use crate::support::{Folder, Forebay, eventually};

#[test]
fn admit_release_refuse_and_a_ticket_redeemed_at_its_old_place() {
    let folder = Folder::new("webhook");
    let (_engines, engines) = Forebay::engines(1, &["--fixed-ms", "300", "--slots", "1"]);
    let file = folder.write("fleet.yaml", &fleet(&engines));
    // What is admitted here never reaches the engine, whose page would say so after a while.
    let (_gate, at) = Forebay::gate(&file, &["--admit"], &["--metrics-path", "/none"]);
    let at = at[0];
    eventually("the engine is seen", || {
        get(at, "/v1/budget").body["tiers"][0]["requests"].as_u64().is_some_and(|free| free > 0)
    });

    let question = json!({"model": "demo", "prompt_tokens": 32, "max_tokens": 8});
    let mut batch = question.clone();
    batch["tier"] = json!("batch");
    batch["wait"] = json!("ticket");

    // Take what there is: nothing is released, so the gate learns that it is full.
    let mut leases = Vec::new();
    let (mut earlier, mut tries) = (None, 0);
    while earlier.is_none() {
        tries += 1;
        assert!(tries < 2_000, "one engine cannot take so many");
        let said = post(at, "/v1/admit", &batch);
        match said.status {
            200 => leases.push(said.text("lease").to_owned()),
            202 => earlier = Some(said.text("ticket").to_owned()),
            other => panic!("{other}: {}", said.body),
        }
    }
    assert!(!leases.is_empty(), "an idle engine takes somebody");
    let earlier = earlier.unwrap();
    let later = post(at, "/v1/admit", &batch);
    assert_eq!(later.status, 202, "{}", later.body);
    let later = later.text("ticket").to_owned();

    // Nobody is let in past what is full, and it says when to come back.
    let mut impatient = question.clone();
    impatient["hold_s"] = json!(0.05);
    let refused = post(at, "/v1/admit", &impatient);
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(refused.header("x-llm-d-request-dropped-reason"), Some("rejected-ttl-expired"));
    assert_eq!(refused.body["error"]["code"], "rejected-ttl-expired");

    // Who asks in vain keeps his ticket.
    let path = |ticket: &str, wait: u32| format!("/v1/admit/{ticket}?wait_s={wait}");
    let in_vain = get(at, &path(&later, 0));
    assert_eq!((in_vain.status, in_vain.text("ticket")), (202, later.as_str()));

    // One place comes free while the later ticket asked first: it is the earlier one's.
    let held = || get(at, "/v1/budget").body["tiers"][1]["queued_requests"].as_u64();
    let last = std::thread::scope(|scope| {
        let last = scope.spawn(|| get(at, &path(&later, 20)));
        eventually("the later one is held", || held() == Some(1));
        let first = scope.spawn(|| get(at, &path(&earlier, 20)));
        eventually("both are held", || held() == Some(2));
        let release = json!({"lease": leases[0], "outcome": "cancelled"});
        assert_eq!(post(at, "/v1/release", &release).text("state"), "released");
        let first = first.join().unwrap();
        assert_eq!(first.status, 200, "the earlier ticket has its place: {}", first.body);
        assert_eq!(held(), Some(1), "the later one goes on waiting");

        let streamed = first.text("lease").to_owned();
        let reached = json!({"lease": streamed, "reached": "first_token"});
        assert_eq!(post(at, "/v1/progress", &reached).text("state"), "noted");
        leases.push(streamed);
        for lease in &leases[1..] {
            let usage = json!({"prompt_tokens": 32, "completion_tokens": 8});
            let said = post(at, "/v1/release", &json!({"lease": lease, "usage": usage}));
            assert_eq!(said.text("state"), "released");
            let again = post(at, "/v1/release", &json!({"lease": lease}));
            assert_eq!((again.status, again.text("state")), (200, "already_released"));
        }
        last.join().unwrap()
    });
    assert_eq!(last.status, 200, "all places are free: {}", last.body);
    let budget = get(at, "/v1/budget");
    assert!(budget.body["tiers"][1]["requests"].as_u64().unwrap() > 0, "{}", budget.body);
}

#[test]
fn a_tenant_over_its_limit_is_told_and_nobody_is_let_in_without_a_token_off_loopback() {
    let folder = Folder::new("tokens");
    let (_engines, engines) = Forebay::engines(1, &["--fixed-ms", "1"]);
    let file = folder.write("fleet.yaml", &fleet(&engines));
    let tokens = folder.write("tokens", "# of the batch workers\na-token-of-some-length\n");
    let (_gate, at) =
        Forebay::gate(&file, &["--admit"], &["--admit-tokens", tokens.to_str().unwrap()]);
    let at = at[0];
    let question = json!({"model": "demo", "prompt_tokens": 1, "fairness_id": "trial"});
    assert_eq!(post(at, "/v1/admit", &question).status, 401);
    let bearer = [("authorization", "Bearer a-token-of-some-length")];
    eventually("the engine is seen", || {
        let budget = ask("GET", at, "/v1/budget", &bearer, None);
        budget.body["tiers"][0]["requests"].as_u64().is_some_and(|free| free > 0)
    });
    let mut passed = 0;
    let limited = loop {
        let said = ask("POST", at, "/v1/admit", &bearer, Some(&question));
        if said.status != 200 {
            break said;
        }
        passed += 1;
        // On a slow machine the limit grows meanwhile, by one each two seconds.
        assert!(passed < 100, "the limit is 30 a minute");
        let release = json!({"lease": said.text("lease")});
        ask("POST", at, "/v1/release", &bearer, Some(&release));
    };
    assert_eq!(limited.status, 429, "{}", limited.body);
    assert_eq!(limited.body["error"]["code"], "rejected-tenant-limit");
    assert!(limited.header("retry-after-ms").is_some());

    folder.write("tokens", "another-token-of-some-length\n");
    eventually("the old token is not taken any more", || {
        ask("GET", at, "/v1/budget", &bearer, None).status == 401
    });

    let mut open =
        Forebay::start(&["run", "--fleet", file.to_str().unwrap(), "--admit", "0.0.0.0:0"]);
    assert_eq!(open.ended(), Some(1));
    eventually("it says why", || open.said().contains("nobody would be asked who he is"));
}
