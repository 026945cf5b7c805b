//! Kinds of the Gateway API Inference Extension that say how requests are to be treated:
//! `InferenceObjective`, its ancestor `InferenceModel`, and `InferenceModelRewrite`.
//!
//! They belong to others, so a field that we do not know is passed over: a later version of
//! theirs may have it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Kind;
use super::bounds::{LIST_MAX, WEIGHT_MAX};

/// Group and version of llm-d, which took these kinds over.
pub const API_VERSION_LLM_D: &str = "llm-d.ai/v1alpha2";
/// Group and version in which the kinds began.
pub const API_VERSION_EXTENSION: &str = "inference.networking.x-k8s.io/v1alpha2";

/// Annotation: the name of the tier that requests belong to.
pub const ANNOTATION_TIER: &str = "forebay.dev/tier";
/// Annotation: a whole number that stands for the priority of the object.
pub const ANNOTATION_PRIORITY: &str = "forebay.dev/priority";
/// Annotation: what a flow may have in relation to others of its tier.
pub const ANNOTATION_FAIRNESS_WEIGHT: &str = "forebay.dev/fairness-weight";

impl Kind for InferenceObjectiveSpec {
    const KIND: &'static str = "InferenceObjective";
    const API_VERSIONS: &'static [&'static str] = &[API_VERSION_LLM_D, API_VERSION_EXTENSION];
}

impl Kind for InferenceModelSpec {
    const KIND: &'static str = "InferenceModel";
    const API_VERSIONS: &'static [&'static str] = &[API_VERSION_EXTENSION];
}

impl Kind for InferenceModelRewriteSpec {
    const KIND: &'static str = "InferenceModelRewrite";
    const API_VERSIONS: &'static [&'static str] = &[API_VERSION_LLM_D, API_VERSION_EXTENSION];
}

/// A priority that requests name in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferenceObjectiveSpec {
    /// Larger wins; absent = 0; negative = may be shed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The pool that it is meant for; absent = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolObjectReference>,
}

/// A model name that clients use, and how critical it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferenceModelSpec {
    /// As requests name it.
    #[schemars(length(min = 1, max = 256))]
    pub model_name: String,
    /// Absent = `Standard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criticality: Option<Criticality>,
    /// Models that serve it, by weight; empty = the one of that name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub target_models: Vec<TargetModel>,
    /// The pool that it is meant for; absent = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolObjectReference>,
}

/// How an `InferenceModel` ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Criticality {
    /// Before all others.
    Critical,
    /// As any.
    #[default]
    Standard,
    /// May be shed.
    Sheddable,
}

/// One of the models that serve a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetModel {
    /// As the engine knows it.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Its part, in relation to the others; absent = 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = WEIGHT_MAX))]
    pub weight: Option<u32>,
}

/// Rules by which model names are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferenceModelRewriteSpec {
    /// The pool that it is meant for; absent = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolObjectReference>,
    /// The first that matches counts; one without matches is for all that no rule matches.
    #[serde(default)]
    #[schemars(length(max = LIST_MAX))]
    pub rules: Vec<RewriteRule>,
}

/// What becomes of some names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteRule {
    /// Names that it is about: any of them; empty = all that no other rule matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub matches: Vec<RewriteMatch>,
    /// What they become, by weight.
    #[schemars(length(min = 1, max = LIST_MAX))]
    pub targets: Vec<RewriteTarget>,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteMatch {
    /// The name of the model.
    pub model: ModelMatch,
}

/// How a name is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelMatch {
    /// Letter by letter.
    #[serde(rename = "type", default)]
    pub comparison: Comparison,
    /// With what.
    #[schemars(length(min = 1, max = 256))]
    pub value: String,
}

/// How a name is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Comparison {
    /// Letter by letter.
    #[default]
    Exact,
}

/// What a name becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteTarget {
    /// Its part, in relation to the others; absent = 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = WEIGHT_MAX))]
    pub weight: Option<u32>,
    /// The name that the engine is asked for.
    #[schemars(length(min = 1, max = 256))]
    pub model_rewrite: String,
}

/// The name of an `InferencePool`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolObjectReference {
    /// API group; absent = `inference.networking.k8s.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Absent = `InferencePool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its `metadata.name`.
    pub name: String,
}
