//! What can be known from outside: samples as Prometheus would show them, each with its age.
//! A value that is absent is `None`; it is never zero.

pub mod histogram;
pub mod history;
pub mod sample;
pub mod store;

pub use histogram::{Buckets, Histogram};
pub use history::{History, HistoryStep, LengthHistogram};
pub use sample::{EngineSample, RouterSample, RouterTierSample};
pub use store::{Aged, Store};
