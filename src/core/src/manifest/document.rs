//! From text to typed objects.

use std::sync::Arc;

use serde_json::Value as Json;

use super::node::{Node, Position, Value};
use super::{Errors, Located, Manifests, Problem, Source, schema, suggest};
use crate::api::{
    API_VERSION, AcceleratorClassSpec, InferenceFleetSpec, Kind, Object, ScenarioSpec,
    TrafficPolicySpec,
};
use crate::engine::profile::EngineProfile;

/// The kinds that can be read.
pub const KINDS: [&str; 5] = [
    InferenceFleetSpec::KIND,
    TrafficPolicySpec::KIND,
    AcceleratorClassSpec::KIND,
    EngineProfile::KIND,
    ScenarioSpec::KIND,
];

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
        _ => None,
    }
}

fn schema_for<S: Kind>() -> Json {
    let mut schema = schemars::schema_for!(Object<S>);
    schema.insert("title".to_owned(), S::KIND.into());
    let mut schema = schema.to_value();
    if let Some(properties) = schema.get_mut("properties") {
        properties["apiVersion"] = serde_json::json!({ "const": API_VERSION });
        properties["kind"] = serde_json::json!({ "const": S::KIND });
    }
    schema
}

pub(super) fn parse(sources: &[Source]) -> Result<Manifests, Errors> {
    let mut manifests = Manifests::default();
    let mut problems = Vec::new();
    for source in sources {
        let source = Arc::new(source.clone());
        match serde_saphyr::from_multiple::<Node>(&source.text) {
            Ok(documents) => {
                for node in documents.into_iter().filter(|node| node.value != Value::Null) {
                    manifests.read(&source, node, &mut problems);
                }
            }
            Err(error) => problems.push(not_yaml(&source, &error)),
        }
    }
    unique(&manifests.fleets, &mut problems);
    unique(&manifests.policies, &mut problems);
    unique(&manifests.accelerators, &mut problems);
    unique(&manifests.profiles, &mut problems);
    unique(&manifests.scenarios, &mut problems);
    Errors::check(problems).map(|()| manifests)
}

fn not_yaml(source: &Arc<Source>, error: &serde_saphyr::Error) -> Problem {
    let message = error.without_snippet().to_string();
    let what = message.split(" at line ").next().unwrap_or_default().trim();
    let mut problem = Problem::general(format!("this is not YAML: {what}"));
    problem.at = error.location().map_or(Position { line: 1, column: 1 }, Position::from);
    problem.source = Some(Arc::clone(source));
    if source.text.contains('\t') {
        problem = problem.hint("YAML is indented with spaces, never with tabs");
    }
    problem
}

/// Two objects of one kind cannot have one name.
fn unique<S>(objects: &[Located<S>], problems: &mut Vec<Problem>) {
    for (index, object) in objects.iter().enumerate() {
        if let Some(first) = objects[..index].iter().find(|other| other.name() == object.name()) {
            problems.push(
                object
                    .problem("metadata.name", format!("`{}` exists already", object.name()))
                    .hint(format!("the first one is at {}; rename one of them", first.place())),
            );
        }
    }
}

impl Manifests {
    fn read(&mut self, source: &Arc<Source>, node: Node, problems: &mut Vec<Problem>) {
        let Some(kind) = our_kind(source, &node, problems) else { return };
        match kind {
            InferenceFleetSpec::KIND => self.fleets.extend(typed(source, node, problems)),
            TrafficPolicySpec::KIND => self.policies.extend(typed(source, node, problems)),
            AcceleratorClassSpec::KIND => self.accelerators.extend(typed(source, node, problems)),
            ScenarioSpec::KIND => self.scenarios.extend(typed(source, node, problems)),
            _ => {
                let profile = typed::<EngineProfile>(source, node, problems);
                self.profiles.extend(profile.map(|mut profile| {
                    profile.object.metadata.name.clone_into(&mut profile.object.spec.name);
                    profile
                }));
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
    let version_expected = format!("`apiVersion: {API_VERSION}`");
    let kinds_expected = format!("one of `{}`", KINDS.join("`, `"));
    let (version, kind) = (node.text("apiVersion"), node.text("kind"));
    let ours = KINDS.into_iter().find(|ours| Some(*ours) == kind);
    match (version, kind, ours) {
        (Some(API_VERSION), _, Some(kind)) => Some(kind),
        (Some(version), _, Some(_)) => {
            let what = format!("`{version}` is not a version of ours");
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

/// Checks a document against its schema and turns it into an object.
fn typed<S: Kind>(
    source: &Arc<Source>,
    node: Node,
    problems: &mut Vec<Problem>,
) -> Option<Located<S>> {
    let name = node.entry("metadata").and_then(|entry| entry.node.text("name"));
    let object = name.map_or_else(|| S::KIND.to_owned(), |name| format!("{} {name}", S::KIND));
    let misfits = schema::check(&schema_for::<S>(), &node);
    let fits = misfits.is_empty();
    problems.extend(misfits.into_iter().map(|misfit| Problem {
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
            problems.push(problem);
            None
        }
    }
}
