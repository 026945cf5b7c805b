//! When each page is read: all at the same interval, spread evenly, none twice at a time.

use std::time::Duration;

use forebay_core::time::Span;
use tokio::time::{Instant, sleep_until};

use thiserror::Error;

use super::{EnginePage, FetchError, Fetcher, PageError, read_engine_page, read_engine_sample};

/// How often a page is read in full: what is learned from wants windows of about Prometheus's usual
/// interval, and reading a page in full costs some ten times as much.
const FULL_INTERVAL: Duration = Duration::from_secs(15);

/// Why nothing is known of an engine.
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// There is no page.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The page does not say.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// One engine's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is, as `http://host:port/metrics`.
    pub url: String,
    /// Which of how many this is: its first read comes `index / count` of an interval after the
    /// start, so that the pages of a fleet do not come all at once.
    pub index: u32,
    /// See `index`.
    pub count: u32,
}

/// Reads one page at every `interval`, as long as it is polled, and tells `report` what it says
/// and how old that is; an error tells why nothing is known. A page slower than the interval
/// skips its turns.
pub async fn watch(
    fetcher: Fetcher,
    target: Target,
    interval: Duration,
    mut report: impl FnMut(Span, Result<EnginePage, ScrapeError>),
) {
    let offset = interval.mul_f64(f64::from(target.index) / f64::from(target.count.max(1)));
    let mut due = Instant::now() + offset;
    let mut full_due = due;
    loop {
        sleep_until(due).await;
        let asked = Instant::now();
        let read = match fetcher.page(&target.url).await {
            Ok(text) => read_engine_page(&text).map_err(ScrapeError::from).map(|mut page| {
                if full_due <= asked {
                    full_due = asked + FULL_INTERVAL;
                    page.sample = read_engine_sample(&text).map(Box::new);
                }
                page
            }),
            Err(error) => Err(error.into()),
        };
        // It was true at some moment between question and answer: the older one is safe to say.
        let age = Span(asked.elapsed().as_nanos() as u64);
        report(age, read);
        due += interval;
        if due < Instant::now() {
            due = Instant::now() + interval;
        }
    }
}
