//! Prometheus in and out: the history of a fleet's traffic from a server, and the pages that
//! engines export.

#![forbid(unsafe_code)]

pub mod history;
pub mod page;
pub mod scrape;
mod series;
