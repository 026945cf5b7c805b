//! Whether the prompt of a request goes to a prefill endpoint: llm-d's deciders.

use forebay_core::engine::Prefix;
use forebay_core::fleet::World;
use forebay_core::gate::Arrival;
use forebay_core::ids::{EndpointId, VariantId};

use super::prefix_index::{BLOCK_TOKENS, PREFIX_TOKENS_MAX, PrefixIndex};
use super::tunables::{GateSpecError, Tunables};

/// When prefill runs apart (only where the chosen endpoint is a decode endpoint and a prefill
/// endpoint is there; otherwise the whole request runs on the chosen one).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PdRule {
    /// `always-disagg-pd-decider`.
    Always,
    /// `prefix-based-pd-decider`.
    Prefix {
        /// `promptTokens`: shorter prompts stay whole; 0 for no such limit.
        prompt_tokens: u32,
        /// `nonCachedTokens`: prompts with a shorter uncached part stay whole; 0 keeps all whole.
        non_cached_tokens: u32,
    },
}

/// llm-d's sample configuration for prefill/decode (`deploy/config/pd-epp-config.yaml`); the
/// decider's own default is 0, which switches it off.
const NON_CACHED_TOKENS: u32 = 16;

impl PdRule {
    /// Reads `pd`, `pd_prompt_tokens` and `pd_non_cached_tokens`.
    pub(super) fn read(
        tunables: &mut Tunables<'_>,
        always_by_default: bool,
    ) -> Result<Self, GateSpecError> {
        let words = if always_by_default {
            [("always", true), ("prefix", false)]
        } else {
            [("prefix", false), ("always", true)]
        };
        let always = tunables.word("pd", &words)?;
        let prompt_tokens = tunables.number("pd_prompt_tokens", 0, 0)?;
        let non_cached_tokens = tunables.number("pd_non_cached_tokens", NON_CACHED_TOKENS, 0)?;
        Ok(if always { Self::Always } else { Self::Prefix { prompt_tokens, non_cached_tokens } })
    }

    /// Whether a prompt is worth a prefill endpoint, given how much of it the decode endpoint is
    /// believed to have cached.
    pub(super) const fn splits(self, prompt_tokens: u32, cached_tokens: u32) -> bool {
        match self {
            Self::Always => true,
            Self::Prefix { prompt_tokens: least, non_cached_tokens } => {
                non_cached_tokens > 0
                    && prompt_tokens >= least
                    && prompt_tokens.saturating_sub(cached_tokens) >= non_cached_tokens
            }
        }
    }
}

/// KV blocks of each variant's engines, by variant.
pub(super) fn kv_blocks(world: &World) -> Vec<u64> {
    let blocks = world.variants.iter().map(|variant| {
        let kv = &variant.profile.kv;
        kv.capacity_tokens / u64::from(kv.block_tokens.max(1))
    });
    blocks.collect()
}

/// A [`PdRule`] with the prefix index that it needs, for gates that have none of their own.
#[derive(Debug)]
pub(super) struct Splitter {
    rule: PdRule,
    blocks_by_variant: Vec<u64>,
    index: PrefixIndex,
    matched: Vec<(EndpointId, u32)>,
}

impl Splitter {
    pub(super) fn new(rule: PdRule, world: &World) -> Self {
        Self {
            rule,
            blocks_by_variant: kv_blocks(world),
            index: PrefixIndex::new(PREFIX_TOKENS_MAX),
            matched: Vec::new(),
        }
    }

    pub(super) fn ready(&mut self, endpoint: EndpointId, variant: VariantId) {
        let blocks = self.blocks_by_variant.get(variant.index()).copied().unwrap_or(0);
        self.index.add(endpoint, blocks);
    }

    pub(super) fn remove(&mut self, endpoint: EndpointId) {
        self.index.remove(endpoint);
    }

    /// Whether the prompt goes to a prefill endpoint, when `decode` was chosen to decode.
    pub(super) fn splits(&mut self, arrival: &Arrival<'_>, decode: EndpointId) -> bool {
        let mut cached_tokens = 0;
        if let Some(prefix) = self.indexed(arrival) {
            self.index.matches(arrival.prompt_tokens, prefix, &mut self.matched);
            let held = self.matched.iter().find(|(endpoint, _)| *endpoint == decode);
            cached_tokens = held.map_or(0, |(_, blocks)| blocks * BLOCK_TOKENS);
        }
        self.rule.splits(arrival.prompt_tokens, cached_tokens)
    }

    /// Notes where a prompt went.
    pub(super) fn record(&mut self, arrival: &Arrival<'_>, endpoint: EndpointId) {
        if let Some(prefix) = self.indexed(arrival) {
            self.index.record(endpoint, arrival.prompt_tokens, prefix);
        }
    }

    fn indexed<'a>(&self, arrival: &Arrival<'a>) -> Option<&'a Prefix> {
        arrival.prefix.filter(|_| matches!(self.rule, PdRule::Prefix { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_or_cached_prompts_stay_whole() {
        let rule = PdRule::Prefix { prompt_tokens: 100, non_cached_tokens: 16 };
        assert!(rule.splits(100, 84));
        assert!(!rule.splits(100, 85), "15 uncached tokens");
        assert!(!rule.splits(99, 0));
        assert!(!rule.splits(200, 256), "blocks round up");
        let off = PdRule::Prefix { prompt_tokens: 0, non_cached_tokens: 0 };
        assert!(!off.splits(1_000_000, 0));
        assert!(PdRule::Always.splits(1, 1));
    }
}
