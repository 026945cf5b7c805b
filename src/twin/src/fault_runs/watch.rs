//! A planner under watch: what it saw, what it did, and which rules that broke.

use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::fleet::World;
use forebay_core::ids::{FleetId, VariantId};
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner, ScaleTarget};
use forebay_core::time::{Span, Time};

/// A page older than this is stale: four scrapes, one more than a policy may allow itself.
const STALE: Span = Span::from_secs(60);
/// Violations kept of one run; one is enough to fail it.
const VIOLATIONS_MAX: usize = 16;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// When.
    pub at: Time,
    /// Which rule.
    pub broken: Broken,
    /// What was asked for, and why by its own words.
    pub what: String,
}

/// Rules that no fault excuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// Ready capacity was removed although a page is missing or stale.
    RemovedBlind,
    /// Ready capacity was removed although a page says NaN.
    RemovedOnNan,
    /// More or fewer replicas than the variant's bounds.
    Bounds,
    /// More accelerators of a class than its quota, and more than before.
    Quota,
    /// A limit of the fleet on cost or accelerators, and more than before.
    Limit,
    /// A decision without a reason, or without the record that others come with.
    Unexplained,
    /// It gave up.
    GaveUp,
}

/// What was watched.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) changes: u64,
    pub(super) violations: Vec<Violation>,
}

/// The planner, watched.
pub(super) struct Watched {
    planner: Box<dyn Planner + Send>,
    log: Arc<Mutex<Log>>,
    /// The last view, for decisions that come without one.
    world: Option<World>,
    targets: Vec<ScaleTarget>,
    /// What was missing at the last view, by fleet.
    missing: Vec<Option<Broken>>,
    /// It writes records of its decisions: then no change may be without one.
    explains: bool,
}

impl Watched {
    pub(super) fn new(planner: Box<dyn Planner + Send>, log: Arc<Mutex<Log>>) -> Self {
        Self {
            planner,
            log,
            world: None,
            targets: Vec::new(),
            missing: Vec::new(),
            explains: false,
        }
    }

    fn look(&mut self, now: Time, view: &FleetView<'_>) {
        if self.world.is_none() {
            self.world = Some(view.world.clone());
        }
        self.targets = view.targets.to_vec();
        let fleets = 0..view.world.fleets.len();
        self.missing = fleets.map(|fleet| missing(view, FleetId(fleet as u16), now)).collect();
    }

    fn check(&mut self, now: Time, effects: &[PlanEffect]) {
        let Some(world) = self.world.take() else { return };
        let before: Vec<u32> = self.targets.iter().map(|target| target.replicas_desired).collect();
        let mut after = before.clone();
        let mut found = Vec::new();
        let mut explained = Vec::new();
        for effect in effects {
            match effect {
                PlanEffect::Scale { variant, replicas, reason } => {
                    after[variant.index()] = *replicas;
                    let name = &world.variants[variant.index()].name;
                    let what =
                        format!("{} to {replicas} {name}: {reason}", before[variant.index()]);
                    for broken in self.broken_by(&world, *variant, *replicas, reason) {
                        found.push(Violation { at: now, broken, what: what.clone() });
                    }
                }
                PlanEffect::Abort { what } => {
                    found.push(Violation { at: now, broken: Broken::GaveUp, what: what.clone() });
                }
                PlanEffect::Decided(record) => {
                    self.explains = true;
                    let whole = !record.binding.trim().is_empty() && !record.variants.is_empty();
                    explained.extend(whole.then_some(record.fleet.as_str()));
                }
                PlanEffect::Roll(_) => {}
            }
        }
        let changed = after.iter().zip(&before).enumerate().filter(|(_, (is, was))| is != was);
        for (index, _) in changed.filter(|_| self.explains) {
            let fleet = &world.fleets[world.variants[index].fleet.index()].name;
            if !explained.contains(&fleet.as_str()) {
                let what = format!("a change of {fleet} without a record");
                found.push(Violation { at: now, broken: Broken::Unexplained, what });
            }
        }
        found.extend(together(&world, &before, &after).map(|(broken, what)| Violation {
            at: now,
            broken,
            what,
        }));
        for (target, replicas) in self.targets.iter_mut().zip(&after) {
            target.replicas_desired = *replicas;
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.changes +=
            before.iter().zip(&after).filter(|(before, after)| before != after).count() as u64;
        let room = VIOLATIONS_MAX.saturating_sub(log.violations.len());
        log.violations.extend(found.into_iter().take(room));
        self.world = Some(world);
    }

    /// What one order breaks by itself.
    fn broken_by(
        &self,
        world: &World,
        variant: VariantId,
        replicas: u32,
        reason: &str,
    ) -> Vec<Broken> {
        let entry = &world.variants[variant.index()];
        let target = &self.targets[variant.index()];
        let mut broken = Vec::new();
        if reason.trim().is_empty() {
            broken.push(Broken::Unexplained);
        }
        if !(entry.replicas_min..=entry.replicas_max).contains(&replicas) {
            broken.push(Broken::Bounds);
        }
        // Replicas that are not ready may be given up at any time: nobody is served by them.
        let ready = target.endpoints_ready.len() as u32;
        if replicas < target.replicas_desired && replicas < ready {
            broken.extend(self.missing[entry.fleet.index()]);
        }
        broken
    }
}

impl Planner for Watched {
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        if let PlanEvent::Due(view) = event {
            self.look(now, view);
        }
        let begin = effects.len();
        self.planner.step(now, event, effects);
        self.check(now, &effects[begin..]);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.planner.next_deadline()
    }
}

