//! Lengths and cached share, learned from what finished and what was looked up.
//!
//! Counts fade by the requests that came after them, so that quiet hours forget nothing. Lengths
//! come from requests that finished: while the rate climbs, long outputs are missing for as long
//! as they take, which is part of the reported uncertainty only once they finish.

use serde::{Deserialize, Serialize};

use super::Estimate;
use super::steps::{LeftOut, gained, histogram_gained};
use crate::demand::Moments;
use crate::observe::{EngineSample, RouterTierSample};

/// Requests after which older ones weigh 1/e: enough for a mean of heavy-tailed lengths within a
/// few percent, few enough to follow a day's drift.
pub const REQUESTS_MEMORY: f64 = 5_000.0;
/// Fewest requests before a mean is told.
pub const REQUESTS_MIN: f64 = 20.0;
/// Prompt tokens before a cached share is told: those of a few requests.
const LOOKUPS_MIN: f64 = 1_000.0;

/// A length with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthEstimate {
    /// Mean and mean square.
    pub moments: Moments,
    /// Standard deviation of the mean itself, tokens.
    pub deviation: f64,
    /// Requests that it rests on, faded ones left out.
    pub requests: f64,
}

/// What requests look like; `None` where too little was seen to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LengthsEstimate {
    /// Prompt, cached part included.
    pub prompt_tokens: Option<LengthEstimate>,
    /// Output.
    pub output_tokens: Option<LengthEstimate>,
    /// Share of prompt tokens found in a prefix cache, 0..1.
    pub cached_share: Option<Estimate>,
}

/// Counts of lengths that fade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Lengths {
    requests: f64,
    sum: f64,
    squares: f64,
}

impl Lengths {
    fn add(&mut self, requests: f64, mean: f64, squared: f64) {
        let keep = (-requests / REQUESTS_MEMORY).exp();
        self.requests = self.requests * keep + requests;
        self.sum = self.sum * keep + requests * mean;
        self.squares = self.squares * keep + requests * squared;
    }

    fn estimate(&self) -> Option<LengthEstimate> {
        (self.requests >= REQUESTS_MIN).then(|| {
            let mean = self.sum / self.requests;
            let squared = (self.squares / self.requests).max(mean * mean);
            LengthEstimate {
                moments: Moments { mean, squared },
                deviation: ((squared - mean * mean) / self.requests).sqrt(),
                requests: self.requests,
            }
        })
    }

    fn is_sound(&self) -> bool {
        [self.requests, self.sum, self.squares].iter().all(|sum| sum.is_finite() && *sum >= 0.0)
    }
}

/// Lookups in a prefix cache that fade, with what their spread over windows needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Lookups {
    queries: f64,
    hits: f64,
    queries_squared: f64,
    hits_squared: f64,
    product: f64,
    windows: f64,
}

impl Lookups {
    fn add(&mut self, queries: f64, hits: f64, keep: f64) {
        self.queries = self.queries * keep + queries;
        self.hits = self.hits * keep + hits;
        self.queries_squared = self.queries_squared * keep + queries * queries;
        self.hits_squared = self.hits_squared * keep + hits * hits;
        self.product = self.product * keep + queries * hits;
        self.windows = self.windows * keep + 1.0;
    }

    fn estimate(&self) -> Option<Estimate> {
        (self.queries >= LOOKUPS_MIN).then(|| {
            let share = (self.hits / self.queries).clamp(0.0, 1.0);
            let scatter = self.hits_squared - 2.0 * share * self.product
                + share * share * self.queries_squared;
            let deviation = scatter.max(0.0).sqrt() / self.queries;
            // One window has no scatter to judge by; a share can be off by no more than half.
            let deviation = if self.windows < 2.0 { 0.5 } else { deviation };
            Estimate { value: share, deviation, samples: self.windows }
        })
    }

    fn is_sound(&self) -> bool {
        [
            self.queries,
            self.hits,
            self.queries_squared,
            self.hits_squared,
            self.product,
            self.windows,
        ]
        .iter()
        .all(|sum| sum.is_finite() && *sum >= 0.0)
    }
}

