//! `GET /v1/budget`: how much work may be sent now, for workers that pull from queues of their
//! own.

use axum::Json;
use axum::extract::State;
use forebay_core::ids::TierId;

use super::Admission;
use super::answer::{BudgetAnswer, TierBudget};
use super::caller::Caller;
use crate::front::Front;

/// `GET /v1/budget`.
pub(super) async fn budget(State(face): State<Admission>, _caller: Caller) -> Json<BudgetAnswer> {
    let fleets = face.shared.fronts.all().iter();
    Json(BudgetAnswer { tiers: fleets.flat_map(|(name, front)| of(name, front)).collect() })
}

fn of(fleet: &str, front: &Front) -> Vec<TierBudget> {
    let terms = front.terms();
    front.desk().inspect(|view| {
        let each = terms.world.tiers.iter().enumerate().map(|(index, tier)| {
            let id = TierId(index as u8);
            let queued = view.gate.queued(id);
            TierBudget {
                fleet: fleet.to_owned(),
                tier: tier.name.clone(),
                priority: tier.priority,
                deferrable: tier.deferrable,
                requests: view.gate.budget(view.now, id),
                queued_requests: queued.requests,
                queued_prompt_tokens: queued.prompt_tokens,
            }
        });
        each.collect()
    })
}
