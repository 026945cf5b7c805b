//! Capacity on its way, as the planner tells the gate.

use crate::ids::VariantId;
use crate::time::Time;

/// What will be ready when, as far as the one who plans knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook<'a> {
    /// Replicas that were asked for and are not ready.
    pub coming: &'a [Coming],
    /// Whether something is started for whoever waits although nothing is on its way yet (scale
    /// from zero): then a request without an endpoint is held, not turned away.
    pub on_demand: bool,
}

/// One replica on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coming {
    /// When it is expected to be ready.
    pub ready_at: Time,
    /// Of which variant.
    pub variant: VariantId,
}
