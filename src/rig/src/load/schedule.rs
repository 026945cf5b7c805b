//! When which stream's next request is due, all streams together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::SeedableRng;
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use super::Options;

/// Due times, earliest first.
#[derive(Debug)]
pub(super) struct Schedule {
    due: BinaryHeap<Reverse<(Duration, usize)>>,
    lanes: Vec<Lane>,
    even: bool,
}

#[derive(Debug)]
struct Lane {
    rate: f64,
    end: Duration,
    luck: Pcg64Mcg,
}

impl Schedule {
    pub(super) fn new(options: &Options) -> Self {
        let mut schedule = Self { due: BinaryHeap::new(), lanes: Vec::new(), even: options.even };
        for (index, stream) in options.streams.iter().enumerate() {
            let end = stream.until.map_or(options.span, |until| until.min(options.span));
            let luck = Pcg64Mcg::seed_from_u64(options.seed.wrapping_add(index as u64));
            schedule.lanes.push(Lane { rate: stream.rate, end, luck });
            schedule.push(stream.from, index);
        }
        schedule
    }

    fn push(&mut self, last: Duration, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.rate <= 0.0 {
            return;
        }
        let gaps: f64 = if self.even { 1.0 } else { Exp1.sample(&mut lane.luck) };
        let due = last + Duration::from_secs_f64(gaps / lane.rate);
        if due < lane.end {
            self.due.push(Reverse((due, index)));
        }
    }
}

impl Iterator for Schedule {
    /// From the start of the load, and which stream.
    type Item = (Duration, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((due, index)) = self.due.pop()?;
        self.push(due, index);
        Some((due, index))
    }
}
