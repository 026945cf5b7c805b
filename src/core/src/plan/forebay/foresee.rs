//! Asks the twin before anything goes: a plan with fewer replicas waits for its roll-forward. Where
//! that foretells a gross miss, the cheapest that would do is taken instead: a step on the way to
//! it, another mix of what is there, or none.
//!
//! Nothing hangs on the answer: a driver that has never answered is not waited for, and one that
//! stopped answering only for [`PATIENCE`].

use serde::{Deserialize, Serialize};

use super::fleet::Sight;
use super::{Assessed, Forebay};
use crate::fleet::World;
use crate::ids::{FleetId, VariantId};
use crate::plan::roll::{
    Candidate, LiveState, Record, RollAnswer, RollRequest, TierOutlook, VariantModel, rank,
};
use crate::plan::solve::{Alternative, Solution};
use crate::plan::verdict::{Draft, Rule, Verdict};
use crate::plan::{FleetView, PlanEffect, roll};
use crate::time::{Span, Time};

/// How long an answer is waited for.
const PATIENCE: Span = Span::from_secs(60);
/// How long an answer about a plan holds: the live state moves on.
const ANSWER_HOLDS: Span = Span::from_secs(120);
/// Beyond the lead time, how far is looked: until what is bought back then has served.
const BEYOND_LEAD: Span = Span::from_secs(120);
/// Steps on the way to a plan, as parts of what it lets go, the largest first.
const STEPS: [f64; 3] = [0.75, 0.5, 0.25];
/// Requests of one roll-forward, all candidates and scenarios together.
const REQUESTS_MAX: u32 = 10_000;

/// What the twin says of a plan that lets replicas go.
#[derive(Clone, Debug, PartialEq)]
enum Review {
    /// Nothing speaks against it, or nobody can be asked.
    Go,
    /// The answer is on its way.
    Wait,
    /// It would miss grossly, and a part of it or another mix would not: that one, and why not all.
    Instead(Candidate, String),
    /// It would miss grossly, and so would everything else.
    Veto(String),
}

/// What is asked and was answered about one fleet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Foresee {
    record: Record,
    /// Requests made.
    asked: u64,
    #[serde(skip)]
    open: Option<(u64, Time, Candidate)>,
    #[serde(skip)]
    answer: Option<(Time, Candidate, Review)>,
    /// Whether the driver answers at all.
    #[serde(skip)]
    answers: bool,
}

/// What a request is made of besides the plan.
struct Scene<'a> {
    now: Time,
    view: &'a FleetView<'a>,
    fleet: FleetId,
    sight: &'a Sight,
    /// The most that is expected over what arrives now, at the level of each quantile.
    growth: &'a [(f64, f64)],
    leads: &'a [Span],
    models: Vec<VariantModel>,
    /// Other mixes that hold the needs.
    others: Vec<Candidate>,
}

impl Forebay {
    /// Lets nothing go that the twin, rolled forward, speaks against, but what it does not.
    #[expect(
        clippy::too_many_arguments,
        reason = "one step of a decision, with all that it is made of"
    )]
    pub(super) fn foresee(
        &mut self,
        now: Time,
        view: &FleetView<'_>,
        assessed: &[Assessed],
        leads: &[Span],
        solution: Option<&Solution>,
        replicas: &mut [u32],
        verdicts: &mut Vec<Verdict>,
        effects: &mut Vec<PlanEffect>,
    ) {
        let world = view.world;
        for (index, assessed) in assessed.iter().enumerate() {
            let fleet = FleetId(index as u16);
            self.foresees[index].observe(view, fleet, now);
            let held = held(view, fleet);
            let goes = held.replicas.iter().any(|(id, held)| replicas[id.index()] < *held);
            let (Some(sight), true) = (&assessed.sight, goes) else { continue };
            let plan = candidate(world, fleet, |id| replicas[id.index()]);
            let models = world.variants_of(fleet).map(|(id, _)| {
                let profile = Self::profile(&self.learner, world, id, &self.settings).clone();
                VariantModel { profile, ..VariantModel::of(world, id) }
            });
            let growth = growth(sight, assessed);
            let models = models.collect();
            let others = others(world, fleet, solution, &plan);
            let scene = Scene { now, view, fleet, sight, growth: &growth, leads, models, others };
            let (review, request) = self.foresees[index].review(&plan, scene);
            effects.extend(request.map(PlanEffect::Roll));
            let mut draft = Draft { fleet, replicas, verdicts };
            let (least, rule) = match review {
                Review::Go => continue,
                Review::Instead(other, reason) => {
                    for (id, replicas) in other.replicas {
                        let rule = Rule::RollForwardInstead { reason: reason.clone() };
                        draft.set(id, replicas, rule);
                    }
                    continue;
                }
                Review::Wait => (held, Rule::RollForwardAwaited),
                Review::Veto(reason) => (held, Rule::RollForwardVeto { reason }),
            };
            for (id, least) in least.replicas {
                let kept = draft.get(id).max(least);
                draft.set(id, kept, rule.clone());
            }
        }
    }
}

