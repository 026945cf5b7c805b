//! Brute force: every mix of every fleet, in plain dollars and shares, by the words of the schema.

use std::collections::BTreeMap;

use super::generator::small;
use super::*;

/// What a mix is worth: minimums missing, shortfall by falling priority, objective in millionths
/// of a dollar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    shortfalls: Vec<i64>,
    objective: i64,
}

fn steps(covered: f64, need: f64) -> i64 {
    ((1.0 - covered / need) * 1_000.0 - 1e-5).ceil().max(0.0) as i64
}

struct Brute<'a> {
    instance: &'a Instance,
    minimums_hold: bool,
    priorities: Vec<i32>,
    dearest: f64,
    counts: Vec<u32>,
    best: Option<(Worth, Vec<u32>)>,
}

impl<'a> Brute<'a> {
    fn new(instance: &'a Instance, minimums_hold: bool) -> Self {
        let rows = instance.fleets.iter().flat_map(|f| f.rows.iter().map(|row| f.priority_of(row)));
        let mut priorities: Vec<i32> = rows.collect();
        priorities.sort_unstable();
        priorities.dedup();
        priorities.reverse();
        let mut dearest: f64 = 0.0;
        for variant in instance.fleets.iter().flat_map(|fleet| &fleet.variants) {
            let accelerators = variant.uses.values().sum::<u32>().max(1);
            let price = variant.price_per_hour.map_or(0.0, |price| price.0);
            dearest = dearest.max(price / f64::from(accelerators));
        }
        let dearest = if dearest > 0.0 { dearest } else { 1.0 };
        Self { instance, minimums_hold, priorities, dearest, counts: Vec::new(), best: None }
    }

    fn variants(&self) -> impl Iterator<Item = (&'a FleetAsk, &'a VariantOffer)> {
        let fleets = self.instance.fleets.iter();
        fleets.flat_map(|fleet| fleet.variants.iter().map(move |variant| (fleet, variant)))
    }

    fn most(variant: &VariantOffer) -> u32 {
        let known = if variant.price_per_hour.is_some() { u32::MAX } else { variant.held };
        variant.max.min(variant.most_available.unwrap_or(u32::MAX)).min(known)
    }

    fn enumerate(&mut self) {
        let Some((_, variant)) = self.variants().nth(self.counts.len()) else {
            self.judge();
            return;
        };
        let most = Self::most(variant);
        let least = if self.minimums_hold { variant.min.min(most) } else { 0 };
        for count in least..=most {
            self.counts.push(count);
            self.enumerate();
            self.counts.pop();
        }
    }

    fn price(&self, variant: &VariantOffer) -> f64 {
        let accelerators = variant.uses.values().sum::<u32>().max(1);
        let stand_in = self.dearest * f64::from(accelerators);
        variant.price_per_hour.map_or(stand_in, |price| price.0)
    }

    fn judge(&mut self) {
        if self.allowed() {
            let worth = self.worth();
            if self.best.as_ref().is_none_or(|(best, _)| worth < *best) {
                self.best = Some((worth, self.counts.clone()));
            }
        }
    }

    fn allowed(&self) -> bool {
        let mut pools: BTreeMap<&str, u32> = BTreeMap::new();
        let mut bill = 0.0;
        let mut at = 0;
        for fleet in &self.instance.fleets {
            let mut own: BTreeMap<&str, u32> = BTreeMap::new();
            let mut own_bill = 0.0;
            let first = at;
            for variant in &fleet.variants {
                let count = self.counts[at];
                at += 1;
                own_bill += self.price(variant) * f64::from(count);
                for (pool, each) in &variant.uses {
                    *own.entry(pool).or_default() += each * count;
                }
            }
            if fleet.max_cost_per_hour.is_some_and(|most| own_bill > most.0 + 1e-9) {
                return false;
            }
            if own.iter().any(|(p, used)| fleet.accelerators_max.get(*p).is_some_and(|m| used > m))
            {
                return false;
            }
            let part = |part: &RatioPart| -> u32 {
                let named = fleet.variants.iter().enumerate();
                let named = named.filter(|(_, variant)| part.variants.contains(&variant.name));
                named.map(|(offset, _)| self.counts[first + offset]).sum()
            };
            if let [left, right] = fleet.ratio.as_slice() {
                let units = part(left) / left.replicas;
                if part(left) != units * left.replicas || part(right) != units * right.replicas {
                    return false;
                }
            }
            bill += own_bill;
            for (pool, used) in own {
                *pools.entry(pool).or_default() += used;
            }
        }
        let quota = |pool: &str| self.instance.pools[pool].unwrap_or(u32::MAX);
        pools.iter().all(|(pool, used)| *used <= quota(pool))
            && self.instance.max_cost_per_hour.is_none_or(|most| bill <= most.0 + 1e-9)
    }

