//! Priority per tier, as the objectives of a pool would give it.

use forebay_core::fleet::World;

use super::tunables::{GateSpecError, Tunables};

/// Key of one tier's priority: `priority.TIER`.
const KEY: &str = "priority.";

/// Priorities that were given; all other tiers have that of the traffic policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Priorities(Vec<(String, i32)>);

impl Priorities {
    pub(super) fn read(tunables: &mut Tunables<'_>) -> Result<Self, GateSpecError> {
        let mut given = Vec::new();
        for key in tunables.keys_with(KEY) {
            let tier = key[KEY.len()..].to_owned();
            given.push((tier, tunables.number(&key, 0, i32::MIN)?));
        }
        Ok(Self(given))
    }

    /// By tier of the world.
    pub(super) fn resolve(&self, world: &World) -> Result<Vec<i32>, GateSpecError> {
        let mut priorities: Vec<i32> = world.tiers.iter().map(|tier| tier.priority).collect();
        for (name, priority) in &self.0 {
            let known = world.tiers.iter().position(|tier| tier.name == *name);
            let index = known.ok_or_else(|| GateSpecError::UnknownTier {
                key: format!("{KEY}{name}"),
                tiers: {
                    let names: Vec<_> = world.tiers.iter().map(|tier| tier.name.as_str()).collect();
                    names.join(", ")
                },
            })?;
            priorities[index] = *priority;
        }
        Ok(priorities)
    }
}
