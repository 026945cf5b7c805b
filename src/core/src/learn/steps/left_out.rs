//! Why windows are left out.

use serde::{Deserialize, Serialize};

/// Why a window says nothing that may be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeftOut {
    /// The second page is not later than the first: a clock stepped back, or a page came twice.
    ClockSkew,
    /// The pages lie too far apart for one mean: see [`super::WINDOW_MAX`].
    Gap,
    /// A counter fell: the engine restarted, or a series vanished and came back.
    CounterReset,
    /// A value that is needed is not a number: absent, or an engine that says so.
    NotANumber,
    /// Nothing was generated.
    Idle,
    /// Too few gaps for a mean: see [`super::GAPS_MIN`].
    TooFew,
    /// Many requests were preempted: what is computed again shows in no counter.
    Preempted,
    /// Counters contradict one another: part of the page is missing, or of another engine.
    Contradiction,
    /// The replica is new, or restarted: its first steps compile and capture.
    WarmingUp,
    /// No parameter would be moved by it: the regressors do not move.
    NotExcited,
}

impl LeftOut {
    /// All reasons, in the order in which they are looked for.
    pub const ALL: [Self; 10] = [
        Self::ClockSkew,
        Self::Gap,
        Self::NotANumber,
        Self::CounterReset,
        Self::Idle,
        Self::TooFew,
        Self::Preempted,
        Self::Contradiction,
        Self::WarmingUp,
        Self::NotExcited,
    ];

    /// The reason for a reader.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::ClockSkew => "the later page carries an earlier or the same time",
            Self::Gap => "pages too far apart",
            Self::CounterReset => "a counter fell: restart, or a series that came back",
            Self::NotANumber => "a value is absent or not a number",
            Self::Idle => "nothing was generated",
            Self::TooFew => "too few tokens for a mean",
            Self::Preempted => "many requests were preempted",
            Self::Contradiction => "counters contradict one another",
            Self::WarmingUp => "the replica was warming up",
            Self::NotExcited => "no coefficient would be moved by it",
        }
    }
}
