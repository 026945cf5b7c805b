//! Rolling the twin forward from the live state: what would become of each of these plans?
//!
//! Each scenario is one possible future: arrivals resampled from the recent record in blocks and
//! scaled to a quantile of the forecast, the queue as it is, what runs in the engines with drawn
//! remainders, and start-up times with their spread. All plans meet the same scenarios (common
//! random numbers), so they are compared by their differences; plans that look bad or dear get no
//! more scenarios (successive halving); and how much work a scenario happened to bring, whose
//! mean is known, takes a part of the chance out of the estimate (control variate).
//!
//! What it leaves out: prompt and output lengths are drawn independently; clients come back
//! neither after a refusal nor with a ticket; floors and flows of the gate; faults; prompts of
//! different clients share one cached prefix. It tells plans apart and finds gross misses; it
//! does not measure the last percent.

mod course;
mod estimate;
mod lengths;
mod rollout;
mod scenario;
#[cfg(test)]
mod tests;

use forebay_core::fleet::World;
use forebay_core::plan::roll::{CANDIDATES_MAX, REQUESTS_MAX, RollAnswer, RollRequest, Rolled};
use forebay_core::time::Span;
use forebay_core::units::Usd;

use course::Course;
use estimate::{Tally, verdict};
use rollout::Rollout;
use scenario::Futures;

/// Every plan that is judged has at least this many scenarios: one has no spread.
const SCENARIOS_MIN: u32 = 2;
/// More scenarios of one plan tell nothing that matters for the choice.
const SCENARIOS_MAX: u32 = 64;
/// The horizon is not cut below this, whatever the budget.
const HORIZON_MIN: Span = Span::from_secs(60);

/// Why a request cannot be answered: it is malformed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollError {
    /// The number of plans.
    #[error("{0} plans to roll forward; give between 1 and {CANDIDATES_MAX}")]
    Candidates(usize),
    /// The fleet does not exist.
    #[error("fleet {0} does not exist; ask for a fleet of this world")]
    Fleet(u16),
    /// A plan or the live state names a variant that the fleet does not have.
    #[error("variant {0} is not one of the fleet; name variants of the fleet only")]
    Variant(u16),
}

/// Simulates the candidates of a request; of as many requests as its budget says, or of two
/// scenarios of a minute of each candidate where that is more. The same request has the same
/// answer.
///
/// # Errors
/// The request is malformed.
pub fn roll_forward(world: &World, request: &RollRequest) -> Result<RollAnswer, RollError> {
    check(world, request)?;
    let course = Course::new(world, request);
    let Some(futures) = Futures::new(&course) else {
        return Ok(answer(request, &course, request.horizon, &[], &[], 0));
    };
    let count = request.candidates.len();
    let budget = f64::from(request.requests_max.min(REQUESTS_MAX));
    let horizon = futures.horizon_within(budget / (count as f64 * f64::from(SCENARIOS_MIN)));
    let each = futures.requests_of_one(horizon).max(1.0);

    let mut tallies: Vec<Tally> = vec![Tally::default(); count];
    let mut work = Vec::new();
    let mut alive: Vec<usize> = (0..count).collect();
    let rounds = f64::from(count.next_power_of_two().ilog2()) + 1.0;
    let (mut spent, mut done) = (0.0, 0);
    while done < SCENARIOS_MAX {
        let in_round = budget / rounds / (each * alive.len() as f64);
        let affordable = (budget - spent) / (each * alive.len() as f64);
        if affordable < 1.0 && done >= SCENARIOS_MIN {
            break;
        }
        let more = (in_round.min(affordable).floor() as u32).max(if done == 0 {
            SCENARIOS_MIN
        } else {
            1
        });
        for number in done..(done + more).min(SCENARIOS_MAX) {
            let scenario = futures.scenario(u64::from(number), horizon);
            work.push(scenario.work);
            for &index in &alive {
                let plan = &request.candidates[index];
                let outcome = Rollout::new(&course, &scenario, plan).run();
                spent += outcome.requests as f64;
                tallies[index].add(outcome);
            }
        }
        done = (done + more).min(SCENARIOS_MAX);
        if alive.len() > 1 {
            alive = halve(&course, &tallies, &work, &alive);
        }
    }
    Ok(answer(request, &course, horizon, &tallies, &work, spent as u64))
}

/// The better half, and the plan in force, to which the others are compared.
fn halve(course: &Course<'_>, tallies: &[Tally], work: &[f64], alive: &[usize]) -> Vec<usize> {
    let mut ranked: Vec<(f64, f64, usize)> = alive
        .iter()
        .map(|&index| {
            let tiers = tallies[index].predict(course, &tallies[0], work);
            (estimate::shortfall(course, &tiers), tallies[index].cost_mean(), index)
        })
        .collect();
    ranked.sort_by(|left, right| {
        left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1)).then(left.2.cmp(&right.2))
    });
    let keep = alive.len().div_ceil(2);
    let mut better: Vec<usize> = ranked[..keep].iter().map(|(_, _, index)| *index).collect();
    if !better.contains(&0) {
        better.push(0);
    }
    better.sort_unstable();
    better
}

fn answer(
    request: &RollRequest,
    course: &Course<'_>,
    horizon: Span,
    tallies: &[Tally],
    work: &[f64],
    requests: u64,
) -> RollAnswer {
    let nothing = Tally::default();
    let first = tallies.first().unwrap_or(&nothing);
    let candidates = request.candidates.iter().enumerate().map(|(index, plan)| {
        let tally = tallies.get(index).unwrap_or(&nothing);
        let tiers = tally.predict(course, first, work);
        let verdict = verdict(course, &tiers);
        let cost = (tally.scenarios() > 0 && course.priced(plan)).then(|| Usd(tally.cost_mean()));
        Rolled { plan: plan.clone(), tiers, cost, scenarios: tally.scenarios(), verdict }
    });
    RollAnswer {
        id: request.id,
        asked_at: request.asked_at,
        fleet: request.fleet,
        horizon,
        requests,
        candidates: candidates.collect(),
    }
}

fn check(world: &World, request: &RollRequest) -> Result<(), RollError> {
    let count = request.candidates.len();
    if count == 0 || count > CANDIDATES_MAX {
        return Err(RollError::Candidates(count));
    }
    let fleet = world.fleets.get(request.fleet.index()).ok_or(RollError::Fleet(request.fleet.0))?;
    let planned = request.candidates.iter().flat_map(|plan| &plan.replicas).map(|(id, _)| *id);
    let live = request.live.endpoints.iter().map(|endpoint| endpoint.variant);
    let pending = request.live.pending.iter().map(|replica| replica.variant);
    let stranger = planned.chain(live).chain(pending).find(|id| !fleet.variants.contains(&id.0));
    stranger.map_or(Ok(()), |id| Err(RollError::Variant(id.0)))
}
