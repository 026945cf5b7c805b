//! Where spans go.

use anyhow::{Result, anyhow, bail};
use clap::Args;
use forebay_gateway::spans::{Queue, Spans};
use http::Uri;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// Where the environment says that spans go: to a place of their own, or where everything goes.
const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// By which protocol.
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// Spans of requests.
#[derive(Args, Debug)]
pub(crate) struct SpanArguments {
    /// Collector of OpenTelemetry spans, one for each request, by OTLP over gRPC:
    /// `http://HOST:4317`; empty = none. Absent = as `OTEL_EXPORTER_OTLP_ENDPOINT` says. What else
    /// is standard in the environment counts, too (`OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`, ...).
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// The way to a collector.
#[derive(Debug)]
pub(super) struct Export {
    endpoint: String,
    queue: Queue,
}

impl SpanArguments {
    /// Where spans begin, and how they get away; `None` where nobody asks for them.
    ///
    /// What the flag says and cannot be done is an error; what the environment says, which is
    /// often meant for others too, a warning: telemetry does not keep a gate from starting.
    pub(super) fn start(&self) -> Result<Option<(Spans, Export)>> {
        let endpoint = match &self.otlp_endpoint {
            Some(url) if url.is_empty() => return Ok(None),
            Some(url) => match usable(url) {
                Ok(endpoint) => endpoint,
                Err(wrong) => bail!("--otlp-endpoint {url}: {wrong}"),
            },
            None => match of_environment(variable) {
                None => return Ok(None),
                Some(Ok(endpoint)) => endpoint,
                Some(Err(wrong)) => {
                    warn!("no spans: {wrong}");
                    return Ok(None);
                }
            },
        };
        info!("a span of each request goes to {endpoint}");
        let (spans, queue) = Spans::new();
        Ok(Some((spans, Export { endpoint, queue })))
    }
}

/// Where the environment wants spans to go, or why that cannot be; `None` where it wants none.
fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Result<String, String>> {
    let endpoint = ENDPOINT.into_iter().find_map(&variable)?;
    let is = |name: &str, value: &str| {
        variable(name).is_some_and(|given| given.eq_ignore_ascii_case(value))
    };
    if is("OTEL_TRACES_EXPORTER", "none") || is("OTEL_SDK_DISABLED", "true") {
        return None;
    }
    let protocol = PROTOCOL.into_iter().find_map(&variable);
    if let Some(other) = protocol.filter(|name| name != "grpc") {
        return Some(Err(format!(
            "the environment wants them by {other}, and they go by gRPC only; set {} to grpc and \
             give the collector's port for it, mostly 4317",
            PROTOCOL[0]
        )));
    }
    Some(usable(&endpoint).map_err(|wrong| format!("{endpoint}: {wrong}")))
}

/// The endpoint, with the scheme that it needs; or what is wrong with it.
fn usable(endpoint: &str) -> Result<String, &'static str> {
    const FORM: &str = "it is no address of a collector; give it as http://HOST:4317";
    let url =
        if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let read: Uri = url.parse().map_err(|_| FORM)?;
    match read.scheme_str() {
        Some("http") if read.host().is_some_and(|host| !host.is_empty()) => Ok(url),
        Some("https") => Err("spans go without TLS; give the http:// of a collector near by"),
        _ => Err(FORM),
    }
}

impl Export {
    /// Sends spans on, from the current runtime, until the other end of `ended` is gone.
    pub(super) fn start(self, ended: oneshot::Receiver<()>) -> Result<JoinHandle<()>> {
        let Self { endpoint, queue } = self;
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(&endpoint).build();
        let exporter = exporter.map_err(|error| anyhow!("spans to {endpoint}: {error}"))?;
        let stopped = async move {
            let _ = ended.await;
        };
        Ok(tokio::spawn(queue.export(exporter, stopped)))
    }
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(environment: &[(&str, &str)]) -> Option<Result<String, String>> {
        of_environment(|name| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_says_where_spans_go() {
        let [own, all] = ENDPOINT;
        assert_eq!(wanted(&[]), None);
        assert_eq!(wanted(&[(all, "http://a:4317")]), Some(Ok("http://a:4317".into())));
        assert_eq!(
            wanted(&[(all, "http://a:4317"), (own, "b:4317")]),
            Some(Ok("http://b:4317".into()))
        );
        for off in [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "TRUE")] {
            assert_eq!(wanted(&[(all, "http://a:4317"), off]), None);
        }
        let http = wanted(&[(all, "http://a:4318"), (PROTOCOL[1], "http/protobuf")]);
        assert!(http.unwrap().unwrap_err().contains("gRPC only"));
        assert!(wanted(&[(all, "https://a:4317")]).unwrap().unwrap_err().contains("TLS"));
    }

    #[test]
    fn what_is_no_collector_is_said() {
        for wrong in ["https://a:4317", "ftp://a", "http://", "a b"] {
            assert!(usable(wrong).is_err(), "{wrong}");
        }
        assert_eq!(usable("127.0.0.1:4317").as_deref(), Ok("http://127.0.0.1:4317"));
    }
}
