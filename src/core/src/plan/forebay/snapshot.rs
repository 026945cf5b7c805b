//! What the planner knows, as it survives a restart.
//!
//! A snapshot names the fleets, variants and tiers that it is about. One that does not fit the
//! manifests of today is refused, and the planner starts from them: everything in it can be learned
//! again.

use serde::{Deserialize, Serialize};

use super::fleet::FleetState;
use super::foresee::Foresee;
use super::glide::Glide;
use super::lifetime::Lifetimes;
use super::{Forebay, Settings};
use crate::capacity::Sizer;
use crate::fleet::World;
use crate::learn;
use crate::plan::evidence::DataWatch;
use crate::plan::guard::Guard;
use crate::plan::rails::Rails;
use crate::plan::solve::Plan;
use crate::time::Time;

/// Version of the form; another one is refused.
const SCHEMA: &str = "forebay.snapshot/v1";

/// Most bytes for each fleet: what fits a Kubernetes ConfigMap several times over.
pub const BYTES_PER_FLEET_MAX: usize = 256 * 1024;

/// Why a snapshot is not written or not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is not JSON of this form.
    #[error(
        "the planner's snapshot cannot be read: {what}; it is left aside, and the planner starts from the manifests"
    )]
    Form {
        /// What is wrong, and where.
        what: String,
    },
    /// It is about something else.
    #[error(
        "the planner's snapshot is of {found}, the manifests are of {expected}; it is left aside, and the planner starts from the manifests"
    )]
    OtherWorld {
        /// What it is about.
        found: String,
        /// What it should be about.
        expected: String,
    },
    /// It is larger than a fleet's share.
    #[error(
        "the planner's snapshot takes {bytes} bytes, {most} are allowed; it is not taken over, and the planner starts from the manifests"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// The learned part is refused.
    #[error(transparent)]
    Learned(#[from] learn::SnapshotError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Snapshot {
    schema: String,
    /// `fleet/variant` and `fleet:tier`, in the order of the manifests.
    about: Vec<String>,
    decisions: u64,
    due: Time,
    replayed_at: Option<Time>,
    learned: learn::Snapshot,
    fleets: Vec<FleetState>,
    glides: Vec<Glide>,
    #[serde(default)]
    lifetimes: Lifetimes,
    foresees: Vec<Foresee>,
    sizer: Sizer,
    watch: DataWatch,
    guard: Guard,
    rails: Rails,
    last: Option<Plan>,
}

/// Names of everything that identities stand for.
fn about(world: &World) -> Vec<String> {
    let variants = world.fleets.iter().flat_map(|fleet| {
        let of = fleet.variants.clone().map(|index| &world.variants[usize::from(index)].name);
        of.map(|name| format!("{}/{name}", fleet.name)).collect::<Vec<_>>()
    });
    variants.chain(world.tiers.iter().map(|tier| format!("tier {}", tier.name))).collect()
}

const fn most(world: &World) -> usize {
    BYTES_PER_FLEET_MAX * world.fleets.len()
}

impl Forebay {
    /// What it knows, as JSON.
    ///
    /// # Errors
    /// Figures that JSON cannot hold, or more than [`BYTES_PER_FLEET_MAX`] for each fleet.
    pub fn snapshot(&self, world: &World) -> Result<String, SnapshotError> {
        let snapshot = Snapshot {
            schema: SCHEMA.to_owned(),
            about: about(world),
            decisions: self.decisions,
            due: self.due,
            replayed_at: self.replayed_at,
            learned: self.learner.snapshot(world),
            fleets: self.fleets.clone(),
            glides: self.glides.clone(),
            lifetimes: self.lifetimes.clone(),
            foresees: self.foresees.clone(),
            sizer: self.sizer.clone(),
            watch: self.watch.clone(),
            guard: self.guard.clone(),
            rails: self.rails.clone(),
            last: self.last.clone(),
        };
        let text = serde_json::to_string(&snapshot)
            .map_err(|error| SnapshotError::Form { what: error.to_string() })?;
        fits(&text, world)?;
        Ok(text)
    }

    /// A planner that knows what the snapshot knows.
    ///
    /// # Errors
    /// It is too large, of another form or version, or about other fleets, variants or tiers.
    pub fn restore(world: &World, settings: Settings, text: &str) -> Result<Self, SnapshotError> {
        fits(text, world)?;
        let form = |what: String| SnapshotError::Form { what };
        let snapshot: Snapshot =
            serde_json::from_str(text).map_err(|error| form(error.to_string()))?;
        if snapshot.schema != SCHEMA {
            return Err(form(format!("it is {}, expected {SCHEMA}", snapshot.schema)));
        }
        let expected = about(world);
        if snapshot.about != expected
            || snapshot.fleets.len() != world.fleets.len()
            || snapshot.glides.len() != world.fleets.len()
            || snapshot.foresees.len() != world.fleets.len()
        {
            let found = snapshot.about.join(", ");
            return Err(SnapshotError::OtherWorld { found, expected: expected.join(", ") });
        }
        Ok(Self {
            decisions: snapshot.decisions,
            due: snapshot.due,
            replayed_at: snapshot.replayed_at,
            learner: learn::Learner::restore(world, snapshot.learned)?,
            fleets: snapshot.fleets,
            glides: snapshot.glides,
            lifetimes: snapshot.lifetimes,
            foresees: snapshot.foresees,
            sizer: snapshot.sizer,
            watch: snapshot.watch,
            guard: snapshot.guard,
            rails: snapshot.rails,
            last: snapshot.last,
            ..Self::new(world, settings)
        })
    }
}

fn fits(text: &str, world: &World) -> Result<(), SnapshotError> {
    let (bytes, most) = (text.len(), most(world));
    if bytes > most { Err(SnapshotError::TooLarge { bytes, most }) } else { Ok(()) }
}
