//! llm-d's scorers and max-score picker over scraped values, as its default configuration has them
//! (llm-d-router ebab687: `queue-scorer` 2, `kv-cache-utilization-scorer` 2, `prefix-cache-scorer`
//! 3, summed; the highest sum wins, ties by lot).

use forebay_core::gate::EndpointLoad;
use forebay_core::ids::EndpointId;
use forebay_core::pick::EndpointTable;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::tunables::{GateSpecError, Tunables};

/// Weights of the scorers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weights {
    queue: f64,
    kv: f64,
    prefix: f64,
}

impl Weights {
    pub(super) fn read(tunables: &mut Tunables<'_>) -> Result<Self, GateSpecError> {
        Ok(Self {
            queue: tunables.number("queue_weight", 2.0, 0.0)?,
            kv: tunables.number("kv_weight", 2.0, 0.0)?,
            prefix: tunables.number("prefix_weight", 3.0, 0.0)?,
        })
    }

    /// Whether prefixes count at all.
    pub(super) fn use_prefixes(&self) -> bool {
        self.prefix > 0.0
    }
}

/// Which candidates a decision may consider: llm-d's detectors can stand among the filters of a
/// scheduling profile.
pub(super) struct Filter<'a> {
    pub(super) admits: &'a dyn Fn(EndpointId) -> bool,
    /// Whether a filter that admits nobody is left out, instead of leaving nobody.
    pub(super) soft: bool,
}

/// The candidates of one scheduling profile, with what a decision needs ready at hand: scraped
/// scores change only with a scrape, so they are summed once and not per decision.
#[derive(Debug, Default)]
pub(super) struct Profile {
    loads: EndpointTable<EndpointLoad>,
    /// Sum of the queue and KV scores, by slot.
    scores: Vec<f64>,
    best: f64,
    /// Slots whose score is `best`.
    best_slots: Vec<u32>,
    stale: bool,
    /// Slots that tie with the help of a prefix; kept to spare the allocation.
    tied: Vec<u32>,
}

impl Profile {
    /// A candidate appears; until its first scrape its gauges read zero, as in llm-d.
    pub(super) fn add(&mut self, endpoint: EndpointId) {
        if self.loads.slot(endpoint).is_none() {
            self.loads.insert(endpoint, EndpointLoad::default());
            self.stale = true;
        }
    }

    pub(super) fn remove(&mut self, endpoint: EndpointId) {
        self.stale |= self.loads.remove(endpoint).is_some();
    }

    pub(super) fn scraped(&mut self, endpoint: EndpointId, load: EndpointLoad) {
        if let Some(known) = self.loads.get_mut(endpoint) {
            *known = load;
            self.stale = true;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.loads.is_empty()
    }

    /// The winner; `matched` says how many of the prompt's `blocks` each endpoint holds.
    pub(super) fn pick(
        &mut self,
        weights: &Weights,
        matched: &[(EndpointId, u32)],
        blocks: u32,
        filter: Option<&Filter<'_>>,
        rng: &mut Pcg64Mcg,
    ) -> Option<EndpointId> {
        if self.stale || filter.is_some() {
            self.score(weights, filter);
        }
        let mut best = self.best;
        self.tied.clear();
        for (endpoint, held) in matched {
            let Some(slot) = self.loads.slot(*endpoint) else { continue };
            let ratio = f64::from(*held) / f64::from(blocks.max(1));
            let score = self.scores[slot] + ratio.min(1.0) * weights.prefix;
            if score > best {
                best = score;
                self.tied.clear();
            }
            // Without a lead over the scraped scores the slot stands in `best_slots` already.
            if score >= best && score > self.scores[slot] {
                self.tied.push(slot as u32);
            }
        }
        if best > self.best {
            return by_lot(&self.tied, &[], rng).map(|slot| self.loads.id(slot));
        }
        by_lot(&self.best_slots, &self.tied, rng).map(|slot| self.loads.id(slot))
    }

    fn score(&mut self, weights: &Weights, filter: Option<&Filter<'_>>) {
        // What a filter leaves holds for one decision only.
        self.stale = filter.is_some();
        let ids = self.loads.ids();
        let filter = filter
            .filter(|filter| !filter.soft || ids.iter().any(|endpoint| (filter.admits)(*endpoint)));
        let admits = |slot: usize| filter.is_none_or(|filter| (filter.admits)(ids[slot]));
        let loads = || self.loads.values().iter().enumerate();
        let (least, most) = loads()
            .filter(|(slot, _)| admits(*slot))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), (_, load)| {
                (least.min(load.waiting), most.max(load.waiting))
            });
        self.scores.clear();
        self.scores.extend(loads().map(|(slot, load)| {
            if !admits(slot) {
                return f64::NEG_INFINITY;
            }
            // Queues of one length are all worth the full score.
            let queue = if most > least { (most - load.waiting) / (most - least) } else { 1.0 };
            let kv = 1.0 - load.kv_usage;
            queue.clamp(0.0, 1.0) * weights.queue + kv.clamp(0.0, 1.0) * weights.kv
        }));
        self.best = self.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.best_slots.clear();
        let best = self.best;
        let winners = self.scores.iter().enumerate();
        let winners = winners.filter(|(_, score)| **score >= best && score.is_finite());
        self.best_slots.extend(winners.map(|(slot, _)| slot as u32));
    }
}

