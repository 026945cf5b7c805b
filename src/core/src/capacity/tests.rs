use super::*;
use crate::demand::Moments;
use crate::plan::testing::profile;

fn workload() -> Workload {
    Workload {
        prompt_tokens: Moments::with_variation(1_000.0, 1.0),
        output_tokens: Moments::with_variation(100.0, 1.0),
        cached_share: 0.0,
        dispersion: 1.0,
    }
}

fn load(requests_per_s: f64) -> TierLoad {
    TierLoad { requests_per_s, workload: workload() }
}

fn slo(ttft_ms: u64, tpot_ms: u64, percentile: f64) -> Slo {
    Slo::Latency { ttft: Span::from_millis(ttft_ms), tpot: Span::from_millis(tpot_ms), percentile }
}

#[test]
fn many_replicas_hold_more_each_than_few() {
    let slo = slo(2_000, 50, 0.99);
    let each = |replicas: u32| {
        let held = sustainable(&profile(), Role::Both, &workload(), &slo, replicas);
        held.requests_per_s / f64::from(replicas)
    };
    assert!(each(1) > 0.0 && each(4) > each(1) && each(16) > each(4));
}

#[test]
fn what_is_needed_is_what_is_held() {
    let slo = slo(2_000, 50, 0.99);
    for replicas in [1, 2, 5, 20] {
        let held = sustainable(&profile(), Role::Both, &workload(), &slo, replicas);
        let ask = load(held.requests_per_s);
        let tiers = [TierAsk { load: &ask, slo: Some(slo) }];
        let needed = needed(&profile(), Role::Both, &tiers, 0.0);
        let error = needed.by_prefix[0] / f64::from(replicas) - 1.0;
        assert!(error.abs() < 0.01, "{replicas}: {:?}", needed.by_prefix);
    }
}

#[test]
fn a_lower_tier_adds_and_a_deferrable_one_adds_less() {
    let (high, low) = (load(20.0), load(10.0));
    let strict = slo(1_000, 50, 0.99);
    let with = |slo| {
        let tiers = [TierAsk { load: &high, slo: Some(strict) }, TierAsk { load: &low, slo }];
        needed(&profile(), Role::Both, &tiers, 0.0).by_prefix
    };
    let latency = with(Some(slo(1_000, 100, 0.99)));
    let deferrable =
        with(Some(Slo::Completion { within: Span::from_secs(3_600), percentile: 0.99 }));
    assert!((latency[0] - deferrable[0]).abs() < 1e-9);
    assert!(latency[1] > deferrable[1] && deferrable[1] >= deferrable[0]);
    assert_eq!(with(None), deferrable, "without an SLO it is work too");
}

#[test]
fn safety_buys_replicas_and_a_miss_budget_sells_them() {
    let high = load(50.0);
    let at = |safety| {
        let tiers = [TierAsk { load: &high, slo: Some(slo(500, 50, 0.99)) }];
        needed(&profile(), Role::Both, &tiers, safety).by_prefix[0]
    };
    assert!(at(1.0) > at(0.0) && at(0.0) > at(-1.0));
}

#[test]
fn degenerate_asks_have_names() {
    let slo_ok = slo(2_000, 50, 0.99);
    let nothing = needed(&profile(), Role::Both, &[], 0.0);
    assert_eq!((nothing.binding, nothing.by_prefix.len()), (Limit::NoDemand, 0));
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let none = load(rate);
        let needed =
            needed(&profile(), Role::Both, &[TierAsk { load: &none, slo: Some(slo_ok) }], 0.0);
        assert_eq!((needed.binding, needed.by_prefix), (Limit::NoDemand, vec![0.0]));
    }
    for (slo, limit) in
        [(slo(1, 50, 0.99), Limit::TtftUnreachable), (slo(2_000, 1, 0.99), Limit::TpotUnreachable)]
    {
        let held = sustainable(&profile(), Role::Both, &workload(), &slo, 4);
        assert_eq!((held.binding, held.requests_per_s), (limit, 0.0));
        let some = load(10.0);
        let needed =
            needed(&profile(), Role::Both, &[TierAsk { load: &some, slo: Some(slo) }], 0.0);
        assert_eq!(needed.binding, limit);
        assert!(needed.by_prefix[0].is_finite() && needed.by_prefix[0] > 0.0);
    }
    let huge = Workload { prompt_tokens: Moments::constant(1e6), ..workload() };
    let held = sustainable(&profile(), Role::Both, &huge, &slo_ok, 4);
    assert_eq!((held.binding, held.requests_per_s), (Limit::TooLarge, 0.0));
    let ask = TierLoad { requests_per_s: 1.0, workload: huge };
    let tiers = [TierAsk { load: &ask, slo: Some(slo_ok) }];
    assert_eq!(needed(&profile(), Role::Both, &tiers, 0.0).by_prefix, vec![f64::INFINITY]);
}

