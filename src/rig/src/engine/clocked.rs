//! One engine, driven by the clock.
//!
//! The engine itself is pure and lives under a lock; a task per engine sleeps until its next event
//! (and, while anybody streams, its next token) and hands out what has happened. Who waits for a
//! request watches its [`Progress`]; dropping the [`Flight`] aborts it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forebay_core::engine::{EngineEvent, EngineEventKind, Part, Prefix, Work};
use forebay_core::ids::RequestId;
use forebay_core::observe::EngineSample;
use forebay_core::time::{PICOS_PER_NANO, Picos};
use tokio::sync::{Notify, watch};

use super::Service;
use super::faults::Faults;
use super::serving::Serving;
use crate::alarm::Alarm;

/// Tokens that fall into one such span come out together, so that a fast simulation of thousands
/// of tokens a second does not wake for each.
const TOKEN_TICK: Duration = Duration::from_micros(500);

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) generated: u32,
    pub(super) end: Option<End>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    TooLarge,
}

/// One engine.
#[derive(Debug)]
pub(super) struct Clocked {
    state: Mutex<State>,
    /// The next event may be earlier than the task believes.
    sooner: Notify,
    clock: Clock,
    alarm: Alarm,
    pub(super) faults: Faults,
}

/// Simulated time by the clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: Instant,
    speed: f64,
}

#[derive(Debug)]
struct State {
    serving: Serving,
    flights: HashMap<RequestId, watch::Sender<Progress>>,
    /// Those whose client wants each token.
    streaming: HashSet<RequestId>,
    next_request: u64,
    counts: Counts,
    events: Vec<EngineEvent>,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Counts {
    /// Requests taken in.
    pub(super) taken: u64,
    /// Answered to the last token.
    pub(super) finished: u64,
    /// Left by their clients, or broken off by a fault.
    pub(super) aborted: u64,
}

/// What an engine is asked for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    pub(super) prefix: Option<Prefix>,
    pub(super) stream: bool,
}

/// One request in the engine; dropped before its end, it is aborted there.
#[derive(Debug)]
pub(super) struct Flight {
    engine: Arc<Clocked>,
    request: RequestId,
    progress: watch::Receiver<Progress>,
}

