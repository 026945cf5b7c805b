//! A plan over time: how many replicas of each variant, made from what the traffic will need.

use std::sync::Arc;

use forebay_core::fleet::{Role, World};
use forebay_core::ids::VariantId;
use forebay_core::plan::{PlanEffect, PlanEvent, Planner};
use forebay_core::time::{Span, Time};

use super::bound::Bound;
use super::load::FleetLoad;
use super::tariff::Seller;

/// How a schedule is cut from the needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headroom {
    /// Share of its time that an aggregated or decode replica is planned to work.
    pub serve: f64,
    /// The same of a prefill replica.
    pub prefill: f64,
    /// Whether deferrable work is planned into valleys: only for gates that hold it back.
    pub defer: bool,
}

/// Replicas over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// From each time on, replicas asked for by variant; the first entry is at the origin.
    pub steps: Vec<(Time, Vec<u32>)>,
}

impl Schedule {
    /// The schedule that covers the needs of `bound`'s load with that headroom: starts come a
    /// start-up ahead, and a replica is kept through valleys shorter than its start-up.
    #[must_use]
    pub fn plan(world: &World, bound: &Bound, headroom: &Headroom) -> Self {
        let load = bound.load();
        let bucket_s = load.options.bucket.as_seconds();
        let buckets = load.buckets as usize;
        let mut asked = vec![vec![0_u32; buckets]; world.variants.len()];
        for (fleet, known) in world.fleets.iter().zip(&load.fleets) {
            let first = usize::from(fleet.variants.start);
            for role in [Role::Both, Role::Prefill, Role::Decode] {
                let share = if role == Role::Prefill { headroom.prefill } else { headroom.serve };
                let pool = Pool::of(known, role);
                pool.spread(
                    known,
                    buckets,
                    bucket_s * share.max(0.01),
                    headroom.defer,
                    |v, at, n| {
                        asked[first + v][at] = n;
                    },
                );
            }
        }
        for (variant, asked) in world.variants.iter().zip(&mut asked) {
            let class = &world.accelerators[variant.accelerator.index()];
            let start_s = variant.start_up.median().as_seconds();
            // Five of six starts are within one standard deviation; a node may come first.
            let lead_s = start_s * variant.start_up.sigma.exp()
                + class.node_provisioning.as_seconds()
                + bucket_s;
            let held = held_through_valleys(asked, (start_s / bucket_s).ceil() as usize);
            *asked = ahead(&held, (lead_s / bucket_s).ceil() as usize)
                .into_iter()
                .map(|count| count.clamp(variant.replicas_min, variant.replicas_max))
                .collect();
        }
        let mut schedule = Self::of_columns(load.options.scored_from, load.options.bucket, &asked);
        // After the last deadline only what must be held is.
        let end = load.options.scored_from + Span(load.options.bucket.0 * u64::from(load.buckets));
        let least = world.variants.iter().map(|variant| variant.replicas_min).collect();
        schedule.steps.push((end, least));
        schedule
    }

    fn of_columns(from: Time, bucket: Span, asked: &[Vec<u32>]) -> Self {
        let mut steps: Vec<(Time, Vec<u32>)> = Vec::new();
        let buckets = asked.first().map_or(0, Vec::len);
        for at in 0..buckets {
            let replicas: Vec<u32> = asked.iter().map(|column| column[at]).collect();
            if steps.last().is_none_or(|(_, before)| *before != replicas) {
                let time = from + Span(bucket.0 * at as u64);
                steps.push((if at == 0 { Time::ZERO } else { time }, replicas));
            }
        }
        Self { steps }
    }
}

/// The variants of one role of a fleet, the cheapest for its load first.
struct Pool {
    variants: Vec<usize>,
}

impl Pool {
    fn of(fleet: &FleetLoad, role: Role) -> Self {
        let mut variants: Vec<usize> =
            (0..fleet.sellers.len()).filter(|&index| fleet.sellers[index].role == role).collect();
        let cost = |&index: &usize| fleet.sellers[index].sample_usd();
        variants.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        Self { variants }
    }

