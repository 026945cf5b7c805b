//! What is on its way, and when it will be there.

use crate::ids::VariantId;
use crate::plan::FleetView;
use crate::time::{Span, Time};

use super::shortage;

/// A start that is late is expected after this share of its lead time again.
const OVERDUE_SHARE: f64 = 0.1;

/// A replica on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coming {
    /// When it is expected to be ready.
    pub ready_at: Time,
    /// Whose.
    pub variant: VariantId,
}

/// Replicas on their way, the next first.
pub(super) fn coming(
    now: Time,
    view: &FleetView<'_>,
    leads: &[Span],
    patience: Span,
) -> Vec<Coming> {
    let mut all = Vec::new();
    for (index, (target, lead)) in view.targets.iter().zip(leads).enumerate() {
        let variant = VariantId(index as u16);
        let patience = shortage::patience(view, variant, patience);
        let waiting = target.unschedulable_since.iter().filter(|at| now.since(**at) <= patience);
        for asked in target.starting_since.iter().chain(waiting) {
            let late = now + Span::from_seconds(lead.as_seconds() * OVERDUE_SHARE);
            let due = *asked + *lead;
            let ready_at = if due > now { due } else { late };
            all.push(Coming { ready_at, variant });
        }
    }
    all.sort_by_key(|coming| (coming.ready_at, coming.variant));
    all
}