impl Clocked {
    /// An engine; its task ends when nobody else holds it.
    pub(super) fn start(service: &Service, speed: f64, alarm: Alarm) -> Arc<Self> {
        let state = State {
            serving: Serving::new(service),
            flights: HashMap::new(),
            streaming: HashSet::new(),
            next_request: 0,
            counts: Counts::default(),
            events: Vec::new(),
        };
        let engine = Arc::new(Self {
            state: Mutex::new(state),
            sooner: Notify::new(),
            clock: Clock { origin: Instant::now(), speed },
            alarm,
            faults: Faults::default(),
        });
        tokio::spawn(drive(Arc::clone(&engine)));
        engine
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request.
    pub(super) fn submit(self: &Arc<Self>, job: Job) -> Flight {
        let (sender, progress) = watch::channel(Progress { generated: 0, end: None });
        let mut state = self.locked();
        let now = self.clock.now();
        state.step(now);
        let before = state.serving.next_event_at();
        let request = RequestId(state.next_request);
        state.next_request += 1;
        state.counts.taken += 1;
        state.flights.insert(request, sender);
        if job.stream {
            state.streaming.insert(request);
        }
        let work = Work {
            request,
            prompt_tokens: job.prompt_tokens,
            output_tokens: job.output_tokens,
            part: Part::Whole,
            prefix: job.prefix,
        };
        let mut events = std::mem::take(&mut state.events);
        state.serving.submit(now, work, &mut events);
        state.events = events;
        state.step(now);
        let after = state.serving.next_event_at();
        let sooner = after.is_some_and(|after| before.is_none_or(|before| after < before));
        drop(state);
        if sooner || job.stream {
            self.sooner.notify_one();
        }
        Flight { engine: Arc::clone(self), request, progress }
    }

    /// The metrics page as data, now, and what became of requests.
    pub(super) fn sample(&self) -> (EngineSample, Counts) {
        let mut state = self.locked();
        let now = self.clock.now();
        state.step(now);
        (state.serving.sample(now), state.counts)
    }

    /// Waits for a span of simulated time.
    pub(super) async fn pass_ms(&self, millis: f64) {
        let real = Duration::from_secs_f64(millis.max(0.0) / 1e3 / self.clock.speed);
        if !real.is_zero() {
            self.alarm.sleep_until(Instant::now() + real).await;
        }
    }
}

/// Wakes when something is due, and hands it out.
async fn drive(engine: Arc<Clocked>) {
    loop {
        let due = {
            let mut state = engine.locked();
            let now = engine.clock.now();
            state.step(now);
            state.next_due(now, engine.clock.token_tick())
        };
        // Nobody else holds it: no listener, no request.
        if Arc::strong_count(&engine) == 1 {
            return;
        }
        let Some(due) = due else {
            engine.sooner.notified().await;
            continue;
        };
        let sleep = engine.alarm.sleep_until(engine.clock.instant(due));
        tokio::select! {
            () = sleep => {}
            () = engine.sooner.notified() => {}
        }
    }
}

impl State {
    /// Carries out what is due and tells those whom it concerns.
    fn step(&mut self, now: Picos) {
        self.serving.advance(now, &mut self.events);
        for event in self.events.drain(..) {
            let Some(sender) = self.flights.get(&event.request) else { continue };
            let end = match event.kind {
                EngineEventKind::FirstToken => {
                    sender.send_modify(|progress| progress.generated = progress.generated.max(1));
                    continue;
                }
                EngineEventKind::Finished
                | EngineEventKind::PrefillDone
                | EngineEventKind::KvWanted { .. } => End::Finished,
                EngineEventKind::TooLarge => End::TooLarge,
            };
            sender.send_modify(|progress| progress.end = Some(end));
            self.flights.remove(&event.request);
            self.streaming.remove(&event.request);
            self.counts.finished += u64::from(end == End::Finished);
        }
        for request in &self.streaming {
            let generated = self.serving.generated(now, *request).unwrap_or(0);
            if let Some(sender) = self.flights.get(request) {
                sender.send_if_modified(|progress| {
                    let more = generated > progress.generated;
                    progress.generated = progress.generated.max(generated);
                    more
                });
            }
        }
    }

    fn next_due(&self, now: Picos, tick: Picos) -> Option<Picos> {
        let event = self.serving.next_event_at();
        if self.streaming.is_empty() {
            return event;
        }
        let token = self.serving.next_token_at(now, self.streaming.iter().copied());
        let token = token.map(|at| at.max(now.saturating_add(tick)));
        event.into_iter().chain(token).min()
    }
}

impl Clock {
    fn now(&self) -> Picos {
        (self.origin.elapsed().as_nanos() as f64 * self.speed) as Picos * PICOS_PER_NANO
    }

    /// When simulated time has reached `at` for certain.
    fn instant(&self, at: Picos) -> Instant {
        let nanos = at.div_ceil(PICOS_PER_NANO) as f64 / self.speed;
        self.origin + Duration::from_nanos(nanos.ceil() as u64 + 1)
    }

    fn token_tick(&self) -> Picos {
        (TOKEN_TICK.as_nanos() as f64 * self.speed) as Picos * PICOS_PER_NANO
    }
}

impl Flight {
    /// What is known of it now, and then each change.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits for its end.
    pub(super) async fn end(&mut self) -> End {
        let ended = self.progress.wait_for(|progress| progress.end.is_some()).await;
        ended.ok().and_then(|progress| progress.end).unwrap_or(End::Finished)
    }

    /// Waits until it has yielded its first token, or has ended.
    pub(super) async fn begun(&mut self) -> Progress {
        let begun = |progress: &Progress| progress.generated > 0 || progress.end.is_some();
        let last = self.progress.wait_for(begun).await.map(|progress| *progress);
        last.unwrap_or(Progress { generated: 0, end: Some(End::Finished) })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.engine.locked();
        if state.flights.remove(&self.request).is_some() {
            let now = self.engine.clock.now();
            state.step(now);
            state.serving.abort(now, self.request);
            state.streaming.remove(&self.request);
            state.counts.aborted += 1;
            drop(state);
            self.engine.sooner.notify_one();
        }
    }
}