/// Other mixes that hold a fleet's needs; none where the guard wants more than the solver, since it
/// never saw them.
fn others(
    world: &World,
    fleet: FleetId,
    solution: Option<&Solution>,
    plan: &Candidate,
) -> Vec<Candidate> {
    let Some(mix) = solution.and_then(|solution| solution.fleets.get(fleet.index())) else {
        return Vec::new();
    };
    let solved = world.variants_of(fleet).zip(&mix.variants);
    if solved.into_iter().any(|((id, _), wanted)| plan.of(id) != wanted.replicas) {
        return Vec::new();
    }
    let named = |other: &Alternative| {
        candidate(world, fleet, |id| {
            other.replicas.get(&world.variants[id.index()].name).copied().unwrap_or(0)
        })
    };
    mix.alternatives.iter().map(named).collect()
}

/// How much more than now is expected, at the middle and at the upper end of the forecast.
fn growth(sight: &Sight, assessed: &Assessed) -> Vec<(f64, f64)> {
    let busy = sight.busy.values().copied().fold(0.0, f64::max);
    let ahead = assessed.aheads.values().next();
    let grown = |to: f64| if busy > 0.0 { (to / busy).max(0.0) } else { 1.0 };
    match ahead {
        Some(ahead) => vec![
            (0.5, grown(ahead.point)),
            (ahead.quantile.max(0.51), grown(ahead.high.max(ahead.point))),
        ],
        None => vec![(0.5, 1.0)],
    }
}

impl Foresee {
    fn observe(&mut self, view: &FleetView<'_>, fleet: FleetId, now: Time) {
        self.record.observe(view, fleet, now);
    }

    /// What is known of a plan, and the request to make where nothing is.
    fn review(&mut self, plan: &Candidate, scene: Scene<'_>) -> (Review, Option<Box<RollRequest>>) {
        let now = scene.now;
        if let Some((at, about, review)) = &self.answer
            && about == plan
            && now.since(*at) <= ANSWER_HOLDS
        {
            return (review.clone(), None);
        }
        let wait = if self.answers { Review::Wait } else { Review::Go };
        if let Some((_, at, about)) = &self.open
            && now.since(*at) < PATIENCE
            && about == plan
        {
            return (wait, None);
        }
        // The last request was never answered: nobody is there any more.
        let given_up = self.open.as_ref().is_some_and(|(_, at, _)| now.since(*at) >= PATIENCE);
        self.answers &= !given_up;
        let wait = if self.answers { Review::Wait } else { Review::Go };
        self.asked += 1;
        self.open = Some((self.asked, now, plan.clone()));
        (wait, Some(Box::new(self.request(plan, scene))))
    }

    /// Takes in an answer.
    pub(super) fn answered(&mut self, now: Time, answer: &RollAnswer) {
        let Some((_, _, plan)) = self.open.take_if(|(id, _, _)| *id == answer.id) else { return };
        self.answers = true;
        self.answer = Some((now, plan.clone(), reviewed(&plan, answer)));
    }

    fn request(&self, plan: &Candidate, scene: Scene<'_>) -> RollRequest {
        let Scene { now, view, fleet, sight, growth, leads, models, others } = scene;
        let lead = |id: VariantId| leads.get(id.index()).copied().unwrap_or_default();
        let longest = view.world.variants_of(fleet).map(|(id, _)| lead(id)).max();
        let outlooks =
            sight.urgent.iter().chain(sight.deferred()).map(|(tier, load)| TierOutlook {
                tier: *tier,
                requests_per_s: growth
                    .iter()
                    .map(|(level, factor)| (*level, load.requests_per_s * factor))
                    .collect(),
            });
        let held = held(view, fleet);
        RollRequest {
            id: self.asked,
            asked_at: now,
            fleet,
            candidates: candidates(held, plan, others),
            live: LiveState::observe(view, fleet, now, &self.record, |id, asked, _| {
                Some(asked + lead(id))
            }),
            horizon: longest.unwrap_or_default() + BEYOND_LEAD,
            record: self.record.clone(),
            outlooks: outlooks.collect(),
            variants: models,
            seed: self.asked,
            requests_max: REQUESTS_MAX,
        }
    }
}