    fn worth(&self) -> Worth {
        let mut shortfalls = vec![0; self.priorities.len() + 1];
        let mut objective = 0.0;
        for ((_, variant), count) in self.variants().zip(&self.counts) {
            let hourly = self.price(variant) + variant.reclaim_risk_per_hour.0;
            objective += hourly * self.instance.horizon_hours * f64::from(*count);
            objective += variant.start_cost * f64::from(count.saturating_sub(variant.held));
            objective += variant.removal_cost * f64::from(variant.held.saturating_sub(*count));
            let least = variant.min.min(Self::most(variant));
            if !self.minimums_hold && least > 0 {
                shortfalls[0] += 1_000 * steps(f64::from(*count), f64::from(least));
            }
        }
        let mut at = 0;
        for fleet in &self.instance.fleets {
            for row in &fleet.rows {
                let mut covered = 0.0;
                for (offset, variant) in fleet.variants.iter().enumerate() {
                    let counted = self.counts[at + offset].saturating_sub(variant.spare);
                    let each = variant.covers.get(&row.name).copied().unwrap_or(0.0);
                    covered += each * f64::from(counted);
                }
                let priority = fleet.priority_of(row);
                let level = self.priorities.iter().position(|p| *p == priority).unwrap();
                shortfalls[level + 1] +=
                    (row.weight * 1_000.0).round() as i64 * steps(covered, row.need);
            }
            at += fleet.variants.len();
        }
        Worth { shortfalls, objective: (objective * 1e6).round() as i64 }
    }
}

fn by_brute_force(instance: &Instance) -> (Worth, bool) {
    for minimums_hold in [true, false] {
        let mut brute = Brute::new(instance, minimums_hold);
        brute.enumerate();
        if let Some((worth, _)) = brute.best {
            return (worth, minimums_hold);
        }
    }
    panic!("nothing at all is always allowed");
}

/// What the solver's mix is worth, in the same words.
fn worth_of(instance: &Instance, solution: &Solution) -> Worth {
    let mut brute = Brute::new(instance, solution.minimums_fit);
    brute.counts = mix(solution);
    assert!(brute.allowed(), "a limit is broken");
    brute.worth()
}

/// Seeds of one test; together they are 10,000.
fn agree(seeds: std::ops::Range<u64>) {
    let (mut short, mut whole) = (0, 0);
    for seed in seeds {
        let instance = small(seed);
        let (best, minimums_hold) = by_brute_force(&instance);
        let solution = solve(&instance, None, Budget::nodes(1_000_000)).unwrap();
        let told = || format!("seed {seed}: {instance:#?}\n{solution:#?}\nbest {best:?}");
        assert_eq!(solution.minimums_fit, minimums_hold, "{}", told());
        let found = worth_of(&instance, &solution);
        assert!(solution.optimal, "not proven; {}", told());
        assert_eq!(found, best, "{}", told());
        assert!((solution.objective - best.objective as f64 * 1e-6).abs() < 1e-5, "{}", told());
        assert!(solution.gap == 0.0 && solution.lower_bound <= solution.objective + 1e-9);
        let missing: i64 = best.shortfalls.iter().sum();
        if missing > 0 {
            short += 1
        } else {
            whole += 1
        }
        // From its own plan the answer is as good.
        if seed % 4 == 0 {
            let again = solve(&instance, Some(&solution.plan()), Budget::nodes(1_000_000)).unwrap();
            assert!(again.optimal);
            assert_eq!(worth_of(&instance, &again), best, "warm; {}", told());
        }
    }
    assert!(short > 500 && whole > 500, "both kinds are there: {short} short, {whole} whole");
}

#[test]
fn the_first_five_thousand_instances_agree_with_brute_force() {
    agree(0..5_000);
}

#[test]
fn five_thousand_more_instances_agree_with_brute_force() {
    agree(5_000..10_000);
}