/// What of a fleet cannot be seen.
fn missing(view: &FleetView<'_>, fleet: FleetId, now: Time) -> Option<Broken> {
    let fresh = |at: Time| now.since(at) <= STALE;
    if !view.metrics.router(fleet, now).is_some_and(|page| fresh(page.at)) {
        return Some(Broken::RemovedBlind);
    }
    let mut nan = None;
    for (variant, _) in view.world.variants_of(fleet) {
        for endpoint in &view.targets[variant.index()].endpoints_ready {
            let mut pages = view.metrics.engines(variant, now);
            let Some((_, page)) = pages.find(|(id, page)| id == endpoint && fresh(page.at)) else {
                return Some(Broken::RemovedBlind);
            };
            if page.value.running.is_nan() {
                nan = Some(Broken::RemovedOnNan);
            }
        }
    }
    nan
}

/// What all orders together break that was not broken before.
fn together<'a>(
    world: &'a World,
    before: &'a [u32],
    after: &'a [u32],
) -> impl Iterator<Item = (Broken, String)> + 'a {
    let held = |replicas: &[u32], class: usize| -> u32 {
        let variants = world.variants.iter().zip(replicas);
        variants
            .filter(|(variant, _)| variant.accelerator.index() == class)
            .map(|(variant, replicas)| variant.accelerators_per_replica * replicas)
            .sum()
    };
    let quotas = world.accelerators.iter().enumerate().filter_map(move |(class, entry)| {
        let (was, is) = (held(before, class), held(after, class));
        let over = entry.quota.is_some_and(|quota| is > quota) && is > was;
        over.then(|| (Broken::Quota, format!("{is} {} of {:?}", entry.name, entry.quota)))
    });
    let limits = world.fleets.iter().filter_map(move |fleet| {
        let cost = |replicas: &[u32]| -> f64 {
            let ids = fleet.variants.clone().map(VariantId);
            ids.map(|id| {
                let price = world.replica_price(id).map_or(f64::INFINITY, |price| price.0);
                if replicas[id.index()] == 0 {
                    0.0
                } else {
                    price * f64::from(replicas[id.index()])
                }
            })
            .sum()
        };
        let (was, is) = (cost(before), cost(after));
        let limit = fleet.rails.limits.cost_per_hour_max?.0;
        (is > limit && is > was).then(|| {
            (Broken::Limit, format!("${is:.2} an hour of {limit:.2}: {before:?} to {after:?}"))
        })
    });
    quotas.chain(limits)
}
