//! Scaling in by our own planner, from beginning to end: nobody's work is aborted.

use forebay_core::fleet::Role;
use forebay_core::ids::FleetId;
use forebay_core::time::{Span, Time};

use super::tests::{scenario, variant, world};
use super::{Measured, Setup, run};
use crate::gates;
use crate::policy::{self, PolicySpec};
use crate::trace::{Request, Source, TraceError};

const MINUTE: u64 = 60;

/// Long outputs, twelve seconds each: ten per second for ten minutes, then one.
struct Falling {
    at: Time,
}

impl Source for Falling {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        let busy = self.at < Time::ZERO + Span::from_secs(10 * MINUTE);
        self.at += Span::from_millis(if busy { 100 } else { 1_000 });
        let over = self.at > Time::ZERO + DURATION;
        Ok((!over).then_some(Request {
            at: self.at,
            prompt_tokens: 500,
            output_tokens: 800,
            client: 0,
            prefix: None,
        }))
    }
}

const DURATION: Span = Span::from_secs(40 * MINUTE);

fn fall(drain_max: Span) -> Measured {
    let mut entry = variant("l40s", Role::Both, 6);
    entry.drain_max = drain_max;
    let world = world(vec![entry]);
    let spec = PolicySpec::parse("forebay").unwrap();
    let gate = gates::build("least-loaded", &Default::default(), &world, FleetId(0), 1).unwrap();
    run(Setup {
        world: &world,
        scenario: &scenario(),
        source: Box::new(Falling { at: Time::ZERO }),
        duration: DURATION,
        planner: policy::build(&spec, &world).unwrap(),
        gates: vec![gate],
        seed: 1,
    })
    .unwrap()
}

#[test]
fn scaling_in_aborts_no_work() {
    let measured = fall(Span::from_secs(120));
    let tier = &measured.run.tiers["interactive"];
    let replicas = &measured.run.replicas["chat/l40s"];
    assert!(replicas.max == 6 && replicas.mean < 4.0, "it did scale in: {replicas:?}");
    assert_eq!(tier.requests, 6_000 + 30 * MINUTE);
    assert_eq!((tier.failed, tier.shed, tier.timed_out), (0, 0, 0));
    // Without time to drain the same scale-ins do abort work.
    let hasty = fall(Span::ZERO);
    assert!(hasty.run.tiers["interactive"].failed > 0);
}
