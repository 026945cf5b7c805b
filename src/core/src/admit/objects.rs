//! What `InferenceObjective` and `InferenceModel` objects say about the requests that name them.

use std::collections::BTreeMap;

use super::tiers::PolicyTiers;
use crate::api::Kind;
use crate::api::objective::{
    ANNOTATION_FAIRNESS_WEIGHT, ANNOTATION_PRIORITY, ANNOTATION_TIER, Criticality,
    PoolObjectReference,
};
use crate::ids::TierId;
use crate::manifest::{Located, Manifests, Problem, suggest};

/// Least and largest weight of a flow, as in `TrafficPolicy`.
const WEIGHTS: std::ops::RangeInclusive<f64> = 0.001..=1_000.0;

/// What an object says about a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rank {
    pub(super) tier: TierId,
    /// Weight of its flow; `None` = the object does not say.
    pub(super) weight: Option<f64>,
}

/// Ranks by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    /// By name of the `InferenceObjective`.
    pub(super) objectives: BTreeMap<String, Rank>,
    /// By model name of the `InferenceModel`.
    pub(super) models: BTreeMap<String, Rank>,
}

impl Objects {
    /// Those that are meant for `pool`; for any where the fleet names none.
    pub(super) fn read(
        manifests: &Manifests,
        pool: Option<&str>,
        tiers: &PolicyTiers,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut objects = Self::default();
        for object in &manifests.objectives {
            if !meant(object.spec().pool_ref.as_ref(), pool) {
                continue;
            }
            let otherwise = tiers.at_most(object.spec().priority.unwrap_or(0));
            let rank = rank(object, tiers, otherwise, problems);
            objects.objectives.insert(object.name().to_owned(), rank);
        }
        for object in &manifests.models {
            if !meant(object.spec().pool_ref.as_ref(), pool) {
                continue;
            }
            let otherwise = match object.spec().criticality.unwrap_or_default() {
                Criticality::Critical => tiers.highest(),
                Criticality::Standard => tiers.default_tier(),
                Criticality::Sheddable => tiers.at_most(-1),
            };
            let rank = rank(object, tiers, otherwise, problems);
            let name = object.spec().model_name.clone();
            if objects.models.insert(name, rank).is_some() {
                let what = format!("the model `{}` is named already", object.spec().model_name);
                let hint = "one name has one InferenceModel; remove the other";
                problems.push(object.problem("spec.modelName", what).hint(hint));
            }
        }
        objects
    }
}

/// Whether an object that refers to a pool counts for ours.
pub(super) fn meant(reference: Option<&PoolObjectReference>, pool: Option<&str>) -> bool {
    match (reference, pool) {
        (Some(reference), Some(pool)) => reference.name == pool,
        _ => true,
    }
}

/// What the annotations of an object say, or else what the object itself is.
fn rank<S: Kind>(
    object: &Located<S>,
    tiers: &PolicyTiers,
    otherwise: TierId,
    problems: &mut Vec<Problem>,
) -> Rank {
    let annotations = &object.object.metadata.annotations;
    let problem = |annotation: &str, what: String| {
        object.problem("metadata.annotations", format!("`{annotation}`: {what}"))
    };
    let priority = annotations.get(ANNOTATION_PRIORITY).and_then(|text| {
        let priority = text.trim().parse::<i32>();
        if priority.is_err() {
            let problem = problem(ANNOTATION_PRIORITY, format!("`{text}` is not a priority"));
            problems.push(problem.expected("a whole number in quotes, such as \"100\""));
        }
        priority.ok()
    });
    let named = annotations.get(ANNOTATION_TIER).and_then(|name| {
        let tier = tiers.named(name.trim());
        if tier.is_none() {
            let problem = problem(ANNOTATION_TIER, format!("there is no tier `{name}`"));
            problems.push(problem.hint(suggest::hint(name, tiers.names())));
        }
        tier
    });
    let weight = annotations.get(ANNOTATION_FAIRNESS_WEIGHT).and_then(|text| {
        let weight = text.trim().parse::<f64>().ok().filter(|weight| WEIGHTS.contains(weight));
        if weight.is_none() {
            let problem = problem(ANNOTATION_FAIRNESS_WEIGHT, format!("`{text}` is not a weight"));
            let expected = format!("a number from {} to {}", WEIGHTS.start(), WEIGHTS.end());
            problems.push(problem.expected(expected));
        }
        weight
    });
    let ranked = priority.map(|priority| tiers.at_most(priority));
    Rank { tier: named.or(ranked).unwrap_or(otherwise), weight }
}
