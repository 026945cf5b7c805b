use super::*;
use crate::time::Time;

const LINK: LinkId = LinkId(1);

fn at(seconds: f64) -> Time {
    Time::from_seconds(seconds)
}

fn name(name: &str, incarnation: u64) -> GateName {
    GateName { name: name.into(), incarnation }
}

fn report(gate: GateName, sequence: u64, in_flight: Option<u32>) -> FromGate {
    let endpoint = EndpointReport {
        address: "10.0.0.9:8000".into(),
        age: Span::ZERO,
        in_flight,
        draining: false,
    };
    FromGate::Report(Report {
        gate,
        sequence,
        fleet: "chat".into(),
        active: true,
        tiers: Vec::new(),
        endpoints: vec![endpoint],
    })
}

fn ack(gate: GateName, term: u64, holder: &str, sequence: u64) -> FromGate {
    let mark = Mark { term: Term(term), holder: holder.into(), sequence };
    FromGate::Ack(Ack { gate, fleet: "chat".into(), mark: mark.clone(), follows: mark })
}

/// A controller in a test.
struct Bench {
    end: ControllerEnd,
}

impl Bench {
    fn new() -> Self {
        Self { end: ControllerEnd::new("a".into(), "chat".into()) }
    }

    fn step(&mut self, second: f64, event: ControllerSyncEvent<'_>) -> Vec<ControllerSyncEffect> {
        let mut effects = Vec::new();
        self.end.step(at(second), event, &mut effects);
        effects
    }

    fn hear(&mut self, second: f64, link: LinkId, message: &FromGate) -> Vec<ControllerSyncEffect> {
        self.step(second, ControllerSyncEvent::Heard { link, message })
    }

    fn drained(&self, second: f64) -> Drained {
        self.end.drained(at(second), "10.0.0.9:8000")
    }
}

/// Directives in effects: sequence, and how long each replica takes still.
fn directives(effects: &[ControllerSyncEffect]) -> Vec<(u64, Vec<Span>)> {
    let directive = |effect: &ControllerSyncEffect| match effect {
        ControllerSyncEffect::Send { message: ToGate::Directive(directive), .. } => {
            let ready = directive.guidance.coming.iter().map(|coming| coming.ready_in).collect();
            Some((directive.mark.sequence, ready))
        }
        _ => None,
    };
    effects.iter().filter_map(directive).collect()
}

fn plan(ready_at: &[f64], drain: &[&str]) -> Plan {
    let coming =
        ready_at.iter().map(|second| Coming { variant: "l40s".into(), ready_at: at(*second) });
    Plan {
        coming: coming.collect(),
        drain: drain.iter().map(|address| (*address).to_owned()).collect(),
        ..Plan::default()
    }
}

#[test]
fn only_the_leader_speaks_and_at_least_each_second() {
    let mut bench = Bench::new();
    bench.step(0.0, ControllerSyncEvent::Connected { link: LINK });
    let planned = plan(&[100.0, 5.0], &[]);
    assert_eq!(bench.step(0.0, ControllerSyncEvent::Planned(&planned)), []);
    assert_eq!(bench.end.next_deadline(), None, "a follower listens");
    let effects = bench.step(10.0, ControllerSyncEvent::Lease(Some(Term(4))));
    let spans = |seconds: [u64; 2]| seconds.map(Span::from_secs).to_vec();
    assert_eq!(directives(&effects), [(1, spans([90, 0]))]);
    assert_eq!(bench.end.next_deadline(), Some(at(11.0)));
    assert_eq!(bench.step(10.5, ControllerSyncEvent::Lease(Some(Term(4)))), [], "as before");
    assert_eq!(directives(&bench.step(11.0, ControllerSyncEvent::Due)), [(2, spans([89, 0]))]);
    let other = bench.step(11.2, ControllerSyncEvent::Planned(&plan(&[], &[])));
    assert_eq!(directives(&other), [(3, vec![])], "a change goes at once");
    assert_eq!(bench.step(11.3, ControllerSyncEvent::Lease(None)), []);
    assert_eq!(bench.step(20.0, ControllerSyncEvent::Due), []);
}

