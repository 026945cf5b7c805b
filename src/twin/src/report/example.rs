//! Reports to look at and to test with: a day of six policies on a split fleet, and a small one.
//!
//! The figures come from a toy queue, so that what belongs together (capacity, misses, queue,
//! cost) does; they say nothing about any policy.

use std::collections::BTreeMap;

use super::*;

const DAY_S: f64 = 86_400.0;
const STEPS: usize = 576;
const ROLES: [(&str, f64, f64); 2] = [("prefill", 4.2, 1.9), ("decode", 11.5, 4.4)];
const H100_USD: f64 = 2.99;
const H200_USD: f64 = 3.79;
const H100_COMMITTED_USD: f64 = 1.89;
const ACCELERATORS_PER_REPLICA: f64 = 4.0;

/// Tier, its share of requests, the percentile, and how much of a shortage it feels.
const TIERS: [(&str, f64, f64, f64); 3] =
    [("interactive", 0.55, 0.99, 1.0), ("standard", 0.30, 0.95, 1.3), ("batch", 0.15, 0.99, 0.08)];

/// SPEC, steps that it lags behind demand, headroom over demand, and its parameters.
type Policy = (&'static str, usize, f64, &'static [(&'static str, &'static str)]);

const POLICIES: [Policy; 6] = [
    ("static:prefill=7,decode=18", 0, 0.0, &[("prefill", "7"), ("decode", "18")]),
    (
        "hpa:metric=running,target=24",
        9,
        0.10,
        &[
            ("metric", "running"),
            ("target", "24"),
            ("tolerance", "0.1"),
            ("window_down", "5m"),
            ("window_up", "0s"),
            ("sync", "15s"),
            ("gate", "stock"),
        ],
    ),
    (
        "keda:metric=requests,target=2.4",
        7,
        0.08,
        &[("metric", "requests"), ("target", "2.4"), ("polling", "30s"), ("cooldown", "5m")],
    ),
    (
        "llmd-slo",
        6,
        0.28,
        &[("gate", "stock-flow"), ("headroom", "0.2"), ("target_ttft", "0.8"), ("ttl", "30s")],
    ),
    (
        "dynamo:loops=both",
        6,
        0.40,
        &[("loops", "both"), ("interval", "180s"), ("correction", "on"), ("predictor", "arima")],
    ),
    ("forebay", 3, 0.13, &[("gate", "forebay"), ("lead_quantile", "0.9"), ("miss_budget", "on")]),
];

/// A day of six policies on a fleet split into prefill and decode, with three tiers.
pub(crate) fn example() -> Report {
    let mut report = frame("azure-2024-conv.csv", DAY_S, 1_043_218);
    report.runs = POLICIES.iter().map(|policy| run(*policy, STEPS, DAY_S)).collect();
    report
}

/// An hour of two policies, the second ended early; without oracles, standard without requests.
pub(crate) fn tiny() -> Report {
    let mut report = frame("hour.csv", 3_600.0, 42_000);
    report.oracle = OracleSummary::default();
    report.trace.start_s = 8.0 * 3_600.0;
    report.runs = [POLICIES[0], POLICIES[1]].map(|policy| run(policy, 12, 3_600.0)).to_vec();
    for run in &mut report.runs {
        run.tiers.insert("standard".into(), TierSummary { attainment: 1.0, ..Default::default() });
        for tier in run.tiers.values_mut() {
            let quantiles = [&mut tier.ttft_ms, &mut tier.tpot_ms, &mut tier.completion_s];
            for quantile in quantiles {
                quantile.cdf = quantile.cdf.iter().copied().step_by(12).collect();
            }
        }
    }
    let cut = &mut report.runs[1];
    cut.aborted = Some("the scaler <hung> & was given up".into());
    let Timeline { demand, capacity, replicas, accelerators, arrivals, missed, .. } =
        &mut cut.timeline;
    for columns in [demand, capacity, replicas, accelerators] {
        columns.values_mut().for_each(|column| column.truncate(5));
    }
    for columns in [arrivals, missed] {
        columns.values_mut().for_each(|column| column.truncate(5));
    }
    cut.timeline.queued.truncate(5);
    cut.timeline.cost_usd.truncate(5);
    report
}

