//! OpenTelemetry: one span for each request, from its arrival to its end. Its parent is the span
//! that came with the request (W3C trace context), and it is the parent of what the engine does.
//!
//! Where nobody asked for spans there are none: a request then costs one look at an empty cell.

mod export;
mod names;
mod request;
#[cfg(test)]
mod tests;

pub use export::{Queue, SpanMeters};
pub(crate) use request::{About, RequestSpan};

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use export::Counts;

/// Name of this service where the environment (`OTEL_SERVICE_NAME`) gives none.
const SERVICE_NAME: &str = "forebay";

/// Where spans of requests begin. Clones share it.
#[derive(Clone, Debug)]
pub struct Spans {
    tracer: SdkTracer,
    counts: Arc<Counts>,
}

impl Spans {
    /// Spans as the environment says (`OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, ...), and
    /// the queue in which they wait for their export.
    #[must_use]
    pub fn new() -> (Self, Queue) {
        let resource = resource();
        let (queue, processor, counts) = export::queue(resource.clone());
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        (Self { tracer: provider.tracer(SERVICE_NAME), counts }, queue)
    }

    /// What became of spans that ended.
    #[must_use]
    pub fn meters(&self) -> SpanMeters {
        self.counts.read()
    }

    /// The span of a request that comes now; `header` reads its headers.
    pub(crate) fn begin<'a>(
        &self,
        about: &About<'_>,
        header: impl Fn(&str) -> Option<&'a str>,
    ) -> Box<RequestSpan> {
        Box::new(RequestSpan::begin(&self.tracer, about, header))
    }
}

fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let found = Resource::builder().with_attribute(version).build();
    // What the library says where nobody has said anything.
    let named = found.get(&"service.name".into());
    if named.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return found;
    }
    let pairs = found.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let builder = Resource::builder_empty().with_attributes(pairs.collect::<Vec<_>>());
    builder.with_service_name(SERVICE_NAME).build()
}
