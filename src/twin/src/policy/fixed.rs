//! `static`: a fixed number of replicas, as most fleets still run.

use forebay_core::time::Time;

use super::common::Common;
use super::error::SpecError;
use super::keys::Keys;
use super::pools::{Scaler, Scope, Want};

/// Asks once, at the start.
pub(crate) struct Fixed {
    group: usize,
    replicas: u32,
    due: Option<Time>,
}

impl Fixed {
    /// `replicas=N` for every pool, `prefill.replicas=` and `decode.replicas=` for one role;
    /// without either each pool keeps the replicas it starts with.
    pub(crate) fn read(
        keys: &mut Keys<'_>,
        common: &Common,
        world: &forebay_core::fleet::World,
    ) -> Result<Vec<Box<dyn Scaler>>, SpecError> {
        let mut scalers: Vec<Box<dyn Scaler>> = Vec::new();
        for (index, group) in common.groups.iter().enumerate() {
            keys.set_role(super::registry::role_prefix(group.role));
            let start = group.variants.iter().map(|id| world.variants[id.index()].replicas_initial);
            let replicas = keys.count("replicas", Some(start.sum()))?.unwrap_or_default();
            let replicas = replicas.clamp(group.min, group.max);
            scalers.push(Box::new(Self { group: index, replicas, due: Some(Time::ZERO) }));
        }
        keys.set_role(None);
        Ok(scalers)
    }
}

impl Scaler for Fixed {
    fn step(&mut self, _now: Time, _scope: &Scope<'_>, wants: &mut Vec<Want>) {
        self.due = None;
        let reason = format!("static at {}", self.replicas);
        wants.push(Want { group: self.group, replicas: self.replicas, reason });
    }

    fn next_deadline(&self) -> Option<Time> {
        self.due
    }
}