/// The example with a second fleet that keeps less than it promised to one tier.
pub(crate) fn two_fleets() -> Report {
    let mut report = example();
    report.fleets.push("chat-8b".into());
    for tier in &mut report.tiers {
        let objective = Objective { fleet: "chat-8b".into(), ..tier.objectives[0].clone() };
        tier.objectives.push(objective);
    }
    for run in &mut report.runs {
        for columns in [&mut run.timeline.demand, &mut run.timeline.capacity] {
            let column: Vec<f64> =
                columns["chat-70b-pd/prefill"].iter().map(|value| value * 0.6).collect();
            columns.insert("chat-8b/both".into(), column);
        }
        for tier in run.tiers.values_mut() {
            let (requests, attained) = (tier.requests / 3, tier.attained / 3 - 900);
            let rest = (tier.requests - requests, tier.attained - attained);
            tier.fleets = BTreeMap::from([
                ("chat-8b".into(), FleetOutcome { requests, attained }),
                ("chat-70b-pd".into(), FleetOutcome { requests: rest.0, attained: rest.1 }),
            ]);
        }
    }
    report
}

fn frame(path: &str, duration_s: f64, requests: u64) -> Report {
    let latency = |percentile, ttft_ms, tpot_ms| Objective {
        fleet: "chat-70b-pd".into(),
        percentile,
        ttft_ms: Some(ttft_ms),
        tpot_ms: Some(tpot_ms),
        within_s: None,
    };
    let completion = Objective {
        ttft_ms: None,
        tpot_ms: None,
        within_s: Some(3_600.0),
        ..latency(0.99, 0., 0.)
    };
    let objectives = [latency(0.99, 800.0, 50.0), latency(0.95, 4_000.0, 100.0), completion];
    Report {
        schema: SCHEMA.into(),
        trace: TraceSummary {
            path: path.into(),
            format: "azure-llm-2024".into(),
            requests,
            duration_s,
            start_s: 0.0,
            notes: vec!["tiers by hash of request: 55 % / 30 % / 15 % of tokens".into()],
        },
        fleets: vec!["chat-70b-pd".into()],
        scenario: "constant deferrable share; one H100 node lost at 15:20".into(),
        seed: 42,
        commit: "0123abcd4567".into(),
        command: Some("forebay simulate --fleet chat-70b-pd.yaml --trace azure.csv".into()),
        tiers: TIERS
            .iter()
            .zip(objectives)
            .map(|((name, ..), objective)| TierTarget {
                name: (*name).into(),
                deferrable: objective.within_s.is_some(),
                objectives: vec![objective],
            })
            .collect(),
        prices_usd_per_hour: BTreeMap::from([
            ("h100/committed".into(), H100_COMMITTED_USD),
            ("h100/on-demand".into(), H100_USD),
            ("h200/on-demand".into(), H200_USD),
        ]),
        unscored_s: 900.0,
        oracle: OracleSummary {
            lower_bound_cost_usd: Some(3_870.0),
            clairvoyant_cost_usd: Some(4_212.0),
        },
        runs: Vec::new(),
    }
}

