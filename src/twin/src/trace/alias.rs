//! Walker's alias method: one draw from a histogram in constant time and one cache line.

use rand::{Rng, RngExt};

/// A discrete distribution over `u32` values.
#[derive(Clone, Debug)]
pub(super) struct AliasTable {
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Below this (of 2^32) the slot's own value is drawn.
    threshold: u32,
    value: u32,
    alias: u32,
}

impl AliasTable {
    /// The distribution that draws each value in proportion to its weight. `None` when no weight
    /// is positive or one is not finite.
    pub(super) fn new(entries: &[(u32, f64)]) -> Option<Self> {
        let positive: Vec<(u32, f64)> =
            entries.iter().copied().filter(|&(_, weight)| weight > 0.0).collect();
        let total: f64 = positive.iter().map(|&(_, weight)| weight).sum();
        if positive.is_empty() || !total.is_finite() {
            return None;
        }
        let scale = positive.len() as f64 / total;
        let mut levels: Vec<f64> = positive.iter().map(|&(_, weight)| weight * scale).collect();
        let mut slots: Vec<Slot> = positive
            .iter()
            .map(|&(value, _)| Slot { threshold: u32::MAX, value, alias: value })
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..slots.len()).partition(|&index| levels[index] < 1.0);
        while let (Some(&below), Some(&above)) = (small.last(), large.last()) {
            small.pop();
            slots[below].threshold = (levels[below] * 4_294_967_296.0) as u32;
            slots[below].alias = slots[above].value;
            levels[above] -= 1.0 - levels[below];
            if levels[above] < 1.0 {
                large.pop();
                small.push(above);
            }
        }
        Some(Self { slots: slots.into() })
    }

    /// One value.
    #[inline]
    pub(super) fn draw(&self, random: &mut impl Rng) -> u32 {
        let word = random.random::<u64>();
        let index = ((word >> 32) * self.slots.len() as u64) >> 32;
        let slot = self.slots[index as usize];
        if (word as u32) < slot.threshold { slot.value } else { slot.alias }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Purpose, stream};
    use super::*;

    #[test]
    fn values_come_in_proportion_to_their_weights() {
        let weights = [(3, 0.1), (9, 0.6), (27, 0.05), (81, 0.0), (90, 0.25)];
        let table = AliasTable::new(&weights).unwrap();
        let mut random = stream(1, Purpose::Lengths, 0);
        let draws = 400_000;
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..draws {
            *counts.entry(table.draw(&mut random)).or_insert(0_u32) += 1;
        }
        for (value, weight) in weights {
            let share = f64::from(counts.get(&value).copied().unwrap_or(0)) / f64::from(draws);
            assert!((share - weight).abs() < 0.004, "{value}: {share} of {weight}");
        }
    }

    #[test]
    fn nothing_to_draw_from_is_no_table() {
        assert!(AliasTable::new(&[]).is_none());
        assert!(AliasTable::new(&[(1, 0.0)]).is_none());
        assert!(AliasTable::new(&[(1, f64::NAN), (2, f64::INFINITY)]).is_none());
    }
}
