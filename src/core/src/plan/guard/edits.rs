//! Replicas that somebody else set: noticed, held as given, and left alone where it happens again
//! and again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::plan::verdict::Rule;
use crate::time::{Span, Time};

/// How long a hand edit is held as given.
pub(super) const HOLD: Span = Span::from_secs(900);
/// Edits are counted over this span.
pub(super) const COUNTED: Span = Span::from_secs(3_600);
/// So many edits stop us: something else (a GitOps controller) owns the field.
pub(super) const EDITS_MAX: usize = 3;
/// A write that does not show after this time was set back or never made.
pub(super) const SETTLE: Span = Span::from_secs(60);

/// What one scale target should show, and the edits of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Edits {
    /// What it showed last; `None` = never looked.
    expected: Option<u32>,
    /// What we asked for since, with the time of the first ask that has not shown yet.
    pending: Option<(u32, Time)>,
    /// Edits of the last hour, at most [`EDITS_MAX`].
    edits: VecDeque<Time>,
}

impl Edits {
    /// Compares what the target shows with what we asked for.
    pub(super) fn look(&mut self, now: Time, shown: u32) {
        self.edits.retain(|at| now.since(*at) < COUNTED);
        let expected = *self.expected.get_or_insert(shown);
        match self.pending {
            Some((asked, _)) if shown == asked => self.pending = None,
            Some((_, since)) if shown == expected && now.since(since) <= SETTLE => {}
            None if shown == expected => {}
            _ => {
                if self.edits.len() == EDITS_MAX {
                    self.edits.pop_front();
                }
                self.edits.push_back(now);
                self.pending = None;
            }
        }
        self.expected = Some(shown);
    }

    /// We ask for `replicas` where the target shows `shown`.
    pub(super) fn asked(&mut self, now: Time, shown: u32, replicas: u32) {
        if replicas == shown {
            self.pending = None;
        } else {
            let since = self.pending.map_or(now, |(_, since)| since);
            self.pending = Some((replicas, since));
        }
    }

    /// The rule by which the replicas are held as given, if they are.
    pub(super) fn held(&self, now: Time) -> Option<Rule> {
        let counted = self.edits.iter().filter(|at| now.since(**at) < COUNTED).count();
        if counted >= EDITS_MAX {
            return Some(Rule::StoppedByEdits { edits: counted as u32 });
        }
        let until = *self.edits.back()? + HOLD;
        (now < until).then_some(Rule::HeldAsGiven { until })
    }
}
