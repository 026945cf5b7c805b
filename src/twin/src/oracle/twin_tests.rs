//! The bound against runs of the whole twin.

use forebay_core::manifest::{self, builtin};
use forebay_core::time::{Span, Time};

use super::check::check;
use crate::experiment::Experiment;
use crate::policy::PolicySpec;
use crate::trace::{BUILTIN_DAY, Options, open};

/// No run in the twin is cheaper than the bound at its attainment, neither of policies that
/// hold far too little nor of the best schedule found.
fn nobody_beats_the_bound(fleet: &str, rate_scale: f64) {
    let manifests = manifest::parse(&[builtin::fleet(fleet).unwrap()]).unwrap();
    let (mut world, mut scenario) = manifests.resolve(Some("constant-15")).unwrap();
    scenario.unscored = Span::from_secs(300);
    for variant in &mut world.variants {
        variant.replicas_min = 0;
    }
    let from = Time::ZERO + Span::from_secs(9 * 3_600);
    let window = Some((from, from + Span::from_secs(1_500)));
    let trace = open(BUILTIN_DAY, &Options { window, rate_scale, seed: 5 }).unwrap();
    let experiment = Experiment {
        world: &world,
        scenario: &scenario,
        trace: &trace,
        duration: trace.duration(),
        seed: 5,
    };
    let specs: Vec<PolicySpec> = ["static:replicas=1", "static:replicas=3", "hpa", "forebay"]
        .iter()
        .map(|text| PolicySpec::parse(text).unwrap())
        .collect();
    let bound = experiment.bound(&specs).unwrap();
    assert!(bound.cost().0 > 0.0);
    for spec in &specs {
        let run = experiment.run(spec).unwrap().run;
        assert_eq!(check(&run, &bound), Ok(()));
    }
    let found = experiment.clairvoyant(&bound, 24, 2).unwrap();
    let found = found.expect("some schedule attains");
    assert!(found.outcome.cost_usd >= bound.cost().0);
    assert!(experiment.goal().margin(&found.outcome) >= 0.0);
}

#[test]
fn nobody_beats_the_bound_with_aggregated_replicas() {
    nobody_beats_the_bound("chat-8b", 0.2);
}

#[test]
fn nobody_beats_the_bound_with_separate_prefill() {
    nobody_beats_the_bound("chat-70b-pd", 0.2);
}

#[test]
fn nobody_beats_the_bound_with_several_fleets() {
    nobody_beats_the_bound("shared-quota", 0.2);
}
