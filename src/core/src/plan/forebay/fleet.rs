//! One fleet's demand through the planner's eyes: what arrives, what is coming at each variant's
//! lead time, how safely, and what may wait.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::needs::{Asked, roles};
use super::settings::Settings;
use super::work;
use crate::demand::{
    Ahead, Backlog, Budget, FleetDemand, Forecaster, Judged, Observer, Pace, TierLoad, deferral,
    judge,
};
use crate::engine::profile::EngineProfile;
use crate::fleet::{Role, Slo, World};
use crate::ids::{FleetId, TierId, VariantId};
use crate::observe::{Aged, RouterSample};
use crate::plan::FleetView;
use crate::plan::evidence::{Attainment, FleetEvidence, Missing, PredictionError};
use crate::time::{Span, Time};

/// How long demand is only read before it is forecast from: rates want a full window, lengths some
/// finished requests, and a rise out of nothing would be remembered for hours.
const WARM_UP: Span = Span::from_secs(120);
/// Over how long the breaker sees attainment.
const RECENT: Span = Span::from_secs(300);
/// Pages of that span, at the shortest sensible interval of 5 s.
const RECENT_MAX: usize = 60;

/// What is remembered of one fleet's demand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FleetState {
    fleet: FleetId,
    observer: Observer,
    /// By role: busy replicas of the role's first variant, urgent work only.
    forecasters: BTreeMap<String, Forecaster>,
    /// By tier; `None` where nothing is promised.
    pub(super) budgets: Vec<Option<Budget>>,
    /// By tier, those that can wait.
    backlogs: BTreeMap<u8, Backlog>,
    /// The urgent load last seen, with which a forecast is filled when nothing arrives now.
    mix: Vec<(TierId, TierLoad)>,
    /// By role: busy replicas of that load.
    mix_busy: BTreeMap<String, f64>,
    observed_at: Option<Time>,
    /// When demand was first seen.
    seen_since: Option<Time>,
    /// What was judged lately, by tier.
    #[serde(skip)]
    recent: VecDeque<(Time, Vec<Option<Judged>>)>,
    /// The router's page that was judged last; a restart judges from its first page.
    #[serde(skip)]
    judged: Option<Aged<RouterSample>>,
}

/// A fleet's demand, read and looked ahead of.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) demand: FleetDemand,
    /// Tiers that cannot wait, as they arrive now.
    pub(super) urgent: Vec<(TierId, TierLoad)>,
    /// By role: busy replicas now.
    pub(super) busy: BTreeMap<Role, f64>,
    /// Quantile of the upper end.
    pub(super) quantile: f64,
    deferred: Vec<(TierId, TierLoad)>,
}

impl Sight {
    /// Tiers that can wait, as they arrive now.
    pub(super) fn deferred(&self) -> impl Iterator<Item = &(TierId, TierLoad)> {
        self.deferred.iter()
    }
}

impl FleetState {
    pub(super) fn new(world: &World, fleet: FleetId, settings: &Settings) -> Self {
        let slos = &world.fleets[fleet.index()].slos;
        let budgets = slos.iter().map(|slo| slo.map(|slo| Budget::new(slo.percentile())));
        let deferrable = slos.iter().enumerate().filter_map(|(tier, slo)| {
            let waits = settings.tiered && world.tiers[tier].deferrable;
            match slo {
                Some(Slo::Completion { within, .. }) if waits => {
                    Some((tier as u8, Backlog::new(*within)))
                }
                _ => None,
            }
        });
        let forecasters = roles(world, fleet)
            .into_iter()
            .map(|role| (role.name().to_owned(), Forecaster::new(settings.interval)));
        Self {
            fleet,
            observer: Observer::new(fleet, settings.rate_window),
            forecasters: forecasters.collect(),
            budgets: budgets.collect(),
            backlogs: deferrable.collect(),
            mix: Vec::new(),
            mix_busy: BTreeMap::new(),
            observed_at: None,
            seen_since: None,
            recent: VecDeque::new(),
            judged: None,
        }
    }

