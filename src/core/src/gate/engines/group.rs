//! The endpoints of one variant, and the best of them for a request.

use super::calibration::{Calibration, Work};
use super::engine::Engine;
use super::share::Share;
use super::{Ask, Need};
use crate::fleet::Role;
use crate::ids::EndpointId;
use crate::pick::{Cached, EndpointTable, Speed, Tournament};
use crate::time::{Span, Time};

/// Prompt tokens that may lie ahead on one engine, in prefill chunks: one being worked on and one
/// ready, so that the engine never waits for us and order is still decided here.
const CHUNKS_AHEAD_MAX: u64 = 2;

/// Share of the KV cache that is filled on purpose: answers grow longer than foretold.
const KV_FILL: f64 = 0.95;

/// Loading a LoRA adapter that is not in the engine's memory (hundreds of megabytes over PCIe).
const ADAPTER_LOAD_NS: f64 = 1e8;

/// Nanoseconds of one second.
const NANOS: f64 = 1e9;

/// Grain of a turn when endpoints are compared: below a millisecond, who was sent something
/// least recently goes first, so that idle endpoints take turns.
const TURN_GRAIN_BITS: u32 = 20;

/// Bits of a key for the count of dispatches.
const SENT_BITS: u32 = 40;

/// Mean lengths of what a fleet serves, tokens.
#[derive(Clone, Copy, Debug)]
pub(in crate::gate) struct Lengths {
    /// KV that a sequence reads.
    pub(in crate::gate) context: f64,
    /// Prompt that is not cached.
    pub(in crate::gate) uncached: f64,
    /// Answer.
    pub(in crate::gate) output: f64,
}

/// The endpoints of one variant.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) role: Role,
    pub(super) speed: Speed,
    /// By how much its times to first token are wrong.
    calibration: Calibration,
    /// Sequences that keep the strictest TPOT; unlimited where nothing is promised.
    batch_max: u32,
    /// Tokens (prompt and answer) that one engine serves per second at that batch.
    pub(super) tokens_per_second: f64,
    pub(super) engines: EndpointTable<Engine>,
    /// By time until a new prompt's turn; absent without credit.
    order: Tournament,
    /// The same for deferrable work; absent also without room.
    room: Tournament,
    /// Places there are, and those of them that are free.
    places: Places,
}

/// How many requests may run at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gate) struct Places {
    /// All of them.
    pub(in crate::gate) all: u64,
    /// Those where nobody runs.
    pub(in crate::gate) free: u64,
}

impl Places {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self { all: self.all + other.all, free: self.free + other.free }
    }

    const fn minus(self, other: Self) -> Self {
        Self { all: self.all - other.all, free: self.free - other.free }
    }
}

/// An endpoint for a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) endpoint: EndpointId,
    /// Predicted time to first token, the prompt computed here or not at all, ns.
    pub(super) ttft_ns: f64,
    /// What of it the profile says nothing about, ns.
    pub(super) other_ns: f64,
    /// What the engine has to do for it.
    pub(super) work: Work,
    pub(super) cached_tokens: u32,
}

impl Group {
    pub(super) fn new(role: Role, speed: Speed) -> Self {
        Self {
            role,
            speed,
            calibration: Calibration::new(),
            batch_max: u32::MAX,
            tokens_per_second: 0.0,
            engines: EndpointTable::default(),
            order: Tournament::default(),
            room: Tournament::default(),
            places: Places::default(),
        }
    }

    pub(super) const fn places(&self) -> Places {
        self.places
    }

    /// [`Group::places`], counted anew.
    pub(super) fn count_places(&self) -> Places {
        let places = self.engines.values().iter().map(|engine| self.places_of(engine));
        places.fold(Places::default(), Places::plus)
    }

    fn places_of(&self, engine: &Engine) -> Places {
        if engine.draining || self.role == Role::Prefill {
            return Places::default();
        }
        let slots = self.slots(engine);
        let free = slots.saturating_sub(engine.requests());
        Places { all: u64::from(slots), free: u64::from(free) }
    }

