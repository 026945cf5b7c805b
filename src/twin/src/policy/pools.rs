//! The planner around every group-wise policy: it wakes the policies, keeps their answers within
//! the bounds, holds a fixed prefill:decode ratio, and hands replicas out to variants.

use forebay_core::fleet::{Role, World};
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner};
use forebay_core::time::Time;

use super::group::Group;

/// A policy that decides how many replicas whole groups get.
pub(crate) trait Scaler: Send {
    /// Decides what is due at `now`; appends what it wants.
    fn step(&mut self, now: Time, groups: &Scope<'_>, wants: &mut Vec<Want>);

    /// When it wants to be called next; `None` = never again.
    fn next_deadline(&self) -> Option<Time>;
}

/// What a [`Scaler`] decides about.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) view: &'a FleetView<'a>,
    pub(crate) groups: &'a [Group],
}

/// What a [`Scaler`] wants of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) group: usize,
    pub(crate) replicas: u32,
    pub(crate) reason: String,
}

/// Scalers over the groups of a world, as one planner.
pub(crate) struct Pools {
    groups: Vec<Group>,
    split: Option<(u32, u32)>,
    scalers: Vec<Box<dyn Scaler>>,
    /// What each group's scaler wanted last; `None` before it first said so.
    wanted: Vec<Option<u32>>,
}

impl Pools {
    pub(crate) fn new(
        groups: Vec<Group>,
        split: Option<(u32, u32)>,
        scalers: Vec<Box<dyn Scaler>>,
    ) -> Self {
        let wanted = vec![None; groups.len()];
        Self { groups, split, scalers, wanted }
    }

    /// With a fixed split: both roles of the fleet follow whichever needs more units.
    fn join(&mut self, view: &FleetView<'_>, wants: &mut Vec<Want>) {
        let Some((prefill, decode)) = self.split else {
            return;
        };
        let asked: Vec<Want> = std::mem::take(wants);
        for want in &asked {
            self.wanted[want.group] = Some(want.replicas);
        }
        for want in asked {
            let group = &self.groups[want.group];
            if group.role == Role::Both {
                wants.push(want);
                continue;
            }
            let ratio = |role| if role == Role::Prefill { prefill } else { decode };
            let partners = || {
                let pools = self.groups.iter().enumerate();
                pools.filter(|(_, other)| other.fleet == group.fleet && other.role != Role::Both)
            };
            let units = partners().map(|(index, pool)| {
                let replicas = self.wanted[index].unwrap_or_else(|| pool.replicas(view).desired);
                replicas.div_ceil(ratio(pool.role))
            });
            let units = units.max().unwrap_or(0);
            for (index, pool) in partners() {
                wants.retain(|other| other.group != index);
                let reason =
                    format!("{} (pd_split {prefill}:{decode}, {units} units)", want.reason);
                wants.push(Want { group: index, replicas: units * ratio(pool.role), reason });
            }
        }
    }

    fn emit(&self, world: &World, view: &FleetView<'_>, want: Want, effects: &mut Vec<PlanEffect>) {
        let group = &self.groups[want.group];
        let total = want.replicas.min(group.max);
        for (variant, replicas) in group.place(total, world) {
            if view.targets.get(variant.index()).is_none_or(|now| now.replicas_desired != replicas)
            {
                effects.push(PlanEffect::Scale { variant, replicas, reason: want.reason.clone() });
            }
        }
    }
}

impl Planner for Pools {
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        let PlanEvent::Due(view) = event else { return };
        let mut wants = Vec::new();
        let scope = Scope { view, groups: &self.groups };
        for scaler in &mut self.scalers {
            if scaler.next_deadline().is_some_and(|due| due <= now) {
                scaler.step(now, &scope, &mut wants);
            }
        }
        self.join(view, &mut wants);
        for want in wants {
            self.emit(view.world, view, want, effects);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.scalers.iter().filter_map(|scaler| scaler.next_deadline()).min()
    }
}
