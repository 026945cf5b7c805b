//! Every arrival gets exactly one outcome, whatever happens: any gate, driven by random events.

use std::collections::BTreeMap;

use forebay_core::engine::Prefix;
use forebay_core::fleet::Role;
use forebay_core::gate::{Arrival, EndpointLoad, Gate, GateEffect, GateEvent};
use forebay_core::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use forebay_core::time::{Span, Time};
use proptest::prelude::*;

use super::testing::world;
use super::{NAMES, build};

/// What happens next, with numbers that choose among whatever there is.
#[derive(Clone, Debug)]
enum Step {
    Arrive { tier: u8, flow: u64, tokens: u32, piece: u64, patience_ms: u64 },
    FirstToken(usize),
    PrefillDone(usize),
    Finish(usize),
    Fail(usize),
    ClientGone(usize),
    QueuedClientGone(usize),
    Ready(u32),
    Drain(u32),
    Gone(u32),
    Scrape { endpoint: u32, running: f64, waiting: f64, kv_usage: f64 },
    ScrapeLost(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0_usize..1_000;
    let endpoint = 0_u32..6;
    let gauge = prop_oneof![9 => 0.0_f64..20.0, 1 => Just(f64::NAN)];
    prop_oneof![
        8 => (0_u8..3, 0_u64..3, 1_u32..6_000, 0_u64..4, 0_u64..90_000).prop_map(
            |(tier, flow, tokens, piece, patience_ms)| Step::Arrive {
                tier, flow, tokens, piece, patience_ms
            }
        ),
        2 => any.clone().prop_map(Step::FirstToken),
        2 => any.clone().prop_map(Step::PrefillDone),
        5 => any.clone().prop_map(Step::Finish),
        1 => any.clone().prop_map(Step::Fail),
        1 => any.clone().prop_map(Step::ClientGone),
        1 => any.prop_map(Step::QueuedClientGone),
        3 => endpoint.clone().prop_map(Step::Ready),
        1 => endpoint.clone().prop_map(Step::Drain),
        1 => endpoint.clone().prop_map(Step::Gone),
        4 => (endpoint.clone(), gauge.clone(), gauge, 0.0_f64..1.0).prop_map(
            |(endpoint, running, waiting, kv_usage)| Step::Scrape {
                endpoint, running, waiting, kv_usage
            }
        ),
        1 => endpoint.prop_map(Step::ScrapeLost),
        4 => (0_u64..5_000).prop_map(Step::Wait),
    ]
}

struct Driver {
    gate: Box<dyn Gate + Send>,
    now: Time,
    next: u64,
    /// Requests without an outcome, with their tier and prompt.
    held: BTreeMap<RequestId, (TierId, u32)>,
    dispatched: Vec<RequestId>,
    /// Endpoints that may be sent to, and their roles.
    open: BTreeMap<EndpointId, Role>,
    /// Endpoints by the number that steps use; a number that was lost gets a new identity.
    incarnation: [u32; 6],
}

impl Driver {
    fn new(name: &str) -> Self {
        let gate = build(name, &BTreeMap::new(), &world(), FleetId(0), 3).unwrap();
        Self {
            gate,
            now: Time::ZERO,
            next: 0,
            held: BTreeMap::new(),
            dispatched: Vec::new(),
            open: BTreeMap::new(),
            incarnation: [0; 6],
        }
    }

    fn endpoint(&self, number: u32) -> EndpointId {
        EndpointId(self.incarnation[number as usize] * 6 + number)
    }

