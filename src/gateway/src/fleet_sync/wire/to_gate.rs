//! What controllers say.

use forebay_core::sync::{
    ComingReplica, Directive, Guidance, SecondGate, TierAdmission, ToGate, VariantPhysics,
};
use forebay_core::time::Span;

use super::{WireError, gate, gate_out, mark, mark_out, v1};

impl From<ToGate> for v1::ToGate {
    fn from(message: ToGate) -> Self {
        let what = match message {
            ToGate::Directive(directive) => v1::to_gate::What::Directive(directive_out(directive)),
            ToGate::SecondGate(second) => v1::to_gate::What::SecondGate(v1::SecondGate {
                fleet: second.fleet,
                active: Some(gate_out(second.active)),
            }),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<v1::ToGate> for ToGate {
    type Error = WireError;

    fn try_from(message: v1::ToGate) -> Result<Self, WireError> {
        let message = match message.what.ok_or(WireError::Missing("content"))? {
            v1::to_gate::What::Directive(directive) => Self::Directive(directive_in(directive)?),
            v1::to_gate::What::SecondGate(second) => {
                Self::SecondGate(SecondGate { fleet: second.fleet, active: gate(second.active)? })
            }
        };
        message.check()?;
        Ok(message)
    }
}

fn directive_out(directive: Directive) -> v1::Directive {
    let Guidance { coming, on_demand, admission, physics, drain } = directive.guidance;
    let coming = coming.into_iter().map(|replica| v1::ComingReplica {
        variant: replica.variant,
        ready_in_ns: replica.ready_in.0,
    });
    let admission = admission
        .into_iter()
        .map(|tier| v1::TierAdmission { tier: tier.tier, deferred_per_s: tier.deferred_per_s });
    let physics = physics.into_iter().map(|physics| v1::VariantPhysics {
        variant: physics.variant,
        fixed: physics.fixed,
        token: physics.token,
        kv: physics.kv,
    });
    v1::Directive {
        fleet: directive.fleet,
        mark: Some(mark_out(directive.mark)),
        coming: coming.collect(),
        admission: admission.collect(),
        physics: physics.collect(),
        drain,
        on_demand,
    }
}

fn directive_in(directive: v1::Directive) -> Result<Directive, WireError> {
    let coming = directive.coming.into_iter().map(|replica| ComingReplica {
        variant: replica.variant,
        ready_in: Span(replica.ready_in_ns),
    });
    let admission = directive
        .admission
        .into_iter()
        .map(|tier| TierAdmission { tier: tier.tier, deferred_per_s: tier.deferred_per_s });
    let physics = directive.physics.into_iter().map(|physics| VariantPhysics {
        variant: physics.variant,
        fixed: physics.fixed,
        token: physics.token,
        kv: physics.kv,
    });
    Ok(Directive {
        fleet: directive.fleet,
        mark: mark(directive.mark)?,
        guidance: Guidance {
            coming: coming.collect(),
            on_demand: directive.on_demand,
            admission: admission.collect(),
            physics: physics.collect(),
            drain: directive.drain,
        },
    })
}
