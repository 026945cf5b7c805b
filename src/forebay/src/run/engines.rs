//! Engines at given addresses: watched, and in the fleet while somebody listens there.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_gateway::desk::Served;
use forebay_gateway::front::{Front, Fronts};
use forebay_telemetry::scrape::{EnginePage, Fetcher, ScrapeError, Target, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::learn::Lessons;
use super::terms::Engine;

/// Attempts in a row that find nobody before an engine counts as gone: one may fall into a
/// restart of its listener.
const UNREACHABLE_MAX: u32 = 2;

/// The engines that are watched.
#[derive(Debug)]
pub(super) struct Engines {
    fetcher: Fetcher,
    interval: Duration,
    page: String,
    lessons: Lessons,
    watched: BTreeMap<Engine, JoinHandle<()>>,
}

impl Engines {
    /// Watches nobody yet. `page` is the path of their metrics.
    pub(super) const fn new(
        fetcher: Fetcher,
        interval: Duration,
        page: String,
        lessons: Lessons,
    ) -> Self {
        Self { fetcher, interval, page, lessons, watched: BTreeMap::new() }
    }

    /// Watches these from now on; those that are not among them any more are gone. To be called
    /// on a runtime.
    pub(super) fn apply(&mut self, fronts: &Fronts, engines: &[Engine]) {
        self.watched.retain(|engine, task| {
            let stays = engines.contains(engine);
            if !stays {
                task.abort();
                self.lessons.forget(&engine.address);
                if let Some((_, front)) = fronts.all().get(engine.fleet) {
                    front.endpoint_gone(&engine.address);
                }
                info!(endpoint = engine.address, "taken out of the fleet: no longer listed");
            }
            stays
        });
        let count = engines.len() as u32;
        for (index, engine) in engines.iter().enumerate() {
            let Some((_, front)) = fronts.all().get(engine.fleet) else { continue };
            self.watched.entry(engine.clone()).or_insert_with(|| {
                let url = format!("http://{}{}", engine.address, self.page);
                let target = Target { url, index: index as u32, count };
                let lessons = self.lessons.clone();
                let mut engine = Watched::new(engine.clone(), front.clone(), lessons);
                let report = move |age, read| engine.read(age, read);
                tokio::spawn(watch(self.fetcher.clone(), target, self.interval, report))
            });
        }
    }
}

/// One engine and what is known of it.
struct Watched {
    engine: Engine,
    front: Front,
    lessons: Lessons,
    in_fleet: bool,
    unreachable: u32,
    /// Whether its last page could be read, to say only once that it cannot.
    readable: bool,
}

impl Watched {
    const fn new(engine: Engine, front: Front, lessons: Lessons) -> Self {
        Self { engine, front, lessons, in_fleet: false, unreachable: 0, readable: true }
    }

    fn read(&mut self, age: forebay_core::time::Span, read: Result<EnginePage, ScrapeError>) {
        let address = &self.engine.address;
        let unreachable = matches!(&read, Err(ScrapeError::Fetch(error)) if error.is_unreachable());
        if unreachable {
            self.unreachable = self.unreachable.saturating_add(1);
            if self.in_fleet && self.unreachable >= UNREACHABLE_MAX {
                warn!(endpoint = address, "out of the fleet: nobody listens there");
                self.front.endpoint_gone(address);
                self.lessons.forget(address);
                self.in_fleet = false;
            }
        } else {
            self.unreachable = 0;
            if !self.in_fleet {
                info!(endpoint = address, "in the fleet");
                self.front.endpoint_ready(address, self.engine.variant, self.engine.role);
                self.in_fleet = true;
            }
        }
        match read {
            Ok(page) => {
                self.readable = true;
                let totals = page.output_tokens_total.zip(page.requests_finished_total);
                let served = totals.map(|(output_tokens_total, requests_total)| Served {
                    output_tokens_total,
                    requests_total,
                });
                self.front.scraped(address, age, Some(page.load), served);
                if let Some(sample) = page.sample {
                    self.lessons.read(address, self.engine.variant, age, *sample);
                }
            }
            Err(error) => {
                if std::mem::take(&mut self.readable) {
                    warn!(endpoint = address, %error, "no page: used on credits alone until there is one");
                } else {
                    debug!(endpoint = address, %error, "no page");
                }
                self.front.scraped(address, age, None, None);
            }
        }
    }
}
