//! Asks the twin before anything goes: a plan with fewer replicas waits for its roll-forward and is
//! vetoed where that foretells a gross miss.
//!
//! Nothing hangs on the answer: a driver that has never answered is not waited for, and one that
//! stopped answering only for [`PATIENCE`].

use serde::{Deserialize, Serialize};

use super::fleet::Sight;
use crate::fleet::World;
use crate::ids::{FleetId, VariantId};
use crate::plan::FleetView;
use crate::plan::roll::{
    Candidate, LiveState, Record, RollAnswer, RollRequest, TierOutlook, VariantModel, Verdict,
};
use crate::time::{Span, Time};

/// How long an answer is waited for.
const PATIENCE: Span = Span::from_secs(60);
/// How long an answer about a plan holds: the live state moves on.
const ANSWER_HOLDS: Span = Span::from_secs(120);
/// Beyond the lead time, how far is looked: until what is bought back then has served.
const BEYOND_LEAD: Span = Span::from_secs(120);
/// Requests of one roll-forward, all candidates and scenarios together.
const REQUESTS_MAX: u32 = 10_000;

/// What the twin says of a plan that lets replicas go.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Review {
    /// Nothing speaks against it, or nobody can be asked.
    Go,
    /// The answer is on its way.
    Wait,
    /// It would miss grossly.
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
    answer: Option<(Time, Candidate, Option<String>)>,
    /// Whether the driver answers at all.
    #[serde(skip)]
    answers: bool,
}

/// What a request is made of besides the plan.
pub(super) struct Scene<'a> {
    pub(super) now: Time,
    pub(super) view: &'a FleetView<'a>,
    pub(super) fleet: FleetId,
    pub(super) sight: &'a Sight,
    /// The most that is expected over what arrives now, at the level of each quantile.
    pub(super) growth: &'a [(f64, f64)],
    pub(super) leads: &'a [Span],
    pub(super) models: Vec<VariantModel>,
}

impl Foresee {
    pub(super) fn observe(&mut self, view: &FleetView<'_>, fleet: FleetId, now: Time) {
        self.record.observe(view, fleet, now);
    }

    /// What is known of a plan, and the request to make where nothing is.
    pub(super) fn review(
        &mut self,
        plan: &Candidate,
        scene: Scene<'_>,
    ) -> (Review, Option<Box<RollRequest>>) {
        let now = scene.now;
        if let Some((at, about, veto)) = &self.answer
            && about == plan
            && now.since(*at) <= ANSWER_HOLDS
        {
            let review = veto.clone().map_or(Review::Go, Review::Veto);
            return (review, None);
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
        let rolled = answer.candidates.iter().find(|rolled| rolled.plan == plan);
        let veto = rolled.and_then(|rolled| match &rolled.verdict {
            Verdict::Veto(reason) => Some(reason.clone()),
            Verdict::Keep => None,
        });
        self.answer = Some((now, plan, veto));
    }

    fn request(&self, plan: &Candidate, scene: Scene<'_>) -> RollRequest {
        let Scene { now, view, fleet, sight, growth, leads, models } = scene;
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
            candidates: vec![held, plan.clone()],
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

/// What is asked for now.
pub(super) fn held(view: &FleetView<'_>, fleet: FleetId) -> Candidate {
    candidate(view.world, fleet, |id| view.targets[id.index()].replicas_desired)
}

/// A plan for one fleet.
pub(super) fn candidate(world: &World, fleet: FleetId, of: impl Fn(VariantId) -> u32) -> Candidate {
    Candidate { replicas: world.variants_of(fleet).map(|(id, _)| (id, of(id))).collect() }
}