#[test]
fn followers_are_warm_before_they_lead() {
    let mut bench = Bench::new();
    bench.step(0.0, ControllerSyncEvent::Connected { link: LINK });
    assert_eq!(bench.end.active(at(0.0)), None, "unknown is not none");
    bench.hear(1.0, LINK, &report(name("g", 1), 1, Some(3)));
    assert_eq!(bench.end.active(at(1.5)).unwrap().1.endpoints[0].in_flight, Some(3));
    bench.hear(1.5, LINK, &report(name("g", 1), 3, Some(5)));
    // Late and repeated ones change nothing.
    bench.hear(1.6, LINK, &report(name("g", 1), 2, Some(4)));
    bench.hear(1.7, LINK, &report(name("g", 1), 3, Some(9)));
    let (heard_at, latest) = bench.end.active(at(2.0)).unwrap();
    assert_eq!((heard_at, latest.sequence), (at(1.5), 3));
    assert_eq!(latest.endpoints[0].in_flight, Some(5));
    // A restarted gate counts from 1 again; what its old process sent late is nothing.
    bench.hear(2.0, LINK, &report(name("g", 2), 1, Some(0)));
    bench.hear(2.1, LINK, &report(name("g", 1), 4, Some(7)));
    assert_eq!(bench.end.active(at(2.2)).unwrap().1.gate.incarnation, 2);
    assert_eq!((bench.end.counts().reports, bench.end.counts().repeated), (3, 3));
    // Nothing heard is unknown.
    assert_eq!(bench.end.active(at(7.5)), None);
}

#[test]
fn an_old_leader_steps_down_when_a_gate_follows_another() {
    let mut bench = Bench::new();
    bench.step(0.0, ControllerSyncEvent::Connected { link: LINK });
    bench.step(0.0, ControllerSyncEvent::Lease(Some(Term(4))));
    bench.hear(0.1, LINK, &report(name("g", 1), 1, Some(0)));
    let effects = bench.hear(0.2, LINK, &ack(name("g", 1), 5, "b", 1));
    assert_eq!(effects, [ControllerSyncEffect::Superseded { by: Term(5) }]);
    assert_eq!(bench.end.term(), None);
    assert_eq!(bench.step(3.0, ControllerSyncEvent::Due), []);
}

#[test]
fn a_second_active_gate_is_refused_until_the_first_is_silent() {
    let mut bench = Bench::new();
    let other = LinkId(2);
    bench.step(0.0, ControllerSyncEvent::Connected { link: LINK });
    bench.step(0.0, ControllerSyncEvent::Connected { link: other });
    bench.hear(0.0, LINK, &report(name("g-0", 1), 1, Some(0)));
    let effects = bench.hear(0.5, other, &report(name("g-1", 1), 1, Some(0)));
    let second = SecondGate { fleet: "chat".into(), active: name("g-0", 1) };
    let message = ToGate::SecondGate(second);
    assert_eq!(effects, [ControllerSyncEffect::Send { links: vec![other], message }]);
    assert_eq!(bench.end.counts().second_gate, 1);
    bench.hear(5.5, other, &report(name("g-1", 1), 2, Some(0)));
    assert_eq!(bench.end.active(at(5.6)).unwrap().1.gate.name, "g-1");
}

#[test]
fn an_endpoint_is_drained_when_every_gate_has_stopped_and_nothing_is_in_flight() {
    let mut bench = Bench::new();
    let gate = || name("g", 1);
    bench.step(0.0, ControllerSyncEvent::Connected { link: LINK });
    bench.step(0.0, ControllerSyncEvent::Lease(Some(Term(1))));
    bench.hear(0.1, LINK, &report(gate(), 1, Some(0)));
    assert_eq!(bench.drained(0.1), Drained::Unknown, "nobody asked for it");
    let asked = plan(&[], &["10.0.0.9:8000"]);
    let sent = directives(&bench.step(0.2, ControllerSyncEvent::Planned(&asked)))[0].0;
    // Empty, but the gate may still send.
    bench.hear(0.3, LINK, &report(gate(), 2, Some(0)));
    assert_eq!(bench.drained(0.3), Drained::No { in_flight: 0 });
    bench.hear(0.4, LINK, &ack(gate(), 1, "a", sent));
    assert_eq!(bench.drained(0.4), Drained::No { in_flight: 0 }, "told before it had stopped");
    bench.hear(0.5, LINK, &report(gate(), 3, Some(2)));
    assert_eq!(bench.drained(0.5), Drained::No { in_flight: 2 });
    bench.hear(0.6, LINK, &report(gate(), 4, None));
    assert_eq!(bench.drained(0.6), Drained::Unknown);
    bench.hear(0.7, LINK, &report(gate(), 5, Some(0)));
    assert_eq!(bench.drained(0.7), Drained::Yes);
    // Another gate that nobody has heard of yet may be sending.
    bench.step(0.8, ControllerSyncEvent::Connected { link: LinkId(2) });
    assert_eq!(bench.drained(0.8), Drained::Unknown);
    bench.step(0.9, ControllerSyncEvent::Lost { link: LinkId(2) });
    assert_eq!(bench.drained(0.9), Drained::Yes);
    assert_eq!(bench.drained(6.0), Drained::Unknown, "the gate fell silent");
}

