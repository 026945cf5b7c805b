//! Limits of tenants: requests per minute, and tokens per minute with an estimate first and the
//! truth after the answer.

mod requests;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use requests::Requests;
use tokens::Tokens;

use crate::api::policy::{TenantLimits, TenantSpec};
use crate::time::{Span, Time};

/// What tenants have left. Only tenants that a policy lists have limits, so clients cannot make
/// this grow.
#[derive(Debug, Default)]
pub struct Limits {
    tenants: BTreeMap<Arc<str>, Tenant>,
}

#[derive(Debug)]
struct Tenant {
    limits: TenantLimits,
    requests: Option<Requests>,
    tokens: Option<Tokens>,
}

/// What was charged on admission and is settled after the answer. Dropped without that, it stays
/// charged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what is not settled stays charged"]
pub struct Charge {
    /// `None` = nothing was charged.
    tenant: Option<Arc<str>>,
    /// Tokens charged.
    tokens: u64,
}

/// A tenant is beyond one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tenant is over its limit of {per_minute} {unit} per minute", unit = what.name())]
pub struct Limited {
    /// Of what.
    pub what: LimitOf,
    /// The limit.
    pub per_minute: u64,
    /// When the same request is within the limit, if nothing else is asked meanwhile.
    pub retry_after: Span,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitOf {
    /// Requests.
    Requests,
    /// Prompt and output tokens.
    Tokens,
}

impl LimitOf {
    /// As messages and labels say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

impl Charge {
    /// Nothing was charged.
    pub const NONE: Self = Self { tenant: None, tokens: 0 };
}

impl Limits {
    /// The limits of these tenants, nothing used yet.
    #[must_use]
    pub fn new(now: Time, tenants: &[TenantSpec]) -> Self {
        let mut limits = Self::default();
        limits.reload(now, tenants);
        limits
    }

    /// Takes over other limits. A limit that stays keeps what is used of it; one that changes
    /// begins anew.
    pub fn reload(&mut self, now: Time, tenants: &[TenantSpec]) {
        let mut before = std::mem::take(&mut self.tenants);
        for spec in tenants {
            let Some(limits) = &spec.limits else { continue };
            let name: Arc<str> = spec.name.as_str().into();
            let kept = before.remove(&name).filter(|tenant| tenant.limits == *limits);
            let tenant = kept.unwrap_or_else(|| Tenant {
                limits: limits.clone(),
                requests: limits.requests_per_minute.and_then(|limit| Requests::new(now, limit)),
                tokens: limits.tokens_per_minute.map(|limit| Tokens::new(now, limit)),
            });
            self.tenants.insert(name, tenant);
        }
    }

    /// Charges one request of `tenant` that will take about `tokens`: those of the prompt and a
    /// guess at the answer. A request that is refused is charged nothing.
    ///
    /// # Errors
    /// Which limit it is over, and when to come back.
    pub fn admit(
        &mut self,
        now: Time,
        tenant: Option<&str>,
        tokens: u64,
    ) -> Result<Charge, Limited> {
        self.charge(now, tenant, tokens, true)
    }

    /// The same for a request that comes back with a ticket: it was counted when it first came,
    /// so only its tokens are charged.
    ///
    /// # Errors
    /// The tenant is over its tokens, and when to come back.
    pub fn readmit(
        &mut self,
        now: Time,
        tenant: Option<&str>,
        tokens: u64,
    ) -> Result<Charge, Limited> {
        self.charge(now, tenant, tokens, false)
    }

    fn charge(
        &mut self,
        now: Time,
        tenant: Option<&str>,
        tokens: u64,
        counts: bool,
    ) -> Result<Charge, Limited> {
        let named = tenant.and_then(|name| self.tenants.get_key_value(name).map(|(key, _)| key));
        let Some(name) = named.cloned() else { return Ok(Charge::NONE) };
        let Some(tenant) = self.tenants.get_mut(&name) else { return Ok(Charge::NONE) };
        if let Some(ledger) = &mut tenant.tokens {
            ledger.room(now, tokens).map_err(|retry_after| Limited {
                what: LimitOf::Tokens,
                per_minute: ledger.per_minute(),
                retry_after,
            })?;
        }
        if let Some(requests) = tenant.requests.as_ref().filter(|_| counts) {
            requests.take(now).map_err(|retry_after| Limited {
                what: LimitOf::Requests,
                per_minute: u64::from(requests.per_minute()),
                retry_after,
            })?;
        }
        if let Some(ledger) = &mut tenant.tokens {
            ledger.charge(tokens);
        }
        Ok(Charge { tenant: Some(name), tokens })
    }

    /// Puts the tokens that a request really took in place of the estimate; 0 where it was never
    /// served.
    pub fn settle(&mut self, now: Time, charge: Charge, tokens: u64) {
        let tenant = charge.tenant.and_then(|name| self.tenants.get_mut(&name));
        if let Some(ledger) = tenant.and_then(|tenant| tenant.tokens.as_mut()) {
            ledger.settle(now, charge.tokens, tokens);
        }
    }

    /// Tokens that a tenant has left, negative in debt; `None` where it has no such limit.
    #[must_use]
    pub fn tokens_left(&self, now: Time, tenant: &str) -> Option<i64> {
        Some(self.tenants.get(tenant)?.tokens.as_ref()?.left(now))
    }
}
