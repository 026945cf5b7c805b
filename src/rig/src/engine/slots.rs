//! A fixed time of service in a number of slots: what overload and overhead are measured against,
//! because what it holds is known exactly.

use std::collections::{BTreeSet, HashMap, VecDeque};

use forebay_core::engine::{EngineEvent, EngineEventKind, Work};
use forebay_core::ids::RequestId;
use forebay_core::observe::EngineSample;
use forebay_core::time::{PICOS_PER_SECOND, Picos};

use super::Fixed;

/// KV block that prompts are cut into; vLLM's default.
pub(super) const BLOCK_TOKENS: u32 = 16;
/// Longest prompt and answer together, tokens; as long as the models of our profiles take.
pub(super) const CONTEXT_TOKENS: u64 = 131_072;
/// KV capacity on the metrics page, tokens; no request is refused for it.
const CAPACITY_TOKENS: f64 = 1_048_576.0;
const PICOS_PER_MILLI: f64 = 1e9;

/// Slots, who is in them and who waits.
#[derive(Debug)]
pub(super) struct Slots {
    slots: usize,
    first_token: Picos,
    token: Picos,
    waiting: VecDeque<RequestId>,
    jobs: HashMap<RequestId, Job>,
    /// What happens next to those in a slot.
    due: BTreeSet<(Picos, RequestId)>,
    running: usize,
    seen: EngineSample,
}

#[derive(Debug)]
struct Job {
    arrived: Picos,
    /// Absent while it waits.
    started: Option<Picos>,
    prompt_tokens: u32,
    output_tokens: u32,
    first_token_told: bool,
}

impl Slots {
    pub(super) fn new(fixed: Fixed) -> Self {
        Self {
            slots: fixed.slots.max(1) as usize,
            first_token: picos(fixed.first_token_ms),
            token: picos(fixed.token_ms),
            waiting: VecDeque::new(),
            jobs: HashMap::new(),
            due: BTreeSet::new(),
            running: 0,
            seen: EngineSample::idle(CAPACITY_TOKENS),
        }
    }

    pub(super) fn submit(&mut self, at: Picos, work: &Work) {
        let job = Job {
            arrived: at,
            started: None,
            prompt_tokens: work.prompt_tokens.max(1),
            output_tokens: work.output_tokens.max(1),
            first_token_told: false,
        };
        self.jobs.insert(work.request, job);
        self.waiting.push_back(work.request);
        self.seat(at);
    }

    pub(super) fn abort(&mut self, at: Picos, request: RequestId) {
        let Some(job) = self.jobs.remove(&request) else { return };
        match job.started {
            None => self.waiting.retain(|waiting| *waiting != request),
            Some(started) => {
                let due = self.due_of(&job, started);
                self.due.remove(&(due, request));
                self.running -= 1;
                self.seat(at);
            }
        }
    }

    pub(super) fn advance(&mut self, to: Picos, events: &mut Vec<EngineEvent>) {
        while let Some(&(at, request)) = self.due.first()
            && at <= to
        {
            self.due.pop_first();
            self.happen(at, request, events);
        }
    }

    pub(super) fn next_event_at(&self) -> Option<Picos> {
        self.due.first().map(|&(at, _)| at)
    }

    pub(super) fn next_token_at(&self, at: Picos, request: RequestId) -> Option<Picos> {
        let job = self.jobs.get(&request)?;
        let first = job.started? + self.first_token;
        if at < first || self.token == 0 {
            return Some(first);
        }
        let told = (at - first) / self.token;
        (told + 1 < u64::from(job.output_tokens)).then_some(first + (told + 1) * self.token)
    }

    pub(super) fn generated(&self, at: Picos, request: RequestId) -> Option<u32> {
        let job = self.jobs.get(&request)?;
        let Some(passed) =
            job.started.and_then(|started| at.checked_sub(started + self.first_token))
        else {
            return Some(0);
        };
        let gaps = passed.checked_div(self.token).unwrap_or(u64::MAX);
        Some(u32::try_from(gaps).unwrap_or(u32::MAX).saturating_add(1).min(job.output_tokens))
    }

    pub(super) fn sample(&self) -> EngineSample {
        let mut sample = self.seen.clone();
        sample.running = self.running as f64;
        sample.waiting = self.waiting.len() as f64;
        // A slot's share, as if each held its part of the KV cache.
        sample.kv_usage = self.running as f64 / self.slots as f64;
        sample
    }

    fn seat(&mut self, at: Picos) {
        while self.running < self.slots
            && let Some(request) = self.waiting.pop_front()
        {
            let Some(job) = self.jobs.get_mut(&request) else { continue };
            job.started = Some(at);
            self.running += 1;
            let arrived = job.arrived;
            self.due.insert((at + self.first_token, request));
            self.seen.queue_time.observe(seconds(at - arrived), 1.0);
        }
    }

