//! The gates of this process and their controllers.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use forebay_core::sync::GateName;
use forebay_gateway::fleet_sync::{GateHandle, SyncGate, follow};
use forebay_gateway::front::{Front, FrontSource, Fronts};
use tokio::time::sleep;
use tonic::transport::Endpoint;
use tracing::{info, warn};

use super::arguments::RunArguments;
use super::pages::Ready;

/// Shortest time between two remarks that something changed: reports are spaced by as much.
const NEWS_SPACING: std::time::Duration = std::time::Duration::from_millis(100);

/// Where controllers are, and who we are to them.
#[derive(Clone, Debug)]
pub(super) struct Controllers {
    endpoints: Vec<Endpoint>,
    gate: GateName,
}

impl Controllers {
    /// As the arguments say; `None` without any.
    pub(super) fn of(arguments: &RunArguments) -> Result<Option<Self>> {
        if arguments.controller.is_empty() {
            return Ok(None);
        }
        let endpoints = arguments.controller.iter().map(|url| endpoint(url));
        let name = arguments.gate_name.clone().map_or_else(|| own_name(arguments), Ok)?;
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        // Larger after each restart.
        let incarnation = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let gate = GateName { name, incarnation };
        Ok(Some(Self { endpoints: endpoints.collect::<Result<_>>()?, gate }))
    }

    /// Starts following them on the current runtime, for as long as that runs.
    pub(super) fn follow(self, fronts: &Fronts, ready: &Ready) {
        for (index, (fleet, front)) in fronts.all().iter().enumerate() {
            let wants = ready.clone();
            let source = Arc::new(FrontSource::new(front.clone(), move || wants.is_up()));
            let clock = front.desk().clock();
            let (handle, end) = SyncGate::new(self.gate.clone(), fleet.clone(), clock, source);
            tokio::spawn(end.run());
            for endpoint in &self.endpoints {
                tokio::spawn(follow(handle.clone(), endpoint.clone()));
            }
            tokio::spawn(report(front.clone(), handle.clone()));
            tokio::spawn(obey(front.clone(), fleet.clone(), handle, ready.clone(), index));
        }
    }
}

/// Remarks that a front has something to report.
async fn report(front: Front, handle: GateHandle) {
    loop {
        front.desk().changed().await;
        handle.changed();
        sleep(NEWS_SPACING).await;
    }
}

/// Carries out what the leader wants.
async fn obey(front: Front, fleet: String, handle: GateHandle, ready: Ready, index: usize) {
    let mut state = handle.state();
    let mut stands_by = false;
    // Handles outlive this task.
    while state.changed().await.is_ok() {
        let now = state.borrow_and_update().clone();
        front.guide(&now.guided);
        if stands_by != now.stand_by.is_some() {
            stands_by = now.stand_by.is_some();
            match &now.stand_by {
                Some(active) => {
                    warn!(fleet, active = active.name, "another gate is active: not ready")
                }
                None => info!(fleet, "no other gate is active any more"),
            }
            ready.stand_by(index, stands_by);
        }
    }
}

/// The streams carry no credentials of their own, so TLS would promise what it does not keep.
fn endpoint(url: &str) -> Result<Endpoint> {
    if !url.starts_with("http://") {
        bail!("--controller {url}: expected `http://host:port`, on loopback or in a mesh");
    }
    Endpoint::from_shared(url.to_owned()).with_context(|| format!("--controller {url}"))
}

/// A name that a restart keeps and no other gate has: this host and the first of its faces.
fn own_name(arguments: &RunArguments) -> Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("the name of this host cannot be read: give --gate-name")?;
    let face = arguments.listen.or(arguments.ext_proc).or(arguments.admit);
    Ok(format!("{}/{}", host.trim(), face.map(|face| face.to_string()).unwrap_or_default()))
}
