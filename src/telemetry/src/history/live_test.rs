//! Against a real Prometheus that scraped a real run: a simulated engine in real time behind an
//! HTTP server, some tens of requests per second, one scrape per second.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};
use forebay_core::engine::{Engine, Part, Physics, Work};
use forebay_core::fleet::Role;
use forebay_core::ids::RequestId;
use forebay_core::learn::steps::StepWindow;
use forebay_core::observe::{Aged, History, LengthHistogram};

use super::{fetch_blocking, fetch_pages_blocking};
use crate::page::vllm_page;

const MODEL: &str = "test-model";
/// From the second scrape of the empty page, when the run begins, to its traffic.
const QUIET_S: f64 = 2.0;
/// A Prometheus that has not scraped twice by then does not work.
const FIRST_SCRAPES_MAX: Duration = Duration::from_secs(30);
const SLOW_S: f64 = 10.0;
const FAST_S: f64 = 10.0;
const SLOW_RPS: f64 = 20.0;
const FAST_RPS: f64 = 60.0;
/// After the traffic: the last responses end and are scraped.
const AFTER_S: f64 = 4.0;
/// The server stops even if nobody tells it to.
const SERVER_LIFE: Duration = Duration::from_secs(90);

/// Arrival (s), prompt and output tokens of every request sent.
fn sent() -> Vec<(f64, u32, u32)> {
    let slow = (0..(SLOW_S * SLOW_RPS) as u32).map(|index| QUIET_S + f64::from(index) / SLOW_RPS);
    let fast =
        (0..(FAST_S * FAST_RPS) as u32).map(|index| QUIET_S + SLOW_S + f64::from(index) / FAST_RPS);
    slow.chain(fast)
        .enumerate()
        .map(|(index, at)| (at, 50 + 37 * (index as u32 % 31), 2 + 3 * (index as u32 % 11)))
        .collect()
}

