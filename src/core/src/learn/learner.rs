//! Everything that is learned about a world, fed one view at a time.

use std::collections::BTreeMap;

use super::lengths::{Finished, LengthsEstimate, LengthsLearner, Tells, TierLengthsLearner};
use super::physics::PhysicsLearner;
use super::quarantine::Quarantine;
use super::start_up::{StartUpEstimate, StartUpLearner};
use super::steps::{LeftOut, StepWindow, WINDOW_MAX};
use crate::demand::{Moments, Workload};
use crate::engine::profile::EngineProfile;
use crate::fleet::{Role, Variant, World};
use crate::ids::{EndpointId, FleetId, TierId, VariantId};
use crate::observe::{Aged, EngineSample, RouterTierSample};
use crate::plan::FleetView;
use crate::time::{Span, Time};

/// Shortest window that is learned from: Prometheus's usual interval, less what a scrape may be
/// early. Faster scrapes are joined.
const WINDOW_MIN: Span = Span::from_millis(14_500);
/// Endpoints followed at most; more are not learned from.
const ENDPOINTS_MAX: usize = 10_000;
/// Revisions remembered per variant besides the present one, so that a roll-back finds what was
/// learned of it.
pub(super) const REVISIONS_KEPT: usize = 2;
/// An endpoint that showed no page for so long is forgotten.
const ENDPOINT_FORGOTTEN: Span = Span::from_secs(900);

/// Identity of what makes a workload's engines behave as they do: its profile and limits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a variant: the same for the same profile, limits and role.
    #[must_use]
    pub fn of(variant: &Variant) -> Self {
        // FNV-1a over the manifest's form; where the figures come from makes no other engine.
        let profile = &variant.profile;
        let step = serde_json::to_vec(&profile.step_time).unwrap_or_default();
        let kv = serde_json::to_vec(&profile.kv).unwrap_or_default();
        let limits = serde_json::to_vec(&profile.limits).unwrap_or_default();
        let names = [
            profile.name.as_bytes(),
            profile.model.as_bytes(),
            profile.engine.as_bytes(),
            variant.role.name().as_bytes(),
        ];
        let bytes = names.into_iter().chain([&step[..], &kv[..], &limits[..]]).flatten();
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash)
    }
}

/// What is learned about one variant.
#[derive(Clone, Debug)]
pub struct LearnedVariant {
    pub(super) revision: Revision,
    pub(super) physics: PhysicsLearner,
    /// Physics of other revisions, the latest first.
    pub(super) others: Vec<(Revision, PhysicsLearner)>,
    pub(super) start_up: StartUpLearner,
    pub(super) lengths: LengthsLearner,
    pub(super) left_out: BTreeMap<LeftOut, u64>,
    pub(super) learned_at: Option<Time>,
    profile: EngineProfile,
}

impl LearnedVariant {
    fn new(world: &World, variant: &Variant) -> Self {
        let class = &world.accelerators[variant.accelerator.index()];
        Self {
            revision: Revision::of(variant),
            physics: PhysicsLearner::default(),
            others: Vec::new(),
            start_up: StartUpLearner::new(&variant.start_up, class.node_provisioning),
            lengths: LengthsLearner::default(),
            left_out: BTreeMap::new(),
            learned_at: None,
            profile: variant.profile.clone(),
        }
    }

    /// The profile in force: the manifest's with the learned multipliers, where learning beats it.
    #[must_use]
    pub const fn profile(&self) -> &EngineProfile {
        &self.profile
    }

    /// Step-time physics of the present revision.
    #[must_use]
    pub const fn physics(&self) -> &PhysicsLearner {
        &self.physics
    }

    /// The present revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Start-up time.
    #[must_use]
    pub fn start_up(&self) -> StartUpEstimate {
        self.start_up.estimate()
    }

    /// Lengths and cached share of what this variant served.
    #[must_use]
    pub fn lengths(&self) -> LengthsEstimate {
        self.lengths.estimate()
    }

    /// Windows that were not learned from, by reason.
    #[must_use]
    pub const fn left_out(&self) -> &BTreeMap<LeftOut, u64> {
        &self.left_out
    }

    /// When the physics last moved.
    #[must_use]
    pub const fn learned_at(&self) -> Option<Time> {
        self.learned_at
    }