/// What is held, a plan, the steps between them, and other mixes that start nothing: what has to
/// start first is not there when the rest has gone.
fn candidates(held: Candidate, plan: &Candidate, others: Vec<Candidate>) -> Vec<Candidate> {
    let steps = STEPS.iter().map(|step| Candidate {
        replicas: plan
            .replicas
            .iter()
            .map(|(id, wanted)| {
                let gone = held.of(*id).saturating_sub(*wanted);
                (*id, wanted + gone - (f64::from(gone) * step).ceil() as u32)
            })
            .collect(),
    });
    let there = |other: &Candidate| other.replicas.iter().all(|(id, count)| *count <= held.of(*id));
    let mut all = vec![held.clone(), plan.clone()];
    for candidate in steps.chain(others.into_iter().filter(there)) {
        if !all.contains(&candidate) {
            all.push(candidate);
        }
    }
    all
}

/// What an answer says of the plan it is about.
fn reviewed(plan: &Candidate, answer: &RollAnswer) -> Review {
    let rolled = answer.candidates.iter().find(|rolled| rolled.plan == *plan);
    let Some(roll::Verdict::Veto(reason)) = rolled.map(|rolled| &rolled.verdict) else {
        return Review::Go;
    };
    let (survivors, _) = rank(answer);
    // The first is what is held.
    match survivors.into_iter().find(|index| *index > 0) {
        Some(index) => Review::Instead(answer.candidates[index].plan.clone(), reason.clone()),
        None => Review::Veto(reason.clone()),
    }
}

/// What is asked for now.
fn held(view: &FleetView<'_>, fleet: FleetId) -> Candidate {
    candidate(view.world, fleet, |id| view.targets[id.index()].replicas_desired)
}

/// A plan for one fleet.
fn candidate(world: &World, fleet: FleetId, of: impl Fn(VariantId) -> u32) -> Candidate {
    Candidate { replicas: world.variants_of(fleet).map(|(id, _)| (id, of(id))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::roll::Rolled;
    use crate::units::Usd;

    fn plan(l40s: u32, a100: u32) -> Candidate {
        Candidate { replicas: vec![(VariantId(0), l40s), (VariantId(1), a100)] }
    }

    #[test]
    fn between_what_is_held_and_a_plan_there_are_steps() {
        let all = candidates(plan(10, 1), &plan(2, 3), Vec::new());
        assert_eq!(all, [plan(10, 1), plan(2, 3), plan(4, 3), plan(6, 3), plan(8, 3)]);
        assert_eq!(candidates(plan(3, 0), &plan(2, 0), Vec::new()), [plan(3, 0), plan(2, 0)]);
    }

    #[test]
    fn another_mix_is_asked_about_when_all_of_it_is_there() {
        let others = vec![plan(1, 4), plan(0, 5), plan(2, 0)];
        let all = candidates(plan(3, 4), &plan(2, 0), others);
        assert_eq!(all, [plan(3, 4), plan(2, 0), plan(2, 1), plan(2, 2), plan(2, 3), plan(1, 4)]);
    }

    #[test]
    fn the_cheapest_step_that_would_do_is_taken() {
        let rolled = |plan: Candidate, keeps: bool| Rolled {
            cost: Some(Usd(f64::from(plan.of(VariantId(0))))),
            plan,
            tiers: Vec::new(),
            scenarios: 4,
            verdict: if keeps {
                roll::Verdict::Keep
            } else {
                roll::Verdict::Veto("a miss".to_owned())
            },
        };
        let answer = |keeps: [bool; 5]| RollAnswer {
            id: 1,
            asked_at: Time::ZERO,
            fleet: FleetId(0),
            horizon: Span::from_secs(600),
            requests: 1,
            candidates: candidates(plan(10, 0), &plan(2, 0), Vec::new())
                .into_iter()
                .zip(keeps)
                .map(|(plan, keeps)| rolled(plan, keeps))
                .collect(),
        };
        let review = |keeps| reviewed(&plan(2, 0), &answer(keeps));
        assert_eq!(review([true; 5]), Review::Go);
        let part = Review::Instead(plan(6, 0), "a miss".to_owned());
        assert_eq!(review([true, false, false, true, true]), part);
        let veto = Review::Veto("a miss".to_owned());
        assert_eq!(review([true, false, false, false, false]), veto);
        assert_eq!(review([false; 5]), veto, "where all miss, nothing goes");
    }
}
