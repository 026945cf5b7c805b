//! What was learned, as it survives a restart: by name, because identities are given out anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Learner;
use super::learner::Revision;
use super::lengths::{LengthsLearner, TierLengthsLearner};
use super::physics::PhysicsLearner;
use super::start_up::StartUpBelief;
use super::steps::LeftOut;
use crate::fleet::World;

/// Version of the snapshot's form; another one is refused.
const SNAPSHOT_VERSION: u32 = 1;

/// What was learned about a world: a few KiB per variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    version: u32,
    variants: Vec<VariantSnapshot>,
    fleets: Vec<FleetSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VariantSnapshot {
    fleet: String,
    name: String,
    physics: Vec<(Revision, PhysicsLearner)>,
    start_up: StartUpBelief,
    lengths: LengthsLearner,
    left_out: BTreeMap<LeftOut, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FleetSnapshot {
    name: String,
    lengths: LengthsLearner,
    tiers: BTreeMap<String, TierLengthsLearner>,
}

/// Why a snapshot is not taken over. Start from the manifests then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by another version.
    #[error(
        "learned state of version {found}, expected {SNAPSHOT_VERSION}; it is left aside and \
         learning starts from the profiles"
    )]
    Version {
        /// The version found.
        found: u32,
    },
    /// Figures that learning cannot produce.
    #[error(
        "learned state of {what} holds impossible figures; it is left aside and learning starts \
         from the profiles"
    )]
    Unsound {
        /// Whose.
        what: String,
    },
}

impl Learner {
    /// What was learned, to be stored.
    #[must_use]
    pub fn snapshot(&self, world: &World) -> Snapshot {
        let variants = self.variants.iter().zip(&world.variants).map(|(learned, entry)| {
            let present = std::iter::once((learned.revision, learned.physics.clone()));
            VariantSnapshot {
                fleet: world.fleets[entry.fleet.index()].name.clone(),
                name: entry.name.clone(),
                physics: present.chain(learned.others.iter().cloned()).collect(),
                start_up: *learned.start_up.belief(),
                lengths: learned.lengths,
                left_out: learned.left_out.clone(),
            }
        });
        let fleets = self.fleets.iter().zip(&world.fleets).map(|(learned, entry)| FleetSnapshot {
            name: entry.name.clone(),
            lengths: learned.lengths,
            tiers: world
                .tiers
                .iter()
                .map(|tier| tier.name.clone())
                .zip(learned.tiers.iter().copied())
                .collect(),
        });
        Snapshot {
            version: SNAPSHOT_VERSION,
            variants: variants.collect(),
            fleets: fleets.collect(),
        }
    }

    /// A learner that goes on where a snapshot ended. Variants, fleets and tiers that the world
    /// does not have any more are dropped; those that are new begin with the manifests.
    ///
    /// # Errors
    /// [`SnapshotError`]: another version, or figures that learning cannot produce.
    pub fn restore(world: &World, snapshot: Snapshot) -> Result<Self, SnapshotError> {
        if snapshot.version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version { found: snapshot.version });
        }
        let mut learner = Self::new(world);
        for stored in snapshot.variants {
            let sound = stored.start_up.is_sound() && stored.lengths.is_sound();
            if !sound || !stored.physics.iter().all(|(_, physics)| physics.is_sound()) {
                let what = format!("{}/{}", stored.fleet, stored.name);
                return Err(SnapshotError::Unsound { what });
            }
            let Some(index) = world.variants.iter().position(|entry| {
                entry.name == stored.name && world.fleets[entry.fleet.index()].name == stored.fleet
            }) else {
                continue;
            };
            let learned = &mut learner.variants[index];
            let mut physics = stored.physics.into_iter();
            if let Some((revision, present)) = physics.next() {
                (learned.revision, learned.physics) = (revision, present);
            }
            learned.others = physics.take(super::learner::REVISIONS_KEPT).collect();
            learned.start_up.restore(stored.start_up);
            learned.lengths = stored.lengths;
            learned.left_out = stored.left_out;
            learned.follow(&world.variants[index]);
        }
        for stored in snapshot.fleets {
            let unsound =
                !stored.lengths.is_sound() || stored.tiers.values().any(|tier| !tier.is_sound());
            if unsound {
                return Err(SnapshotError::Unsound { what: stored.name });
            }
            let Some(index) = world.fleets.iter().position(|fleet| fleet.name == stored.name)
            else {
                continue;
            };
            let learned = &mut learner.fleets[index];
            learned.lengths = stored.lengths;
            for (tier, learned) in world.tiers.iter().zip(&mut learned.tiers) {
                if let Some(tier) = stored.tiers.get(&tier.name) {
                    *learned = *tier;
                }
            }
        }
        Ok(learner)
    }
}
