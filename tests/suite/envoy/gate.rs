//! A gate that does as the request says, behind the real picker on a real port.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use forebay_core::admit::Facts as _;
use forebay_core::gate::Refusal;
use forebay_core::time::Span;
use forebay_gateway::body::Usage;
use forebay_gateway::connections::Peer;
use forebay_gateway::desk::{Reason, Refused};
use forebay_gateway::ext_proc::{Admit, Asked, Grant, Picker, Settings};
use forebay_gateway::front::Denied;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Request header that says what to do: `hold`, `saturated`, `nobody`, `rename`.
pub(super) const DO: &str = "x-test-gate";

/// A header of ours that must not reach the engine.
pub(super) const STRIPPED: &str = "x-llm-d-inference-fairness-id";

#[derive(Debug)]
pub(super) struct TestGate {
    endpoint: String,
    log: Arc<Mutex<Vec<String>>>,
    candidates: Mutex<Vec<Option<Vec<String>>>>,
    held: Mutex<usize>,
    open: watch::Sender<bool>,
}

impl TestGate {
    pub(super) fn new(endpoint: &str) -> Arc<Self> {
        Arc::new(Self {
            endpoint: endpoint.into(),
            log: Arc::default(),
            candidates: Mutex::default(),
            held: Mutex::default(),
            open: watch::Sender::new(false),
        })
    }

    /// Lets those that are held go.
    pub(super) fn release(&self) {
        self.open.send_replace(true);
    }

    /// Requests that were held so far.
    pub(super) fn held(&self) -> usize {
        *self.held.lock().unwrap()
    }

    /// How requests ended, in order.
    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Forgets how requests ended so far.
    pub(super) fn forget(&self) {
        self.log.lock().unwrap().clear();
    }

    /// Endpoints that each request was restricted to.
    pub(super) fn candidates(&self) -> Vec<Option<Vec<String>>> {
        self.candidates.lock().unwrap().clone()
    }
}

/// Serves a picker that asks this gate; the address. Ends with the runtime.
pub(super) async fn serve(gate: &Arc<TestGate>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let picker = Picker::new(Door(Arc::clone(gate)), Settings::default());
    let service = move |peer: &Peer| picker.service(peer.address.ip());
    tokio::spawn(forebay_gateway::grpc::serve(listener, service, None, std::future::pending()));
    address
}

struct Door(Arc<TestGate>);

pub(super) struct TestGrant {
    endpoint: String,
    rewrite: Option<String>,
    stripped: Vec<String>,
    log: Arc<Mutex<Vec<String>>>,
    open: bool,
}

impl TestGrant {
    fn log(&mut self, what: String) {
        self.open = false;
        self.log.lock().unwrap().push(what);
    }
}

impl Drop for TestGrant {
    fn drop(&mut self) {
        if self.open {
            self.log("gone".into());
        }
    }
}

impl Grant for TestGrant {
    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn prefill(&self) -> Option<&str> {
        None
    }

    fn rewrite(&self) -> Option<&str> {
        self.rewrite.as_deref()
    }

    fn stripped(&self) -> &[String] {
        &self.stripped
    }

    fn first_token(&mut self) {}

    fn finished(mut self, usage: Usage) {
        let tokens = usage.prompt_tokens.unwrap_or(0) + usage.output_tokens.unwrap_or(0);
        self.log(format!("finished {tokens}"));
    }

    fn failed(mut self) {
        self.log("failed".into());
    }

    fn unobserved(mut self) {
        self.log("unobserved".into());
    }
}

fn refused(reason: Refusal, retry_after: Option<Span>) -> Denied {
    Refused { reason: Reason::Gate(reason), retry_after, place: None }.into()
}

impl Admit for Door {
    type Grant = TestGrant;
    type Wait = Pin<Box<dyn Future<Output = Result<TestGrant, Denied>> + Send>>;

    fn admit(&self, asked: &Asked<'_>) -> Result<Self::Wait, Denied> {
        let gate = &self.0;
        let wanted = asked.head.header(DO).unwrap_or_default().to_owned();
        let candidates = asked.candidates.map(|all| all.iter().map(ToString::to_string).collect());
        gate.candidates.lock().unwrap().push(candidates);
        match wanted.as_str() {
            "saturated" => {
                return Err(refused(Refusal::Saturated, Some(Span::from_millis(2_500))));
            }
            "nobody" => return Err(refused(Refusal::NoEndpoints, None)),
            _ => {}
        }
        let grant = TestGrant {
            endpoint: gate.endpoint.clone(),
            rewrite: (wanted == "rename").then(|| "engine-name".to_owned()),
            stripped: asked
                .head
                .header(STRIPPED)
                .map(|_| STRIPPED.to_owned())
                .into_iter()
                .collect(),
            log: Arc::clone(&gate.log),
            open: true,
        };
        let hold = wanted == "hold";
        let mut open = gate.open.subscribe();
        if hold {
            *gate.held.lock().unwrap() += 1;
        }
        Ok(Box::pin(async move {
            if hold {
                open.wait_for(|open| *open).await.unwrap();
            }
            Ok(grant)
        }))
    }
}
