//! What the router of one fleet counts per tier, as it would export it.

use forebay_core::gate::Gate;
use forebay_core::ids::TierId;
use forebay_core::observe::{RouterSample, RouterTierSample};
use forebay_core::time::{PICOS_PER_SECOND, Picos};

use super::flights::Flight;
use super::score::Outcome;

/// Counters of one fleet's router.
#[derive(Clone, Debug)]
pub(super) struct Router {
    tiers: Vec<RouterTierSample>,
}

impl Router {
    pub(super) fn new(tiers: usize) -> Self {
        Self { tiers: vec![RouterTierSample::default(); tiers] }
    }

    /// A request came to the door for the first time.
    pub(super) fn arrived(&mut self, flight: &Flight) {
        let tier = &mut self.tiers[flight.tier.index()];
        tier.requests_total += 1.0;
        tier.prompt_tokens_total += f64::from(flight.prompt_tokens);
    }

    /// A request was sent on.
    pub(super) fn dispatched(&mut self, flight: &Flight) {
        let tier = &mut self.tiers[flight.tier.index()];
        tier.running += 1.0;
        tier.inflight_prompt_tokens += f64::from(flight.prompt_tokens);
    }

    /// Its first token passed.
    pub(super) fn first_token(&mut self, flight: &Flight, at: Picos) {
        let tier = &mut self.tiers[flight.tier.index()];
        tier.inflight_prompt_tokens -= f64::from(flight.prompt_tokens);
        tier.ttft.observe(in_seconds(at - flight.arrived_at), 1.0);
    }

    /// It ended; `sent` when it had been sent on.
    pub(super) fn ended(&mut self, flight: &Flight, outcome: Outcome, sent: bool) {
        let tier = &mut self.tiers[flight.tier.index()];
        if sent {
            tier.running -= 1.0;
            if flight.first_token_at.is_none() {
                tier.inflight_prompt_tokens -= f64::from(flight.prompt_tokens);
            }
        }
        match (outcome, flight.first_token_at) {
            (Outcome::Finished { at }, Some(first)) => {
                tier.output_tokens_total += f64::from(flight.output_tokens);
                if flight.output_tokens > 1 {
                    let gap = in_seconds(at - first) / f64::from(flight.output_tokens - 1);
                    tier.tpot.observe(gap, 1.0);
                }
            }
            _ => tier.errors_total += 1.0,
        }
    }

    /// The page, with what the gate holds now.
    pub(super) fn sample(&self, gate: &dyn Gate) -> RouterSample {
        let mut tiers = self.tiers.clone();
        for (index, tier) in tiers.iter_mut().enumerate() {
            let queued = gate.queued(TierId(index as u8));
            tier.queued = queued.requests as f64;
            tier.queued_prompt_tokens = queued.prompt_tokens as f64;
        }
        RouterSample { tiers, saturation: gate.saturation().unwrap_or(f64::NAN) }
    }
}

fn in_seconds(span: Picos) -> f64 {
    span as f64 / PICOS_PER_SECOND as f64
}
