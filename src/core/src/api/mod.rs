//! The kinds that people write, as files and in Kubernetes: each a spec in the usual envelope of
//! `apiVersion`, `kind` and `metadata`.
//!
//! Specs are plain data and know nothing of the envelope, so that custom resource definitions can
//! be derived from them. References between objects are names; [`crate::manifest`] resolves them.

pub mod accelerator;
pub mod bounds;
pub mod cidr;
pub mod cron;
pub mod fleet;
pub mod objective;
pub mod policy;
pub mod scalar;
pub mod scenario;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use accelerator::{AcceleratorClassSpec, CapacityType, Currency};
pub use cidr::Cidr;
pub use fleet::InferenceFleetSpec;
pub use objective::{InferenceModelRewriteSpec, InferenceModelSpec, InferenceObjectiveSpec};
pub use policy::TrafficPolicySpec;
pub use scalar::{Amount, Duration, Share};
pub use scenario::ScenarioSpec;

use crate::engine::profile::EngineProfile;

/// Group and version of every kind of ours; changed only by addition.
pub const API_VERSION: &str = "forebay.dev/v1alpha1";

/// A spec that has a kind.
pub trait Kind: JsonSchema + Serialize + serde::de::DeserializeOwned {
    /// As in the field `kind`.
    const KIND: &'static str;
    /// Values of the field `apiVersion` that are read, the preferred one first; never empty.
    const API_VERSIONS: &'static [&'static str] = &[API_VERSION];
}

impl Kind for EngineProfile {
    const KIND: &'static str = "EngineProfile";
}

/// One object: a spec in its envelope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Object<S> {
    /// One of [`Kind::API_VERSIONS`].
    pub api_version: String,
    /// [`Kind::KIND`] of the spec.
    pub kind: String,
    /// Name and place.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: S,
}

impl<S: Kind> Object<S> {
    /// An object of that name.
    #[must_use]
    pub fn new(name: &str, spec: S) -> Self {
        Self {
            api_version: S::API_VERSIONS[0].to_owned(),
            kind: S::KIND.to_owned(),
            metadata: Metadata { name: name.to_owned(), ..Metadata::default() },
            spec,
        }
    }
}

/// What we read of Kubernetes' `ObjectMeta`; its other fields may be there and mean nothing here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Unique among the objects of its kind.
    #[schemars(extend("format" = scalar::FORMAT_NAME))]
    pub name: String,
    /// Namespace; absent in most files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_profile_is_named_by_its_metadata_alone() {
        let text = r"
apiVersion: forebay.dev/v1alpha1
kind: EngineProfile
metadata:
  name: tiny-bf16-l40s-tp1
spec:
  model: tiny
  quantization: bf16
  accelerator: l40s
  tensorParallel: 1
  engine: vllm 0.24.0
  stepTime:
    fixedMs: 1.0
    weightsMs: 5.0
    computeMsPerKtoken: 20.0
    overlapExponent: 2.0
    kvReadMsPerKtoken: 0.05
    attentionMsPerMpair: 0.7
    calibration: 1.0
  kv: {capacityTokens: 100000, blockTokens: 16, bytesPerToken: 131072}
  limits: {maxNumBatchedTokens: 8192, maxNumSeqs: 256}
  requestOverheadMs: 5.0
  evidence: {level: Estimated, source: a test}
";
        let object: Object<EngineProfile> = serde_saphyr::from_str(text).unwrap();
        assert_eq!(object.metadata.name, "tiny-bf16-l40s-tp1");
        assert_eq!(object.kind, EngineProfile::KIND);
        let again = serde_saphyr::to_string(&object).unwrap();
        assert_eq!(again.matches("name:").count(), 1, "{again}");
        assert_eq!(serde_saphyr::from_str::<Object<EngineProfile>>(&again).unwrap(), object);
    }
}
