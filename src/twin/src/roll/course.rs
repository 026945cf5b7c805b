//! What all scenarios of one request have in common.

use std::sync::Arc;

use forebay_core::engine::work::WorkModel;
use forebay_core::engine::{Physics, Prefix};
use forebay_core::fleet::{CapacityType, Fleet, Role, Slo, World};
use forebay_core::ids::VariantId;
use forebay_core::plan::roll::{Candidate, RollRequest, VariantModel};
use forebay_core::time::{Picos, Span};

use super::lengths::LengthLaw;

/// Tokens of one piece of the common prefix that stands for cached prompts.
const PIECE_TOKENS_MIN: u32 = 128;
/// Pieces of it: longer prompts than these share no more.
const PIECES_MAX: usize = 512;
/// A smaller cached share is not simulated: it is less than the spread of lengths.
const CACHED_SHARE_MIN: f64 = 0.01;

/// What all scenarios of one request have in common.
pub(super) struct Course<'a> {
    pub(super) world: &'a World,
    pub(super) fleet: &'a Fleet,
    pub(super) request: &'a RollRequest,
    /// Variants of the fleet, in order.
    pub(super) variants: Vec<Known>,
    /// By tier.
    pub(super) tiers: Vec<TierMeans>,
    pub(super) prompts: LengthLaw,
    pub(super) outputs: LengthLaw,
    /// The strictest TPOT that anybody is promised.
    pub(super) tpot: Option<Picos>,
    /// Prefixes by the number of their pieces, and the tokens of a piece.
    prefixes: Vec<Arc<[u64]>>,
    piece_tokens: u32,
}

/// A variant, ready to be simulated.
pub(super) struct Known {
    pub(super) id: VariantId,
    pub(super) role: Role,
    pub(super) physics: Arc<Physics>,
    /// Adds to the time to first token.
    pub(super) overhead: Picos,
    /// Sequences that the batch holds of mean requests.
    pub(super) slots: f64,
    pub(super) bytes_per_token: f64,
    pub(super) drain_max: Span,
    /// Per replica and hour; `None` = unknown.
    pub(super) usd_per_hour: Option<f64>,
    pub(super) lead_s: f64,
    pub(super) lead_sigma: f64,
    /// Replica-seconds of a mean request of each tier; of the part that this role does.
    work_s: Vec<f64>,
}

/// What requests of one tier look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct TierMeans {
    pub(super) prompt_tokens: f64,
    pub(super) output_tokens: f64,
}

impl<'a> Course<'a> {
    pub(super) fn new(world: &'a World, request: &'a RollRequest) -> Self {
        let fleet = &world.fleets[request.fleet.index()];
        let record = &request.record;
        let tiers: Vec<TierMeans> = (0..world.tiers.len())
            .map(|tier| TierMeans {
                prompt_tokens: record.prompt_tokens_mean(tier).max(1.0),
                output_tokens: record.output_tokens_mean(tier).max(1.0),
            })
            .collect();
        let variants: Vec<Known> = world
            .variants_of(request.fleet)
            .map(|(id, _)| {
                let told = request.variants.iter().find(|model| model.variant == id);
                let model = told.cloned().unwrap_or_else(|| VariantModel::of(world, id));
                Known::new(world, &model, &tiers, record.cached_share)
            })
            .collect();
        let tpots = fleet.slos.iter().flatten().filter_map(|slo| match slo {
            Slo::Latency { tpot, .. } => Some(tpot.as_picos()),
            Slo::Completion { .. } => None,
        });
        let block = variants.iter().map(|variant| variant.physics.block_tokens()).max();
        let piece_tokens = block.unwrap_or(1).max(1);
        let pieces = PIECE_TOKENS_MIN.div_ceil(piece_tokens);
        let mut course = Self {
            world,
            fleet,
            request,
            tpot: tpots.min(),
            variants,
            tiers,
            prompts: LengthLaw::new(&record.prompt_tokens),
            outputs: LengthLaw::new(&record.output_tokens),
            prefixes: Vec::new(),
            piece_tokens: piece_tokens * pieces,
        };
        if record.cached_share >= CACHED_SHARE_MIN {
            course.prefixes = (0..=PIECES_MAX).map(|pieces| (0..pieces as u64).collect()).collect();
        }
        course
    }

    /// The part of a prompt that is found in every engine's cache: a prefix that all requests
    /// have in common, as long as the cached share says.
    pub(super) fn prefix(&self, prompt_tokens: u32) -> Option<Prefix> {
        let cached = f64::from(prompt_tokens) * self.request.record.cached_share;
        let pieces = (cached / f64::from(self.piece_tokens)).round() as usize;
        let ids = self.prefixes.get(pieces.min(self.prefixes.len().saturating_sub(1)))?;
        (pieces > 0).then(|| Prefix { ids: Arc::clone(ids), piece_tokens: self.piece_tokens })
    }

    /// Replica-seconds of a mean request of a tier on the first variant of each role.
    pub(super) fn work_s(&self, tier: usize) -> f64 {
        let first = |role: Role| self.variants.iter().find(|variant| variant.role == role);
        let whole = first(Role::Both).map(|variant| variant.work_s[tier]);
        whole.unwrap_or_else(|| {
            let parts = [Role::Prefill, Role::Decode];
            parts.into_iter().filter_map(first).map(|variant| variant.work_s[tier]).sum()
        })
    }

    /// Whether every variant of a plan has a price.
    pub(super) fn priced(&self, plan: &Candidate) -> bool {
        self.variants
            .iter()
            .all(|variant| variant.usd_per_hour.is_some() || plan.of(variant.id) == 0)
    }
}

impl Known {
    fn new(world: &World, model: &VariantModel, tiers: &[TierMeans], cached_share: f64) -> Self {
        let entry = &world.variants[model.variant.index()];
        let profile = &model.profile;
        let count = tiers.len().max(1) as f64;
        let prompt = tiers.iter().map(|tier| tier.prompt_tokens).sum::<f64>() / count;
        let output = tiers.iter().map(|tier| tier.output_tokens).sum::<f64>() / count;
        let work = WorkModel::new(profile, prompt, output);
        let cached = cached_share.clamp(0.0, 1.0);
        let of_tier = |tier: &TierMeans| {
            let found = tier.prompt_tokens * cached;
            let prefill = work.prefill_s(tier.prompt_tokens - found, found);
            let decode = work.decode_s(tier.prompt_tokens, tier.output_tokens);
            match entry.role {
                Role::Both => prefill + decode,
                Role::Prefill => prefill,
                Role::Decode => decode,
            }
        };
        Self {
            id: model.variant,
            role: entry.role,
            physics: Physics::new(profile, &profile.limits),
            overhead: Span::from_seconds(profile.request_overhead_ms / 1e3).as_picos(),
            slots: work.operating_batch(),
            bytes_per_token: profile.kv.bytes_per_token as f64,
            drain_max: entry.drain_max,
            // What is committed is paid for in any case.
            usd_per_hour: if entry.capacity_type == CapacityType::Committed {
                Some(0.0)
            } else {
                world.replica_price(model.variant).map(|price| price.0)
            },
            lead_s: model.lead.as_seconds(),
            lead_sigma: model.lead_sigma.max(0.0),
            work_s: tiers.iter().map(of_tier).collect(),
        }
    }
}