    /// Another profile is in force: what was seen is held against it.
    pub(super) fn relearn(&mut self, speed: Speed) {
        self.calibration.judge(foretold(&speed));
        self.speed = speed;
    }

    /// An answer of ours came with this mean gap between tokens, from an engine with so many
    /// sequences. Says whether [`Group::learn`] has to follow.
    pub(super) fn stepped(&mut self, gap: Span, sequences: u32, lengths: Lengths) -> bool {
        let prompts = self.prompt_per_output(lengths);
        let speed = &self.speed;
        let foretold = |work: &Work| speed.step_s(work.sequences, lengths.context, prompts) * NANOS;
        self.calibration.stepped(gap.0 as f64, sequences, foretold)
    }

    /// A first token of ours came within `took`: all of it, `exactly`, or with more of its answer.
    pub(super) fn answered(&mut self, took: Span, work: Work, exactly: bool) {
        let took_ns = took.0 as f64;
        if exactly {
            self.calibration.after(took_ns, work, foretold(&self.speed));
        } else {
            self.calibration.within(took_ns, work, foretold(&self.speed));
        }
    }

    /// Time to first token for this work, as the profile says and endpoints have shown, ns.
    pub(super) fn predicted_ns(&self, work: Work) -> f64 {
        foretold(&self.speed)(&work) * self.calibration.factor(work.prompt_tokens)
    }

    /// Sequences read and write so much in the mean: how many of them keep the TPOT, and what
    /// does an engine serve then?
    pub(super) fn learn(&mut self, tpot: Option<Span>, lengths: Lengths) {
        let prompts = self.prompt_per_output(lengths);
        let (speed, decodes) = (&self.speed, self.role != Role::Prefill);
        self.calibration
            .judge_steps(|work| speed.step_s(work.sequences, lengths.context, prompts) * NANOS);
        let factor = self.calibration.step_factor();
        let within = |factor: f64| {
            let tpot = tpot.map(|tpot| Span((tpot.0 as f64 / factor) as u64));
            let within = tpot.and_then(|tpot| speed.batch_within(tpot, lengths.context, prompts));
            within.filter(|_| decodes).unwrap_or(u32::MAX)
        };
        self.batch_max = within(factor);
        // What is served corrects this one; it must not be corrected twice.
        let by_profile = within(1.0);
        let by_kv = self.kv_max() as f64 / lengths.context.max(1.0);
        let batch = by_profile.min(speed.sequences_max()).min(by_kv.max(1.0) as u32);
        let step_s = speed.step_s(batch, lengths.context, prompts);
        let tokens = (1.0 + lengths.uncached / lengths.output.max(1.0)) * f64::from(batch);
        self.tokens_per_second = if decodes { tokens / step_s.max(1e-6) } else { 0.0 };
        self.rebuild();
    }

    /// Prompt tokens that a full engine computes for each token that it generates.
    fn prompt_per_output(&self, lengths: Lengths) -> f64 {
        let prompts = if self.role == Role::Both { lengths.uncached } else { 0.0 };
        prompts / lengths.output.max(1.0)
    }

    /// A step with one sequence, and the fixed time of a request, as endpoints have shown, ns.
    pub(super) fn step_ns(&self) -> f64 {
        self.speed.base_ns * self.calibration.step_factor()
    }

    pub(super) const fn batch_max(&self) -> u32 {
        self.batch_max
    }

    fn kv_max(&self) -> u64 {
        (self.speed.kv_tokens() as f64 * KV_FILL) as u64
    }

    fn slots(&self, engine: &Engine) -> u32 {
        let credit = if engine.is_deaf() {
            self.speed.sequences_max()
        } else {
            engine.credit.requests_max()
        };
        credit.min(self.batch_max)
    }

