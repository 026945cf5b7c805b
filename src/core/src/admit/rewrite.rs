//! What a model name becomes before the engine sees it.

use std::collections::BTreeMap;

use super::objects::meant;
use crate::manifest::{Manifests, Problem};

/// Rules for model names.
#[derive(Clone, Debug, Default)]
pub struct Rewrites {
    /// Of the rules that name the model.
    exact: BTreeMap<String, Targets>,
    /// Of the rule that names none.
    fallback: Option<Targets>,
    /// Of the `InferenceModel` of that name.
    models: BTreeMap<String, Targets>,
}

/// Names with their weights; never empty, and the weights sum to more than 0.
#[derive(Clone, Debug)]
struct Targets(Vec<(String, u32)>);

impl Targets {
    /// The one that `draw` falls on; uniform draws fall on each by its weight.
    fn at(&self, draw: u64) -> Option<&str> {
        let total: u64 = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = ((u128::from(draw) * u128::from(total)) >> 64) as u64;
        for (name, weight) in &self.0 {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return Some(name),
            }
        }
        None
    }
}

impl Rewrites {
    pub(super) fn read(
        manifests: &Manifests,
        pool: Option<&str>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut rewrites = Self::default();
        for object in &manifests.rewrites {
            if !meant(object.spec().pool_ref.as_ref(), pool) {
                continue;
            }
            for (index, rule) in object.spec().rules.iter().enumerate() {
                let weighted = rule.targets.iter();
                let targets = Targets(
                    weighted.map(|to| (to.model_rewrite.clone(), to.weight.unwrap_or(1))).collect(),
                );
                if rule.matches.is_empty() {
                    if rewrites.fallback.is_some() {
                        let path = format!("spec.rules[{index}]");
                        let what = "there is a rule for all other models already";
                        let hint = "give this one `matches`, or remove it: it would never be used";
                        problems.push(object.problem(&path, what).hint(hint));
                    }
                    rewrites.fallback.get_or_insert(targets);
                    continue;
                }
                // The first rule that names a model counts, as in the Gateway API.
                for matched in &rule.matches {
                    let name = matched.model.value.clone();
                    rewrites.exact.entry(name).or_insert_with(|| targets.clone());
                }
            }
        }
        for object in &manifests.models {
            let spec = object.spec();
            if spec.target_models.is_empty() || !meant(spec.pool_ref.as_ref(), pool) {
                continue;
            }
            let weighted = spec.target_models.iter();
            let targets =
                Targets(weighted.map(|to| (to.name.clone(), to.weight.unwrap_or(1))).collect());
            rewrites.models.insert(spec.model_name.clone(), targets);
        }
        rewrites
    }

    /// The name that the engine is asked for instead of `model`; `None` = the same. A rule goes
    /// before `asked`, the rewrite header (`None` where there is none or its sender is not
    /// trusted), that before the targets of an `InferenceModel`. `draw` is uniform.
    #[must_use]
    pub fn rewrite<'a>(
        &'a self,
        model: &str,
        asked: Option<&'a str>,
        draw: u64,
    ) -> Option<&'a str> {
        let rule = self.exact.get(model).or(self.fallback.as_ref());
        let target = match rule {
            Some(targets) => targets.at(draw),
            None => asked.or_else(|| self.models.get(model)?.at(draw)),
        };
        target.filter(|target| *target != model)
    }
}
