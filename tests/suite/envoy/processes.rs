//! `forebay run` behind Envoy, as processes: overload, the end by SIGTERM, death by `kill -9`. Each
//! request has exactly one outcome, seen from both sides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};

use super::client::{Client, Got, PATIENCE};
use super::proxy::{Config, Proxy};
use crate::support::{Folder, Forebay, demo_fleet, eventually};

/// A fleet of test engines, a gate and Envoy, all processes of their own.
struct Live {
    client: Client,
    metrics: SocketAddr,
    gate: Option<Forebay>,
    _proxy: Proxy,
    _engines: Forebay,
    _folder: Folder,
}

/// One engine with so many slots, which takes so long for the first token and for each other one.
struct Like {
    slots: u32,
    first_token_ms: u32,
    token_ms: u32,
}

impl Live {
    async fn new(name: &str, config: &Config, like: &Like) -> Option<Self> {
        // Before anything is started.
        super::proxy::binary()?;
        let folder = Folder::new(name);
        let Like { slots, first_token_ms, token_ms } = like;
        let (slots, first, token) =
            (slots.to_string(), first_token_ms.to_string(), token_ms.to_string());
        let (engines, at) = tokio::task::block_in_place(|| {
            Forebay::engines(2, &["--fixed-ms", &first, "--token-ms", &token, "--slots", &slots])
        });
        let fleet = folder.write("fleet.yaml", &demo_fleet(&at));
        let (gate, faces) = tokio::task::block_in_place(|| {
            Forebay::gate(&fleet, &["--ext-proc", "--metrics"], &["--scrape-seconds", "0.1"])
        });
        let proxy = Proxy::start(config, &faces[0].to_string()).await?;
        let live = Self {
            client: Client::new(&proxy.address),
            metrics: faces[1],
            gate: Some(gate),
            _proxy: proxy,
            _engines: engines,
            _folder: folder,
        };
        let two = || async { live.sum("llm_d_epp_ready_endpoints{").await == Some(2.0) };
        until("both engines are seen", two).await;
        Some(live)
    }

