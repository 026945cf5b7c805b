//! From text to typed objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::node::{Node, Position, Value};
use super::{Errors, Located, Manifests, Problem, Secret, Source, schema, suggest};
use crate::api::{
    API_VERSION, AcceleratorClassSpec, InferenceFleetSpec, InferenceModelRewriteSpec,
    InferenceModelSpec, InferenceObjectiveSpec, Kind, Object, ScenarioSpec, TrafficPolicySpec,
};
use crate::engine::profile::EngineProfile;

/// The kinds that can be read.
pub const KINDS: [&str; 8] = [
    InferenceFleetSpec::KIND,
    TrafficPolicySpec::KIND,
    AcceleratorClassSpec::KIND,
    EngineProfile::KIND,
    ScenarioSpec::KIND,
    InferenceObjectiveSpec::KIND,
    InferenceModelSpec::KIND,
    InferenceModelRewriteSpec::KIND,
];

/// The values of `apiVersion` under which a kind of ours is read.
fn versions_of(kind: &str) -> &'static [&'static str] {
    match kind {
        InferenceObjectiveSpec::KIND => InferenceObjectiveSpec::API_VERSIONS,
        InferenceModelSpec::KIND => InferenceModelSpec::API_VERSIONS,
        InferenceModelRewriteSpec::KIND => InferenceModelRewriteSpec::API_VERSIONS,
        _ => &[API_VERSION],
    }
}

/// The JSON schema of a kind, for editors and for our own checks; `None` for a kind that is not
/// ours.
#[must_use]
pub fn schema_of(kind: &str) -> Option<Json> {
    match kind {
        InferenceFleetSpec::KIND => Some(schema_for::<InferenceFleetSpec>()),
        TrafficPolicySpec::KIND => Some(schema_for::<TrafficPolicySpec>()),
        AcceleratorClassSpec::KIND => Some(schema_for::<AcceleratorClassSpec>()),
        EngineProfile::KIND => Some(schema_for::<EngineProfile>()),
        ScenarioSpec::KIND => Some(schema_for::<ScenarioSpec>()),
        InferenceObjectiveSpec::KIND => Some(schema_for::<InferenceObjectiveSpec>()),
        InferenceModelSpec::KIND => Some(schema_for::<InferenceModelSpec>()),
        InferenceModelRewriteSpec::KIND => Some(schema_for::<InferenceModelRewriteSpec>()),
        _ => None,
    }
}

fn schema_for<S: Kind>() -> Json {
    let mut schema = schemars::schema_for!(Object<S>);
    schema.insert("title".to_owned(), S::KIND.into());
    let mut schema = schema.to_value();
    if let Some(properties) = schema.get_mut("properties") {
        properties["apiVersion"] = match S::API_VERSIONS {
            [only] => serde_json::json!({ "const": only }),
            several => serde_json::json!({ "enum": several }),
        };
        properties["kind"] = serde_json::json!({ "const": S::KIND });
    }
    schema
}

/// Levels of nesting that a document may have; ours have eight.
pub(super) const DEPTH_MAX: usize = 64;

pub(super) fn parse(sources: &[Source]) -> Result<Manifests, Errors> {
    let mut reader = Reader::default();
    for source in sources {
        let source = Arc::new(source.clone());
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        };
        match serde_saphyr::from_multiple_with_options::<Node>(&source.text, options) {
            Ok(documents) => {
                for node in documents.into_iter().filter(|node| node.value != Value::Null) {
                    reader.read(&source, node);
                }
            }
            Err(error) => reader.problems.push(not_yaml(&source, &error)),
        }
    }
    let Reader { mut manifests, mut problems, .. } = reader;
    unique(&mut manifests.fleets, &mut problems);
    unique(&mut manifests.policies, &mut problems);
    unique(&mut manifests.accelerators, &mut problems);
    unique(&mut manifests.profiles, &mut problems);
    unique(&mut manifests.scenarios, &mut problems);
    newest(&mut manifests.objectives);
    newest(&mut manifests.rewrites);
    unique(&mut manifests.objectives, &mut problems);
    unique(&mut manifests.models, &mut problems);
    unique(&mut manifests.rewrites, &mut problems);
    Errors::check(problems).map(|()| manifests)
}

pub(super) fn not_yaml(source: &Arc<Source>, error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let what = match error {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            format!("the field `{}` is there twice", key.as_deref().unwrap_or_default())
        }
        serde_saphyr::Error::NonFiniteFloat { value, .. } => {
            format!("`{value}` is not a number to work with")
        }
        other => {
            let message = other.to_string();
            let what = message.split(" at line ").next().unwrap_or_default().trim();
            format!("this cannot be read as YAML: {what}")
        }
    };
    let mut problem = Problem::general(what);
    problem.at = error.location().map_or(Position { line: 1, column: 1 }, Position::from);
    problem.source = Some(Arc::clone(source));
    // The tab is often on the line after the one that the parser points at.
    if problem.what.contains("tab") {
        problem = problem.hint("YAML is indented with spaces, never with tabs");
    }
    problem
}

/// Two objects of one kind cannot have one name; the same object twice is one, so that files which
/// share a policy can be read together.
fn unique<S: PartialEq>(objects: &mut Vec<Located<S>>, problems: &mut Vec<Problem>) {
    let mut kept: Vec<Located<S>> = Vec::new();
    for object in objects.drain(..) {
        match kept.iter().find(|other| other.name() == object.name()) {
            None => kept.push(object),
            Some(first) if first.object.spec == object.object.spec => (),
            Some(first) => problems.push(
                object
                    .problem("metadata.name", format!("`{}` exists already", object.name()))
                    .hint(format!("the other one is at {}; rename one of them", first.place())),
            ),
        }
    }
    *objects = kept;
}