#[test]
fn attainment_is_the_percentile_at_what_is_held_and_falls_beyond() {
    let slo = slo(2_000, 50, 0.99);
    let held = sustainable(&profile(), Role::Both, &workload(), &slo, 4).requests_per_s;
    let at = |rate| attainment(&profile(), Role::Both, &load(rate), &slo, 4);
    assert!((at(held) - 0.99).abs() < 1e-9);
    assert!(at(held * 0.8) > 0.999 && at(held * 1.5) < 0.1);
    assert_eq!((at(0.0), attainment(&profile(), Role::Both, &load(1.0), &slo, 0)), (1.0, 0.0));
}

#[test]
fn a_backlog_needs_its_work_over_the_time_there_is() {
    let drain = |waiting, seconds| {
        to_drain(&profile(), Role::Both, &workload(), waiting, Span::from_secs(seconds))
    };
    assert!((drain(1_000.0, 60) / drain(500.0, 60) - 2.0).abs() < 1e-9);
    assert!((drain(1_000.0, 60) / drain(1_000.0, 120) - 2.0).abs() < 1e-9);
    assert!(drain(0.0, 60).abs() < 1e-12);
    assert!(drain(1.0, 0).is_infinite());
}

#[test]
fn a_sizer_corrects_the_guess_by_what_it_measures_and_follows_the_workload() {
    let (profile, variant) = (profile(), crate::ids::VariantId(3));
    let slo = slo(2_000, 50, 0.99);
    let mut sizer = Sizer::default();
    let size = |sizer: &mut Sizer, rate: f64, output: f64| {
        let workload =
            Workload { output_tokens: Moments::with_variation(output, 1.0), ..workload() };
        let ask = TierLoad { requests_per_s: rate, workload };
        let tiers = [TierAsk { load: &ask, slo: Some(slo) }];
        sizer.size(variant, &profile, Role::Both, &tiers, 0.0).by_prefix[0]
    };
    let guessed = size(&mut sizer, 40.0, 100.0);
    assert_eq!(sizer.held(variant, 1, 2), None, "there is one tier");
    assert_eq!(sizer.refresh(0), 2, "replays on both sides of the guess");
    assert_eq!(sizer.refresh(2), 0);
    let measured = size(&mut sizer, 40.0, 100.0);
    assert!(measured > 1.0 && (measured / guessed - 1.0).abs() < 0.5, "{guessed} {measured}");
    // A small drift moves the answer without a replay; a large one asks for one.
    sizer.refresh(8);
    let drifted = size(&mut sizer, 40.0, 105.0);
    assert!(drifted > measured);
    assert_eq!(sizer.refresh(0), 0);
    size(&mut sizer, 40.0, 250.0);
    assert!(sizer.refresh(0) > 0);
    assert_eq!(sizer.refresh(8), 0);
    // What is held is what was sized for.
    let needed = size(&mut sizer, 40.0, 250.0);
    let around = [needed.floor() as u32, needed.ceil() as u32]
        .map(|replicas| sizer.held(variant, 0, replicas).unwrap().requests_per_s);
    assert!(around[0] <= 40.01 && around[1] >= 39.99, "{needed}: {around:?}");
    let attained = sizer.attainment(variant, 0, around[1], needed.ceil() as u32).unwrap();
    assert!((attained - 0.99).abs() < 1e-9);
    // It survives a restart, small.
    let text = serde_json::to_string(&sizer).unwrap();
    assert!(text.len() < 2_048, "{}", text.len());
    let mut restored: Sizer = serde_json::from_str(&text).unwrap();
    assert!((size(&mut restored, 40.0, 250.0) - needed).abs() < 1e-12);
}
