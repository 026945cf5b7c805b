//! What can be said about a request of which only the headers are seen.

use std::sync::Arc;

use forebay_core::admit::Facts;
use forebay_core::gate::Refusal;
use forebay_core::time::Span;

use super::{Denied, Front, meters};
use crate::desk::{Reason, Refused};

/// When to ask again for work that is let in only while there is budget: engines' pages are read
/// about as often.
const BUDGET_RETRY: Span = Span::from_secs(1);

/// What a request is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Name of its tier.
    pub tier: String,
    /// Label of its tenant.
    pub tenant: Arc<str>,
}

impl Front {
    /// Longest time that a request with these facts may be held.
    pub(crate) fn hold_max<F: Facts>(&self, facts: &F) -> Span {
        let generation = self.shared.current.load_full();
        let terms = &generation.terms;
        let tier = terms.admit.identifier.identify(facts).tier;
        terms.world.tiers.get(tier.index()).map_or(Span::ZERO, |tier| tier.hold_max)
    }

    /// Who asks, in which tier, within which limit of requests, and whether anybody could serve
    /// it. Nothing is reserved.
    ///
    /// # Errors
    /// Limits; no endpoint at all; no budget for a deferrable tier. None where the policy only
    /// observes.
    pub fn check<F: Facts>(&self, facts: &F) -> Result<Checked, Denied> {
        let generation = self.shared.current.load_full();
        let terms = &generation.terms;
        let identity = terms.admit.identifier.identify(facts);
        let enforced = terms.admit.enforcement.enforced(identity.tier, self.draw());
        let limited = self.limits().admit(generation.desk.now(), identity.tenant, 0).err();
        if let Some(limited) = limited {
            self.meters().limited(&identity, enforced);
            if enforced {
                return Err(Denied::Limited(limited));
            }
        }
        self.meters().arrived(&identity, 0);
        let tier = terms.world.tiers.get(identity.tier.index());
        let deferrable = tier.is_some_and(|tier| tier.deferrable);
        let refusal = generation.desk.inspect(|view| {
            if view.directory.is_empty() {
                return Some(Refusal::NoEndpoints);
            }
            let budget = view.gate.budget(view.now, identity.tier);
            (deferrable && budget == Some(0)).then_some(Refusal::Saturated)
        });
        let tenant = meters::label(&identity);
        match refusal.filter(|_| enforced) {
            Some(refusal) => {
                self.meters().refused(&tenant, identity.tier);
                let retry_after = Some(BUDGET_RETRY);
                let refused = Refused { reason: Reason::Gate(refusal), retry_after, place: None };
                Err(refused.into())
            }
            None => Ok(Checked { tier: tier.map(|t| t.name.clone()).unwrap_or_default(), tenant }),
        }
    }
}
