//! Why a request does not go, in types; how that is worded is the front's business.

use forebay_core::gate::{Place, Refusal};
use forebay_core::time::Span;

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// When to come back; `None` where nobody can tell.
    pub retry_after: Option<Span>,
    /// What it takes to come back at the same place in order.
    pub place: Option<Place>,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The gate refused it.
    Gate(Refusal),
    /// This process ends.
    ShuttingDown,
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Self::Gate(refusal)
    }
}

impl Reason {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Gate(Refusal::Saturated),
        Self::Gate(Refusal::TtlExpired),
        Self::Gate(Refusal::NoEndpoints),
        Self::Gate(Refusal::Late),
        Self::Gate(Refusal::NoCapacityInSight),
        Self::ShuttingDown,
    ];

    /// Its place in [`Reason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Gate(Refusal::Saturated) => 0,
            Self::Gate(Refusal::TtlExpired) => 1,
            Self::Gate(Refusal::NoEndpoints) => 2,
            Self::Gate(Refusal::Late) => 3,
            Self::Gate(Refusal::NoCapacityInSight) => 4,
            Self::ShuttingDown => 5,
        }
    }

    /// As the header `x-llm-d-request-dropped-reason` and metrics name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gate(Refusal::Saturated) => "rejected-saturated",
            Self::Gate(Refusal::TtlExpired) => "rejected-ttl-expired",
            Self::Gate(Refusal::NoEndpoints) => "rejected-no-endpoints",
            Self::Gate(Refusal::Late) => "rejected-objective-unattainable",
            Self::Gate(Refusal::NoCapacityInSight) => "rejected-no-capacity-in-sight",
            Self::ShuttingDown => "rejected-shutting-down",
        }
    }
}

impl Refused {
    pub(super) const fn no_endpoints() -> Self {
        Self { reason: Reason::Gate(Refusal::NoEndpoints), retry_after: None, place: None }
    }

    pub(crate) const fn shutting_down() -> Self {
        let retry_after = Some(Span::from_secs(1));
        Self { reason: Reason::ShuttingDown, retry_after, place: None }
    }
}