#[test]
fn a_gate_that_stands_by_counts_for_what_it_still_serves() {
    let mut bench = Bench::new();
    let (first, second, other) = (|| name("g-0", 1), || name("g-1", 1), LinkId(2));
    bench.step(0.0, ControllerSyncEvent::Lease(Some(Term(1))));
    bench.step(0.0, ControllerSyncEvent::Connected { link: LINK });
    let asked = plan(&[], &["10.0.0.9:8000"]);
    let sent = directives(&bench.step(0.0, ControllerSyncEvent::Planned(&asked)))[0].0;
    bench.hear(0.1, LINK, &ack(first(), 1, "a", sent));
    bench.hear(0.1, LINK, &report(first(), 1, Some(0)));
    bench.hear(0.1, LINK, &ack(first(), 1, "a", sent));
    bench.hear(0.2, LINK, &report(first(), 2, Some(0)));
    assert_eq!(bench.drained(0.2), Drained::Yes);

    bench.step(0.3, ControllerSyncEvent::Connected { link: other });
    assert_eq!(bench.drained(0.3), Drained::Unknown, "nobody knows what it serves");
    bench.hear(0.4, other, &report(second(), 1, Some(1)));
    assert_eq!(bench.drained(0.4), Drained::No { in_flight: 1 }, "it may still be sending");
    bench.hear(0.5, other, &ack(second(), 1, "a", sent));
    bench.hear(0.6, other, &report(second(), 2, Some(0)));
    assert_eq!(bench.drained(0.6), Drained::Yes, "both have stopped and are empty");
    // What comes late or twice changes nothing.
    bench.hear(0.7, other, &report(second(), 1, Some(1)));
    assert_eq!(bench.drained(0.7), Drained::Yes);
    assert_eq!(bench.end.active(at(0.7)).unwrap().1.gate, first(), "there is one active gate");
    assert_eq!((bench.end.counts().second_gate, bench.end.counts().repeated), (2, 1));
    // It falls silent, and its link is still there: it may be serving.
    bench.hear(5.1, LINK, &report(first(), 3, Some(0)));
    bench.step(5.7, ControllerSyncEvent::Due);
    assert_eq!(bench.drained(5.7), Drained::Unknown);
    bench.step(5.8, ControllerSyncEvent::Lost { link: other });
    assert_eq!(bench.drained(5.8), Drained::Yes);
}

#[test]
fn whether_something_starts_on_demand_is_said_each_time_and_may_be_unknown() {
    let mut bench = Bench::new();
    let said = |effects: &[ControllerSyncEffect]| match effects {
        [ControllerSyncEffect::Send { message: ToGate::Directive(directive), .. }] => {
            directive.guidance.on_demand
        }
        other => panic!("{other:?}"),
    };
    bench.step(0.0, ControllerSyncEvent::Lease(Some(Term(1))));
    let first = bench.step(0.0, ControllerSyncEvent::Connected { link: LINK });
    assert_eq!(said(&first), None, "nobody has said so");
    let planned = |on_demand| Plan { on_demand, ..Plan::default() };
    let changed = bench.step(0.1, ControllerSyncEvent::Planned(&planned(Some(true))));
    assert_eq!(said(&changed), Some(true));
    assert_eq!(said(&bench.step(1.1, ControllerSyncEvent::Due)), Some(true), "and again");
    let changed = bench.step(1.2, ControllerSyncEvent::Planned(&planned(Some(false))));
    assert_eq!(said(&changed), Some(false));
}
