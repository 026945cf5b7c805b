//! The endpoint picker behind a real Envoy, with the configurations that we ship.
//!
//! Everything listens on free loopback ports and ends with its test. Without Envoy (`tests/run`
//! installs it) the tests say so and pass.

mod client;
mod engine;
mod gate;
mod proxy;

mod clients_and_engines;
mod config;
mod conformance;
mod crowd;
mod ext_authz;
mod processes;
mod spans;
mod wire;

use std::sync::Arc;

use client::Client;
use engine::Engine;
use gate::TestGate;
use proxy::{Config, Proxy};

/// Envoy, an engine, a gate as scripted, and a client.
struct Setup {
    _proxy: Proxy,
    engine: Engine,
    gate: Arc<TestGate>,
    client: Client,
}

impl Setup {
    /// With one of the shipped configurations; `None` where there is no Envoy.
    async fn new(config: Config) -> Option<Self> {
        let engine = Engine::start().await;
        let gate = TestGate::new(&engine.address);
        let picker = gate::serve(&gate).await;
        let proxy = Proxy::start(&config, &picker).await?;
        let client = Client::new(&proxy.address);
        Some(Self { _proxy: proxy, engine, gate, client })
    }
}