    /// What an engine would usually serve in the time until it has no more requests than slots,
    /// tokens. It is sent nothing so long: what prompts lie ahead are computed, and then it only
    /// generates, until so many of its answers, begun at any time before, have ended.
    pub(super) fn excess_tokens(&self, engine: &Engine, lengths: Lengths) -> f64 {
        let requests = engine.requests();
        let excess = requests.saturating_sub(self.slots(engine));
        if excess == 0 {
            return 0.0;
        }
        let prompts_s = engine.prompt_ahead() as f64 * self.speed.prompt_ns_per_token / NANOS;
        let steps = lengths.output * f64::from(excess) / f64::from(requests);
        let answers_s = steps * self.speed.step_s(requests, lengths.context, 0.0);
        (prompts_s + answers_s) * self.tokens_per_second
    }

    /// Whether only prompts that lie ahead keep it from taking more.
    pub(super) fn waits_for_prompts(&self, engine: &Engine) -> bool {
        engine.prompt_ahead() >= self.speed.chunk_tokens * CHUNKS_AHEAD_MAX
    }

    fn key(&self, engine: &Engine) -> u64 {
        let full = engine.requests() >= self.slots(engine)
            || self.waits_for_prompts(engine)
            || engine.kv_tokens() >= self.kv_max();
        if engine.draining || full {
            return Tournament::ABSENT;
        }
        let grains = (self.turn_ns(engine) as u64 >> TURN_GRAIN_BITS).min((1 << 23) - 1);
        (grains << SENT_BITS) | (engine.sent & ((1 << SENT_BITS) - 1))
    }

    fn room_key(&self, engine: &Engine) -> u64 {
        if engine.prompt_ahead() >= (self.speed.chunk_tokens / 2).max(1) {
            return Tournament::ABSENT;
        }
        self.key(engine)
    }

    /// Time until a new prompt's turn.
    fn turn_ns(&self, engine: &Engine) -> f64 {
        let prompts = engine.prompt_ahead() as f64 * self.speed.prompt_ns_per_token;
        prompts + f64::from(engine.requests()) * self.speed.sequence_ns
    }

    /// Requests of about this length for which an engine has room.
    pub(super) fn room_of(&self, engine: &Engine, prompt_tokens: f64) -> u64 {
        if self.room_key(engine) == Tournament::ABSENT {
            return 0;
        }
        let slots = self.slots(engine).saturating_sub(engine.requests());
        let tokens = (self.speed.chunk_tokens / 2).saturating_sub(engine.prompt_ahead());
        u64::from(slots).min((tokens as f64 / prompt_tokens.max(1.0)).ceil() as u64)
    }

    pub(super) fn rebuild(&mut self) {
        let keys: Vec<_> = self.engines.values().iter().map(|engine| self.key(engine)).collect();
        let rooms: Vec<_> =
            self.engines.values().iter().map(|engine| self.room_key(engine)).collect();
        self.places = self.count_places();
        self.order.rebuild(keys.into_iter());
        self.room.rebuild(rooms.into_iter());
    }

    pub(super) fn change<R>(
        &mut self,
        now: Time,
        endpoint: EndpointId,
        change: impl FnOnce(&mut Engine) -> R,
    ) -> Option<R> {
        // Requests may outlive their endpoint: then there is nothing to keep account of.
        let slot = self.engines.slot(endpoint)?;
        let before = self.places_of(&self.engines.values()[slot]);
        let engine = &mut self.engines.values_mut()[slot];
        engine.forget_prompts(now);
        let result = change(engine);
        let engine = &self.engines.values()[slot];
        self.places = self.places.minus(before).plus(self.places_of(engine));
        let (key, room) = (self.key(engine), self.room_key(engine));
        self.order.update(slot, key);
        self.room.update(slot, room);
        Some(result)
    }

    /// Whether anybody here has a credit.
    pub(super) fn any(&self, need: Need) -> bool {
        match need {
            Need::Credit => self.order.least().is_some(),
            Need::Room => self.room.least().is_some(),
            Need::Nothing => self.engines.values().iter().any(|engine| !engine.draining),
        }
    }

