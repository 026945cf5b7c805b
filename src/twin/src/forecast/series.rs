//! The work of a trace, step by step.

use forebay_core::engine::work::WorkModel;
use forebay_core::fleet::{Role, World};
use forebay_core::ids::FleetId;
use forebay_core::time::Span;
use serde::Serialize;

use crate::trace::{Request, Source, TraceError};

/// Over which the planner takes rates, and so the series: work of single steps is mostly noise that
/// queues even out.
const RATE_WINDOW: Span = Span::from_secs(60);
/// Requests whose mean lengths set the batch at which decoding is counted.
const SAMPLE: usize = 10_000;

/// Work that arrives, read once a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Length of a step, s.
    pub step_seconds: f64,
    /// At the end of each step: busy replicas of the variant that the arrivals of the last minute
    /// would keep.
    pub work: Vec<f64>,
    /// The variant.
    pub variant: String,
    /// Requests behind it.
    pub requests: u64,
}

impl Series {
    /// The work of a trace of this length on the first variant of the first fleet, all requests
    /// counted when they arrive, at the lengths that they turn out to have, nothing cached.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn read(
        mut source: Box<dyn Source + '_>,
        world: &World,
        duration: Span,
        step: Span,
    ) -> Result<Self, TraceError> {
        let mut first = Vec::with_capacity(SAMPLE);
        while first.len() < SAMPLE
            && let Some(request) = source.next_request()?
        {
            first.push(request);
        }
        let mean = |read: fn(&Request) -> u32| {
            first.iter().map(|request| f64::from(read(request))).sum::<f64>()
                / first.len().max(1) as f64
        };
        let (prompt, output) = (mean(|r| r.prompt_tokens), mean(|r| r.output_tokens));
        let step_seconds = step.as_seconds();
        let steps = (duration.as_seconds() / step_seconds) as usize;
        let mut series =
            Self { step_seconds, work: vec![0.0; steps], variant: String::new(), requests: 0 };
        let Some((_, variant)) = world.variants_of(FleetId(0)).next() else { return Ok(series) };
        series.variant.clone_from(&variant.name);
        let model = WorkModel::new(&variant.profile, prompt, output);
        let mut add = |request: &Request| {
            // What begins after the last whole step is left out.
            let place = (request.at.as_seconds() / step_seconds) as usize;
            let Some(work) = series.work.get_mut(place) else { return };
            let (prompt, output) =
                (f64::from(request.prompt_tokens), f64::from(request.output_tokens));
            let prefill =
                if variant.role == Role::Decode { 0.0 } else { model.prefill_s(prompt, 0.0) };
            let decode =
                if variant.role == Role::Prefill { 0.0 } else { model.decode_s(prompt, output) };
            *work += (prefill + decode) / step_seconds;
            series.requests += 1;
        };
        first.iter().for_each(&mut add);
        while let Some(request) = source.next_request()? {
            add(&request);
        }
        series.average(((RATE_WINDOW.0 / step.0.max(1)) as usize).max(1));
        Ok(series)
    }

    /// Replaces each value by the mean of it and those before it, `steps` in all.
    fn average(&mut self, steps: usize) {
        for end in (0..self.work.len()).rev() {
            let last = &self.work[(end + 1).saturating_sub(steps)..=end];
            self.work[end] = last.iter().sum::<f64>() / last.len() as f64;
        }
    }
}
