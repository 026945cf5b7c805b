//! The best plan found with the future known, under the start-up, billing and limits that
//! everybody has: what is left between it and the bound nobody has shown to be reachable.

use std::sync::Arc;

use forebay_core::fleet::{Role, World};

use super::bound::Bound;
use super::schedule::{Headroom, Schedule};
use crate::tune::{Goal, Outcome, side_by_side};

/// A gate to try a schedule with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateChoice {
    /// Name or SPEC part that the evaluation understands.
    pub name: String,
    /// Whether it holds deferrable work back, so that schedules may plan it into valleys.
    pub defers: bool,
}

/// The best schedule found.
#[derive(Clone, Debug, PartialEq)]
pub struct Clairvoyant {
    /// Replicas over time.
    pub schedule: Arc<Schedule>,
    /// The gate it was run with: its place in the choices.
    pub gate: usize,
    /// How it was cut.
    pub headroom: Headroom,
    /// What it was worth.
    pub outcome: Outcome,
}

/// Shares of time worked that are tried first.
const FIRST: [f64; 2] = [0.5, 0.74];
/// While none attains, shares this many times the lowest are tried, down to [`SHARE_MIN`].
const LOWER: [f64; 2] = [0.6, 0.36];
/// Emptier replicas than this do not attain either, whatever the reason.
const SHARE_MIN: f64 = 0.03;
/// Steps into which a bracket is divided.
const DIVISIONS: usize = 3;
/// Brackets narrower than this are not divided: they differ by less than a replica in a hundred.
const STEP_MIN: f64 = 0.008;
/// How prefill headroom is varied against the other in fleets with separate prefill.
const PREFILL_FACTORS: [f64; 4] = [0.6, 0.8, 1.2, 1.4];

/// Searches schedules over headroom and gates for the cheapest that meets `goal`, with at most
/// `runs` calls of `evaluate`, up to `threads` at a time. `None` when none does.
pub fn search<E>(
    world: &World,
    bound: &Bound,
    goal: &Goal,
    gates: &[GateChoice],
    (runs, threads): (u32, usize),
    evaluate: E,
) -> Option<Clairvoyant>
where
    E: Fn(&GateChoice, &Arc<Schedule>) -> Outcome + Sync,
{
    let mut search = Search { tried: Vec::new(), left: runs as usize };
    let run = |search: &mut Search, wanted: Vec<(usize, Headroom)>| {
        let fresh = search.fresh(wanted);
        let schedules: Vec<(usize, Headroom, Arc<Schedule>)> = fresh
            .into_iter()
            .map(|(gate, room)| (gate, room, Arc::new(Schedule::plan(world, bound, &room))))
            .collect();
        let outcomes = side_by_side(&schedules, threads, &|(gate, _, schedule)| {
            evaluate(&gates[*gate], schedule)
        });
        for ((gate, headroom, schedule), outcome) in schedules.into_iter().zip(outcomes) {
            let margin = goal.margin(&outcome);
            search.tried.push((margin, Clairvoyant { schedule, gate, headroom, outcome }));
        }
    };
    let every_gate = |shares: Vec<f64>| {
        let each = |share: f64| {
            gates.iter().enumerate().map(move |(gate, choice)| {
                (gate, Headroom { serve: share, prefill: share, defer: choice.defers })
            })
        };
        shares.into_iter().flat_map(each).collect::<Vec<_>>()
    };
    run(&mut search, every_gate(FIRST.to_vec()));
    let split = world.variants.iter().any(|variant| variant.role == Role::Prefill);
    let mut varied = !split;
    while search.left > 0 {
        let Some(best) = search.best() else {
            let lowest = search.lowest();
            if lowest < SHARE_MIN {
                break;
            }
            run(&mut search, every_gate(LOWER.map(|factor| lowest * factor).to_vec()));
            continue;
        };
        let (gate, room) = (best.gate, best.headroom);
        let above = search.next_above(gate, &room);
        if above - room.serve > STEP_MIN {
            let step = (above - room.serve) / (DIVISIONS + 1) as f64;
            let between = (1..=DIVISIONS).map(|number| {
                let serve = room.serve + step * number as f64;
                let prefill = room.prefill * serve / room.serve;
                (gate, Headroom { serve, prefill, ..room })
            });
            run(&mut search, between.collect());
        } else if !varied {
            varied = true;
            let others = PREFILL_FACTORS
                .iter()
                .map(|factor| (gate, Headroom { prefill: room.prefill * factor, ..room }));
            run(&mut search, others.collect());
        } else {
            break;
        }
    }
    search.best().cloned()
}

struct Search {
    tried: Vec<(f64, Clairvoyant)>,
    left: usize,
}

impl Search {
    /// Those of `wanted` that were not tried, as far as the budget goes.
    fn fresh(&mut self, mut wanted: Vec<(usize, Headroom)>) -> Vec<(usize, Headroom)> {
        wanted.retain(|(gate, room)| {
            !self.tried.iter().any(|(_, one)| one.gate == *gate && one.headroom == *room)
        });
        wanted.truncate(self.left);
        self.left = if wanted.is_empty() { 0 } else { self.left - wanted.len() };
        wanted
    }

    fn best(&self) -> Option<&Clairvoyant> {
        self.tried
            .iter()
            .filter(|(margin, one)| *margin >= 0.0 && one.outcome.cost_usd.is_finite())
            .map(|(_, one)| one)
            .min_by(|a, b| a.outcome.cost_usd.total_cmp(&b.outcome.cost_usd))
    }

    fn lowest(&self) -> f64 {
        self.tried.iter().map(|(_, one)| one.headroom.serve).fold(1.0, f64::min)
    }

    /// The next larger share that was tried with the same gate and the same ratio of prefill.
    fn next_above(&self, gate: usize, room: &Headroom) -> f64 {
        let ratio = |room: &Headroom| room.prefill / room.serve;
        self.tried
            .iter()
            .map(|(_, one)| one)
            .filter(|one| one.gate == gate && one.headroom.serve > room.serve)
            .filter(|one| (ratio(&one.headroom) - ratio(room)).abs() < 1e-9)
            .map(|one| one.headroom.serve)
            .fold(room.serve * 1.2, f64::min)
    }
}
