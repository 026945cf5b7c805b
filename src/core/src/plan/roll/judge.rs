//! What an answer means for the choice among plans.

use serde::{Deserialize, Serialize};

use super::{Predicted, RollAnswer, Rolled};
use crate::fleet::World;

/// A difference counts when it is this many standard errors from nothing: 95 % of chance is less.
pub const ERRORS_SIGNIFICANT: f64 = 2.0;
/// Attainments closer than this are the same: N and N+1 replicas differ by less.
const SAME_ATTAINMENT: f64 = 0.003;

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Candidates that may be chosen, the cheapest first; those of unknown cost come last.
    pub survivors: Vec<usize>,
    /// The cheapest survivor. When every candidate was vetoed: the one that misses least (the
    /// cheapest of those that cannot be told from it). `None` when nothing was simulated.
    pub chosen: Option<usize>,
    /// One sentence.
    pub explanation: String,
}

/// Chooses by an answer, and says so.
#[must_use]
pub fn judge(world: &World, answer: &RollAnswer) -> Judgement {
    let (survivors, chosen) = rank(answer);
    let explanation = explain(world, answer, &survivors, chosen);
    Judgement { survivors, chosen, explanation }
}

/// Survivors and choice as in a [`Judgement`].
#[must_use]
pub fn rank(answer: &RollAnswer) -> (Vec<usize>, Option<usize>) {
    let simulated = |index: &usize| answer.candidates[*index].scenarios > 0;
    let mut judged: Vec<usize> = (0..answer.candidates.len()).filter(simulated).collect();
    let cost = |index: usize| answer.candidates[index].cost.map_or(f64::INFINITY, |usd| usd.0);
    // A stable sort: among equal costs the plan in force, then the order of the request.
    judged.sort_by(|left, right| cost(*left).total_cmp(&cost(*right)));
    let survivors: Vec<usize> =
        judged.iter().copied().filter(|&index| answer.candidates[index].verdict.keeps()).collect();
    let chosen = survivors.first().copied().or_else(|| least_missed(answer, &judged));
    (survivors, chosen)
}

/// The candidate that misses least; `judged` is in order of cost.
fn least_missed(answer: &RollAnswer, judged: &[usize]) -> Option<usize> {
    let worst = |index: usize| worst_tier(&answer.candidates[index]).map_or(1.0, |t| t.attainment);
    let best = judged.iter().map(|&index| worst(index)).fold(f64::NEG_INFINITY, f64::max);
    judged.iter().copied().find(|&index| worst(index) >= best - SAME_ATTAINMENT)
}

/// The tier that fares worst.
fn worst_tier(rolled: &Rolled) -> Option<&Predicted> {
    rolled.tiers.iter().min_by(|left, right| left.attainment.total_cmp(&right.attainment))
}

fn explain(
    world: &World,
    answer: &RollAnswer,
    survivors: &[usize],
    chosen: Option<usize>,
) -> String {
    let Some(chosen) = chosen else {
        return "nothing was simulated: the plans cannot be told apart".to_owned();
    };
    let rolled = &answer.candidates[chosen];
    let all = answer.candidates.len();
    let mut text = if survivors.is_empty() {
        format!("none of {all} plans would do over {}: least missed by ", answer.horizon)
    } else {
        format!("{} of {all} plans would do over {}: cheapest is ", survivors.len(), answer.horizon)
    };
    text.push_str(&rolled.plan.describe(world));
    if let Some(cost) = rolled.cost {
        text.push_str(&format!(" (${:.2})", cost.0));
    }
    if let Some(tier) = worst_tier(rolled) {
        text.push_str(&format!(
            ", {} {:.1} %{} of {} requests in {} scenarios",
            world.tiers[tier.tier.index()].name,
            tier.attainment * 100.0,
            error(tier.standard_error),
            tier.requests,
            rolled.scenarios
        ));
    }
    let vetoed = answer.candidates.iter().find_map(|other| match &other.verdict {
        super::Verdict::Veto(reason) if other.plan != rolled.plan => Some((other, reason)),
        _ => None,
    });
    if let Some((other, reason)) = vetoed {
        text.push_str(&format!("; not {}: {reason}", other.plan.describe(world)));
    }
    text
}

/// ` +- 0.4`, or nothing where it is not known.
fn error(standard_error: f64) -> String {
    if standard_error.is_finite() {
        format!(" +- {:.1}", standard_error * 100.0)
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Role;
    use crate::ids::{FleetId, TierId, VariantId};
    use crate::plan::roll::{Candidate, Verdict};
    use crate::plan::testing::world;
    use crate::time::{Span, Time};
    use crate::units::Usd;

    fn rolled(replicas: u32, attainment: f64, keeps: bool) -> Rolled {
        let veto = Verdict::Veto("standard would fall to 70 %".to_owned());
        Rolled {
            plan: Candidate { replicas: vec![(VariantId(0), replicas)] },
            tiers: vec![Predicted {
                tier: TierId(0),
                requests: 4_000,
                attainment,
                standard_error: 0.004,
                difference: 0.0,
                difference_error: 0.0,
                backlog_requests: 0.0,
            }],
            cost: Some(Usd(f64::from(replicas))),
            scenarios: 8,
            verdict: if keeps { Verdict::Keep } else { veto },
        }
    }

    fn answer(candidates: Vec<Rolled>) -> RollAnswer {
        RollAnswer {
            id: 1,
            asked_at: Time::ZERO,
            fleet: FleetId(0),
            horizon: Span::from_secs(600),
            requests: 20_000,
            candidates,
        }
    }

    #[test]
    fn the_cheapest_that_survives_is_chosen_and_the_sentence_says_why() {
        let world = world(&[("l40s", Role::Both)]);
        let candidates = vec![rolled(9, 0.999, true), rolled(5, 0.7, false), rolled(7, 0.99, true)];
        let judgement = judge(&world, &answer(candidates));
        assert_eq!((judgement.chosen, judgement.survivors), (Some(2), vec![2, 0]));
        assert_eq!(
            judgement.explanation,
            "2 of 3 plans would do over 10m: cheapest is 7 l40s ($7.00), standard 99.0 % +- 0.4 of \
             4000 requests in 8 scenarios; not 5 l40s: standard would fall to 70 %"
        );
    }

    #[test]
    fn when_all_fail_the_least_missed_is_chosen_and_not_the_cheapest() {
        let world = world(&[("l40s", Role::Both)]);
        let candidates =
            vec![rolled(3, 0.3, false), rolled(9, 0.801, false), rolled(8, 0.8, false)];
        let judgement = judge(&world, &answer(candidates));
        // 8 and 9 cannot be told apart, and 8 is cheaper.
        assert_eq!((judgement.chosen, judgement.survivors.len()), (Some(2), 0));
        assert!(judgement.explanation.starts_with("none of 3 plans would do"));
    }

    #[test]
    fn without_scenarios_nothing_is_chosen_and_an_unknown_price_is_never_cheapest() {
        let world = world(&[("l40s", Role::Both)]);
        let unrolled = Rolled { scenarios: 0, ..rolled(9, 1.0, true) };
        assert_eq!(judge(&world, &answer(vec![unrolled])).chosen, None);
        let unknown = Rolled { cost: None, ..rolled(2, 0.999, true) };
        assert_eq!(judge(&world, &answer(vec![unknown, rolled(9, 0.999, true)])).chosen, Some(1));
    }
}
