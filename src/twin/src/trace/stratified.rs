//! Arrivals of a client whose counts per bin were measured: the count is held, the gaps are drawn.
//!
//! ServeGen's rates are counts of a real week divided by the length of a bin, and its CVs were
//! measured over the gaps of that bin. A renewal process with this rate and CV would add the
//! spread of its own counts to the spread that the counts already show (3.7 % of an hour of the
//! large pool, since single bins have a CV above 100), and one restarted at each bin adds
//! `(CV^2 - 1) / 2` arrivals each time. So a bin is drawn given its count: that many gaps, closed
//! to a ring that just fills the bin's operational time, turned by a random angle. The gap that
//! the bin edge cuts is met in proportion to its length, as an edge meets it in a long process, so
//! nothing piles up at edges. Fractions of a count are carried over, and bins with too few
//! requests for their CV (after scaling down) are drawn together.

use rand::{Rng, RngExt};

use super::gaps::{Family, closed_gaps};
use super::pool::OperationalClock;

/// Arrivals of one client.
#[derive(Clone, Debug)]
pub(super) struct Stratified {
    clock: OperationalClock,
    next_bin: usize,
    /// Requests expected before `next_bin`, plus a random part of one: whole numbers passed are
    /// arrivals.
    counted: f64,
    /// Operational time at the start of the block, and its length.
    block_start: f64,
    block_length: f64,
    /// Positions of the block's arrivals, 0..1, rising from `first` to the end and then from 0.
    ring: Vec<f64>,
    first: usize,
    /// Arrivals of the block that were given out.
    given: usize,
}

impl Stratified {
    pub(super) fn new(clock: OperationalClock, random: &mut impl Rng) -> Self {
        Self {
            clock,
            next_bin: 0,
            counted: random.random::<f64>(),
            block_start: 0.0,
            block_length: 0.0,
            ring: Vec::new(),
            first: 0,
            given: 0,
        }
    }

    /// Seconds from the start of the window; `None` after the last.
    pub(super) fn next_arrival(&mut self, random: &mut impl Rng) -> Option<f64> {
        while self.given == self.ring.len() {
            self.draw_block(random)?;
        }
        let behind = self.ring.len() - self.first;
        let index = if self.given < behind { self.first + self.given } else { self.given - behind };
        self.given += 1;
        // Just inside the block: rounding must not carry the last arrival over its edge.
        let position = self.ring[index].min(1.0 - 1e-12);
        self.clock.seconds_at(position.mul_add(self.block_length, self.block_start))
    }

    /// Draws the arrivals of the next bins; `None` when none are left.
    fn draw_block(&mut self, random: &mut impl Rng) -> Option<()> {
        let bins = &self.clock.bins;
        let (mut requests, mut spread, mut gamma) = (0.0, 0.0, 0.0);
        loop {
            let Some(bin) = bins.get(self.next_bin) else {
                if requests > 0.0 { break } else { return None }
            };
            self.next_bin += 1;
            let more = bin.requests * self.clock.scale;
            requests += more;
            spread += more * bin.cv * bin.cv;
            gamma += if bin.family == Family::Gamma { more } else { 0.0 };
            // n gaps cannot have a CV above the root of n - 1.
            if requests - 1.0 > spread / requests {
                break;
            }
        }
        self.block_start += self.block_length;
        self.block_length = requests;
        let before = self.counted.floor();
        self.counted += requests;
        let count = (self.counted.floor() - before) as usize;
        let family = if gamma * 2.0 >= requests { Family::Gamma } else { Family::Weibull };
        closed_gaps(family, (spread / requests).sqrt(), count, random, &mut self.ring);
        self.first = 0;
        self.given = 0;
        let mut position = random.random::<f64>();
        for (index, gap) in self.ring.iter_mut().enumerate() {
            position += *gap;
            if position >= 1.0 {
                position -= 1.0;
                self.first = index;
            }
            *gap = position;
        }
        Some(())
    }
}