    /// The sum of the samples that start so; absent is not zero.
    async fn sum(&self, start: &str) -> Option<f64> {
        let url = format!("http://{}/metrics", self.metrics);
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let page = reqwest::get(url).await.ok()?.text().await.ok()?;
        let samples = page.lines().filter(|line| line.starts_with(start));
        let values: Vec<f64> =
            samples.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Sends a request for so many tokens on a task of its own.
    fn ask(&self, tokens: u32, stream: bool) -> tokio::task::JoinHandle<Got> {
        let body = format!(
            r#"{{"model":"demo","prompt":"tell me more","max_tokens":{tokens},"ignore_eos":true,"stream":{stream}}}"#
        );
        let client = self.client.clone();
        tokio::spawn(async move { client.send(client.request(Method::POST, &[], body)).await })
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// How an answer looked to its client.
fn outcome(got: &Got) -> &'static str {
    let reason = got.header("x-llm-d-request-dropped-reason").unwrap_or_default();
    match (got.status, got.broken, reason) {
        (StatusCode::OK, false, "") => "whole",
        (StatusCode::OK, true, "") => "broken",
        (StatusCode::SERVICE_UNAVAILABLE, false, "rejected-shutting-down") => "shutting down",
        (StatusCode::TOO_MANY_REQUESTS, false, reason) if reason.starts_with("rejected-") => {
            assert!(got.header("retry-after").is_some(), "{reason} without a time");
            "refused"
        }
        (StatusCode::INTERNAL_SERVER_ERROR, ..) => "no picker",
        _ => {
            eprintln!("{} {:?} {}", got.status, got.headers, got.text());
            "unexpected"
        }
    }
}

async fn outcomes(
    asked: impl IntoIterator<Item = tokio::task::JoinHandle<Got>>,
) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for one in asked {
        *counts.entry(outcome(&one.await.unwrap())).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_ten_times_capacity_each_request_is_answered_or_refused_once() {
    let like = Like { slots: 4, first_token_ms: 400, token_ms: 0 };
    let Some(live) = Live::new("overload", &Config::answers_pass(), &like).await else { return };
    // 8 slots of 0.4 s are 20 requests per second; for 3 seconds come 200.
    let mut asked = Vec::new();
    for _ in 0..30 {
        asked.extend((0..20).map(|_| live.ask(1, false)));
        sleep(Duration::from_millis(100)).await;
    }
    let total = asked.len();
    let counts = outcomes(asked).await;
    assert_eq!(counts.values().sum::<usize>(), total);
    let whole = counts.get("whole").copied().unwrap_or(0);
    let refused = counts.get("refused").copied().unwrap_or(0);
    assert_eq!(whole + refused, total, "nothing else happens: {counts:?}");
    assert!(whole >= 60, "the engines are kept busy: {counts:?}");
    assert!(refused > 0, "ten times capacity does not fit: {counts:?}");
    // The gate has counted the same.
    until("all have ended", || async {
        live.sum("forebay_gate_outcomes_total{").await == Some(total as f64)
    })
    .await;
    assert_eq!(live.sum("forebay_gate_requests_total{").await, Some(total as f64));
    let page = live.sum("llm_d_epp_flow_control_queue_size{").await;
    assert_eq!(page, Some(0.0), "nothing stays in the queue");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_under_load_it_refuses_what_is_new_and_loses_nothing() {
    let like = Like { slots: 4, first_token_ms: 100, token_ms: 50 };
    let Some(mut live) = Live::new("term", &Config::answers_pass(), &like).await else { return };
    // A stream of some seconds keeps the gate there until the load has stopped.
    let long = live.ask(80, true);
    sleep(Duration::from_millis(300)).await;
    let mut asked = Vec::new();
    for round in 0..10 {
        asked.extend((0..6).map(|_| live.ask(2, false)));
        if round == 4 {
            live.gate.as_ref().unwrap().signal("TERM");
        }
        sleep(Duration::from_millis(100)).await;
    }
    let total = asked.len();
    let counts = outcomes(asked).await;
    let of = |what| counts.get(what).copied().unwrap_or(0);
    assert_eq!(of("whole") + of("shutting down") + of("refused"), total, "{counts:?}");
    assert!(of("whole") > 0 && of("shutting down") > 0, "{counts:?}");
    let long = long.await.unwrap();
    assert_eq!(outcome(&long), "whole");
    assert!(long.text().ends_with("data: [DONE]\n\n"), "the stream came to its end");
    let mut gate = live.gate.take().unwrap();
    assert_eq!(tokio::task::block_in_place(|| gate.ended()), Some(0));
}

/// Kills the picker while some answers are in flight and many requests wait.
async fn killed(name: &str, config: &Config) -> Option<BTreeMap<&'static str, usize>> {
    let like = Like { slots: 1, first_token_ms: 50, token_ms: 100 };
    let live = Live::new(name, config, &like).await?;
    // Two slots: two streams of 4 s, of which we have seen the beginning.
    let stream = |live: &Live| {
        let body =
            r#"{"model":"demo","prompt":"go on","max_tokens":40,"ignore_eos":true,"stream":true}"#;
        live.client.request(Method::POST, &[], body)
    };
    let mut flying = live.client.open(stream(&live)).await.into_body();
    flying.frame().await.unwrap().unwrap();
    // More than the gate lets go at once while it learns what the engines hold.
    let waiting: Vec<_> = (0..60).map(|_| live.ask(40, true)).collect();
    until("some wait", || async {
        live.sum("forebay_gate_queued_requests{").await.is_some_and(|queued| queued >= 10.0)
    })
    .await;
    live.gate.as_ref().unwrap().signal("KILL");
    let mut broken = false;
    let mut taken = Vec::new();
    while let Some(frame) = flying.frame().await {
        match frame {
            Ok(frame) => taken.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    let mut counts = outcomes(waiting).await;
    let whole = !broken && taken.ends_with(b"data: [DONE]\n\n");
    *counts.entry(if whole { "in flight: whole" } else { "in flight: broken" }).or_default() += 1;
    assert_eq!(counts.values().sum::<usize>(), 61, "one outcome each: {counts:?}");
    // Nobody is there to ask any more.
    assert_eq!(outcome(&live.ask(1, false).await.unwrap()), "no picker");
    Some(counts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_where_answers_pass_it_takes_them_along() {
    let Some(counts) = killed("kill-pass", &Config::answers_pass()).await else { return };
    assert_eq!(counts.get("in flight: broken"), Some(&1), "{counts:?}");
    assert!(counts.get("no picker").is_some_and(|queued| *queued >= 10), "{counts:?}");
    assert_eq!(counts.get("whole"), None, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_where_answers_survive_it_takes_only_the_queue_along() {
    let Some(counts) = killed("kill-survive", &Config::answers_survive()).await else { return };
    assert_eq!(counts.get("in flight: whole"), Some(&1), "{counts:?}");
    assert!(counts.get("no picker").is_some_and(|queued| *queued >= 10), "{counts:?}");
    assert_eq!(counts.get("broken"), None, "{counts:?}");
}

/// Whether health at that address says that the picker takes requests.
async fn is_serving(address: SocketAddr) -> bool {
    use forebay_gateway::health::{PICKER_SERVICE, v1};
    let Ok(channel) = channel(address).await else { return false };
    let mut client = v1::health_client::HealthClient::new(channel);
    let asked = client.check(v1::HealthCheckRequest { service: PICKER_SERVICE.to_owned() }).await;
    let serving = v1::health_check_response::ServingStatus::Serving;
    asked.is_ok_and(|answer| answer.get_ref().status() == serving)
}

async fn channel(
    address: SocketAddr,
) -> Result<tonic::transport::Channel, tonic::transport::Error> {
    let url = format!("http://{address}");
    tonic::transport::Endpoint::from_shared(url).unwrap().connect().await
}

#[test]
fn the_pickers_own_port_answers_health_too_and_nothing_else() {
    let folder = Folder::new("health-beside");
    let fleet = folder.write("fleet.yaml", &demo_fleet(&[crate::support::free_address()]));
    let (_gate, at) = Forebay::gate(&fleet, &["--ext-proc"], &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    eventually("health answers beside the picker", || runtime.block_on(is_serving(at[0])));
    let refused = runtime.block_on(async {
        use forebay_gateway::fleet_sync::wire::v1::fleet_sync_client::FleetSyncClient;
        let mut other = FleetSyncClient::new(channel(at[0]).await.unwrap());
        other.sync(tokio_stream::empty()).await.err()
    });
    assert_eq!(refused.map(|status| status.code()), Some(tonic::Code::Unimplemented));
}

#[test]
fn the_picker_speaks_tls_with_a_certificate_of_its_own_making() {
    let folder = Folder::new("self-signed");
    let fleet = folder.write("fleet.yaml", &demo_fleet(&[crate::support::free_address()]));
    let more = ["--ext-proc-self-signed"];
    let (gate, at) = Forebay::gate(&fleet, &["--ext-proc", "--ext-proc-health"], &more);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    eventually("health answers in plain text", || runtime.block_on(is_serving(at[1])));
    // And the picker's own port shows a certificate to whoever begins a TLS handshake.
    use std::io::{Read as _, Write as _};
    let mut plain = std::net::TcpStream::connect(at[0]).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut first = [0];
    plain.read_exact(&mut first).unwrap();
    assert_eq!(first[0], 0x15, "a TLS alert, not HTTP/2: {}", gate.said());
}