/// Where an object is written in a newer and in an older API group, the newer one counts.
fn newest<S: Kind>(objects: &mut Vec<Located<S>>) {
    let rank = |object: &Located<S>| {
        S::API_VERSIONS.iter().position(|version| *version == object.object.api_version)
    };
    let best = objects.iter().fold(BTreeMap::new(), |mut best, object| {
        let least = best.entry(object.name().to_owned()).or_insert_with(|| rank(object));
        *least = (*least).min(rank(object));
        best
    });
    objects.retain(|object| best.get(object.name()) == Some(&rank(object)));
}

/// What was read so far, and the schemas that were needed for it.
#[derive(Default)]
struct Reader {
    manifests: Manifests,
    problems: Vec<Problem>,
    schemas: BTreeMap<&'static str, Json>,
}

impl Reader {
    fn read(&mut self, source: &Arc<Source>, node: Node) {
        if let Some(secret) = Secret::read(&node) {
            return self.manifests.secrets.push(secret);
        }
        let Some(kind) = our_kind(source, &node, &mut self.problems) else { return };
        match kind {
            InferenceFleetSpec::KIND => {
                let fleet = self.typed(source, node);
                self.manifests.fleets.extend(fleet);
            }
            TrafficPolicySpec::KIND => {
                let policy = self.typed(source, node);
                self.manifests.policies.extend(policy);
            }
            AcceleratorClassSpec::KIND => {
                let class = self.typed(source, node);
                self.manifests.accelerators.extend(class);
            }
            ScenarioSpec::KIND => {
                let scenario = self.typed(source, node);
                self.manifests.scenarios.extend(scenario);
            }
            InferenceObjectiveSpec::KIND => {
                let objective = self.typed(source, node);
                self.manifests.objectives.extend(objective);
            }
            InferenceModelSpec::KIND => {
                let model = self.typed(source, node);
                self.manifests.models.extend(model);
            }
            InferenceModelRewriteSpec::KIND => {
                let rewrite = self.typed(source, node);
                self.manifests.rewrites.extend(rewrite);
            }
            _ => {
                let profile = self.typed::<EngineProfile>(source, node);
                self.manifests.profiles.extend(profile.map(|mut profile| {
                    profile.object.metadata.name.clone_into(&mut profile.object.spec.name);
                    profile
                }));
            }
        }
    }

    /// Checks a document against its schema and turns it into an object.
    fn typed<S: Kind>(&mut self, source: &Arc<Source>, node: Node) -> Option<Located<S>> {
        let name = node.entry("metadata").and_then(|entry| entry.node.text("name"));
        let object = name.map_or_else(|| S::KIND.to_owned(), |name| format!("{} {name}", S::KIND));
        let schema = self.schemas.entry(S::KIND).or_insert_with(schema_for::<S>);
        let misfits = schema::check(schema, &node);
        let fits = misfits.is_empty();
        self.problems.extend(misfits.into_iter().map(|misfit| Problem {
            source: Some(Arc::clone(source)),
            at: misfit.at,
            object: object.clone(),
            path: misfit.path,
            what: misfit.what,
            expected: misfit.expected,
            hint: misfit.hint,
        }));
        if !fits {
            return None;
        }
        match serde_json::from_value::<Object<S>>(node.to_json()) {
            Ok(object) => Some(Located { object, source: Arc::clone(source), node }),
            Err(error) => {
                let mut problem = Problem::general(error.to_string());
                problem.source = Some(Arc::clone(source));
                problem.at = node.at;
                problem.object = object;
                self.problems.push(problem);
                None
            }
        }
    }
}

/// The kind of a document, if it is one of ours.
fn our_kind(
    source: &Arc<Source>,
    node: &Node,
    problems: &mut Vec<Problem>,
) -> Option<&'static str> {
    let mut report = |path: &str, what: String, expected: &str, hint: Option<String>| {
        let mut problem = Problem::general(what).expected(expected);
        problem.source = Some(Arc::clone(source));
        problem.at = node.locate(path);
        path.clone_into(&mut problem.path);
        problem.hint = hint;
        problems.push(problem);
    };
    let kinds_expected = format!("one of `{}`", KINDS.join("`, `"));
    let (version, kind) = (node.text("apiVersion"), node.text("kind"));
    let ours = KINDS.into_iter().find(|ours| Some(*ours) == kind);
    let versions = versions_of(ours.unwrap_or_default());
    let version_expected = format!("`apiVersion: {}`", versions.join("` or `apiVersion: "));
    match (version, kind, ours) {
        (Some(version), _, Some(kind)) if versions.contains(&version) => Some(kind),
        (Some(version), _, Some(_)) => {
            let what = format!("`{version}` is not a version that is read");
            report("apiVersion", what, &version_expected, None);
            None
        }
        (None, _, Some(_)) => {
            report("", "`apiVersion` is missing".to_owned(), &version_expected, None);
            None
        }
        (Some(version), Some(kind), None) if version.starts_with("forebay.dev/") => {
            let hint = suggest::nearest(kind, KINDS).map(|near| format!("did you mean `{near}`?"));
            report("kind", format!("there is no kind `{kind}`"), &kinds_expected, hint);
            None
        }
        (Some(_), Some(_), None) => None,
        (_, None, None) => {
            report("", "`kind` is missing".to_owned(), &kinds_expected, None);
            None
        }
        (None, Some(kind), None) => {
            let hint = suggest::nearest(kind, KINDS).map(|near| format!("did you mean `{near}`?"));
            report("kind", format!("there is no kind `{kind}`"), &kinds_expected, hint);
            None
        }
    }
}
