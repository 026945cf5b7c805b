//! How many replicas were added and removed in the last ten minutes.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::RATE_WINDOW;
use crate::time::Time;

/// Changes kept: one for each decision of ten minutes at an interval of 5 s. Beyond that the
/// youngest takes in what comes, and counts longer.
const CHANGES_MAX: usize = 120;

/// Changes of the last ten minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    changes: VecDeque<(Time, u32, u32)>,
}

impl Ledger {
    pub(super) fn note(&mut self, now: Time, added: u32, removed: u32) {
        if added == 0 && removed == 0 {
            return;
        }
        self.forget(now);
        let full = self.changes.len() == CHANGES_MAX;
        match self.changes.back_mut().filter(|_| full) {
            Some((at, own_added, own_removed)) => {
                *at = now;
                *own_added = own_added.saturating_add(added);
                *own_removed = own_removed.saturating_add(removed);
            }
            None => self.changes.push_back((now, added, removed)),
        }
    }

    /// Replicas added within the last ten minutes.
    pub(super) fn added(&mut self, now: Time) -> u32 {
        self.forget(now);
        self.changes.iter().fold(0, |sum, (_, added, _)| sum.saturating_add(*added))
    }

    /// Replicas removed within the last ten minutes.
    pub(super) fn removed(&mut self, now: Time) -> u32 {
        self.forget(now);
        self.changes.iter().fold(0, |sum, (_, _, removed)| sum.saturating_add(*removed))
    }

    fn forget(&mut self, now: Time) {
        self.changes.retain(|(at, _, _)| now.since(*at) < RATE_WINDOW);
    }
}
