//! What may be tuned, with defaults that need no tuning.

use crate::time::Span;

/// Settings of the planner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Share of what replicas hold at the percentile that they are planned to carry: the headroom
    /// knob. The forecast's upper end and the percentile carry the safety, so this is near 1.
    pub rho: f64,
    /// Share of a replica's time that urgent and deferred work together may take.
    pub rho_saturated: f64,
    /// By how much the log-odds of attaining are moved while replicas carry the forecast's upper
    /// end: that moment is rare, so misses in it may be more frequent than the percentile.
    pub safety: f64,
    /// Level of the forecast's upper end to begin with, standard deviations.
    pub level: f64,
    /// Whether the miss budget moves the level.
    pub miss_budget: bool,
    /// Whether the gate serves by priority: then tiers are nested and deferrable work waits.
    /// Otherwise every request shares one queue, and all of them need the strictest objective.
    pub tiered: bool,
    /// Whether step times are learned; otherwise the profiles stand as they are.
    pub learn: bool,
    /// Whether the twin is asked before anything goes; off, since it was worth nothing in dollars.
    pub roll: bool,
    /// Down goes only to the highest need of this span.
    pub window: Span,
    /// Between two decisions.
    pub interval: Span,
    /// Over which rates are taken.
    pub rate_window: Span,
    /// Within which a backlog of urgent work is to be gone once help is there.
    pub drain: Span,
    /// How much earlier than its deadline deferrable work is planned to start.
    pub margin: Span,
    /// How long a replica may wait for a node before another accelerator is asked.
    pub patience: Span,
    /// How long a mix is expected to last: what one-off costs are weighed against.
    pub horizon: Span,
    /// Prefill and decode replicas of one unit, if they must grow together.
    pub split: Option<(u32, u32)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rho: 0.9,
            rho_saturated: 0.78,
            safety: -2.0,
            level: 1.28,
            miss_budget: true,
            tiered: true,
            learn: true,
            roll: false,
            window: Span::from_secs(600),
            interval: Span::from_secs(15),
            rate_window: Span::from_secs(60),
            drain: Span::from_secs(120),
            margin: Span::from_secs(600),
            patience: Span::from_secs(300),
            horizon: Span::from_secs(3_600),
            split: None,
        }
    }
}
