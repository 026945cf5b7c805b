//! What no decision leaves, applied last and in one order.
//!
//! 1. **Paused**: everything stays as it is; no other rule is asked.
//! 2. **What must not go** stays: on missing data, while a schedule lets nothing go.
//! 3. **What must be there** is added: what the breaker gives back and keeps, minimums of schedules,
//!    the fewest and the most of the variant. What came beyond that since, for a burst, may go.
//! 4. **Speed**: replicas removed, then replicas added in ten minutes.
//! 5. **Limits**: price unknown, accelerators, cost. They cut growth first; what is held goes only
//!    as far as 2 and 4 allow.
//! 6. **Advice only** where predictions are far off.
//!
//! Each later rule only takes back what an earlier one added or keeps what an earlier one let go,
//! so none undoes another: a plan within the limits never grows beyond them, and one beyond them
//! (because a limit was lowered) shrinks as fast as it may. The fewest of a variant go before
//! every limit: a person wrote them, and the driver keeps to them.

mod breaker;
mod ledger;
mod limits;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::breaker::Breaker;
use self::ledger::Ledger;
use super::FleetView;
use super::evidence::{Evidence, FleetEvidence, Missing};
use super::verdict::{Draft, Rule, Verdict};
use crate::fleet::{Fleet, Moment};
use crate::ids::{FleetId, VariantId};
use crate::time::{Span, Time, WallTime};

/// Span over which replicas added and removed are counted.
pub(super) const RATE_WINDOW: Span = Span::from_secs(600);

/// What may be tuned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RailSettings {
    /// A scale-in may trip the breaker for this long: until what it did shows in a window of
    /// attainment.
    pub breaker_watch: Span,
    /// How long the breaker holds.
    pub breaker_hold: Span,
    /// The breaker trips where attainment is this far below what was promised, beyond chance.
    pub breaker_drop: f64,
    /// Fewer requests than this say nothing of attainment.
    pub breaker_requests_min: f64,
    /// Mean relative error of predictions up to which they are trusted; they are trusted again
    /// below half of it.
    pub error_band: f64,
    /// Fewer predictions than this say nothing of their error.
    pub error_samples_min: u32,
}

impl Default for RailSettings {
    fn default() -> Self {
        Self {
            breaker_watch: Span::from_secs(900),
            breaker_hold: Span::from_secs(1_800),
            breaker_drop: 0.02,
            breaker_requests_min: 100.0,
            error_band: 0.5,
            error_samples_min: 20,
        }
    }
}

/// How far we may go with a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Standing {
    /// As far as its mode says.
    Normal,
    /// No further than advice: condition `Degraded`.
    Degraded {
        /// Mean relative error of predictions.
        error: f64,
        /// The most that is trusted.
        band: f64,
    },
}

/// The rails of all fleets. They remember how fast we went and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rails {
    settings: RailSettings,
    /// By [`FleetId`].
    fleets: Vec<FleetState>,
}

/// What is remembered of one fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct FleetState {
    ledger: Ledger,
    breaker: Breaker,
    /// The last mean error of predictions, while it is too large to act on them.
    degraded: Option<f64>,
}

/// One fleet being railed.
struct Context<'a> {
    now: Time,
    wall: WallTime,
    fleet: &'a Fleet,
    view: &'a FleetView<'a>,
    leads: &'a [Span],
    /// What must not go and why; `None` = what is held may go.
    frozen: Option<Rule>,
}

impl Context<'_> {
    fn variants(&self) -> impl Iterator<Item = VariantId> + use<> {
        self.fleet.variants.clone().map(VariantId)
    }

    fn desired(&self, variant: VariantId) -> u32 {
        self.view.targets[variant.index()].replicas_desired
    }

    fn fewest(&self, variant: VariantId) -> u32 {
        self.view.world.variants[variant.index()].replicas_min
    }
}

impl Rails {
    /// Rails that have seen nothing yet.
    #[must_use]
    pub const fn new(settings: RailSettings) -> Self {
        Self { settings, fleets: Vec::new() }
    }

    /// Keeps `replicas` (by [`VariantId`]) within the rails of every fleet. Each change comes with
    /// its verdict. How far we may go, by [`FleetId`].
    pub fn apply(
        &mut self,
        now: Time,
        view: &FleetView<'_>,
        replicas: &mut [u32],
        evidence: &Evidence<'_>,
        verdicts: &mut Vec<Verdict>,
    ) -> Vec<Standing> {
        self.fleets.resize_with(view.world.fleets.len(), FleetState::default);
        let unknown = FleetEvidence { missing: Some(Missing::Demand), ..FleetEvidence::default() };
        let mut standings = Vec::with_capacity(self.fleets.len());
        for (index, (fleet, state)) in view.world.fleets.iter().zip(&mut self.fleets).enumerate() {
            let known = evidence.fleets.get(index).unwrap_or(&unknown);
            let mut draft = Draft { fleet: FleetId(index as u16), replicas, verdicts };
            let mut context = Context {
                now,
                wall: view.origin.plus(now),
                fleet,
                view,
                leads: evidence.leads,
                frozen: None,
            };
            state.breaker.look(now, fleet, known, &self.settings);
            if !paused(&context, &mut draft) {
                context.frozen = frozen(&context, known);
                keep(&context, &mut draft);
                add(&context, state, &mut draft);
                limits::speed(&context, &mut state.ledger, &mut draft);
                limits::limits(&context, &mut state.ledger, &mut draft);
            }
            standings.push(standing(state, known, &self.settings, &mut draft));
        }
        standings
    }

