//! What whoever plans wants of a gate, carried out: capacity on its way, endpoints that get no
//! more requests, physics that were learned. It is kept, because gates are replaced when their
//! terms change and endpoints come back.

use std::collections::BTreeMap;

use forebay_core::engine::profile::EngineProfile;
use forebay_core::fleet::Role;
use forebay_core::gate::{Coming, Outlook};
use forebay_core::ids::VariantId;
use forebay_core::learn::predict::scaled_profile;
use forebay_core::sync::Guided;
use tracing::debug;

use super::{FleetTerms, Front};
use crate::desk::Desk;

/// What is in force besides the terms.
#[derive(Debug, Default)]
pub(super) struct Guide {
    /// What the leader wants; nothing while there was none.
    guided: Guided,
    /// Physics in force that were learned here, by variant.
    learned: BTreeMap<VariantId, EngineProfile>,
    /// Endpoints that became ready while they are to be drained, by address.
    withheld: BTreeMap<String, (VariantId, Role)>,
}

impl Guide {
    /// Tells all of it to a desk that knows nothing yet but its endpoints.
    pub(super) fn tell(&self, desk: &Desk, terms: &FleetTerms) {
        self.tell_outlook(desk, terms);
        for (variant, _) in terms.world.variants_of(terms.fleet) {
            if let Some(profile) = self.profile(terms, variant) {
                desk.learned(variant, &profile);
            }
        }
        for address in &self.guided.drain {
            desk.with_endpoint(address, Desk::endpoint_draining);
        }
    }

    /// Other terms may have other variants: what was learned of those before says nothing.
    pub(super) fn forget_learned(&mut self) {
        self.learned.clear();
    }

    fn tell_outlook(&self, desk: &Desk, terms: &FleetTerms) {
        let mut coming = Vec::with_capacity(self.guided.coming.len());
        for replica in &self.guided.coming {
            match named(terms, &replica.variant) {
                Some(variant) => coming.push(Coming { ready_at: replica.ready_at, variant }),
                None => debug!(variant = replica.variant, "on its way, but not of this fleet"),
            }
        }
        // Of what nobody knows nothing is promised.
        let on_demand = self.guided.on_demand.unwrap_or(false);
        desk.outlook(&Outlook { coming: &coming, on_demand });
    }

    /// The profile in force, if it is not the manifest's: the leader's word, for he sees all
    /// gates; without it what was learned here.
    fn profile(&self, terms: &FleetTerms, variant: VariantId) -> Option<EngineProfile> {
        let entry = terms.world.variants.get(variant.index())?;
        let told = self.guided.physics.iter().find(|physics| physics.variant == entry.name);
        match told {
            Some(physics) => {
                let parameters = [physics.fixed.ln(), physics.token.ln(), physics.kv.ln()];
                Some(scaled_profile(&entry.profile, &parameters))
            }
            None => self.learned.get(&variant).cloned(),
        }
    }
}

impl Front {
    /// Follows what a leader wants from now on; it replaces all that was wanted before.
    pub fn guide(&self, guided: &Guided) {
        let mut guide = self.lock_guide();
        let (terms, desk) = (self.terms(), self.desk());
        let before = std::mem::replace(&mut guide.guided, guided.clone());
        if before.coming != guided.coming || before.on_demand != guided.on_demand {
            guide.tell_outlook(&desk, &terms);
            self.changed();
        }
        if before.physics != guided.physics {
            for (variant, entry) in terms.world.variants_of(terms.fleet) {
                let profile = guide.profile(&terms, variant);
                desk.learned(variant, profile.as_ref().unwrap_or(&entry.profile));
            }
        }
        for address in guided.drain.iter().filter(|address| !before.drain.contains(address)) {
            self.each(|desk| desk.with_endpoint(address, Desk::endpoint_draining));
        }
        for address in before.drain.iter().filter(|address| !guided.drain.contains(address)) {
            let known = desk.inspect(|view| {
                let info = view.directory.get(view.directory.find(address)?)?;
                Some((info.variant, info.role))
            });
            if let Some((variant, role)) = guide.withheld.remove(address).or(known) {
                desk.endpoint_ready(address, variant, role);
                self.changed();
            }
        }
    }

    /// Takes the physics of a variant that were learned here from its engines' pages. A leader
    /// that has learned them itself is believed rather.
    pub fn learned(&self, variant: VariantId, profile: &EngineProfile) {
        let mut guide = self.lock_guide();
        let terms = self.terms();
        let known = guide.learned.get(&variant);
        let known = known.or(terms.world.variants.get(variant.index()).map(|it| &it.profile));
        if known == Some(profile) {
            return;
        }
        guide.learned.insert(variant, profile.clone());
        if let Some(profile) = guide.profile(&terms, variant) {
            self.desk().learned(variant, &profile);
        }
    }

    /// An endpoint became ready; `address` is `ip:port`. One that is to be drained gets nothing
    /// until it is not any more.
    pub fn endpoint_ready(&self, address: &str, variant: VariantId, role: Role) {
        let mut guide = self.lock_guide();
        if guide.guided.drain.iter().any(|drained| drained == address) {
            guide.withheld.insert(address.to_owned(), (variant, role));
            return;
        }
        self.desk().endpoint_ready(address, variant, role);
        drop(guide);
        self.changed();
    }

    /// An endpoint is gone.
    pub fn endpoint_gone(&self, address: &str) {
        self.lock_guide().withheld.remove(address);
        self.each(|desk| desk.with_endpoint(address, Desk::endpoint_gone));
    }
}

/// The variant of this fleet with that name.
fn named(terms: &FleetTerms, name: &str) -> Option<VariantId> {
    let mut variants = terms.world.variants_of(terms.fleet);
    variants.find(|(_, variant)| variant.name == name).map(|(id, _)| id)
}
