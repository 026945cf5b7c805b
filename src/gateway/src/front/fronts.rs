//! The fronts of several fleets behind one door: the model decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::admit::Facts;

use super::{Denied, Front, Request, Waiting};
use crate::spans::Spans;

/// Fronts by fleet. Clones share them.
#[derive(Clone, Debug)]
pub struct Fronts {
    named: Arc<[(String, Front)]>,
}

impl Fronts {
    /// These fronts, each with the name of its fleet.
    #[must_use]
    pub fn new(named: Vec<(String, Front)>) -> Self {
        Self { named: named.into() }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[(String, Front)] {
        &self.named
    }

    /// The front of a model. A single fleet takes every model (adapters have names of their own);
    /// of several, the one whose fleet lists it.
    #[must_use]
    pub fn of(&self, model: Option<&str>) -> Option<&Front> {
        if let [(_, only)] = &*self.named {
            return Some(only);
        }
        let model = model?;
        let serves = |front: &Front| {
            let terms = front.terms();
            let fleet = &terms.world.fleets[terms.fleet.index()];
            fleet.models.iter().any(|known| known == model)
                || terms.admit.rewrites.rewrite(model, None, 0).is_some()
        };
        self.named.iter().map(|(_, front)| front).find(|front| serves(front))
    }

    /// Asks the front of the request's model; see [`Front::admit`].
    ///
    /// # Errors
    /// As there, and when no fleet serves the model.
    pub fn admit<F: Facts>(&self, request: Request<'_, F>) -> Result<Waiting, Denied> {
        let model = request.facts.model();
        match self.of(model) {
            Some(front) => front.admit(request),
            None => Err(Denied::NoSuchModel { model: model.unwrap_or_default().to_owned() }),
        }
    }

    /// Models that are served, each with its fleet, in order of name.
    #[must_use]
    pub fn models(&self) -> BTreeMap<String, String> {
        let mut models = BTreeMap::new();
        for (name, front) in &*self.named {
            let terms = front.terms();
            for model in &terms.world.fleets[terms.fleet.index()].models {
                models.insert(model.clone(), name.clone());
            }
        }
        models
    }

    /// Makes a span of each request from now on. Only the first call counts.
    pub fn trace(&self, spans: &Spans) {
        self.named.iter().for_each(|(_, front)| front.trace(spans.clone()));
    }

    /// Refuses what comes from now on.
    pub fn close(&self) {
        self.named.iter().for_each(|(_, front)| front.close());
    }

    /// Whether nothing is held or in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.named.iter().all(|(_, front)| front.is_idle())
    }
}