    fn tell(&mut self, event: GateEvent<'_>) {
        let mut effects = Vec::new();
        self.gate.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                GateEffect::Dispatch { request, endpoint, prefill } => {
                    assert!(self.held.remove(&request).is_some(), "{request:?} twice");
                    let role = self.open.get(&endpoint).copied();
                    assert!(matches!(role, Some(Role::Both | Role::Decode)), "{endpoint:?}");
                    if let Some(prefill) = prefill {
                        assert_eq!(self.open.get(&prefill), Some(&Role::Prefill));
                        assert_eq!(role, Some(Role::Decode));
                    }
                    self.dispatched.push(request);
                }
                GateEffect::Refuse { request, retry_after, .. } => {
                    assert!(self.held.remove(&request).is_some(), "{request:?} twice");
                    assert!(retry_after.is_none_or(|span| span <= Span::from_secs(120)));
                }
            }
        }
        self.check_counts();
    }

    /// What the gate says it holds is what has no outcome.
    fn check_counts(&self) {
        for tier in 0..3 {
            let of_tier = self.held.values().filter(|(held, _)| held.0 == tier);
            let (count, tokens) =
                of_tier.fold((0, 0), |(count, sum), (_, tokens)| (count + 1, sum + tokens));
            let queued = self.gate.queued(TierId(tier));
            assert_eq!((queued.requests, queued.prompt_tokens), (count, u64::from(tokens)));
        }
    }

    fn wait(&mut self, until: Time) {
        // A gate that asks to be woken forever without letting time pass would hang a live one.
        let mut wakes = 0;
        while let Some(due) = self.gate.next_deadline().filter(|due| *due <= until) {
            assert!(due >= self.now, "a deadline that was over should have been dealt with");
            wakes += 1;
            assert!(wakes < 200_000, "no end of deadlines");
            self.now = due;
            self.tell(GateEvent::Due);
            let next = self.gate.next_deadline();
            assert!(next.is_none_or(|next| next > self.now), "woken again at the same time");
        }
        self.now = until;
    }

    fn some_dispatched(&mut self, number: usize, remove: bool) -> Option<RequestId> {
        let count = self.dispatched.len();
        let index = number.checked_rem(count)?;
        Some(if remove { self.dispatched.swap_remove(index) } else { self.dispatched[index] })
    }

    fn take(&mut self, step: &Step) {
        self.wait(self.now + Span::from_millis(1));
        match *step {
            Step::Arrive { tier, flow, tokens, piece, patience_ms } => {
                let request = RequestId(self.next);
                self.next += 1;
                let ids: Vec<u64> =
                    (0..u64::from(tokens.div_ceil(512))).map(|n| n + piece).collect();
                let prefix = Prefix { ids: ids.into(), piece_tokens: 512 };
                self.held.insert(request, (TierId(tier), tokens));
                let arrival = Arrival {
                    flow,
                    weight: 1.0 + flow as f64,
                    prefix: (piece > 0).then_some(&prefix),
                    ..Arrival::new(
                        request,
                        TierId(tier),
                        tokens,
                        self.now + Span::from_millis(patience_ms),
                    )
                };
                self.tell(GateEvent::Arrived(&arrival));
            }
            Step::FirstToken(number) => {
                if let Some(request) = self.some_dispatched(number, false) {
                    self.tell(GateEvent::FirstToken { request });
                }
            }
            Step::PrefillDone(number) => {
                if let Some(request) = self.some_dispatched(number, false) {
                    self.tell(GateEvent::PrefillDone { request });
                }
            }
            Step::Finish(number) => {
                if let Some(request) = self.some_dispatched(number, true) {
                    self.tell(GateEvent::Finished { request, output_tokens: 100 });
                }
            }
            Step::Fail(number) => {
                if let Some(request) = self.some_dispatched(number, true) {
                    self.tell(GateEvent::Failed { request });
                }
            }
            Step::ClientGone(number) => {
                if let Some(request) = self.some_dispatched(number, true) {
                    self.tell(GateEvent::ClientGone { request });
                }
            }
            Step::QueuedClientGone(number) => {
                let index = number.checked_rem(self.held.len());
                let request = index.and_then(|index| self.held.keys().nth(index).copied());
                if let Some(request) = request {
                    self.held.remove(&request);
                    self.tell(GateEvent::ClientGone { request });
                }
            }
            Step::Ready(number) => {
                let variant = (number % 3) as u16;
                let role = [Role::Both, Role::Prefill, Role::Decode][usize::from(variant)];
                let (endpoint, variant) = (self.endpoint(number), VariantId(variant));
                self.open.insert(endpoint, role);
                self.tell(GateEvent::EndpointReady { endpoint, variant, role });
            }
            Step::Drain(number) => {
                let endpoint = self.endpoint(number);
                self.open.remove(&endpoint);
                self.tell(GateEvent::EndpointDraining { endpoint });
            }
            Step::Gone(number) => {
                let endpoint = self.endpoint(number);
                self.open.remove(&endpoint);
                self.incarnation[number as usize] += 1;
                self.tell(GateEvent::EndpointGone { endpoint });
            }
            Step::Scrape { endpoint, running, waiting, kv_usage } => {
                let endpoint = self.endpoint(endpoint);
                let load =
                    EndpointLoad { running: running.floor(), waiting: waiting.floor(), kv_usage };
                self.tell(GateEvent::Scraped { endpoint, at: self.now, load });
            }
            Step::ScrapeLost(number) => {
                let endpoint = self.endpoint(number);
                self.tell(GateEvent::ScrapeLost { endpoint });
            }
            Step::Wait(millis) => self.wait(self.now + Span::from_millis(millis)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_arrival_gets_exactly_one_outcome(steps in proptest::collection::vec(step(), 1..300)) {
        for name in NAMES {
            let mut driver = Driver::new(name);
            for step in &steps {
                driver.take(step);
            }
            // Every budget of time has run out after two minutes.
            driver.wait(driver.now + Span::from_secs(120));
            prop_assert!(driver.held.is_empty(), "{name} still holds {:?}", driver.held);
            prop_assert_eq!(driver.gate.next_deadline(), None, "{} ticks when idle", name);
        }
    }
}
