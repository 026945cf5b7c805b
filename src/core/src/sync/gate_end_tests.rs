use super::*;
use crate::time::Time;

fn at(seconds: f64) -> Time {
    Time::from_seconds(seconds)
}

fn gate() -> GateEnd {
    let name = GateName { name: "gate-0".into(), incarnation: 1 };
    GateEnd::new(name, "chat".into())
}

fn directive(term: u64, holder: &str, sequence: u64, ready_in_s: &[u64]) -> ToGate {
    let coming = ready_in_s.iter().map(|seconds| ComingReplica {
        variant: "l40s".into(),
        ready_in: Span::from_secs(*seconds),
    });
    ToGate::Directive(Directive {
        fleet: "chat".into(),
        mark: Mark { term: Term(term), holder: holder.into(), sequence },
        guidance: Guidance {
            coming: coming.collect(),
            on_demand: Some(true),
            drain: vec!["10.0.0.9:8000".into()],
            ..Guidance::default()
        },
    })
}

fn hear(end: &mut GateEnd, second: f64, message: &ToGate) -> Vec<GateSyncEffect> {
    let mut effects = Vec::new();
    end.step(at(second), GateSyncEvent::Heard { link: LinkId(1), message }, &mut effects);
    effects
}

fn guided(effects: &[GateSyncEffect]) -> Option<&Guided> {
    effects.iter().find_map(|effect| match effect {
        GateSyncEffect::Guide(guided) => Some(guided),
        _ => None,
    })
}