    /// Reads the demand; `None` when nobody can tell.
    pub(super) fn observe<'p>(
        &mut self,
        now: Time,
        view: &FleetView<'_>,
        profile: &dyn Fn(VariantId) -> &'p EngineProfile,
        settings: &Settings,
        frozen: bool,
    ) -> Option<Sight> {
        self.judge(now, view, frozen);
        let demand = self.observer.observe(view, now)?;
        let urgent = self.urgent(&demand);
        self.defer(now, &demand);
        let mut busy = BTreeMap::new();
        for role in roles(view.world, self.fleet) {
            let first = view.world.variants_of(self.fleet).find(|(_, v)| v.role == role);
            let Some((id, _)) = first else { continue };
            let profile = profile(id);
            let sum: f64 = urgent.iter().map(|(_, load)| work::busy(profile, role, load)).sum();
            let since = *self.seen_since.get_or_insert(now);
            if let Some(forecaster) = self.forecasters.get_mut(role.name())
                && now.since(since) >= WARM_UP
            {
                forecaster.observe(now, sum);
            }
            busy.insert(role, sum);
        }
        if busy.values().any(|&sum| sum > 0.0) {
            self.mix.clone_from(&urgent);
            self.mix_busy = busy.iter().map(|(role, sum)| (role.name().to_owned(), *sum)).collect();
        }
        let deferred = self.deferred(&demand);
        let level = self.level(&urgent, settings);
        let quantile = crate::demand::budget::normal_cdf(level);
        self.observed_at = Some(now);
        Some(Sight { demand, urgent, busy, quantile, deferred })
    }

    /// What a variant has to meet at its lead time, with the forecast behind it.
    pub(super) fn asked(
        &self,
        now: Time,
        sight: &Sight,
        role: Role,
        lead: Span,
        settings: &Settings,
    ) -> (Asked, Option<Ahead>) {
        let forecaster = self.forecasters.get(role.name());
        let ahead = forecaster.and_then(|f| f.ahead(now, lead, sight.quantile));
        let busy = sight.busy.get(&role).copied().unwrap_or(0.0);
        // Nothing arrives now, but may: it will look like what came last.
        let base = self.mix_busy.get(role.name()).copied().unwrap_or(0.0);
        let loads = &self.mix;
        let scaled = |to: f64| -> Vec<(TierId, TierLoad)> {
            let factor = if base > 0.0 { to / base } else { 0.0 };
            let scale = |(tier, load): &(TierId, TierLoad)| {
                (*tier, TierLoad { requests_per_s: load.requests_per_s * factor, ..*load })
            };
            loads.iter().map(scale).collect()
        };
        let high = ahead.map_or(busy, |ahead| ahead.high.max(busy));
        let point = ahead.map_or(busy, |ahead| ahead.point);
        let deferred = self.due(now, sight, lead, settings);
        let waiting = self.waiting(sight);
        (Asked { urgent: scaled(high), expected: scaled(point), deferred, waiting }, ahead)
    }

    fn urgent(&self, demand: &FleetDemand) -> Vec<(TierId, TierLoad)> {
        let tiers = demand.tiers.iter().enumerate().filter_map(|(tier, load)| {
            let waits = self.backlogs.contains_key(&(tier as u8));
            load.filter(|_| !waits).map(|load| (TierId(tier as u8), load))
        });
        tiers.filter(|(_, load)| load.workload.prompt_tokens.mean > 0.0).collect()
    }

    fn deferred(&self, demand: &FleetDemand) -> Vec<(TierId, TierLoad)> {
        let tiers = self.backlogs.keys().filter_map(|&tier| {
            demand.tiers.get(usize::from(tier)).copied().flatten().map(|load| (TierId(tier), load))
        });
        tiers.filter(|(_, load)| load.workload.prompt_tokens.mean > 0.0).collect()
    }

    /// Keeps the record of what can wait: what came since the last time, and what still waits.
    fn defer(&mut self, now: Time, demand: &FleetDemand) {
        let passed = self.observed_at.map_or(0.0, |last| now.since(last).as_seconds());
        for (&tier, backlog) in &mut self.backlogs {
            let load = demand.tiers.get(usize::from(tier)).copied().flatten();
            let arrived = load.map_or(0.0, |load| load.requests_per_s * passed);
            let queued = demand.queued.get(usize::from(tier)).copied().flatten();
            if let Some(queued) = queued {
                backlog.observe(now, arrived, queued.requests);
            }
        }
    }

    /// Deferred work at the rate at which its deadlines want it served.
    fn due(
        &self,
        now: Time,
        sight: &Sight,
        lead: Span,
        settings: &Settings,
    ) -> Vec<(TierId, TierLoad)> {
        let due = sight.deferred.iter().map(|(tier, load)| {
            let due = self.backlogs.get(&tier.0).map(|b| b.due(1.0)).unwrap_or_default();
            let rate = deferral::rate_needed(now, &due, lead, settings.margin);
            (*tier, TierLoad { requests_per_s: rate, ..*load })
        });
        due.collect()
    }

    /// Urgent requests that wait: at the gate, and in engines beyond one prompt each.
    fn waiting(&self, sight: &Sight) -> f64 {
        let queued = sight.demand.queued.iter().enumerate().filter_map(|(tier, queued)| {
            (!self.backlogs.contains_key(&(tier as u8))).then_some(queued.as_ref()?.requests)
        });
        queued.sum::<f64>() + sight.demand.engines_waiting.unwrap_or(0.0)
    }

    /// The level of the tier that needs the most safety.
    fn level(&self, urgent: &[(TierId, TierLoad)], settings: &Settings) -> f64 {
        if !settings.miss_budget {
            return settings.level;
        }
        let budgets =
            urgent.iter().filter_map(|(tier, _)| self.budgets.get(tier.index())?.as_ref());
        let offset = settings.level - crate::demand::budget::LEVEL_START;
        budgets.map(|budget| budget.level() + offset).reduce(f64::max).unwrap_or(settings.level)
    }

    /// What guard and rails judge this fleet by.
    pub(super) fn evidence(
        &self,
        missing: Option<Missing>,
        sight: Option<&Sight>,
        prediction_error: Option<PredictionError>,
    ) -> FleetEvidence {
        let attainment = (0..self.budgets.len()).map(|tier| self.attainment(tier)).collect();
        let missing = missing.or_else(|| sight.is_none().then_some(Missing::Demand));
        FleetEvidence { missing, attainment, prediction_error }
    }

    /// How a tier fared over the last few minutes; `None` = nothing was judged.
    pub(super) fn attainment(&self, tier: usize) -> Option<Attainment> {
        let judged = self.recent.iter().filter_map(|(_, tiers)| tiers.get(tier)?.as_ref());
        let sum = judged.fold(Judged::default(), |mut sum, judged| {
            sum.add(judged);
            sum
        });
        let share = 1.0 - sum.missed / sum.requests;
        (sum.requests > 0.0).then_some(Attainment { share, requests: sum.requests })
    }

    /// Brings the miss budgets up to date.
    fn judge(&mut self, now: Time, view: &FleetView<'_>, frozen: bool) {
        let page = view.metrics.router(self.fleet, now);
        let Some(page) = page.filter(|p| self.judged.as_ref().is_none_or(|j| j.at < p.at)) else {
            return;
        };
        let slos = &view.world.fleets[self.fleet.index()].slos;
        let pace = Pace::read(view, self.fleet, now);
        let mut tiers = Vec::with_capacity(slos.len());
        for (tier, (budget, slo)) in self.budgets.iter_mut().zip(slos).enumerate() {
            let then = self.judged.as_ref().and_then(|last| last.value.tiers.get(tier));
            let pages = then.zip(page.value.tiers.get(tier));
            let judged = slo
                .as_ref()
                .zip(pages)
                .and_then(|(slo, (then, now))| judge(then, now, slo, pace.as_ref()));
            if let Some(budget) = budget {
                budget.observe(now, judged.as_ref(), frozen);
            }
            tiers.push(judged);
        }
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) >= RECENT)
            || self.recent.len() >= RECENT_MAX
        {
            self.recent.pop_front();
        }
        self.recent.push_back((now, tiers));
        self.judged = Some(Aged { at: page.at, value: page.value.clone() });
    }
}
