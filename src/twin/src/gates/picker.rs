//! llm-d's scheduler: who serves a request, and who its prompt, from scraped gauges and the
//! approximate prefix index.

use forebay_core::engine::Prefix;
use forebay_core::fleet::{Role, World};
use forebay_core::gate::{EndpointLoad, GateEffect, Refusal};
use forebay_core::ids::{EndpointId, RequestId, VariantId};
use forebay_core::pick::EndpointTable;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::pd::{PdRule, kv_blocks};
use super::prefix_index::{BLOCK_TOKENS, PREFIX_TOKENS_MAX, PrefixIndex};
use super::scorers::{Filter, Profile, Weights};
use super::tunables::{GateSpecError, Tunables};

/// `lruCapacityPerServer` where an engine does not say how many blocks it has.
const PREFIX_BLOCKS_PER_SERVER: u64 = 31_250;

/// Tunables of the scheduler.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickSettings {
    weights: Weights,
    pd: PdRule,
    prefix_tokens_max: u32,
    /// `None`: as many as the engine has KV blocks (`autoTune`).
    prefix_blocks_per_server: Option<u64>,
}

impl PickSettings {
    pub(super) fn read(tunables: &mut Tunables<'_>) -> Result<Self, GateSpecError> {
        let weights = Weights::read(tunables)?;
        let pd = PdRule::read(tunables, false)?;
        let prefix_tokens_max = tunables.number("prefix_tokens_max", PREFIX_TOKENS_MAX, 0)?;
        let blocks = tunables.number("prefix_blocks_per_server", 0_u64, 0)?;
        let prefix_blocks_per_server = (blocks > 0).then_some(blocks);
        Ok(Self { weights, pd, prefix_tokens_max, prefix_blocks_per_server })
    }
}

/// What the scheduler looks at of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prompt<'a> {
    pub(super) request: RequestId,
    pub(super) tokens: u32,
    pub(super) prefix: Option<&'a Prefix>,
}

/// llm-d's scheduler with its state.
#[derive(Debug)]
pub(super) struct Picker {
    settings: PickSettings,
    /// KV blocks of each variant's engines.
    blocks_by_variant: Vec<u64>,
    roles: EndpointTable<Role>,
    decode: Profile,
    prefill: Profile,
    index: PrefixIndex,
    rng: Pcg64Mcg,
    matched: Vec<(EndpointId, u32)>,
}

impl Picker {
    pub(super) fn new(settings: PickSettings, world: &World, seed: u64) -> Self {
        Self {
            settings,
            blocks_by_variant: kv_blocks(world),
            roles: EndpointTable::default(),
            decode: Profile::default(),
            prefill: Profile::default(),
            index: PrefixIndex::new(settings.prefix_tokens_max),
            rng: Pcg64Mcg::seed_from_u64(seed),
            matched: Vec::new(),
        }
    }

    pub(super) fn ready(&mut self, endpoint: EndpointId, variant: VariantId, role: Role) {
        self.roles.insert(endpoint, role);
        match role {
            Role::Prefill => self.prefill.add(endpoint),
            Role::Both | Role::Decode => self.decode.add(endpoint),
        }
        let own = self.blocks_by_variant.get(variant.index()).copied().filter(|blocks| *blocks > 0);
        let blocks = self.settings.prefix_blocks_per_server.or(own);
        self.index.add(endpoint, blocks.unwrap_or(PREFIX_BLOCKS_PER_SERVER));
    }

    /// An endpoint that drains or is gone is no candidate any more.
    pub(super) fn remove(&mut self, endpoint: EndpointId) {
        self.roles.remove(endpoint);
        self.decode.remove(endpoint);
        self.prefill.remove(endpoint);
        self.index.remove(endpoint);
    }

    /// A gauge that is not a number leaves everything as it was.
    pub(super) fn scraped(&mut self, endpoint: EndpointId, load: EndpointLoad) {
        if !load.waiting.is_nan() && !load.kv_usage.is_nan() {
            self.decode.scraped(endpoint, load);
            self.prefill.scraped(endpoint, load);
        }
    }

    /// Schedules a request, and notes where its prefix goes.
    pub(super) fn dispatch(
        &mut self,
        prompt: Prompt<'_>,
        filter: Option<&Filter<'_>>,
    ) -> GateEffect {
        let request = prompt.request;
        let Some((endpoint, prefill)) = self.pick(prompt, filter) else {
            // Filters that leave nobody in a pool that is not empty count as contention.
            let empty = self.roles.is_empty();
            let reason = if empty { Refusal::NoEndpoints } else { Refusal::Saturated };
            return GateEffect::Refuse { request, reason, retry_after: None, place: None };
        };
        if let Some(prefix) = prompt.prefix.filter(|_| self.uses_index()) {
            self.index.record(endpoint, prompt.tokens, prefix);
            if let Some(prefill) = prefill {
                self.index.record(prefill, prompt.tokens, prefix);
            }
        }
        GateEffect::Dispatch { request, endpoint, prefill }
    }

    fn uses_index(&self) -> bool {
        let by_prefix = matches!(self.settings.pd, PdRule::Prefix { .. });
        self.settings.weights.use_prefixes() || by_prefix && !self.prefill.is_empty()
    }

    fn pick(
        &mut self,
        prompt: Prompt<'_>,
        filter: Option<&Filter<'_>>,
    ) -> Option<(EndpointId, Option<EndpointId>)> {
        self.matched.clear();
        if let Some(prefix) = prompt.prefix.filter(|_| self.uses_index()) {
            self.index.matches(prompt.tokens, prefix, &mut self.matched);
        }
        let blocks = self.index.blocks(prompt.tokens);
        let Self { settings, decode, prefill, rng, matched, .. } = self;
        let endpoint = decode.pick(&settings.weights, matched, blocks, filter, rng)?;
        let apart = !prefill.is_empty() && self.roles.get(endpoint) == Some(&Role::Decode);
        let cached = matched.iter().find(|(id, _)| *id == endpoint).map_or(0, |(_, held)| *held);
        if !apart || !settings.pd.splits(prompt.tokens, cached * BLOCK_TOKENS) {
            return Some((endpoint, None));
        }
        Some((endpoint, prefill.pick(&settings.weights, matched, blocks, filter, rng)))
    }
}