/// Which of an engine's lengths say something, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tells {
    /// Prompt lengths and cached share.
    pub prompts: bool,
    /// Output lengths: an engine that only prefills generates one token of each request.
    pub outputs: bool,
}

/// What engines finished between two pages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finished {
    requests: f64,
    prompt: Option<(f64, f64)>,
    output: Option<(f64, f64)>,
    queries: f64,
    hits: f64,
}

impl Finished {
    /// What one engine finished between two pages.
    ///
    /// # Errors
    /// [`LeftOut`]: a counter fell or is not a number; the window says nothing.
    pub fn between(first: &EngineSample, last: &EngineSample) -> Result<Self, LeftOut> {
        let counter = |read: fn(&EngineSample) -> f64| gained(read(first), read(last));
        let prompts = histogram_gained(&first.prompt_lengths, &last.prompt_lengths)?;
        let outputs = histogram_gained(&first.generation_lengths, &last.generation_lengths)?;
        let queries = counter(|page| page.prefix_queries_tokens_total)?;
        let hits = counter(|page| page.prefix_hits_tokens_total)?;
        if hits > queries {
            return Err(LeftOut::Contradiction);
        }
        let requests = outputs.count();
        Ok(Self { requests, prompt: prompts.moments(), output: outputs.moments(), queries, hits })
    }
}

/// Lengths and cached share of one variant, or of one fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LengthsLearner {
    prompt: Lengths,
    output: Lengths,
    lookups: Lookups,
}

impl LengthsLearner {
    /// Learns from what finished.
    pub fn observe(&mut self, finished: &Finished, tells: Tells) {
        let requests = finished.requests;
        if let (Some((mean, squared)), true) = (finished.prompt, tells.prompts) {
            self.prompt.add(requests, mean, squared);
        }
        if let (Some((mean, squared)), true) = (finished.output, tells.outputs) {
            self.output.add(requests, mean, squared);
        }
        if tells.prompts && finished.queries > 0.0 {
            let keep = (-requests / REQUESTS_MEMORY).exp();
            self.lookups.add(finished.queries, finished.hits, keep);
        }
    }

    /// What is known.
    #[must_use]
    pub fn estimate(&self) -> LengthsEstimate {
        LengthsEstimate {
            prompt_tokens: self.prompt.estimate(),
            output_tokens: self.output.estimate(),
            cached_share: self.lookups.estimate(),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.prompt.is_sound() && self.output.is_sound() && self.lookups.is_sound()
    }
}

/// Mean lengths of one tier, from the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierLengthsLearner {
    prompt: Lengths,
    output: Lengths,
}

impl TierLengthsLearner {
    /// Learns from two of the router's pages; a page that is reset or not a number teaches nothing.
    /// The router counts tokens, not their squares: `variation` (coefficient of variation squared
    /// of prompt and output, from the engines) stands in.
    pub fn observe(
        &mut self,
        first: &RouterTierSample,
        last: &RouterTierSample,
        variation: [f64; 2],
    ) {
        let add = |lengths: &mut Lengths, requests: f64, tokens: f64, variation: f64| {
            if requests >= 1.0 && tokens > 0.0 {
                let mean = tokens / requests;
                lengths.add(requests, mean, mean * mean * (1.0 + variation));
            }
        };
        let counter = |read: fn(&RouterTierSample) -> f64| gained(read(first), read(last));
        if let (Ok(requests), Ok(tokens)) =
            (counter(|tier| tier.requests_total), counter(|tier| tier.prompt_tokens_total))
        {
            add(&mut self.prompt, requests, tokens, variation[0]);
        }
        // A finished request of two tokens or more has one time per output token.
        if let (Ok(requests), Ok(tokens)) = (
            gained(first.tpot.count(), last.tpot.count()),
            counter(|tier| tier.output_tokens_total),
        ) {
            add(&mut self.output, requests, tokens, variation[1]);
        }
    }

    /// What is known; the router does not tell what was cached.
    #[must_use]
    pub fn estimate(&self) -> LengthsEstimate {
        LengthsEstimate {
            prompt_tokens: self.prompt.estimate(),
            output_tokens: self.output.estimate(),
            cached_share: None,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.prompt.is_sound() && self.output.is_sound()
    }
}
