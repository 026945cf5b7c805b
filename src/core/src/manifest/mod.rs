//! From the text of manifests to the world that decisions are made about. Wrong input is answered
//! with everything that is wrong: file, line, column, field, what was expected, how to mend it.

pub mod builtin;
mod document;
mod error;
pub mod fuzzing;
mod node;
mod resolve;
mod schema;
mod secret;
mod single;
pub(crate) mod suggest;

#[cfg(test)]
mod rails_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use document::{KINDS, schema_of};
pub use error::{Errors, Position, Problem};
pub(crate) use resolve::default_tier;
pub use secret::Secret;
pub(crate) use single::Document;

use crate::api::{
    AcceleratorClassSpec, InferenceFleetSpec, InferenceModelRewriteSpec, InferenceModelSpec,
    InferenceObjectiveSpec, Object, ScenarioSpec, TrafficPolicySpec,
};
use crate::engine::profile::EngineProfile;
use crate::fleet::World;
use crate::scenario::ScenarioPlan;

/// The text of one file, and what to call it in errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, as the person gave it.
    pub name: String,
    /// What it holds: any number of YAML documents.
    pub text: String,
}

impl Source {
    /// A text and its name.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// An object and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<S> {
    /// The object.
    pub object: Object<S>,
    /// The text it is in.
    source: Arc<Source>,
    /// Its document.
    node: node::Node,
}

impl<S> Located<S> {
    /// Its `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object.metadata.name
    }

    /// Its spec.
    #[must_use]
    pub const fn spec(&self) -> &S {
        &self.object.spec
    }

    /// Something wrong with the field at `path`, for instance `spec.variants[1].min`.
    #[must_use]
    pub fn problem(&self, path: &str, what: impl Into<String>) -> Problem {
        let mut problem = Problem::general(what);
        problem.source = Some(Arc::clone(&self.source));
        problem.at = self.node.locate(path);
        problem.object = format!("{} {}", self.object.kind, self.name());
        path.clone_into(&mut problem.path);
        problem
    }

    /// Where the object begins: `file.yaml:12`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.source.name, self.node.at.line)
    }
}

/// Objects that were read, by kind, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// Fleets.
    pub fleets: Vec<Located<InferenceFleetSpec>>,
    /// Traffic policies.
    pub policies: Vec<Located<TrafficPolicySpec>>,
    /// Accelerator classes.
    pub accelerators: Vec<Located<AcceleratorClassSpec>>,
    /// Engine profiles.
    pub profiles: Vec<Located<EngineProfile>>,
    /// Scenarios.
    pub scenarios: Vec<Located<ScenarioSpec>>,
    /// Priorities that requests name.
    pub objectives: Vec<Located<InferenceObjectiveSpec>>,
    /// How critical models are.
    pub models: Vec<Located<InferenceModelSpec>>,
    /// Rules that replace model names.
    pub rewrites: Vec<Located<InferenceModelRewriteSpec>>,
    /// Secrets that a policy may refer to.
    pub secrets: Vec<Secret>,
}

/// Reads manifests. Documents of other API groups are passed over, so that ours may stand among
/// those of a deployment.
///
/// # Errors
/// Everything that is wrong in any of the texts, as far as it can be seen without resolving names.
pub fn parse(sources: &[Source]) -> Result<Manifests, Errors> {
    document::parse(sources)
}

impl Manifests {
    /// The policy of a fleet: the one that it names, or the only one that was read.
    ///
    /// # Errors
    /// There is none, or none of that name, or several and the fleet names none.
    pub fn policy_of(
        &self,
        fleet: &Located<InferenceFleetSpec>,
    ) -> Result<&Located<TrafficPolicySpec>, Box<Problem>> {
        resolve::policy_of(self, fleet)
    }

    /// Resolves names into the world of a run and the plan of its scenario.
    ///
    /// `scenario` is the name of one that was read. Without a name it is the only one that was
    /// read; where none was read, all traffic goes to the default tier, in equal parts to each
    /// fleet.
    ///
    /// # Errors
    /// Everything that does not fit together.
    pub fn resolve(&self, scenario: Option<&str>) -> Result<(World, ScenarioPlan), Errors> {
        resolve::resolve(self, scenario)
    }
}