    /// Gives each variant its replicas by bucket: the cheapest as many as it may have, the rest
    /// what is then still needed. `capacity_s` is the work that a replica does in a bucket.
    fn spread(
        &self,
        fleet: &FleetLoad,
        buckets: usize,
        capacity_s: f64,
        defer: bool,
        mut give: impl FnMut(usize, usize, u32),
    ) {
        // Shares of the load by bucket that no variant has taken yet.
        let mut open = vec![1.0_f64; buckets];
        for &index in &self.variants {
            let seller: &Seller = &fleet.sellers[index];
            let load = fleet.needs[index].load(buckets, defer);
            for (at, (open, load)) in open.iter_mut().zip(load).enumerate() {
                let needed = load * *open / capacity_s;
                // A thousandth of a replica short is not worth another one, but is worth the first.
                let first = if needed > 0.0 { 1.0 } else { 0.0 };
                let wanted = (needed - 1e-3).ceil().max(first);
                let count = wanted.clamp(seller.replicas_min, seller.replicas_max);
                give(index, at, count as u32);
                *open = if needed > count { *open * (1.0 - count / needed) } else { 0.0 };
            }
        }
    }
}

/// The series with every valley filled that is no longer than `length`.
fn held_through_valleys(series: &[u32], length: usize) -> Vec<u32> {
    let highest = |from: usize, to: usize| series[from..to].iter().copied().max().unwrap_or(0);
    (0..series.len())
        .map(|at| {
            // The lowest of the highest values over all windows of a valley and one more.
            let starts = at.saturating_sub(length)..=at;
            let windows = starts.filter(|from| from + length < series.len());
            let lowest = windows.map(|from| highest(from, from + length + 1)).min();
            lowest.unwrap_or_else(|| highest(at.saturating_sub(length), series.len()))
        })
        .collect()
}

/// The highest value from each place on, as far as `lead` ahead.
fn ahead(series: &[u32], lead: usize) -> Vec<u32> {
    (0..series.len())
        .map(|at| series[at..(at + lead + 1).min(series.len())].iter().copied().max().unwrap_or(0))
        .collect()
}

/// Carries out a schedule.
#[derive(Clone, Debug)]
pub struct Follow {
    schedule: Arc<Schedule>,
    next: usize,
}

impl Follow {
    /// A planner that follows `schedule` from its beginning.
    #[must_use]
    pub const fn new(schedule: Arc<Schedule>) -> Self {
        Self { schedule, next: 0 }
    }
}

impl Planner for Follow {
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        let PlanEvent::Due(_) = event else { return };
        let steps = &self.schedule.steps;
        let due = steps.partition_point(|(at, _)| *at <= now);
        let Some((_, replicas)) = due.checked_sub(1).and_then(|last| steps.get(last)) else {
            return;
        };
        if due > self.next {
            self.next = due;
            effects.extend(replicas.iter().enumerate().map(|(index, &replicas)| {
                PlanEffect::Scale {
                    variant: VariantId(index as u16),
                    replicas,
                    reason: "the schedule".into(),
                }
            }));
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.schedule.steps.get(self.next).map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_valleys_are_held_and_long_ones_are_not() {
        let series = [3, 1, 1, 3, 0, 0, 0, 0, 2];
        assert_eq!(held_through_valleys(&series, 2), [3, 3, 3, 3, 0, 0, 0, 0, 2]);
        assert_eq!(held_through_valleys(&series, 0), series);
        assert_eq!(held_through_valleys(&series, 4), [3, 3, 3, 3, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn starts_come_ahead() {
        assert_eq!(ahead(&[0, 0, 0, 4, 1, 0], 2), [0, 4, 4, 4, 1, 0]);
    }

    #[test]
    fn a_schedule_is_followed_step_by_step() {
        let from = Time::ZERO + Span::from_secs(900);
        let minute = Span::from_secs(60);
        let schedule = Schedule::of_columns(from, minute, &[vec![2, 2, 3], vec![0, 0, 1]]);
        assert_eq!(
            schedule.steps,
            [(Time::ZERO, vec![2, 0]), (Time::ZERO + Span::from_secs(1_020), vec![3, 1])]
        );
        assert_eq!(Follow::new(Arc::new(schedule)).next_deadline(), Some(Time::ZERO));
    }
}