    fn due_of(&self, job: &Job, started: Picos) -> Picos {
        let first = started + self.first_token;
        if job.first_token_told { first + self.gaps(job) } else { first }
    }

    fn gaps(&self, job: &Job) -> Picos {
        self.token.saturating_mul(u64::from(job.output_tokens) - 1)
    }

    fn happen(&mut self, at: Picos, request: RequestId, events: &mut Vec<EngineEvent>) {
        let Some(job) = self.jobs.get_mut(&request) else { return };
        if !job.first_token_told {
            job.first_token_told = true;
            let kind = EngineEventKind::FirstToken;
            events.push(EngineEvent { at, request, kind });
            self.seen.ttft.observe(seconds(at - job.arrived), 1.0);
            self.seen.prompt_tokens_total += f64::from(job.prompt_tokens);
            let last = at + self.token.saturating_mul(u64::from(job.output_tokens) - 1);
            if last > at {
                self.due.insert((last, request));
                return;
            }
        }
        let Some(job) = self.jobs.remove(&request) else { return };
        events.push(EngineEvent { at, request, kind: EngineEventKind::Finished });
        self.running -= 1;
        self.count(at, &job);
        self.seat(at);
    }

    fn count(&mut self, at: Picos, job: &Job) {
        let (gaps, between) = (f64::from(job.output_tokens) - 1.0, seconds(self.token));
        let seen = &mut self.seen;
        seen.requests_finished_total += 1.0;
        seen.generation_tokens_total += f64::from(job.output_tokens);
        seen.prompt_lengths.observe(f64::from(job.prompt_tokens), 1.0);
        seen.generation_lengths.observe(f64::from(job.output_tokens), 1.0);
        seen.iteration_tokens.observe(1.0, f64::from(job.output_tokens));
        seen.e2e.observe(seconds(at - job.arrived), 1.0);
        seen.tpot.observe(if gaps > 0.0 { between } else { 0.0 }, 1.0);
        if gaps > 0.0 {
            seen.itl.observe(between, gaps);
        }
    }
}

fn picos(millis: f64) -> Picos {
    (millis * PICOS_PER_MILLI).round() as Picos
}

fn seconds(picos: Picos) -> f64 {
    picos as f64 / PICOS_PER_SECOND as f64
}

#[cfg(test)]
mod tests {
    use forebay_core::engine::Part;

    use super::*;

    const MILLI: Picos = 1_000_000_000;

    fn work(request: u64, output_tokens: u32) -> Work {
        let request = RequestId(request);
        Work { request, prompt_tokens: 8, output_tokens, part: Part::Whole, prefix: None }
    }

    fn told(events: &[EngineEvent]) -> Vec<(u64, u64, bool)> {
        let finished = |event: &EngineEvent| event.kind == EngineEventKind::Finished;
        events.iter().map(|event| (event.at / MILLI, event.request.0, finished(event))).collect()
    }

    #[test]
    fn who_finds_no_slot_starts_when_one_is_free() {
        let fixed = Fixed { first_token_ms: 200.0, token_ms: 0.0, slots: 2 };
        let mut slots = Slots::new(fixed);
        for (at, request) in [(0, 1), (50, 2), (60, 3), (70, 4)] {
            slots.submit(at * MILLI, &work(request, 5));
        }
        assert_eq!((slots.sample().running as u32, slots.sample().waiting as u32), (2, 2));
        // 3 takes the place of 1; 2 goes, so 4 starts at 210.
        let mut events = Vec::new();
        slots.advance(200 * MILLI, &mut events);
        slots.abort(210 * MILLI, RequestId(2));
        slots.advance(1_000 * MILLI, &mut events);
        let expected = [(200, 1), (400, 3), (410, 4)]
            .into_iter()
            .flat_map(|(at, request)| [(at, request, false), (at, request, true)]);
        assert_eq!(told(&events), expected.collect::<Vec<_>>());
        assert_eq!(slots.sample().requests_finished_total as u32, 3);
    }

    #[test]
    fn tokens_come_one_after_the_other() {
        let fixed = Fixed { first_token_ms: 50.0, token_ms: 10.0, slots: 1 };
        let mut slots = Slots::new(fixed);
        slots.submit(0, &work(1, 4));
        let mut events = Vec::new();
        slots.advance(50 * MILLI, &mut events);
        assert_eq!(slots.generated(49 * MILLI, RequestId(1)), Some(0));
        assert_eq!(slots.generated(65 * MILLI, RequestId(1)), Some(2));
        assert_eq!(slots.next_token_at(65 * MILLI, RequestId(1)), Some(70 * MILLI));
        slots.advance(80 * MILLI, &mut events);
        assert_eq!(told(&events), [(50, 1, false), (80, 1, true)]);
        assert_eq!(slots.generated(80 * MILLI, RequestId(1)), None);
    }
}
