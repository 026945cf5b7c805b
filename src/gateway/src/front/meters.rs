//! What is counted by tenant: only tenants that a policy lists have a name here, so clients cannot
//! make this grow.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::admit::{Identity, TierBy};
use forebay_core::ids::TierId;

use crate::body::Usage;

/// Label of callers that nobody vouches for.
pub(super) const LABEL_UNKNOWN: &str = "unknown";
/// Label of tenants that the policy does not list.
pub(super) const LABEL_OTHER: &str = "other";

/// Counters of one front.
#[derive(Clone, Debug, Default)]
pub struct FrontMeters {
    /// By tenant and tier.
    pub tenants: BTreeMap<(Arc<str>, TierId), TenantMeters>,
    /// Requests by what decided their tier.
    pub tier_by: BTreeMap<TierBy, u64>,
    /// Requests whose tenant may not use the tier that was asked for.
    pub not_allowed: u64,
    /// Tickets given out.
    pub tickets: u64,
}

/// Counters of one tenant in one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantMeters {
    /// Requests that passed the limits.
    pub requests: u64,
    /// Their prompt tokens, estimated.
    pub prompt_tokens: u64,
    /// Requests over a limit and refused for it.
    pub limited: u64,
    /// Requests over a limit that was only watched.
    pub would_have_limited: u64,
    /// Requests that the gate refused.
    pub refused: u64,
    /// Answered in full.
    pub finished: u64,
    /// Answered; how the answers ended was not observed.
    pub unobserved: u64,
    /// Tokens of their answers, as engines told: in each answer, or in the mean on their pages.
    pub output_tokens: u64,
    /// Of their prompt tokens, found in a cache, as engines told.
    pub cached_tokens: u64,
}

/// The label of who asks.
pub(super) fn label(identity: &Identity<'_>) -> Arc<str> {
    match identity.tenant {
        Some(name) if identity.listed => name.into(),
        Some(_) => LABEL_OTHER.into(),
        None => LABEL_UNKNOWN.into(),
    }
}

impl FrontMeters {
    fn of(&mut self, tenant: &Arc<str>, tier: TierId) -> &mut TenantMeters {
        self.tenants.entry((Arc::clone(tenant), tier)).or_default()
    }

    pub(super) fn arrived(&mut self, identity: &Identity<'_>, prompt_tokens: u32) {
        let tenant = self.of(&label(identity), identity.tier);
        tenant.requests += 1;
        tenant.prompt_tokens += u64::from(prompt_tokens);
        *self.tier_by.entry(identity.by).or_default() += 1;
        self.not_allowed += u64::from(identity.not_allowed);
    }

    pub(super) fn limited(&mut self, identity: &Identity<'_>, enforced: bool) {
        let tenant = self.of(&label(identity), identity.tier);
        if enforced {
            tenant.limited += 1;
        } else {
            tenant.would_have_limited += 1;
        }
    }

    pub(super) fn refused(&mut self, tenant: &Arc<str>, tier: TierId) {
        self.of(tenant, tier).refused += 1;
    }

    /// `output_tokens`: in the mean of its engine; `None` = not known, and not counted.
    pub(super) fn unobserved(
        &mut self,
        tenant: &Arc<str>,
        tier: TierId,
        output_tokens: Option<u32>,
    ) {
        let tenant = self.of(tenant, tier);
        tenant.unobserved += 1;
        tenant.output_tokens += u64::from(output_tokens.unwrap_or(0));
    }

    pub(super) fn finished(&mut self, tenant: &Arc<str>, tier: TierId, usage: Usage) {
        let tenant = self.of(tenant, tier);
        tenant.finished += 1;
        tenant.output_tokens += u64::from(usage.output_tokens.unwrap_or(0));
        tenant.cached_tokens += u64::from(usage.cached_tokens.unwrap_or(0));
    }
}