/// One of the slots of both lists, each as likely as the others.
fn by_lot(first: &[u32], second: &[u32], rng: &mut Pcg64Mcg) -> Option<usize> {
    let count = first.len() + second.len();
    let drawn = match count {
        0 => return None,
        1 => 0,
        _ => rng.random_range(0..count),
    };
    first.get(drawn).or_else(|| second.get(drawn - first.len())).map(|slot| *slot as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;

    use super::*;

    fn weights() -> Weights {
        Weights::read(&mut Tunables::new("stock", &BTreeMap::new())).unwrap()
    }

    fn profile(loads: &[(f64, f64)]) -> Profile {
        let mut profile = Profile::default();
        for (endpoint, (waiting, kv_usage)) in loads.iter().enumerate() {
            let endpoint = EndpointId(endpoint as u32);
            profile.add(endpoint);
            let load = EndpointLoad { running: 0.0, waiting: *waiting, kv_usage: *kv_usage };
            profile.scraped(endpoint, load);
        }
        profile
    }

    fn winners(profile: &mut Profile, matched: &[(u32, u32)], blocks: u32) -> Vec<u32> {
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let matched: Vec<_> = matched.iter().map(|(id, held)| (EndpointId(*id), *held)).collect();
        let mut found: Vec<u32> = (0..200)
            .filter_map(|_| profile.pick(&weights(), &matched, blocks, None, &mut rng))
            .map(|endpoint| endpoint.0)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn scores_are_the_weighted_sum_of_llm_d() {
        // Queues 0, 4, 10 score 1, 0.6, 0; KV 0.5, 0.2, 0.0 scores 0.5, 0.8, 1.
        let mut profile = profile(&[(0.0, 0.5), (4.0, 0.2), (10.0, 0.0)]);
        profile.score(&weights(), None);
        let expected = [2.0 + 1.0, 1.2 + 1.6, 0.0 + 2.0];
        for (score, expected) in profile.scores.iter().zip(expected) {
            assert!((score - expected).abs() < 1e-12, "{score} {expected}");
        }
        assert_eq!(winners(&mut profile, &[], 10), [0]);
        // 1 leads with a tenth of the prompt: 2.8 + 0.3 > 3.0; 2 with half of it: 2.0 + 1.5.
        assert_eq!(winners(&mut profile, &[(1, 1)], 10), [1]);
        assert_eq!(winners(&mut profile, &[(1, 1), (2, 5)], 10), [2]);
        assert_eq!(winners(&mut profile, &[(2, 3)], 10), [0], "2.0 + 0.9 < 3.0");
    }

    #[test]
    fn equal_queues_are_all_worth_the_full_score() {
        let mut profile = profile(&[(7.0, 0.3), (7.0, 0.3)]);
        profile.score(&weights(), None);
        assert!(profile.scores.iter().all(|score| (score - 3.4).abs() < 1e-12));
    }

    #[test]
    fn ties_are_drawn_among_all_winners() {
        let mut even = profile(&[(0.0, 0.5), (0.0, 0.5), (1.0, 0.5), (0.0, 0.5)]);
        assert_eq!(winners(&mut even, &[], 10), [0, 1, 3]);
        assert_eq!(winners(&mut even, &[(1, 2), (3, 2)], 10), [1, 3]);
        // 2 lacks 2.0 of queue score and makes it up with two thirds of the prompt.
        assert_eq!(winners(&mut even, &[(2, 2)], 3), [0, 1, 2, 3]);
    }

    #[test]
    fn a_filter_narrows_the_field_before_scores_are_scaled() {
        let mut profile = profile(&[(0.0, 0.5), (4.0, 0.2), (10.0, 0.0)]);
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let mut pick = |admitted: &[u32], soft| {
            let admits = |endpoint: EndpointId| admitted.contains(&endpoint.0);
            let filter = Filter { admits: &admits, soft };
            profile.pick(&weights(), &[], 1, Some(&filter), &mut rng).map(|endpoint| endpoint.0)
        };
        // Alone among themselves 4 and 10 scale to 1 and 0: 2.0 + 1.6 against 0.0 + 2.0.
        assert_eq!(pick(&[1, 2], false), Some(1));
        assert_eq!(pick(&[2], false), Some(2));
        assert_eq!(pick(&[], false), None);
        assert_eq!(pick(&[], true), Some(0));
    }

    #[test]
    fn nobody_wins_where_nobody_is() {
        let mut profile = Profile::default();
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        assert_eq!(profile.pick(&weights(), &[], 1, None, &mut rng), None);
    }
}
