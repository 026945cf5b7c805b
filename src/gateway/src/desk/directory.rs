//! Which endpoint has which address, and what was last read of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::fleet::Role;
use forebay_core::gate::{EndpointLoad, GateEffect};
use forebay_core::ids::{EndpointId, RequestId, VariantId};
use forebay_core::time::Time;

use super::Refused;
use super::answers::{Answers, Served};
use super::grant::{Answer, Spot};

/// Endpoints by identity and by address.
#[derive(Debug, Default)]
pub struct Directory {
    by_id: BTreeMap<EndpointId, EndpointInfo>,
    by_address: BTreeMap<Arc<str>, EndpointId>,
    next: u32,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointInfo {
    /// `ip:port`, IPv6 in brackets.
    pub address: Arc<str>,
    /// Its variant.
    pub variant: VariantId,
    /// What it may be used for.
    pub role: Role,
    /// The last page that could be read, and when it was true; `None` = none yet, or the last
    /// attempt failed: unknown, not idle.
    pub load: Option<(Time, EndpointLoad)>,
    /// How long its answers are of late.
    pub answers: Answers,
}

impl Directory {
    /// The endpoint of an address; `None` when there is none.
    #[must_use]
    pub fn find(&self, address: &str) -> Option<EndpointId> {
        self.by_address.get(address).copied()
    }

    /// One endpoint; `None` when it is gone.
    #[must_use]
    pub fn get(&self, endpoint: EndpointId) -> Option<&EndpointInfo> {
        self.by_id.get(&endpoint)
    }

    /// All endpoints in order of identity.
    pub fn iter(&self) -> impl Iterator<Item = (EndpointId, &EndpointInfo)> {
        self.by_id.iter().map(|(id, info)| (*id, info))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Adds an endpoint; one of the same address that is there already is the same endpoint.
    pub(super) fn insert(&mut self, address: &str, variant: VariantId, role: Role) -> EndpointId {
        if let Some(known) = self.find(address) {
            return known;
        }
        let endpoint = EndpointId(self.next);
        self.next += 1;
        let address: Arc<str> = address.into();
        self.by_address.insert(Arc::clone(&address), endpoint);
        self.by_id.insert(
            endpoint,
            EndpointInfo { address, variant, role, load: None, answers: Answers::default() },
        );
        endpoint
    }

    pub(super) fn remove(&mut self, endpoint: EndpointId) {
        if let Some(info) = self.by_id.remove(&endpoint) {
            self.by_address.remove(&info.address);
        }
    }

    /// Takes note of a page, or of its absence. False when the endpoint is not known.
    pub(super) fn scraped(
        &mut self,
        endpoint: EndpointId,
        at: Time,
        load: Option<EndpointLoad>,
    ) -> bool {
        let Some(info) = self.by_id.get_mut(&endpoint) else { return false };
        info.load = load.map(|load| (at, load));
        true
    }

    /// Takes note of what an endpoint has served, as the page says that was taken note of last.
    pub(super) fn served(&mut self, endpoint: EndpointId, served: Served) {
        if let Some(info) = self.by_id.get_mut(&endpoint) {
            let page = info.load.map(|(at, load)| (at, load.running));
            info.answers.note(served, page);
        }
    }

    /// An effect of the gate as an answer with addresses.
    pub(super) fn answer(&self, effect: &GateEffect) -> (RequestId, Answer) {
        match *effect {
            GateEffect::Dispatch { request, endpoint, prefill } => {
                let address = |endpoint| self.get(endpoint).map(|info| Arc::clone(&info.address));
                let answer = match (address(endpoint), prefill.map(address)) {
                    (Some(address), None) => Ok(Spot { id: endpoint, address, prefill: None }),
                    (Some(address), Some(Some(prefill))) => {
                        Ok(Spot { id: endpoint, address, prefill: Some(prefill) })
                    }
                    // The gate knows only endpoints that the directory gave it.
                    _ => Err(Refused::no_endpoints()),
                };
                (request, answer)
            }
            GateEffect::Refuse { request, reason, retry_after, place } => {
                (request, Err(Refused { reason: reason.into(), retry_after, place }))
            }
        }
    }
}
