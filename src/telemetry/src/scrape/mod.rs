//! Engines' pages, read on a schedule: the few gauges that a gate steers by, each with its age.
//!
//! A page that cannot be read, or does not hold the gauges, is an engine of which nothing is
//! known: never an idle one.

mod engine;
mod fetch;
pub mod fuzzing;
mod sample;
mod schedule;

pub use engine::{EngineDialect, EnginePage, PageError, read_engine_page};
pub use fetch::{FetchError, Fetcher, PAGE_BYTES_MAX};
pub use sample::read_engine_sample;
pub use schedule::{ScrapeError, Target, watch};
