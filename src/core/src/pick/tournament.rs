//! The least of a few hundred keys that change one at a time.

/// A winner tree over keys by slot: the least key in O(1), a change in O(log n), no allocation
/// outside [`Tournament::rebuild`]. The lowest slot wins among equal keys.
#[derive(Clone, Debug, Default)]
pub struct Tournament {
    /// Keys by slot, padded with [`Tournament::ABSENT`] to a power of two.
    keys: Vec<u64>,
    /// Winner of each match as a slot; the final is at 1, the children of `n` at `2n` and `2n+1`.
    winners: Vec<u32>,
}

impl Tournament {
    /// The key of a slot that must not win.
    pub const ABSENT: u64 = u64::MAX;

    /// Starts again with these keys.
    pub fn rebuild(&mut self, keys: impl ExactSizeIterator<Item = u64>) {
        let width = keys.len().max(2).next_power_of_two();
        self.keys.clear();
        self.keys.extend(keys);
        self.keys.resize(width, Self::ABSENT);
        self.winners.clear();
        self.winners.resize(width, 0);
        for pair in (1..width).rev() {
            self.play(pair);
        }
    }

    /// Changes one key.
    pub fn update(&mut self, slot: usize, key: u64) {
        self.keys[slot] = key;
        let mut pair = (slot + self.winners.len()) / 2;
        while pair > 0 {
            self.play(pair);
            pair /= 2;
        }
    }

    /// The slot of the least key; `None` when all are absent.
    #[must_use]
    pub fn least(&self) -> Option<usize> {
        let slot = *self.winners.get(1)? as usize;
        (self.keys[slot] != Self::ABSENT).then_some(slot)
    }

    /// The key of a slot.
    #[must_use]
    pub fn key(&self, slot: usize) -> u64 {
        self.keys[slot]
    }

    fn play(&mut self, pair: usize) {
        let (left, right) = (self.contestant(2 * pair), self.contestant(2 * pair + 1));
        let right_wins = self.keys[right as usize] < self.keys[left as usize];
        self.winners[pair] = if right_wins { right } else { left };
    }

    fn contestant(&self, node: usize) -> u32 {
        let width = self.winners.len();
        if node >= width { (node - width) as u32 } else { self.winners[node] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody_wins_an_empty_tournament() {
        let mut tournament = Tournament::default();
        assert_eq!(tournament.least(), None);
        tournament.rebuild([].into_iter());
        assert_eq!(tournament.least(), None);
    }

    proptest! {
        #[test]
        fn the_winner_is_what_a_scan_finds(
            mut keys in proptest::collection::vec(0_u64..9, 1..40),
            changes in proptest::collection::vec((0_usize..40, 0_u64..9), 0..60),
        ) {
            let mut tournament = Tournament::default();
            tournament.rebuild(keys.iter().copied());
            for (slot, key) in changes {
                let slot = slot % keys.len();
                // 8 stands for a slot that is out of the race.
                let key = if key == 8 { Tournament::ABSENT } else { key };
                keys[slot] = key;
                tournament.update(slot, key);
                let scan = (0..keys.len())
                    .filter(|slot| keys[*slot] != Tournament::ABSENT)
                    .min_by_key(|slot| (keys[*slot], *slot));
                prop_assert_eq!(tournament.least(), scan);
            }
        }
    }
}
