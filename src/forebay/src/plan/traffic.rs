//! The busiest ten minutes of a trace as a demand.

use std::collections::VecDeque;

use anyhow::{Result, anyhow, bail};
use forebay_core::api::Share;
use forebay_core::fleet::World;
use forebay_core::plan::question::{Demand, FleetDemand, Length, Spread, TierDemand};
use forebay_core::scenario::ScenarioPlan;
use forebay_core::time::{Span, Time};
use forebay_twin::trace::{self, Options, parse_window};

/// The windows in which arrivals are counted for their burstiness.
const COUNTED: Span = Span::from_secs(10);
/// How many of them make up the ten minutes.
const COUNTS: usize = 60;
/// Seed of what the trace leaves open.
const SEED: u64 = 1;

/// Sums over a stretch of arrivals.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    requests: f64,
    prompt: f64,
    prompt_squared: f64,
    output: f64,
    output_squared: f64,
}

impl Sums {
    fn add(&mut self, other: &Self, sign: f64) {
        self.requests += sign * other.requests;
        self.prompt += sign * other.prompt;
        self.prompt_squared += sign * other.prompt_squared;
        self.output += sign * other.output;
        self.output_squared += sign * other.output_squared;
    }

    fn tokens(&self) -> f64 {
        self.prompt + self.output
    }
}

/// The busiest stretch so far.
struct Busiest {
    until: Time,
    sums: Sums,
    counts: Vec<f64>,
}

/// The demand of the ten minutes with the most tokens, shared out as the scenario says, and a
/// sentence about where it comes from. `text` is `PATH[?window=FROM..TO]`.
pub(super) fn busiest(
    text: &str,
    world: &World,
    scenario: &ScenarioPlan,
) -> Result<(Demand, String)> {
    let (path, window) = match text.split_once("?window=") {
        Some((path, window)) => {
            let parsed = parse_window(window);
            (path, Some(parsed.map_err(|what| anyhow!("--demand trace:{text}: {what}"))?))
        }
        None => (text, None),
    };
    let trace = trace::open(path, &Options { window, rate_scale: 1.0, seed: SEED })?;
    let mut requests = trace.stream()?;
    let mut slots: VecDeque<Sums> = VecDeque::with_capacity(COUNTS);
    let (mut slot, mut sums, mut current) = (0_u64, Sums::default(), Sums::default());
    let mut best: Option<Busiest> = None;
    let mut close = |slot: u64, current: &Sums| {
        slots.push_back(*current);
        sums.add(current, 1.0);
        if slots.len() > COUNTS
            && let Some(first) = slots.pop_front()
        {
            sums.add(&first, -1.0);
        }
        if best.as_ref().is_none_or(|best| sums.tokens() > best.sums.tokens()) {
            let until = Time::ZERO + Span(COUNTED.0 * (slot + 1));
            let counts = slots.iter().map(|slot| slot.requests).collect();
            best = Some(Busiest { until, sums, counts });
        }
    };
    while let Some(request) = requests.next_request()? {
        let at = request.at.since(Time::ZERO).0 / COUNTED.0;
        while slot < at {
            close(slot, &current);
            current = Sums::default();
            slot += 1;
        }
        let (prompt, output) = (f64::from(request.prompt_tokens), f64::from(request.output_tokens));
        let one = Sums {
            requests: 1.0,
            prompt,
            prompt_squared: prompt * prompt,
            output,
            output_squared: output * output,
        };
        current.add(&one, 1.0);
    }
    close(slot, &current);
    let Some(best) = best.filter(|best| best.sums.requests > 0.0) else {
        bail!("{path}: no requests in the window; widen it");
    };
    let span_s = COUNTED.as_seconds() * best.counts.len() as f64;
    let until = best.until.since(Time::ZERO);
    let from = until.as_seconds() - span_s;
    let about = format!(
        "the demand is that of {path} from {:.0} s to {:.0} s of the window, the busiest ten \
         minutes, shared out as scenario {} does; what is cached is not known and taken as nothing",
        from.max(0.0),
        until.as_seconds(),
        scenario.name
    );
    Ok((share_out(&best, span_s, world, scenario), about))
}

/// As the scenario shares requests out.
fn share_out(best: &Busiest, span_s: f64, world: &World, scenario: &ScenarioPlan) -> Demand {
    let Sums { requests, prompt, prompt_squared, output, output_squared } = best.sums;
    let length = |sum: f64, squared: f64| {
        let mean = sum / requests;
        let variance = (squared / requests - mean * mean).max(0.0);
        Length::Spread(Spread { mean, p95: None, variation: Some(variance.sqrt() / mean) })
    };
    let mean = best.counts.iter().sum::<f64>() / best.counts.len() as f64;
    let variance = best.counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>()
        / best.counts.len() as f64;
    let dispersion = variance / mean;
    let all: f64 = scenario.shares.iter().map(|share| share.weight).sum();
    let mut fleets: Vec<FleetDemand> = Vec::new();
    for share in &scenario.shares {
        let part = share.weight / all;
        let demand = TierDemand {
            tier: world.tiers[share.tier.index()].name.clone(),
            requests_per_second: requests / span_s * part,
            prompt_tokens: length(prompt, prompt_squared),
            output_tokens: length(output, output_squared),
            cached_share: Share(0.0),
            // A part that is drawn at random is closer to Poisson than the whole.
            burstiness: 1.0 + (dispersion - 1.0) * part,
        };
        let fleet = &world.fleets[share.fleet.index()].name;
        let found = fleets.iter_mut().find(|other| other.fleet == *fleet);
        match found {
            None => {
                fleets.push(FleetDemand { fleet: fleet.clone(), tiers: vec![demand] });
            }
            Some(fleet) => match fleet.tiers.iter_mut().find(|tier| tier.tier == demand.tier) {
                Some(tier) => tier.requests_per_second += demand.requests_per_second,
                None => fleet.tiers.push(demand),
            },
        }
    }
    Demand { tiers: Vec::new(), fleets }
}
