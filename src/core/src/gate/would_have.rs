//! What the gate would have done with requests that it was told to watch only.

use super::Refusal;

/// Counts from the start, of requests that were not [`super::Arrival::enforced`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WouldHave {
    /// Would have been sent at once.
    pub sent: u64,
    /// Would have been held for a credit.
    pub held: u64,
    /// Would have been refused because the queue was full.
    pub refused_saturated: u64,
    /// Would have been refused because there was nobody to serve them.
    pub refused_no_endpoints: u64,
    /// Would have been refused because their objective could not be met any more.
    pub refused_late: u64,
    /// Would have been refused for any other reason.
    pub refused_otherwise: u64,
}

impl WouldHave {
    /// One more that would have been refused.
    pub(super) const fn refused(&mut self, reason: Refusal) {
        let count = match reason {
            Refusal::Saturated => &mut self.refused_saturated,
            Refusal::NoEndpoints => &mut self.refused_no_endpoints,
            Refusal::Late => &mut self.refused_late,
            Refusal::TtlExpired | Refusal::NoCapacityInSight => &mut self.refused_otherwise,
        };
        *count += 1;
    }
}