    /// Takes up the variant's present manifest; another revision is learned apart.
    pub(super) fn follow(&mut self, variant: &Variant) {
        let revision = Revision::of(variant);
        if revision != self.revision {
            let known = self.others.iter().position(|(other, _)| *other == revision);
            let next = known.map_or_else(PhysicsLearner::default, |at| self.others.remove(at).1);
            let last = std::mem::replace(&mut self.physics, next);
            self.others.insert(0, (self.revision, last));
            self.others.truncate(REVISIONS_KEPT);
            self.revision = revision;
        }
        self.profile = self.physics.profile(&variant.profile);
    }

    fn leave_out(&mut self, reason: LeftOut) {
        *self.left_out.entry(reason).or_default() += 1;
    }
}

/// What is learned about one fleet.
#[derive(Clone, Debug, Default)]
pub(super) struct LearnedFleet {
    pub(super) lengths: LengthsLearner,
    /// By [`TierId`].
    pub(super) tiers: Vec<TierLengthsLearner>,
    router: Option<(Time, Vec<RouterTierSample>)>,
}

/// One replica that is followed.
#[derive(Clone, Copy, Debug)]
struct Followed {
    variant: VariantId,
    /// The page that the next window begins with.
    since: Option<Time>,
    read_at: Time,
    quarantine: Quarantine,
}

/// Learns a world from views of it.
#[derive(Clone, Debug)]
pub struct Learner {
    pub(super) variants: Vec<LearnedVariant>,
    pub(super) fleets: Vec<LearnedFleet>,
    endpoints: BTreeMap<EndpointId, Followed>,
}

