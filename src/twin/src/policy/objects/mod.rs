//! The user's own scaling objects: `autoscaling/v2` HorizontalPodAutoscalers and
//! `keda.sh/v1alpha1` ScaledObjects, read into settings and written from them.

pub(crate) mod promql;
mod read;
mod write;

pub(crate) use read::{Object, read_file};
pub use write::to_yaml;

/// Annotation that names the variant an object scales, as `fleet/variant`.
pub(crate) const VARIANT: &str = "forebay.dev/variant";

/// Prefix of annotations that give the PromQL behind a metric name of an HPA.
pub(crate) const QUERY_PREFIX: &str = "query.forebay.dev/";

#[cfg(test)]
mod tests;
