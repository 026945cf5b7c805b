//! A gate and the terms that it was made under.

use std::sync::Arc;

use forebay_core::admit::Terms;
use forebay_core::api::InferenceFleetSpec;
use forebay_core::api::policy::TenantSpec;
use forebay_core::fleet::World;
use forebay_core::gate::{Forebay, Outlook};
use forebay_core::ids::FleetId;
use forebay_core::manifest::{Errors, Located, Manifests};
use forebay_core::time::Span;

use crate::desk::Desk;

/// The terms of one fleet.
#[derive(Clone, Debug)]
pub struct FleetTerms {
    /// Everything that decisions are made about.
    pub world: Arc<World>,
    /// Which fleet.
    pub fleet: FleetId,
    /// Who asks, whether decisions are carried out, what models are called.
    pub admit: Terms,
    /// Tenants with their limits.
    pub tenants: Vec<TenantSpec>,
    /// How often pages are read.
    pub scrape_interval: Span,
}

impl FleetTerms {
    /// The terms of every fleet of these manifests with their names, by [`FleetId`]. `seed` keys
    /// the hashes of what clients choose.
    ///
    /// # Errors
    /// Everything in the manifests that does not fit together.
    pub fn read(
        manifests: &Manifests,
        seed: u64,
        scrape_interval: Span,
    ) -> Result<Vec<(String, Self)>, Errors> {
        let (world, _) = manifests.resolve(None)?;
        let world = Arc::new(world);
        let read = |(index, fleet): (usize, &Located<InferenceFleetSpec>)| {
            let policy = manifests.policy_of(fleet).map_err(|problem| Errors(vec![*problem]))?;
            let terms = Self {
                world: Arc::clone(&world),
                fleet: FleetId(index as u16),
                admit: Terms::read(manifests, fleet, &world.tiers, seed)?,
                tenants: policy.spec().tenants.clone(),
                scrape_interval,
            };
            Ok((fleet.name().to_owned(), terms))
        };
        manifests.fleets.iter().enumerate().map(read).collect()
    }
}

/// Until somebody who plans says otherwise: whoever finds no engine hears so at once.
const NOTHING_COMING: Outlook<'static> = Outlook { coming: &[], on_demand: false };

/// A gate and its terms.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) desk: Desk,
    pub(super) terms: Arc<FleetTerms>,
}

impl Generation {
    pub(super) fn new(terms: FleetTerms) -> Self {
        let desk = Desk::new(gate(&terms), terms.world.tiers.len());
        desk.outlook(&NOTHING_COMING);
        Self { desk, terms: Arc::new(terms) }
    }

    /// What comes after: the same gate where it was made of the same world, another one that
    /// knows the same endpoints where not.
    pub(super) fn followed_by(&self, terms: FleetTerms) -> Self {
        let same = *self.terms.world == *terms.world
            && self.terms.fleet == terms.fleet
            && self.terms.scrape_interval == terms.scrape_interval;
        if same {
            return Self { desk: self.desk.clone(), terms: Arc::new(terms) };
        }
        let desk = self.desk.successor(gate(&terms), terms.world.tiers.len());
        desk.outlook(&NOTHING_COMING);
        let after = Self { desk, terms: Arc::new(terms) };
        let variants = after.terms.world.variants.len();
        let known: Vec<_> =
            self.desk.inspect(|view| view.directory.iter().map(|(_, info)| info.clone()).collect());
        for info in known {
            if info.variant.index() < variants {
                after.desk.endpoint_ready(&info.address, info.variant, info.role);
            }
        }
        after
    }
}

fn gate(terms: &FleetTerms) -> Box<Forebay> {
    Box::new(Forebay::new(&terms.world, terms.fleet, terms.scrape_interval))
}