impl Learner {
    /// A learner that knows the manifests only.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let tiers = vec![TierLengthsLearner::default(); world.tiers.len()];
        let fleet = LearnedFleet { tiers, ..LearnedFleet::default() };
        Self {
            variants: world.variants.iter().map(|it| LearnedVariant::new(world, it)).collect(),
            fleets: vec![fleet; world.fleets.len()],
            endpoints: BTreeMap::new(),
        }
    }

    /// What is learned about a variant.
    #[must_use]
    pub fn variant(&self, variant: VariantId) -> &LearnedVariant {
        &self.variants[variant.index()]
    }

    /// The profile in force of a variant.
    #[must_use]
    pub fn profile(&self, variant: VariantId) -> &EngineProfile {
        self.variant(variant).profile()
    }

    /// Lengths and cached share over a fleet.
    #[must_use]
    pub fn lengths(&self, fleet: FleetId) -> LengthsEstimate {
        self.fleets[fleet.index()].lengths.estimate()
    }

    /// Lengths of one tier of a fleet, where the router tells them.
    #[must_use]
    pub fn tier_lengths(&self, fleet: FleetId, tier: TierId) -> LengthsEstimate {
        self.fleets[fleet.index()]
            .tiers
            .get(tier.index())
            .map(TierLengthsLearner::estimate)
            .unwrap_or_default()
    }

    /// What requests of a tier look like: its own lengths where the router tells them, else the
    /// fleet's. `None` while nobody saw enough. A cached share that nobody saw is 0: the safe side
    /// for sizing. `dispersion` is the arrivals' (see [`Workload`]).
    #[must_use]
    pub fn workload(&self, fleet: FleetId, tier: TierId, dispersion: f64) -> Option<Workload> {
        let (own, all) = (self.tier_lengths(fleet, tier), self.lengths(fleet));
        let moments = |estimate: super::lengths::LengthEstimate| -> Moments { estimate.moments };
        Some(Workload {
            prompt_tokens: own.prompt_tokens.or(all.prompt_tokens).map(moments)?,
            output_tokens: own.output_tokens.or(all.output_tokens).map(moments)?,
            cached_share: all.cached_share.map_or(0.0, |share| share.value),
            dispersion,
        })
    }

    /// Learns from what is new in a view. Costs time by endpoints and scrapes since the last view.
    pub fn observe(&mut self, now: Time, view: &FleetView<'_>) {
        for (index, entry) in view.world.variants.iter().enumerate() {
            let Some(learned) = self.variants.get_mut(index) else { continue };
            learned.follow(entry);
            if let Some(target) = view.targets.get(index) {
                learned.start_up.observe(now, target);
            }
            self.observe_engines(now, view, VariantId(index as u16), entry);
            let learned = &mut self.variants[index];
            learned.profile = learned.physics.profile(&entry.profile);
        }
        for fleet in 0..self.fleets.len() {
            self.observe_router(now, view, FleetId(fleet as u16));
        }
        self.endpoints.retain(|_, followed| now.since(followed.read_at) < ENDPOINT_FORGOTTEN);
    }

    fn observe_engines(
        &mut self,
        now: Time,
        view: &FleetView<'_>,
        variant: VariantId,
        entry: &Variant,
    ) {
        for (endpoint, newest) in view.metrics.engines(variant, now) {
            if self.endpoints.len() >= ENDPOINTS_MAX && !self.endpoints.contains_key(&endpoint) {
                continue;
            }
            let followed = self.endpoints.entry(endpoint).or_insert(Followed {
                variant,
                since: None,
                read_at: newest.at,
                quarantine: Quarantine::default(),
            });
            if followed.variant != variant {
                // The address went to another workload.
                *followed = Followed {
                    variant,
                    since: None,
                    read_at: newest.at,
                    quarantine: Quarantine::default(),
                };
            }
            let span = followed.since.map_or(WINDOW_MAX, |since| Span(now.since(since).0 + 1));
            let learned = &mut self.variants[variant.index()];
            let lengths = &mut self.fleets[entry.fleet.index()].lengths;
            let mut base: Option<Aged<&EngineSample>> = None;
            for page in view.metrics.engine_scrapes(endpoint, now, span) {
                let Some(first) = base else {
                    base = Some(page);
                    if followed.since.is_none() {
                        followed.quarantine.passed(page.at, page.value);
                    }
                    continue;
                };
                if page.at > first.at && page.at.since(first.at) < WINDOW_MIN {
                    continue;
                }
                if page.at <= first.at {
                    learned.leave_out(LeftOut::ClockSkew);
                    continue;
                }
                base = Some(page);
                let ready = followed.quarantine.passed(page.at, page.value);
                let restarted = learn_window(learned, lengths, entry, first, page, ready);
                if restarted {
                    followed.quarantine = Quarantine::default();
                }
            }
            followed.since = base.map(|page| page.at).or(followed.since);
            followed.read_at = newest.at;
        }
    }

    fn observe_router(&mut self, now: Time, view: &FleetView<'_>, fleet: FleetId) {
        let learned = &mut self.fleets[fleet.index()];
        let Some(page) = view.metrics.router(fleet, now) else { return };
        let all = learned.lengths.estimate();
        let variation = [all.prompt_tokens, all.output_tokens]
            .map(|length| length.map_or(1.0, |length| length.moments.variation_squared()));
        match &learned.router {
            Some((before, _)) if page.at.since(*before) < WINDOW_MIN => return,
            Some((_, tiers)) => {
                let pairs = tiers.iter().zip(&page.value.tiers);
                for (learned, (first, last)) in learned.tiers.iter_mut().zip(pairs) {
                    learned.observe(first, last, variation);
                }
            }
            None => {}
        }
        learned.router = Some((page.at, page.value.tiers.clone()));
    }
}

/// Learns from one window of one replica. Returns whether the replica restarted in it.
fn learn_window(
    learned: &mut LearnedVariant,
    fleet_lengths: &mut LengthsLearner,
    entry: &Variant,
    first: Aged<&EngineSample>,
    last: Aged<&EngineSample>,
    ready: bool,
) -> bool {
    let tells = Tells { prompts: entry.role != Role::Decode, outputs: entry.role != Role::Prefill };
    if let Ok(finished) = Finished::between(first.value, last.value) {
        learned.lengths.observe(&finished, tells);
        fleet_lengths.observe(&finished, tells);
    }
    let outcome = StepWindow::between(first, last, &entry.profile.limits, entry.role)
        .and_then(|window| if ready { Ok(window) } else { Err(LeftOut::WarmingUp) })
        .and_then(|window| learned.physics.observe(&entry.profile, &window));
    match outcome {
        Ok(()) => {
            learned.learned_at = Some(last.at);
            false
        }
        Err(reason) => {
            learned.leave_out(reason);
            reason == LeftOut::CounterReset
        }
    }
}
