//! `forebay run`: the live gate behind its faces.
//!
//! The main thread is the data thread: it accepts, speaks every protocol and steps the gate
//! inline. Pages of engines, our own pages and files are read on another.

mod arguments;
mod engines;
mod learn;
mod pages;
mod peer_flags;
mod picker;
mod reload;
mod serve;
mod spans;
mod sync;
mod terms;
mod tls;

pub(crate) use arguments::RunArguments;
pub(crate) use peer_flags::understood;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use forebay_core::time::Span;
use forebay_gateway::front::{Front, Fronts};
use forebay_gateway::metrics::Sources;
use forebay_telemetry::scrape::Fetcher;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use arguments::Component;
use engines::Engines;
use learn::Lessons;
use pages::Ready;
use spans::Export;

/// Runs until it is told to stop, and then until nothing is held or in flight.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    arguments.log.start()?;
    if !arguments.components.contains(&Component::Gate) {
        bail!("no component that runs yet was asked for: there is `gate`");
    }
    if !arguments.has_face() {
        bail!("the gate has no face: give --listen, --ext-proc or --admit an address");
    }
    let seed = random_seed()?;
    let interval = Span::from_seconds(arguments.scrape_seconds);
    let sources = terms::sources(&arguments.fleet)?;
    let read = terms::read(&sources, seed, interval)?;
    if read.engines.is_empty() {
        warn!("no variant has `endpoints`: every request will hear that there is nobody");
    }
    let fronts = Fronts::new(
        read.fleets
            .iter()
            .map(|(name, terms)| (name.clone(), Front::new(terms.clone(), seed)))
            .collect(),
    );
    let Some((_, first)) = read.fleets.first() else {
        bail!("the files hold no InferenceFleet: there is nothing to be a gate of");
    };
    let lessons = Lessons::new(Arc::clone(&first.world));
    let admission = serve::admission(arguments, &fronts)?;
    let (spans, export) = arguments.spans.start()?.unzip();
    if let Some(spans) = &spans {
        fronts.trace(spans);
    }
    let page = Sources { fronts, admission, spans };
    let ready = Ready::default();
    let (stop, stopping) = watch::channel(false);
    let (serving, ended) = oneshot::channel();
    let background = Background {
        controllers: sync::Controllers::of(arguments)?,
        sources: page.clone(),
        ready: ready.clone(),
        stopping: stopping.clone(),
        export: export.map(|export| (export, ended)),
        reload: reload::Reload {
            files: arguments.fleet.clone(),
            sources,
            seed,
            scrape_interval: interval,
            lessons,
        },
    };
    let started = background.start(arguments, read.engines)?;
    let data = current_thread()?;
    let result = data.block_on(serve::serve(arguments, &page, &ready, stop));
    // What was still here breaks off, and is the end of the last spans.
    drop(data);
    drop::<oneshot::Sender<()>>(serving);
    started.join().map_err(|_| anyhow!("the background thread panicked"))?;
    result
}

/// Everything that is not data: engines' pages, our pages, files, controllers.
struct Background {
    /// Of the page of metrics; also the gates.
    sources: Sources,
    controllers: Option<sync::Controllers>,
    ready: Ready,
    stopping: watch::Receiver<bool>,
    /// Of spans, where they are asked for, until no request is left.
    export: Option<(Export, oneshot::Receiver<()>)>,
    reload: reload::Reload,
}

impl Background {
    /// Starts its thread. Returns once its listeners are bound.
    fn start(
        mut self,
        arguments: &RunArguments,
        engines: Vec<terms::Engine>,
    ) -> Result<std::thread::JoinHandle<()>> {
        let interval = Duration::from_secs_f64(arguments.scrape_seconds);
        // A page that takes longer than an interval is of no use any more.
        let fetcher = Fetcher::new(interval.max(Duration::from_secs(1)))?;
        let lessons = self.reload.lessons.clone();
        let page = arguments.metrics_path.clone();
        let mut watched = Engines::new(fetcher, interval, page, lessons.clone());
        let (metrics, health) = (arguments.metrics, arguments.health);
        let (bound, is_bound) = mpsc::channel();
        let thread = std::thread::Builder::new().name("background".to_owned());
        let handle = thread.spawn(move || {
            let runtime = match current_thread() {
                Ok(runtime) => runtime,
                Err(error) => return drop(bound.send(Err(error))),
            };
            runtime.block_on(async move {
                let started = async {
                    serve::pages(&self, metrics, health).await?;
                    self.export.take().map(|(export, ended)| export.start(ended)).transpose()
                };
                let exporting = match started.await {
                    Ok(exporting) => exporting,
                    Err(error) => return drop(bound.send(Err(error))),
                };
                drop(bound.send(Ok(())));
                watched.apply(&self.sources.fronts, &engines);
                self.ready.set(true);
                tokio::spawn(lessons.teach(self.sources.fronts.clone()));
                if let Some(controllers) = self.controllers {
                    controllers.follow(&self.sources.fronts, &self.ready);
                }
                let mut stopping = self.stopping;
                tokio::select! {
                    () = self.reload.watch(&self.sources.fronts, &mut watched) => {}
                    _ = stopping.wait_for(|stop| *stop) => {}
                }
                if let Some(exporting) = exporting {
                    let _ended = exporting.await;
                }
            });
        })?;
        is_bound.recv().context("the background thread did not start")??;
        Ok(handle)
    }
}

fn current_thread() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("no runtime")
}

/// Keys the hashes of what clients choose, so that nobody can aim at a bucket.
fn random_seed() -> Result<u64> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(xxh3_64(&random))
}

/// Says where a face listens, once it does.
fn announce(face: &str, address: std::net::SocketAddr) {
    info!(%address, "{face}");
}
