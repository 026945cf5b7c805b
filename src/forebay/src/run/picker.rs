//! The endpoint picker and its gRPC health.

use anyhow::Result;
use forebay_gateway::connections::Peer;
use forebay_gateway::ext_proc::{Picker, Settings};
use forebay_gateway::front::Fronts;
use forebay_gateway::grpc::{self, Beside};
use forebay_gateway::health::Health;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::arguments::RunArguments;
use super::pages::Ready;
use super::serve::{listen, stopped};
use super::tls::Face;

/// Binds and starts what was asked for.
pub(super) async fn bind(
    arguments: &RunArguments,
    fronts: &Fronts,
    ready: &Ready,
    stop: &watch::Sender<bool>,
) -> Result<Vec<JoinHandle<()>>> {
    let health = Health::new(ready.subscribe());
    let mut faces = Vec::new();
    if let Some(address) = arguments.ext_proc {
        let tls = arguments.tls.of(Face::Picker)?;
        let listener = listen("endpoint picker (ext_proc)", address).await?;
        let settings = Settings { conformance_ports: arguments.conformance_ports.clone() };
        if settings.conformance_ports.is_some() {
            tracing::warn!("clients choose their endpoints: this is for conformance tests only");
        }
        let picker = Picker::new(fronts.clone(), settings);
        let health = health.clone().service();
        let services = move |peer: &Peer| Beside {
            main: picker.service(peer.address.ip()),
            beside: health.clone(),
        };
        faces.push(tokio::spawn(grpc::serve(listener, services, tls, stopped(stop))));
    }
    if let Some(address) = arguments.ext_proc_health {
        let listener = listen("gRPC health", address).await?;
        // Kubernetes probes without TLS.
        let health = health.service();
        let service = move |_: &Peer| health.clone();
        faces.push(tokio::spawn(grpc::serve(listener, service, None, stopped(stop))));
    }
    Ok(faces)
}
