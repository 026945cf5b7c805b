//! The faces, from binding their addresses to the last answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use forebay_gateway::admission::{self, Access, Admission};
use forebay_gateway::front::Fronts;
use forebay_gateway::metrics::Sources;
use forebay_gateway::proxy::Proxy;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::arguments::RunArguments;
use super::pages::{self, Ready};
use super::tls::Face;
use super::{Background, announce, picker};

/// How often it is looked whether everything has ended, once it was told to stop.
const IDLE_LOOK: Duration = Duration::from_millis(50);

/// How often the token file is looked at.
const TOKENS_LOOK: Duration = Duration::from_secs(2);

/// Serves all faces until SIGTERM or SIGINT, then until nothing is held or in flight or the
/// grace is over.
pub(super) async fn serve(
    arguments: &RunArguments,
    sources: &Sources,
    ready: &Ready,
    stop: watch::Sender<bool>,
) -> Result<()> {
    let fronts = &sources.fronts;
    for (_, front) in fronts.all() {
        tokio::spawn(front.clone().keep_time());
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let faces = bind(arguments, sources, ready, &stop).await?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: refusing what is new, ending what is here"),
        _ = interrupt.recv() => info!("SIGINT: refusing what is new, ending what is here"),
    }
    // New requests go elsewhere from here on; those who come all the same hear so at once.
    ready.set(false);
    fronts.close();
    let until = Instant::now() + Duration::from_secs(arguments.grace_seconds);
    while !fronts.is_idle() && Instant::now() < until {
        sleep(IDLE_LOOK).await;
    }
    if !fronts.is_idle() {
        warn!("the grace is over: what is still here breaks off");
    }
    let _ = stop.send(true);
    for face in faces {
        // Faces end with their last connection; those of idle clients are cut.
        if tokio::time::timeout(Duration::from_secs(1), face).await.is_err() {
            info!("connections were open at the end, without requests");
        }
    }
    Ok(())
}

/// Binds and starts our own pages on the current runtime.
pub(super) async fn pages(
    background: &Background,
    metrics: Option<SocketAddr>,
    health: Option<SocketAddr>,
) -> Result<()> {
    let mut routers: Vec<(&str, SocketAddr, Router)> = Vec::new();
    if let Some(address) = metrics {
        routers.push(("metrics", address, pages::metrics(background.sources.clone())));
    }
    if let Some(address) = health {
        routers.push(("health", address, pages::health(background.ready.clone())));
    }
    for (name, address, router) in routers {
        let listener = listen(name, address).await?;
        let mut stopping = background.stopping.clone();
        tokio::spawn(async move {
            let stopped = async move {
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
            if let Err(error) = served {
                warn!(%error, "{name} ended");
            }
        });
    }
    Ok(())
}

pub(super) async fn listen(face: &str, address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("{face}: cannot listen on {address}"))?;
    announce(face, listener.local_addr()?);
    Ok(listener)
}

/// Binds every face that was asked for, then starts them.
async fn bind(
    arguments: &RunArguments,
    sources: &Sources,
    ready: &Ready,
    stop: &watch::Sender<bool>,
) -> Result<Vec<JoinHandle<()>>> {
    let fronts = &sources.fronts;
    let mut faces = picker::bind(arguments, fronts, ready, stop).await?;
    if let Some(address) = arguments.listen {
        let tls = arguments.tls.of(Face::Proxy)?;
        let listener = listen("reverse proxy", address).await?;
        let (proxy, stopped) = (Proxy::new(fronts.clone()), stopped(stop));
        faces.push(tokio::spawn(async move { proxy.serve(listener, tls, stopped).await }));
    }
    if let (Some(address), Some(face)) = (arguments.admit, sources.admission.clone()) {
        let tls = arguments.tls.of(Face::Webhook)?;
        let listener = listen("request admission webhook", address).await?;
        if let Some(path) = arguments.admit_tokens.clone() {
            tokio::spawn(follow_tokens(face.clone(), path, stopped(stop)));
        }
        faces.push(tokio::spawn(admission::serve(face, listener, tls, stopped(stop))));
    }
    Ok(faces)
}

/// The webhook, if it is asked for: whom it lets in.
pub(super) fn admission(arguments: &RunArguments, fronts: &Fronts) -> Result<Option<Admission>> {
    let Some(address) = arguments.admit else { return Ok(None) };
    let tokens = arguments.admit_tokens.as_deref().map(read_tokens).transpose()?;
    let by_certificate = arguments.tls.admit_by_certificate();
    let access = Access::new(address, tokens.as_deref(), by_certificate)
        .with_context(|| format!("--admit {address}"))?;
    Ok(Some(Admission::new(fronts.clone(), access)))
}

fn read_tokens(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("--admit-tokens: cannot read {}", path.display()))
}

/// Takes over the token file when its content changes; one that lets nobody in changes nothing.
async fn follow_tokens(face: Admission, path: PathBuf, stopped: impl Future<Output = ()>) {
    let mut before = read_tokens(&path).ok();
    let follow = async {
        loop {
            sleep(TOKENS_LOOK).await;
            let now = read_tokens(&path).ok();
            if now == before {
                continue;
            }
            match now.as_deref().map(|text| face.access().reload(text)) {
                Some(Ok(())) => info!("the tokens of the webhook were read again"),
                Some(Err(error)) => warn!(%error, "the tokens from before stay"),
                None => warn!("{} cannot be read; the tokens from before stay", path.display()),
            }
            before = now;
        }
    };
    tokio::select! {
        () = follow => {}
        () = stopped => {}
    }
}

/// Resolves when it is time to stop.
pub(super) fn stopped(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + use<> {
    let mut stopping = stop.subscribe();
    async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    }
}
