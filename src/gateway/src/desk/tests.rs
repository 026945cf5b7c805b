use std::time::Duration;

use forebay_core::gate::Forebay;
use forebay_core::ids::FleetId;
use forebay_core::manifest::{self, builtin};

use super::*;

fn desk() -> (Desk, VariantId) {
    let source = builtin::fleet("chat-8b").unwrap();
    let manifests = manifest::parse(std::slice::from_ref(&source)).unwrap();
    let (world, _) = manifests.resolve(None).unwrap();
    let variant = world.variants_of(FleetId(0)).next().unwrap().0;
    let gate = Forebay::new(&world, FleetId(0), Span::from_secs(1));
    (Desk::new(Box::new(gate), world.tiers.len()), variant)
}

fn ask() -> Ask {
    Ask { flow: 1, ..Ask::new(TierId(0), 100, Span::from_secs(5)) }
}

/// Every arrival is in exactly one place.
fn balance(desk: &Desk) -> (u64, u64, u64) {
    desk.inspect(|view| {
        let tier = &view.meters.tiers()[0];
        let held = view.gate.queued(TierId(0)).requests;
        let running = tier.router.running as u64;
        assert_eq!(tier.arrived(), tier.ended() + held + running);
        assert!(tier.router.inflight_prompt_tokens >= 0.0);
        (held, running, tier.ended())
    })
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_at_once_and_ends_once() {
    let (desk, variant) = desk();
    desk.endpoint_ready("127.0.0.1:8000", variant, Role::Both);
    let mut grant = desk.admit(&ask()).await.unwrap();
    assert_eq!((grant.endpoint(), grant.prefill()), ("127.0.0.1:8000", None));
    assert_eq!(balance(&desk), (0, 1, 0));
    grant.first_token();
    grant.first_token();
    grant.end(Outcome::Finished(Some(Usage {
        prompt_tokens: 100,
        cached_tokens: None,
        output_tokens: 7,
    })));
    assert_eq!(balance(&desk), (0, 0, 1));
    desk.inspect(|view| {
        let tier = &view.meters.tiers()[0];
        assert_eq!((tier.finished, tier.router.output_tokens_total as u64), (1, 7));
        assert_eq!(tier.router.ttft.count() as u64, 1, "the first call alone counts");
    });
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_frees_its_place_held_or_in_flight() {
    let (desk, variant) = desk();
    desk.endpoint_ready("127.0.0.1:8000", variant, Role::Both);
    let mut grants = Vec::new();
    let held = loop {
        let admission = desk.admit(&ask());
        if admission.is_held() {
            break admission;
        }
        grants.push(admission.await.unwrap());
    };
    let running = grants.len() as u64;
    assert_eq!(balance(&desk), (1, running, 0));
    drop(held);
    assert_eq!(balance(&desk), (0, running, 1), "gone from the queue");

    let waits = desk.admit(&ask());
    assert!(waits.is_held());
    drop(grants.pop());
    let grant = waits.await.unwrap();
    assert_eq!(balance(&desk), (0, running, 2), "its place went to who waited");
    // An answer that was given but never taken is no lease for ever.
    let unread = desk.admit(&ask());
    drop(grant);
    drop(unread);
    assert_eq!(balance(&desk), (0, running - 1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_nobody_reads_is_counted_once() {
    let (desk, variant) = desk();
    tokio::spawn(desk.clone().keep_time());
    desk.endpoint_ready("127.0.0.1:8000", variant, Role::Both);
    // Refused at once: nobody may serve it.
    drop(desk.admit(&Ask { candidates: Some(Vec::new()), ..ask() }));
    assert_eq!(balance(&desk), (0, 0, 1));
    // Refused while it was held.
    let mut grants = Vec::new();
    let held = loop {
        let admission = desk.admit(&ask());
        if admission.is_held() {
            break admission;
        }
        grants.push(admission);
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    let running = grants.len() as u64;
    assert_eq!(balance(&desk), (0, running, 2));
    drop(held);
    assert_eq!(balance(&desk), (0, running, 2));
    desk.inspect(|view| assert_eq!(view.meters.tiers()[0].client_gone, 0));
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_kept_without_any_other_event() {
    let (desk, variant) = desk();
    tokio::spawn(desk.clone().keep_time());
    desk.endpoint_ready("127.0.0.1:8000", variant, Role::Both);
    let mut grants = Vec::new();
    let held = loop {
        let admission = desk.admit(&Ask { within: Span::from_secs(600), ..ask() });
        if admission.is_held() {
            break admission;
        }
        grants.push(admission);
    };
    let started = Instant::now();
    let refused = held.await.unwrap_err();
    assert!(refused.retry_after.is_some());
    assert!(started.elapsed() <= Duration::from_secs(31), "held no longer than its tier allows");
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_in_after_closing_and_nothing_is_lost() {
    let (desk, variant) = desk();
    desk.endpoint_ready("127.0.0.1:8000", variant, Role::Both);
    let grant = desk.admit(&ask()).await.unwrap();
    desk.close();
    let refused = desk.admit(&ask()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ShuttingDown);
    assert_eq!(balance(&desk), (0, 1, 1));
    grant.end(Outcome::Finished(None));
    assert_eq!(balance(&desk), (0, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn an_address_is_one_endpoint_until_it_is_gone() {
    let (desk, variant) = desk();
    let first = desk.endpoint_ready("127.0.0.1:8000", variant, Role::Both);
    assert_eq!(desk.endpoint_ready("127.0.0.1:8000", variant, Role::Both), first);
    desk.endpoint_gone(first);
    let second = desk.endpoint_ready("127.0.0.1:8000", variant, Role::Both);
    assert_ne!(first, second, "identities are never used twice");
    desk.scraped(first, Span::ZERO, EndpointLoad::default());
    desk.inspect(|view| assert!(view.directory.get(second).unwrap().load.is_none()));
    desk.scraped(second, Span::ZERO, EndpointLoad::default());
    desk.inspect(|view| assert!(view.directory.get(second).unwrap().load.is_some()));
    desk.scrape_lost(second);
    desk.inspect(|view| assert!(view.directory.get(second).unwrap().load.is_none()));
}