fn ack(effects: &[GateSyncEffect]) -> &Ack {
    let found = effects.iter().find_map(|effect| match effect {
        GateSyncEffect::Ack { ack, .. } => Some(ack),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn a_leader_is_followed_and_told_so() {
    let mut end = gate();
    assert_eq!(end.standing(at(0.0)), Standing::Never);
    assert_eq!(end.next_deadline(), None, "there is nobody to report to");
    let effects = hear(&mut end, 10.0, &directive(3, "a", 1, &[90, 30]));
    let guided = guided(&effects).unwrap();
    let ready: Vec<Time> = guided.coming.iter().map(|coming| coming.ready_at).collect();
    assert_eq!(ready, [at(40.0), at(100.0)], "the next first, by the gate's own clock");
    assert_eq!(guided.next_ready_in(at(15.0)), Some(Span::from_secs(25)));
    assert_eq!((guided.drain.len(), guided.on_demand), (1, Some(true)));
    assert_eq!(guided.drain, ["10.0.0.9:8000"]);
    assert_eq!((ack(&effects).mark.sequence, ack(&effects).follows.sequence), (1, 1));
    assert_eq!(end.standing(at(10.5)), Standing::Led { term: Term(3) });
}

#[test]
fn what_comes_twice_or_late_changes_nothing_and_does_not_prolong() {
    let mut end = gate();
    hear(&mut end, 0.0, &directive(1, "a", 5, &[30]));
    for late in [5, 4, 1] {
        let effects = hear(&mut end, 50.0, &directive(1, "a", late, &[600]));
        assert_eq!(guided(&effects), None, "{late}");
        assert_eq!((ack(&effects).mark.sequence, ack(&effects).follows.sequence), (late, 5));
    }
    assert_eq!(end.counts().repeated, 3);
    assert_eq!(end.standing(at(60.0)), Standing::Alone { heard_at: at(0.0) });
}

#[test]
fn of_two_leaders_the_later_term_wins_and_the_old_one_learns_of_it() {
    let mut end = gate();
    hear(&mut end, 0.0, &directive(1, "a", 70, &[30]));
    assert!(guided(&hear(&mut end, 1.0, &directive(2, "b", 1, &[60]))).is_some());
    let effects = hear(&mut end, 1.1, &directive(1, "a", 71, &[]));
    assert_eq!(guided(&effects), None);
    assert_eq!(ack(&effects).follows.term, Term(2));
    // Two holders of one term cannot be: the first one heard stays.
    let effects = hear(&mut end, 1.2, &directive(2, "c", 9, &[]));
    assert_eq!((guided(&effects), ack(&effects).follows.holder.as_str()), (None, "b"));
    assert_eq!((end.counts().stale_term, end.counts().second_holder), (1, 1));
}

#[test]
fn without_a_leader_the_outlook_holds_a_minute_and_then_only_what_is_ready() {
    let mut end = gate();
    hear(&mut end, 0.0, &directive(1, "a", 1, &[300]));
    let mut effects = Vec::new();
    assert_eq!(end.next_deadline(), Some(at(60.0)));
    end.step(at(59.9), GateSyncEvent::Due, &mut effects);
    assert_eq!(effects, []);
    assert_eq!(end.standing(at(59.9)), Standing::Keeping { heard_at: at(0.0) });
    end.step(at(60.0), GateSyncEvent::Due, &mut effects);
    let held = guided(&effects).unwrap();
    assert!(held.coming.is_empty(), "nothing beyond what is ready is promised");
    assert_eq!(held.on_demand, None, "nor that anything starts");
    assert!(held.drain.is_empty(), "what is ready serves");
    assert_eq!(end.next_deadline(), None, "once is enough");
    // The same leader is back: it counts on.
    let effects = hear(&mut end, 90.0, &directive(1, "a", 2, &[300]));
    assert_eq!(guided(&effects).unwrap().coming.len(), 1);
    assert_eq!(end.standing(at(90.0)), Standing::Led { term: Term(1) });
}

#[test]
fn it_reports_on_change_and_at_least_each_second_to_everybody() {
    let mut end = gate();
    let mut step = |second: f64, event: GateSyncEvent<'_>| {
        let mut effects = Vec::new();
        end.step(at(second), event, &mut effects);
        let reports: Vec<(u64, usize)> = effects
            .iter()
            .filter_map(|effect| match effect {
                GateSyncEffect::Report { sequence, links } => Some((*sequence, links.len())),
                _ => None,
            })
            .collect();
        (reports, end.next_deadline())
    };
    let one = step(0.0, GateSyncEvent::Connected { link: LinkId(1) });
    assert_eq!(one, (vec![(1, 1)], Some(at(1.0))));
    let two = step(0.02, GateSyncEvent::Connected { link: LinkId(2) });
    assert_eq!(two.0, [(2, 2)], "whoever is new is told at once");
    let changed = step(0.05, GateSyncEvent::Changed);
    assert_eq!(changed, (vec![], Some(at(0.12))), "changes go together");
    assert_eq!(step(0.12, GateSyncEvent::Due), (vec![(3, 2)], Some(at(1.12))));
    assert_eq!(step(0.9, GateSyncEvent::Changed).0, [(4, 2)]);
    assert_eq!(step(1.0, GateSyncEvent::Due).0, []);
    assert_eq!(step(1.9, GateSyncEvent::Due).0, [(5, 2)]);
    step(2.0, GateSyncEvent::Lost { link: LinkId(1) });
    assert_eq!(step(2.0, GateSyncEvent::Lost { link: LinkId(2) }).1, None);
}

#[test]
fn messages_of_other_fleets_and_beyond_bounds_are_not_taken() {
    let mut end = gate();
    let mut foreign = directive(1, "a", 1, &[]);
    if let ToGate::Directive(directive) = &mut foreign {
        directive.fleet = "other".into();
    }
    assert_eq!(hear(&mut end, 0.0, &foreign), []);
    assert_eq!((end.counts().foreign, end.follows()), (1, None));
    let mut broken = directive(1, "a", 1, &[]);
    assert_eq!(broken.check(), Ok(()));
    if let ToGate::Directive(directive) = &mut broken {
        let (variant, kv) = ("l40s".to_owned(), 1.0);
        directive.guidance.physics =
            vec![VariantPhysics { variant, fixed: f64::NAN, token: 1.0, kv }];
    }
    assert!(broken.check().unwrap_err().to_string().contains("multiplier is NaN"));
    if let ToGate::Directive(directive) = &mut broken {
        directive.guidance.physics.clear();
        directive.guidance.drain = vec![String::new()];
    }
    assert_eq!(broken.check(), Err(MessageError::Name { what: "address" }));
    if let ToGate::Directive(directive) = &mut broken {
        directive.guidance.drain = vec!["a".into(); ENDPOINTS_MAX + 1];
    }
    assert!(broken.check().unwrap_err().to_string().contains("10001 endpoints"));
}

#[test]
fn a_second_gate_stands_by() {
    let active = GateName { name: "gate-1".into(), incarnation: 7 };
    let second = SecondGate { fleet: "chat".into(), active: active.clone() };
    let effects = hear(&mut gate(), 0.0, &ToGate::SecondGate(second));
    assert_eq!(effects, [GateSyncEffect::StandBy { active }]);
}