fn engine_profile() -> EngineProfile {
    let limits = Limits { max_num_batched_tokens: 8_192, max_num_seqs: 256 };
    EngineProfile {
        name: "test".into(),
        model: MODEL.into(),
        quantization: "fp8".into(),
        accelerator: "test".into(),
        tensor_parallel: 1,
        engine: "vllm".into(),
        step_time: StepTime {
            fixed_ms: 2.0,
            weights_ms: 3.0,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: 10.0,
            overlap_exponent: 1.0,
            kv_read_ms_per_ktoken: 0.001,
            attention_ms_per_mpair: 0.1,
            calibration: 1.0,
        },
        kv: KvCache { capacity_tokens: 500_000, block_tokens: 16, bytes_per_token: 1 },
        limits,
        request_overhead_ms: 0.0,
        evidence: Evidence {
            level: EvidenceLevel::Estimated,
            source: "made up for tests".into(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}

fn engine() -> Engine {
    let profile = engine_profile();
    Engine::new(Physics::new(&profile, &profile.limits))
}

/// The run in real time: brought up to date whenever its page is asked for.
struct Run {
    started: Instant,
    engine: Engine,
    to_send: std::vec::IntoIter<(f64, u32, u32)>,
    next: Option<(f64, u32, u32)>,
    arrived: u64,
}

impl Run {
    fn new(started: Instant) -> Self {
        let mut to_send = sent().into_iter();
        let next = to_send.next();
        Self { started, engine: engine(), to_send, next, arrived: 0 }
    }

    fn page(&mut self) -> String {
        let now = (self.started.elapsed().as_secs_f64() * 1e12) as u64;
        let mut events = Vec::new();
        while let Some((at, prompt_tokens, output_tokens)) = self.next {
            let at = (at * 1e12) as u64;
            if at > now {
                break;
            }
            self.engine.advance(at, &mut events);
            let work = Work {
                request: RequestId(self.arrived),
                prompt_tokens,
                output_tokens,
                part: Part::Whole,
                prefix: None,
            };
            self.engine.submit(at, work, &mut events);
            self.arrived += 1;
            self.next = self.to_send.next();
        }
        self.engine.advance(now, &mut events);
        let page = vllm_page(&self.engine.sample(now), MODEL, 0);
        // The router in front of it, whose length histograms carry the same figures.
        let mut router = format!(
            "llm_d_epp_request_total{{fairness_id=\"a\",model_name=\"{MODEL}\",priority=\"0\",target_model_name=\"{MODEL}\"}} {}\n",
            self.arrived
        );
        for (engine_name, router_name) in [
            ("vllm:request_prompt_tokens_", "llm_d_epp_request_input_tokens_"),
            ("vllm:request_generation_tokens_", "llm_d_epp_request_output_tokens_"),
        ] {
            for line in page.lines().filter(|line| line.starts_with(engine_name)) {
                router.push_str(&line.replace(engine_name, router_name));
                router.push('\n');
            }
        }
        page + &router
    }
}

/// Serves the run's page until told to stop.
struct Server {
    port: u16,
    /// Unix time at which the run began: its second scrape.
    begun: Arc<OnceLock<f64>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let begun = Arc::new(OnceLock::new());
        let begins = Arc::clone(&begun);
        let thread = thread::spawn(move || {
            let started = Instant::now();
            let mut run = Run::new(started);
            let mut scrapes = 0;
            while !stopped.load(Ordering::Relaxed) && started.elapsed() < SERVER_LIFE {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                let mut asked = [0; 4096];
                if stream.read(&mut asked).is_ok() {
                    scrapes += 1;
                    if scrapes <= 2 {
                        run = Run::new(Instant::now());
                    }
                    if scrapes == 2 {
                        begins.set(unix_now()).unwrap();
                    }
                    let page = run.page();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        page.len()
                    );
                    // A scraper that hung up is scraped again next time.
                    let _sent = stream
                        .write_all(head.as_bytes())
                        .and_then(|()| stream.write_all(page.as_bytes()));
                }
            }
        });
        Self { port, begun, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A Prometheus with its own folder and port.
struct Prometheus {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Prometheus {
    /// `None` when there is none on this machine.
    fn start(scraped_port: u16) -> Option<Self> {
        let folder =
            std::env::temp_dir().join(format!("forebay-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  - job_name: engines\n    static_configs: [{{targets: ['127.0.0.1:{scraped_port}']}}]\n"
        );
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn();
        match process {
            Ok(process) => Some(Self { process, folder, port }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::remove_dir_all(&folder).unwrap();
                None
            }
            Err(error) => panic!("prometheus does not start: {error}"),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn near(found: f64, wanted: f64, tolerance: f64, name: &str) {
    assert!((found / wanted - 1.0).abs() < tolerance, "{name}: {found} for {wanted}");
}

/// Arrivals per second over the steps inside a span that begins `from_s` after the run.
fn rate(history: &History, offset_s: f64, from_s: f64, length_s: f64) -> f64 {
    let step_s = history.step.as_seconds();
    let inside: Vec<f64> = history
        .steps
        .iter()
        .enumerate()
        .filter(|(index, _)| {
            let start = *index as f64 * step_s - offset_s;
            start >= from_s && start + step_s <= from_s + length_s
        })
        .map(|(_, step)| step.as_ref().unwrap().arrivals)
        .collect();
    inside.iter().sum::<f64>() / (inside.len() as f64 * step_s)
}

#[test]
fn traffic_is_rebuilt_from_a_prometheus_that_scraped_it() {
    let server = Server::start();
    let Some(prometheus) = Prometheus::start(server.port) else {
        eprintln!("skipped: there is no `prometheus` on the PATH");
        return;
    };
    let waiting = Instant::now();
    let started_unix = loop {
        if let Some(&begun) = server.begun.get() {
            break begun;
        }
        assert!(waiting.elapsed() < FIRST_SCRAPES_MAX, "the server was not scraped");
        thread::sleep(Duration::from_millis(20));
    };
    let run_s = QUIET_S + SLOW_S + FAST_S + AFTER_S;
    while unix_now() < started_unix + run_s {
        thread::sleep(Duration::from_millis(100));
    }
    let url = |more: &str| {
        let (start, end) = (started_unix.ceil(), started_unix + run_s - 1.0);
        format!(
            "prometheus:http://127.0.0.1:{}?start={start}&end={end}&step=1s{more}",
            prometheus.port
        )
    };
    let sent = sent();
    let total = sent.len() as f64;
    for dialect in ["vllm", "llm-d"] {
        let path = url(&format!("&model={MODEL}&dialect={dialect}"));
        let history = fetch_blocking(&path, unix_now()).unwrap();
        assert_eq!(history.unknown_steps(), 0, "{:?}", history.notes);
        near(history.arrivals(), total, 0.01, "requests");
        let offset_s = started_unix - started_unix.ceil();
        // A second at each end belongs to both rates, since scrapes lie up to a second apart.
        let slow = rate(&history, offset_s, QUIET_S + 1.0, SLOW_S - 2.0);
        let fast = rate(&history, offset_s, QUIET_S + SLOW_S + 1.0, FAST_S - 2.0);
        near(slow, SLOW_RPS, 0.15, "slow rate");
        near(fast, FAST_RPS, 0.15, "fast rate");
        let (mut prompt, mut output) = (LengthHistogram::default(), LengthHistogram::default());
        for step in history.steps.iter().flatten() {
            prompt.merge(&step.prompt);
            output.merge(&step.output);
        }
        let mean = |of: fn(&(f64, u32, u32)) -> u32| {
            sent.iter().map(|request| f64::from(of(request))).sum::<f64>() / total
        };
        near(prompt.count(), total, 0.01, "prompts");
        near(prompt.mean().unwrap(), mean(|request| request.1), 0.01, "mean prompt");
        near(output.mean().unwrap(), mean(|request| request.2), 0.01, "mean output");
        let short = sent.iter().filter(|request| request.1 <= 500).count() as f64;
        let counted: f64 = prompt
            .bounds
            .iter()
            .zip(&prompt.counts)
            .filter(|(bound, _)| **bound <= 500.0)
            .map(|(_, count)| count)
            .sum();
        near(counted, short, 0.01, "prompts of at most 500 tokens");
        assert!(
            history.notes[0].contains(dialect.split('-').next().unwrap()),
            "{:?}",
            history.notes
        );
    }
    // The engine's own pages, as learning reads them.
    let engines = fetch_pages_blocking(&url(&format!("&model={MODEL}")), unix_now()).unwrap();
    let [engine] = &engines[..] else { panic!("{} engines", engines.len()) };
    assert!(engine.endpoint.starts_with("engines/127.0.0.1:"), "{}", engine.endpoint);
    let (first, last) = (engine.pages.first().unwrap(), engine.pages.last().unwrap());
    assert!(engine.pages.len() >= 20 && last.at > first.at);
    let all =
        |of: fn(&(f64, u32, u32)) -> u32| sent.iter().map(|it| f64::from(of(it))).sum::<f64>();
    near(last.value.generation_tokens_total, all(|request| request.2), 1e-9, "output tokens");
    near(last.value.prompt_tokens_total, all(|request| request.1), 1e-9, "prompt tokens");
    near(last.value.requests_finished_total, total, 1e-9, "finished");
    near(last.value.ttft.count(), total, 1e-9, "first tokens");
    near(last.value.generation_lengths.count(), total, 1e-9, "output lengths");
    near(last.value.kv_capacity_tokens, 500_000.0, 1e-9, "KV capacity");
    let truth = engine_profile();
    let window = StepWindow::between(
        Aged { at: first.at, value: &first.value },
        Aged { at: last.at, value: &last.value },
        &truth.limits,
        Role::Both,
    )
    .unwrap();
    assert!(window.steps.is_some_and(|steps| steps > 500.0), "{window:?}");
    let predicted = window.mix(&truth.limits).seconds(&truth.step_time);
    near(predicted, window.seconds, 0.2, "step time from its pages");
    // Both are there: the router, which sees arrivals themselves, is preferred.
    let both = fetch_blocking(&url(""), unix_now()).unwrap();
    assert!(both.notes[0].contains("llm_d_epp_request_total"), "{:?}", both.notes);
    let missing = fetch_blocking(&url("&model=absent"), unix_now()).unwrap_err().to_string();
    assert!(
        missing.contains("vllm:time_to_first_token_seconds_count{model_name=\"absent\"}"),
        "{missing}"
    );
    let refused = fetch_blocking("prometheus:http://127.0.0.1:1?start=-1h", unix_now())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("did not answer"), "{refused}");
}
