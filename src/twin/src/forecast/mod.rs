//! How well the work of a trace can be foreseen: the planner's forecaster run over it, beside the
//! last value times a constant.

mod render;
mod score;
mod series;
#[cfg(test)]
mod tests;

pub use render::render;
pub use score::{LeadScore, Report, score};
pub use series::Series;
