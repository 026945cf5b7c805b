//! What a tier promises to one request, and what the request may ask for itself.

use forebay_core::admit::headers::{self, Name};
use forebay_core::fleet::Slo;
use forebay_core::gate::Place;
use forebay_core::ids::TierId;
use forebay_core::time::Span;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::FleetTerms;

/// Deadline where a fleet promises nothing to a tier: long enough that only holding ends a wait.
const WITHIN_UNPROMISED: Span = Span::from_secs(3_600);

/// Output tokens that a tenant is charged before the answer is known, where its client sets no
/// limit: a chat answer in public traces.
const OUTPUT_TOKENS_GUESS: u32 = 250;

/// What a caller told besides headers and body.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Length of the prompt, tokens.
    pub prompt_tokens: Option<u32>,
    /// Most tokens of the answer.
    pub output_tokens_max: Option<u32>,
    /// Time to the first token, or to the end for tiers that promise completion.
    pub within: Option<Span>,
    /// Time per output token.
    pub tpot: Option<Span>,
    /// Longest time that it may be held.
    pub hold_max: Option<Span>,
    /// The place that it had before.
    pub place: Option<Place>,
    /// Whether the caller keeps the place of a refused request himself: then it gets no ticket.
    pub keeps_place: bool,
}

/// What one request is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Objective {
    pub(super) within: Span,
    pub(super) tpot: Option<Span>,
    pub(super) hold_max: Option<Span>,
}

impl FleetTerms {
    /// The objective of a request. What it asks for itself counts if it is less than its tier
    /// promises, or if whoever says so is trusted.
    pub(super) fn objective<'a>(
        &self,
        tier: TierId,
        told: &Told,
        header: &impl Fn(Name) -> Option<&'a str>,
        trusted: bool,
    ) -> Objective {
        let slo = self.world.fleets[self.fleet.index()].slos.get(tier.index()).copied().flatten();
        let promised = match slo {
            Some(Slo::Latency { ttft, .. }) => ttft,
            Some(Slo::Completion { within, .. }) => within,
            None => WITHIN_UNPROMISED,
        };
        let own_tier = &self.world.tiers[tier.index()];
        let asked = told.within.or_else(|| header(headers::SLO_TTFT_MS).and_then(milliseconds));
        let within =
            asked.map_or(promised, |asked| if trusted { asked } else { asked.max(promised) });
        let tpot = told.tpot.or_else(|| header(headers::SLO_TPOT_MS).and_then(milliseconds));
        let tpot = tpot.map(|asked| match slo {
            Some(Slo::Latency { tpot, .. }) if !trusted => asked.max(tpot),
            _ => asked,
        });
        let ttl = told.hold_max.or_else(|| header(headers::TTL).and_then(milliseconds));
        // Nobody is held longer than the tier allows, whoever asks.
        let hold_max = ttl.map(|ttl| ttl.min(own_tier.hold_max));
        Objective { within, tpot, hold_max }
    }

    /// Tokens to charge for an answer that is not there yet.
    pub(super) fn output_guess(&self, output_tokens_max: Option<u32>) -> u32 {
        output_tokens_max.map_or(OUTPUT_TOKENS_GUESS, |max| max.min(OUTPUT_TOKENS_GUESS))
    }

    /// The adapter that a model name stands for: any that is not one of the fleet's base models.
    pub(super) fn adapter(&self, model: &str, seed: u64) -> Option<u64> {
        let models = &self.world.fleets[self.fleet.index()].models;
        let is_base = models.is_empty() || models.iter().any(|base| base == model);
        (!is_base).then(|| xxh3_64_with_seed(model.as_bytes(), seed))
    }
}

/// A time as headers write it: milliseconds, or a number with `ms` or `s`. What cannot be read
/// asks for nothing.
fn milliseconds(text: &str) -> Option<Span> {
    let text = text.trim();
    let (number, scale) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text, 1e-3),
    };
    let seconds = number.trim().parse::<f64>().ok()? * scale;
    (seconds.is_finite() && seconds > 0.0 && seconds < 1e6).then(|| Span::from_seconds(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_unless_they_say_otherwise() {
        assert_eq!(milliseconds("800"), Some(Span::from_millis(800)));
        assert_eq!(milliseconds(" 800ms"), Some(Span::from_millis(800)));
        assert_eq!(milliseconds("1.5s"), Some(Span::from_millis(1_500)));
        for nonsense in ["", "-1", "0", "NaN", "inf", "1e9s", "soon"] {
            assert_eq!(milliseconds(nonsense), None, "{nonsense}");
        }
    }
}