/// Two humps a day, with noise and one flash crowd.
fn demand(step: usize, steps: usize, duration_s: f64, mean: f64, swing: f64) -> f64 {
    let hour = step as f64 / steps as f64 * duration_s / 3_600.0;
    let hump = |centre: f64, width: f64| (-((hour - centre) / width).powi(2)).exp();
    let crowd = if (17.2..17.7).contains(&hour) { 1.25 } else { 1.0 };
    let mixed = (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    let noise = (mixed as f64 / f64::from(1 << 24) - 0.5) * 0.12
        + (hour * 2.3).sin() * 0.05
        + (hour * 5.1).cos() * 0.03;
    ((mean - swing) + 2.6 * swing * (0.9 * hump(10.5, 2.6) + hump(15.8, 3.0))).max(0.3)
        * (1.0 + noise)
        * crowd
}

fn run(policy: Policy, steps: usize, duration_s: f64) -> Run {
    let (spec, lag, headroom, parameters) = policy;
    let step_s = duration_s / steps as f64;
    let mut timeline = Timeline { step_s, ..Timeline::default() };
    let mut replicas = BTreeMap::new();
    for (role, mean, swing) in ROLES {
        let demand: Vec<f64> =
            (0..steps).map(|step| demand(step, steps, duration_s, mean, swing)).collect();
        let capacity: Vec<f64> = (0..steps)
            .map(|step| match lag {
                0 => (mean * 1.6).ceil(),
                _ => {
                    let seen = step.saturating_sub(lag);
                    let recent = &demand[seen.saturating_sub(10)..=seen];
                    (recent.iter().copied().fold(0.0, f64::max) * (1.0 + headroom)).ceil()
                }
            })
            .collect();
        let starts = capacity.windows(2).map(|pair| (pair[1] - pair[0]).max(0.0)).sum::<f64>();
        replicas.insert(
            format!("chat-70b-pd/{role}-h100"),
            ReplicaSummary {
                mean: capacity.iter().sum::<f64>() / steps as f64,
                max: capacity.iter().copied().fold(0.0, f64::max) as u32,
                starts: starts as u32,
            },
        );
        timeline.replicas.insert(format!("chat-70b-pd/{role}-h100"), capacity.clone());
        timeline.demand.insert(format!("chat-70b-pd/{role}"), demand);
        timeline.capacity.insert(format!("chat-70b-pd/{role}"), capacity);
    }
    let tiers = outcomes(&mut timeline, steps);
    let (cost_usd, cost_committed_usd, accelerator_hours) = bill(&mut timeline, steps);
    let attained: u64 = tiers.values().map(|tier: &TierSummary| tier.attained).sum();
    Run {
        policy: spec.into(),
        parameters: parameters
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        cost_usd,
        cost_committed_usd,
        accelerator_hours,
        flaps_per_hour: if lag == 0 { 0.0 } else { 18.0 / lag as f64 - 1.4 },
        goodput_rps: attained as f64 / duration_s,
        usd_per_million_slo_tokens: (attained > 0)
            .then(|| cost_usd / (attained as f64 * 312.0) * 1e6),
        replicas,
        tiers,
        wall_seconds: 2.4 + lag as f64 * 0.1,
        requests_per_wall_second: 412_000.0 - lag as f64 * 9_000.0,
        aborted: None,
        timeline,
    }
}

/// Misses and queue from what demand exceeds capacity by.
fn outcomes(timeline: &mut Timeline, steps: usize) -> BTreeMap<String, TierSummary> {
    let short = |step: usize| {
        let over = timeline.demand.iter().map(|(role, demand)| {
            (demand[step] / timeline.capacity[role][step].max(0.1) - 0.93).max(0.0)
        });
        over.fold(0.0, f64::max)
    };
    let shortage: Vec<f64> = (0..steps).map(short).collect();
    let mut queue = 0.0;
    timeline.queued = shortage
        .iter()
        .map(|short| {
            queue = (queue * 0.8 + short * 900.0 - 4.0_f64).max(0.0);
            queue as u64
        })
        .collect();
    let mean_short = shortage.iter().sum::<f64>() / steps as f64;
    let mut tiers = BTreeMap::new();
    for (name, share, _, feels) in TIERS {
        let arrivals: Vec<u64> = timeline.demand["chat-70b-pd/decode"]
            .iter()
            .map(|demand| (demand * 160.0 * share) as u64)
            .collect();
        let missed: Vec<u64> = arrivals
            .iter()
            .zip(&shortage)
            .map(|(&arrived, short)| {
                (arrived as f64 * (0.002 + short * 1.6 * feels).min(1.0)) as u64
            })
            .collect();
        let (requests, failed_slo) = (arrivals.iter().sum::<u64>(), missed.iter().sum::<u64>());
        let (attained, stress) = (requests - failed_slo, 1.0 + mean_short * 40.0 * feels);
        let deferrable = name == "batch";
        tiers.insert(
            name.to_owned(),
            TierSummary {
                requests,
                attained,
                attainment: attained as f64 / requests as f64,
                ttft_ms: quantiles(if deferrable { 9_000.0 } else { 190.0 }, 0.42 * stress),
                tpot_ms: quantiles(if deferrable { 41.0 } else { 27.0 }, 0.20 * stress.sqrt()),
                completion_s: if deferrable { quantiles(420.0, 0.8) } else { Quantiles::default() },
                shed: failed_slo / 5,
                timed_out: failed_slo / 9,
                failed: failed_slo / 400,
                fleets: BTreeMap::new(),
            },
        );
        timeline.arrivals.insert(name.to_owned(), arrivals);
        timeline.missed.insert(name.to_owned(), missed);
    }
    tiers
}

/// Twelve H100 replicas' worth is committed; what exceeds it is H100, then H200, on demand.
fn bill(timeline: &mut Timeline, steps: usize) -> (f64, f64, BTreeMap<String, f64>) {
    let hours = timeline.step_s / 3_600.0;
    let (committed, mut h100, mut h200) = (16.0, Vec::new(), Vec::new());
    for step in 0..steps {
        let replicas: f64 = timeline.replicas.values().map(|column| column[step]).sum();
        let accelerators = replicas * ACCELERATORS_PER_REPLICA;
        h100.push(accelerators.min(48.0));
        h200.push((accelerators - 48.0).max(0.0));
    }
    timeline.cost_usd = (0..steps)
        .map(|step| {
            let on_demand = (h100[step] - committed).max(0.0) * H100_USD + h200[step] * H200_USD;
            (on_demand + committed * H100_COMMITTED_USD) * hours
        })
        .collect();
    let sum = |column: &[f64]| column.iter().sum::<f64>() * hours;
    let committed_hours = committed * hours * steps as f64;
    let accelerator_hours = BTreeMap::from([
        ("h100/committed".to_owned(), committed_hours),
        ("h100/on-demand".to_owned(), (sum(&h100) - committed_hours).max(0.0)),
        ("h200/on-demand".to_owned(), sum(&h200)),
    ]);
    timeline.accelerators = BTreeMap::from([("h100".to_owned(), h100), ("h200".to_owned(), h200)]);
    (timeline.cost_usd.iter().sum(), committed_hours * H100_COMMITTED_USD, accelerator_hours)
}

/// A log-normal distribution.
fn quantiles(median: f64, sigma: f64) -> Quantiles {
    let at = |share: f64| median * (sigma * normal_quantile(share)).exp();
    let mut shares: Vec<f64> = (1..46).map(|index| f64::from(index) / 50.0).collect();
    shares.extend([0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.996, 0.998, 0.999]);
    Quantiles {
        p50: Some(at(0.5)),
        p90: Some(at(0.9)),
        p95: Some(at(0.95)),
        p99: Some(at(0.99)),
        cdf: shares
            .into_iter()
            .map(|share| (at(share), share))
            .chain([(at(0.9995), 1.0)])
            .collect(),
    }
}

/// Of the standard normal distribution, by bisection of a logistic approximation of its integral.
fn normal_quantile(share: f64) -> f64 {
    let integral = |z: f64| 1.0 / (1.0 + (-(1.5976 * z + 0.07056 * z.powi(3))).exp());
    let (mut low, mut high) = (-6.0, 6.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if integral(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
