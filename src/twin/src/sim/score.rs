//! Did it attain? One outcome per request, summed up per tier.

use std::collections::BTreeMap;

pub use forebay_core::fleet::TPOT_OUTPUT_TOKENS_MIN;
use forebay_core::fleet::{Fleet, Slo, World};
use forebay_core::time::Picos;
use hdrhistogram::Histogram;

use super::flights::Flight;
use crate::report::{FleetOutcome, Quantiles, TierSummary};

/// Largest latency told apart, in microseconds: a day. Longer ones count as a day.
const LATENCY_MICROS_MAX: u64 = 86_400_000_000;
/// Latencies keep three significant digits.
const LATENCY_DIGITS: u8 = 3;
/// Points of a distribution in a report.
const CDF_POINTS: usize = 48;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its last token went out.
    Finished { at: Picos },
    /// The gate refused it, and it did not come back.
    Shed,
    /// It waited longer than its client would.
    TimedOut,
    /// It broke off.
    Failed,
}

/// Whether a request that ended this way met its SLO. Without an SLO, finishing attains.
pub(super) fn attains(flight: &Flight, outcome: Outcome, slo: Option<&Slo>) -> bool {
    let Outcome::Finished { at } = outcome else {
        return false;
    };
    let end_to_end = at - flight.arrived_at;
    match slo {
        None => true,
        Some(Slo::Completion { within, .. }) => end_to_end <= within.as_picos(),
        Some(Slo::Latency { ttft, tpot, .. }) => {
            let Some(first) = flight.first_token_at else {
                return false;
            };
            let gaps = u64::from(flight.output_tokens - 1);
            if flight.output_tokens < TPOT_OUTPUT_TOKENS_MIN {
                end_to_end <= ttft.as_picos() + gaps * tpot.as_picos()
            } else {
                first - flight.arrived_at <= ttft.as_picos() && at - first <= gaps * tpot.as_picos()
            }
        }
    }
}

/// Outcomes of the scored requests of one tier.
pub(super) struct TierScore {
    requests: u64,
    attained: u64,
    attained_output_tokens: u64,
    shed: u64,
    timed_out: u64,
    failed: u64,
    ttft_micros: Histogram<u64>,
    tpot_micros: Histogram<u64>,
    /// Arrival to last token, of tiers with a deadline for completion.
    completion_millis: Histogram<u64>,
    /// By fleet: requests and attained.
    fleets: Vec<FleetOutcome>,
}

impl TierScore {
    fn new(fleets: usize) -> Result<Self, hdrhistogram::CreationError> {
        let histogram = || Histogram::new_with_max(LATENCY_MICROS_MAX, LATENCY_DIGITS);
        Ok(Self {
            requests: 0,
            attained: 0,
            attained_output_tokens: 0,
            shed: 0,
            timed_out: 0,
            failed: 0,
            ttft_micros: histogram()?,
            tpot_micros: histogram()?,
            completion_millis: histogram()?,
            fleets: vec![FleetOutcome::default(); fleets],
        })
    }

    fn record(&mut self, flight: &Flight, outcome: Outcome, slo: Option<&Slo>) -> bool {
        let attained = attains(flight, outcome, slo);
        self.requests += 1;
        let fleet = &mut self.fleets[flight.fleet.index()];
        fleet.requests += 1;
        fleet.attained += u64::from(attained);
        if let (Outcome::Finished { at }, Some(Slo::Completion { .. })) = (outcome, slo) {
            let millis = (at - flight.arrived_at) / 1_000_000_000;
            self.completion_millis.saturating_record(millis);
        }
        match outcome {
            Outcome::Finished { at } => self.record_latency(flight, at),
            Outcome::Shed => self.shed += 1,
            Outcome::TimedOut => self.timed_out += 1,
            Outcome::Failed => self.failed += 1,
        }
        if attained {
            self.attained += 1;
            self.attained_output_tokens += u64::from(flight.output_tokens);
        }
        attained
    }

    fn record_latency(&mut self, flight: &Flight, at: Picos) {
        let Some(first) = flight.first_token_at else {
            return;
        };
        self.ttft_micros.saturating_record((first - flight.arrived_at) / 1_000_000);
        if flight.output_tokens >= TPOT_OUTPUT_TOKENS_MIN {
            let gap = (at - first) / u64::from(flight.output_tokens - 1);
            self.tpot_micros.saturating_record(gap / 1_000_000);
        }
    }

    fn summary(&self, fleets: &[Fleet]) -> TierSummary {
        let by_fleet = fleets.iter().zip(&self.fleets);
        TierSummary {
            requests: self.requests,
            attained: self.attained,
            attainment: share(self.attained, self.requests),
            ttft_ms: quantiles(&self.ttft_micros),
            tpot_ms: quantiles(&self.tpot_micros),
            completion_s: quantiles(&self.completion_millis),
            shed: self.shed,
            timed_out: self.timed_out,
            failed: self.failed,
            fleets: if fleets.len() > 1 {
                by_fleet.map(|(fleet, outcome)| (fleet.name.clone(), *outcome)).collect()
            } else {
                BTreeMap::new()
            },
        }
    }
}

/// All scores of a run.
pub(super) struct Scores {
    tiers: Vec<TierScore>,
    outcomes: u64,
}

impl Scores {
    pub(super) fn new(tiers: usize, fleets: usize) -> Result<Self, hdrhistogram::CreationError> {
        let tiers = (0..tiers).map(|_| TierScore::new(fleets)).collect::<Result<_, _>>()?;
        Ok(Self { tiers, outcomes: 0 })
    }

    /// Takes in the one outcome of a request; says whether it attained.
    pub(super) fn record(&mut self, flight: &Flight, outcome: Outcome, slo: Option<&Slo>) -> bool {
        self.outcomes += 1;
        if flight.scored {
            self.tiers[flight.tier.index()].record(flight, outcome, slo)
        } else {
            attains(flight, outcome, slo)
        }
    }

    /// Requests with an outcome, scored or not.
    pub(super) const fn outcomes(&self) -> u64 {
        self.outcomes
    }

    /// Requests that attained and their output tokens.
    pub(super) fn attained(&self) -> (u64, u64) {
        self.tiers.iter().fold((0, 0), |(requests, tokens), tier| {
            (requests + tier.attained, tokens + tier.attained_output_tokens)
        })
    }

    /// Summaries by tier name.
    pub(super) fn summaries<'a>(
        &'a self,
        world: &'a World,
    ) -> impl Iterator<Item = (String, TierSummary)> + 'a {
        let tiers = world.tiers.iter().zip(&self.tiers);
        tiers.map(|(tier, score)| (tier.name.clone(), score.summary(&world.fleets)))
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

fn quantiles(micros: &Histogram<u64>) -> Quantiles {
    if micros.is_empty() {
        return Quantiles::default();
    }
    let at = |quantile: f64| Some(micros.value_at_quantile(quantile) as f64 / 1e3);
    let cdf = (0..CDF_POINTS)
        .map(|point| {
            // Denser towards the tail, where objectives are decided.
            let rank = 1.0 - 10_f64.powf(-4.0 * point as f64 / (CDF_POINTS - 1) as f64);
            (micros.value_at_quantile(rank) as f64 / 1e3, rank)
        })
        .collect();
    Quantiles { p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), cdf }
}