    /// Who would give this request its first token soonest; `computes` when its prompt is
    /// computed here.
    pub(super) fn best(
        &self,
        ask: &Ask<'_>,
        cached: &Cached,
        share: &Share,
        need: Need,
        computes: bool,
    ) -> Option<Choice> {
        let plain = cached.found().is_empty()
            && ask.adapter.is_none()
            && ask.candidates.is_none()
            && ask.tpot.is_none();
        if plain && need != Need::Nothing {
            let order = if need == Need::Room { &self.room } else { &self.order };
            return order.least().map(|slot| self.choice(slot, ask, 0, false, computes));
        }
        let open = self.engines.values().iter().filter(|engine| !engine.draining);
        let least = open.map(|engine| engine.work).reduce(f64::min).unwrap_or(0.0);
        let considered = |slot: usize| {
            let engine = &self.engines.values()[slot];
            let open = match need {
                Need::Credit => self.order.key(slot) != Tournament::ABSENT,
                Need::Room => self.room.key(slot) != Tournament::ABSENT,
                Need::Nothing => !engine.draining,
            };
            let within = ask.tpot.is_none_or(|tpot| self.keeps(engine, tpot, ask));
            (open && within).then(|| {
                let may = share.allows(engine.work, least, ask.tokens());
                let tokens = if may { cached.at(self.engines.id(slot)) } else { 0 };
                let adapted = may && ask.adapter.is_some_and(|name| engine.has_adapter(name));
                self.choice(slot, ask, tokens, adapted, computes)
            })
        };
        let sooner = |left: Choice, right: Choice| {
            let grain = f64::from(1 << TURN_GRAIN_BITS);
            let key = |choice: &Choice| {
                let sent = self.engines.get(choice.endpoint).map_or(0, |engine| engine.sent);
                ((choice.ttft_ns / grain) as u64, sent)
            };
            if key(&right) < key(&left) { right } else { left }
        };
        match ask.candidates {
            Some(listed) => {
                let slots = listed.iter().filter_map(|endpoint| self.engines.slot(*endpoint));
                slots.filter_map(considered).reduce(sooner)
            }
            None => (0..self.engines.len()).filter_map(considered).reduce(sooner),
        }
    }

    fn choice(
        &self,
        slot: usize,
        ask: &Ask<'_>,
        cached_tokens: u32,
        adapted: bool,
        computes: bool,
    ) -> Choice {
        let engine = &self.engines.values()[slot];
        let (mut cached, mut own) = (0, 0);
        if computes {
            // The last token of a prompt is always computed.
            cached = cached_tokens.min(ask.prompt_tokens.saturating_sub(1));
            own = ask.prompt_tokens - cached;
        }
        let prompt_tokens = engine.prompt_ahead().saturating_add(u64::from(own));
        let work = Work {
            prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
            sequences: engine.requests(),
        };
        let other_ns = if ask.adapter.is_some() && !adapted { ADAPTER_LOAD_NS } else { 0.0 };
        let ttft_ns = self.predicted_ns(work) + other_ns;
        Choice { endpoint: self.engines.id(slot), ttft_ns, other_ns, work, cached_tokens: cached }
    }

    /// Whether one more keeps a time per token that a request asks for itself; where nobody
    /// could, not even alone, it does not bind.
    fn keeps(&self, engine: &Engine, tpot: Span, ask: &Ask<'_>) -> bool {
        let context = f64::from(ask.prompt_tokens) + ask.output_tokens / 2.0;
        let factor = self.calibration.step_factor();
        let step_s = |batch| self.speed.step_s(batch, context, 0.0) * factor;
        step_s(engine.requests() + 1) <= tpot.as_seconds() || step_s(1) > tpot.as_seconds()
    }
}

/// What a profile foretells for a first token, ns.
fn foretold(speed: &Speed) -> impl Fn(&Work) -> f64 {
    move |work| {
        speed.base_ns
            + f64::from(work.prompt_tokens) * speed.prompt_ns_per_token
            + f64::from(work.sequences) * speed.sequence_ns
    }
}
