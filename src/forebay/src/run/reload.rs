//! Files are read again when their content changes; a bad one keeps what was before.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use forebay_core::manifest::Source;
use forebay_core::time::Span;
use forebay_gateway::front::Fronts;
use tracing::{error, info};

use super::engines::Engines;
use super::learn::Lessons;
use super::terms;

/// How often the files are looked at: mounted ConfigMaps change in place, without an event that
/// could be trusted.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Files and what they said last.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) files: Vec<String>,
    pub(super) sources: Vec<Source>,
    pub(super) seed: u64,
    pub(super) scrape_interval: Span,
    pub(super) lessons: Lessons,
}

impl Reload {
    /// Looks at the files for ever.
    pub(super) async fn watch(mut self, fronts: &Fronts, engines: &mut Engines) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            // A file that is being replaced may be missing for a moment.
            let Ok(sources) = terms::sources(&self.files) else { continue };
            if sources == self.sources {
                continue;
            }
            match self.take(&sources, fronts, engines) {
                Ok(()) => info!("other terms from now on: the files changed"),
                Err(error) => error!("the files changed, but the terms before stay: {error:#}"),
            }
            self.sources = sources;
        }
    }

    fn take(&self, sources: &[Source], fronts: &Fronts, engines: &mut Engines) -> Result<()> {
        let read = terms::read(sources, self.seed, self.scrape_interval)?;
        let names = |named: &mut dyn Iterator<Item = &String>| named.cloned().collect::<Vec<_>>();
        let before = names(&mut fronts.all().iter().map(|(name, _)| name));
        let after = names(&mut read.fleets.iter().map(|(name, _)| name));
        if before != after {
            bail!(
                "the fleets are {} now and were {}: start again to add or remove one",
                after.join(", "),
                before.join(", ")
            );
        }
        if let Some((_, terms)) = read.fleets.first() {
            self.lessons.reload(Arc::clone(&terms.world));
        }
        for ((_, front), (_, terms)) in fronts.all().iter().zip(read.fleets) {
            front.reload(terms);
        }
        engines.apply(fronts, &read.engines);
        Ok(())
    }
}
