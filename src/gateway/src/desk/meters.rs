//! What the desk counts, by tier: what a router exports, and how requests ended.

use forebay_core::ids::TierId;
use forebay_core::observe::{Buckets, Histogram, RouterTierSample};
use forebay_core::time::Time;

use super::Reason;
use super::grant::{Answer, Outcome};

/// Counters of one desk.
#[derive(Clone, Debug)]
pub struct Meters {
    tiers: Vec<TierMeters>,
}

/// A request, as far as counting goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) tier: TierId,
    pub(super) prompt_tokens: u32,
    pub(super) arrived: Time,
}

/// Counters of one tier. Each arrival ends in exactly one of refused, finished, unobserved, failed
/// and client gone; until then it is held or running.
#[derive(Clone, Debug)]
pub struct TierMeters {
    /// Arrivals, tokens, TTFT and TPOT as a router exports them. `queued` is not kept here: the
    /// gate knows.
    pub router: RouterTierSample,
    /// Requests that were sent to an endpoint.
    pub dispatched: u64,
    /// Requests that were refused, in order of [`Reason::ALL`].
    pub refused: [u64; Reason::ALL.len()],
    /// Answered in full.
    pub finished: u64,
    /// Answered, and how the answer ended was not seen: whole, broken off, or left by its client.
    pub unobserved: u64,
    /// Broken off by their engine.
    pub failed: u64,
    /// Given up by their client, held or in flight.
    pub client_gone: u64,
    /// Prompt tokens of arrivals.
    pub prompt_lengths: Histogram,
    /// Tokens of answers whose usage is known, or is told in the mean by their engine's page.
    pub output_lengths: Histogram,
    /// Time that requests were held before they were sent or refused, s.
    pub queue_time: Histogram,
    /// From arrival to the end of the answer, s.
    pub duration: Histogram,
}

impl Default for TierMeters {
    fn default() -> Self {
        Self {
            router: RouterTierSample::default(),
            dispatched: 0,
            refused: [0; Reason::ALL.len()],
            finished: 0,
            unobserved: 0,
            failed: 0,
            client_gone: 0,
            prompt_lengths: Histogram::new(Buckets::Lengths),
            output_lengths: Histogram::new(Buckets::Lengths),
            queue_time: Histogram::new(Buckets::RequestLatency),
            duration: Histogram::new(Buckets::RequestLatency),
        }
    }
}

impl TierMeters {
    /// Requests that arrived.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.router.requests_total as u64
    }

    /// Requests of which nothing more is to come.
    #[must_use]
    pub fn ended(&self) -> u64 {
        let refused: u64 = self.refused.iter().sum();
        refused + self.finished + self.unobserved + self.failed + self.client_gone
    }
}

impl Meters {
    pub(super) fn new(tiers: usize) -> Self {
        Self { tiers: vec![TierMeters::default(); tiers] }
    }

    /// By [`TierId`].
    #[must_use]
    pub fn tiers(&self) -> &[TierMeters] {
        &self.tiers
    }

    /// Requests that were sent and have not ended.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.tiers.iter().map(|tier| tier.router.running as u64).sum()
    }

    pub(super) fn arrived(&mut self, request: &Counted) {
        let tier = &mut self.tiers[request.tier.index()];
        tier.prompt_lengths.observe(f64::from(request.prompt_tokens), 1.0);
        let router = &mut tier.router;
        router.requests_total += 1.0;
        router.prompt_tokens_total += f64::from(request.prompt_tokens);
    }

    pub(super) fn answered(&mut self, request: &Counted, now: Time, answer: &Answer) {
        let tier = &mut self.tiers[request.tier.index()];
        tier.queue_time.observe(now.since(request.arrived).as_seconds(), 1.0);
        match answer {
            Ok(_) => {
                tier.dispatched += 1;
                tier.router.running += 1.0;
                tier.router.inflight_prompt_tokens += f64::from(request.prompt_tokens);
            }
            Err(refused) => self.refused(request.tier, refused.reason),
        }
    }

    pub(super) fn refused(&mut self, tier: TierId, reason: Reason) {
        let tier = &mut self.tiers[tier.index()];
        tier.refused[reason.index()] += 1;
        tier.router.errors_total += 1.0;
    }

    pub(super) fn first_token(&mut self, request: &Counted, now: Time) {
        let router = &mut self.tiers[request.tier.index()].router;
        router.inflight_prompt_tokens -= f64::from(request.prompt_tokens);
        router.ttft.observe(now.since(request.arrived).as_seconds(), 1.0);
    }

    /// A request that was sent, or that its client gave up while it was `held`, ended.
    pub(super) fn ended(
        &mut self,
        request: &Counted,
        held: bool,
        first_token: Option<Time>,
        now: Time,
        outcome: Outcome,
    ) {
        let tier = &mut self.tiers[request.tier.index()];
        if !held {
            tier.router.running -= 1.0;
            if first_token.is_none() {
                tier.router.inflight_prompt_tokens -= f64::from(request.prompt_tokens);
            }
        }
        match outcome {
            Outcome::Finished(usage) => {
                tier.finished += 1;
                tier.duration.observe(now.since(request.arrived).as_seconds(), 1.0);
                let Some(usage) = usage else { return };
                tier.router.output_tokens_total += f64::from(usage.output_tokens);
                tier.output_lengths.observe(f64::from(usage.output_tokens), 1.0);
                if let Some(first) = first_token.filter(|_| usage.output_tokens > 1) {
                    let gaps = f64::from(usage.output_tokens - 1);
                    tier.router.tpot.observe(now.since(first).as_seconds() / gaps, 1.0);
                }
            }
            Outcome::Unobserved { output_tokens } => {
                tier.unobserved += 1;
                // Its time until the end is not known. Its length is, in the mean of its engine:
                // without it who asks for demand would take answers for empty.
                if let Some(output_tokens) = output_tokens {
                    tier.router.output_tokens_total += f64::from(output_tokens);
                    tier.output_lengths.observe(f64::from(output_tokens), 1.0);
                }
            }
            Outcome::Failed => {
                tier.failed += 1;
                tier.router.errors_total += 1.0;
            }
            Outcome::ClientGone => tier.client_gone += 1,
        }
    }
}