    /// Tells the rails what is now being written to the scale targets, by [`VariantId`]. Not to be
    /// called while we only advise.
    pub fn asked(&mut self, now: Time, view: &FleetView<'_>, replicas: &[u32]) {
        for (fleet, state) in view.world.fleets.iter().zip(&mut self.fleets) {
            let (mut added, mut removed) = (0, 0);
            let variants = fleet.variants.clone().map(VariantId);
            let before = variants.map(|v| (v, view.targets[v.index()].replicas_desired));
            let before: Vec<(VariantId, u32)> = before.collect();
            for (variant, before) in &before {
                let after = replicas[variant.index()];
                added += after.saturating_sub(*before);
                removed += before.saturating_sub(after);
            }
            if removed > 0 {
                state.breaker.scaled_in(now, before);
            }
            state.ledger.note(now, added, removed);
        }
    }
}

fn paused(context: &Context<'_>, draft: &mut Draft<'_>) -> bool {
    let pause = context.fleet.rails.paused.filter(|pause| pause.holds(context.wall));
    let Some(pause) = pause else { return false };
    let rule = Rule::Paused { until: pause.until };
    draft.say(rule.clone());
    for variant in context.variants() {
        draft.set(variant, context.desired(variant), rule.clone());
    }
    true
}

/// Why nothing may go, the first reason that there is.
fn frozen(context: &Context<'_>, known: &FleetEvidence) -> Option<Rule> {
    let inside = |schedule: &&crate::fleet::Schedule| {
        schedule.no_scale_in
            && matches!(schedule.moment(context.wall, Span::ZERO), Moment::Inside { .. })
    };
    let schedules = &context.fleet.rails.schedules;
    known.missing.map(Rule::DataMissing).or_else(|| {
        let schedule = schedules.iter().find(inside)?.name.clone();
        Some(Rule::ScheduleNoScaleIn { schedule })
    })
}

/// What must not go stays.
fn keep(context: &Context<'_>, draft: &mut Draft<'_>) {
    let Some(rule) = &context.frozen else { return };
    for variant in context.variants() {
        let least = context.desired(variant);
        if draft.get(variant) < least {
            draft.set(variant, least, rule.clone());
        }
    }
}

/// What must be there is added; the most of a variant is kept to.
fn add(context: &Context<'_>, state: &FleetState, draft: &mut Draft<'_>) {
    if let Some((undone, held)) = state.breaker.rules(context.now) {
        for (variant, before) in state.breaker.undo() {
            if context.fleet.variants.contains(&variant.0) && draft.get(variant) < before {
                let gone = context.desired(variant) < before;
                draft.set(variant, before, if gone { &undone } else { &held }.clone());
            }
        }
    }
    for schedule in &context.fleet.rails.schedules {
        for (variant, least) in &schedule.minimums {
            if draft.get(*variant) >= *least {
                continue;
            }
            let lead = lead(context, *variant, *least);
            let ahead = match schedule.moment(context.wall, lead) {
                Moment::Outside => continue,
                Moment::Ahead { begins } => Some(begins),
                Moment::Inside { .. } => None,
            };
            let schedule = schedule.name.clone();
            draft.set(*variant, *least, Rule::ScheduleMinimum { schedule, ahead });
        }
    }
    for variant in context.variants() {
        let entry = &context.view.world.variants[variant.index()];
        if draft.get(variant) < entry.replicas_min {
            draft.set(variant, entry.replicas_min, Rule::Minimum);
        }
        // What is held beyond the most goes like everything else that goes.
        let held = if context.frozen.is_some() { context.desired(variant) } else { 0 };
        let most = entry.replicas_max.max(held);
        if draft.get(variant) > most {
            draft.set(variant, most, Rule::Maximum);
        }
    }
}

/// How long before a schedule begins its minimum must be asked for: the lead of a replica, and as
/// many windows of ten minutes as adding them may take.
fn lead(context: &Context<'_>, variant: VariantId, least: u32) -> Span {
    let lead = context.leads.get(variant.index()).copied().unwrap_or_default();
    let short = least.saturating_sub(context.desired(variant));
    let windows = match context.fleet.rails.limits.replicas_added_max {
        Some(limit) => u64::from(short.saturating_sub(1) / limit.max(1)),
        None => 0,
    };
    Span(lead.0.saturating_add(RATE_WINDOW.0.saturating_mul(windows)))
}

fn standing(
    state: &mut FleetState,
    known: &FleetEvidence,
    settings: &RailSettings,
    draft: &mut Draft<'_>,
) -> Standing {
    let enough = |error: &super::evidence::PredictionError| {
        error.samples >= settings.error_samples_min && error.relative.is_finite()
    };
    let band = settings.error_band;
    let most = if state.degraded.is_some() { band / 2.0 } else { band };
    // Where nobody has shown that predictions are right again, they are not.
    if let Some(error) = known.prediction_error.filter(enough) {
        state.degraded = Some(error.relative).filter(|error| *error > most);
    }
    let Some(error) = state.degraded else { return Standing::Normal };
    draft.say(Rule::Degraded { error, band });
    Standing::Degraded { error, band }
}
