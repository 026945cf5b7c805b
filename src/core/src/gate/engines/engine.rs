//! Our account of one endpoint: what we placed there, and what it told us.

use std::collections::VecDeque;

use super::credit::Credit;
use super::tally::Tally;
use crate::gate::EndpointLoad;
use crate::ids::RequestId;
use crate::time::{Span, Time};

/// What was dispatched before a scrape by less than its foretold time to first token, and not
/// less than this, may be on its way or wait for a step to end, not for capacity.
const SETTLE_MIN: Span = Span::from_millis(10);

/// Dispatches remembered that may not have settled.
const RECENT_MAX: usize = 1_024;

/// A prompt counts as done after so many times its predicted time: where nobody tells first
/// tokens, it must not count for as long as its answer lasts.
const PROMPT_OVERDUE: u64 = 2;

/// Beyond [`PROMPT_OVERDUE`]: network and scheduling.
const PROMPT_GRACE: Span = Span::from_millis(100);

/// Adapters remembered: engines keep a few in memory (vLLM's `max_loras` is 1 to 8 in practice).
const ADAPTERS_MAX: usize = 8;

/// A first token that is later than foretold by more than this, beyond what is usual there, had
/// to wait: half a step with a full chunk.
const TTFT_TOLERANCE: Span = Span::from_millis(60);

/// First tokens after which the usual excess is found anew.
const USUAL_PERIOD: u32 = 64;

/// So many answers without a page or a stream's first token, and there is nothing to learn a
/// credit from.
const UNHEARD_MAX: u32 = 8;

/// Part of a credit that must be seen to run before it may grow: the rest may be on the network.
const SHOWN_MIN: f64 = 0.75;

/// Answers before this prove nothing: the first page of a new endpoint may still be on its way.
const FIRST_PAGE: Span = Span::from_secs(3);

/// One endpoint.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) credit: Credit,
    tally: Tally,
    /// Requests of ours there.
    in_flight: u32,
    /// Those of them whose prompt is still with another endpoint.
    elsewhere: u32,
    prompts: VecDeque<PromptAhead>,
    prompt_ahead: u64,
    /// KV tokens that ours will take.
    kv_tokens: u64,
    pub(super) draining: bool,
    /// Whether the last scrape, if there was one and none failed since, found nothing waiting.
    relaxed: bool,
    /// Whether pages come at all.
    told: bool,
    /// When the credit was last judged, or began to bind.
    judged_at: Time,
    /// When what was sent lately should show.
    recent: VecDeque<Time>,
    usual: Usual,
    ready_at: Time,
    /// Requests that ended without a first token that tells anything.
    unheard: u32,
    adapters: Vec<u64>,
    /// Work lately placed there, in the unit of [`super::share::Share`].
    pub(super) work: f64,
    /// When it was last sent something, as a count of dispatches.
    pub(super) sent: u64,
}

/// A prompt whose first token is not out.
#[derive(Clone, Copy, Debug)]
struct PromptAhead {
    request: RequestId,
    tokens: u32,
    done_by: Time,
}

/// How much later than foretold first tokens usually are: the least of a while.
#[derive(Clone, Copy, Debug)]
struct Usual {
    excess: Span,
    next: Span,
    count: u32,
}

/// What a request takes of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) prompt_tokens: u32,
    pub(super) kv_tokens: u32,
    /// Whether its prompt is with another endpoint for now.
    pub(super) elsewhere: bool,
}

impl Engine {
    pub(super) fn new(now: Time) -> Self {
        Self {
            credit: Credit::new(),
            tally: Tally::default(),
            in_flight: 0,
            elsewhere: 0,
            prompts: VecDeque::new(),
            prompt_ahead: 0,
            kv_tokens: 0,
            draining: false,
            relaxed: false,
            told: false,
            judged_at: now,
            recent: VecDeque::new(),
            usual: Usual { excess: Span(u64::MAX), next: Span(u64::MAX), count: 0 },
            ready_at: now,
            unheard: 0,
            adapters: Vec::new(),
            work: 0.0,
            sent: 0,
        }
    }

    /// Requests there, ours and others'.
    pub(super) const fn requests(&self) -> u32 {
        self.tally.corrected(self.in_flight)
    }

    /// Prompt tokens whose first token is not out.
    pub(super) const fn prompt_ahead(&self) -> u64 {
        self.prompt_ahead
    }

    /// KV tokens that ours will take.
    pub(super) const fn kv_tokens(&self) -> u64 {
        self.kv_tokens
    }

    /// Whether it tells nothing at all: then what its profile says is the credit.
    pub(super) const fn is_deaf(&self) -> bool {
        !self.told && self.unheard >= UNHEARD_MAX
    }

    /// Whether a page of it was ever read.
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    /// Whether something waits there for capacity, as far as its pages tell.
    pub(super) const fn is_queued(&self) -> bool {
        self.told && !self.relaxed
    }

    /// A request ended without a first token that tells anything.
    pub(super) fn unheard(&mut self, now: Time) {
        if now.since(self.ready_at) >= FIRST_PAGE {
            self.unheard = self.unheard.saturating_add(1);
        }
    }

    /// Whether an adapter was used there lately.
    pub(super) fn has_adapter(&self, adapter: u64) -> bool {
        self.adapters.contains(&adapter)
    }

    pub(super) fn use_adapter(&mut self, adapter: u64) {
        self.adapters.retain(|known| *known != adapter);
        if self.adapters.len() == ADAPTERS_MAX {
            self.adapters.remove(0);
        }
        self.adapters.push(adapter);
    }

    /// A request is sent there; its first token is foretold after `ttft`.
    pub(super) fn take(&mut self, now: Time, request: RequestId, load: Load, ttft: Span) {
        self.in_flight += 1;
        self.elsewhere += u32::from(load.elsewhere);
        self.kv_tokens += u64::from(load.kv_tokens);
        if load.prompt_tokens > 0 {
            self.prompt_ahead += u64::from(load.prompt_tokens);
            let done_by = now + Span(ttft.0 * PROMPT_OVERDUE) + PROMPT_GRACE;
            self.prompts.push_back(PromptAhead { request, tokens: load.prompt_tokens, done_by });
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(now + ttft.max(SETTLE_MIN));
        if self.requests() == self.credit.requests_max() {
            self.judged_at = self.judged_at.max(now);
        }
    }

    /// The prompt of a request is done.
    pub(super) fn prompt_done(&mut self, request: RequestId) {
        let place = self.prompts.iter().position(|prompt| prompt.request == request);
        if let Some(prompt) = place.and_then(|place| self.prompts.remove(place)) {
            self.prompt_ahead -= u64::from(prompt.tokens);
        }
    }

    /// Prompts that should long be done do not count any more.
    pub(super) fn forget_prompts(&mut self, now: Time) {
        while let Some(prompt) = self.prompts.front().filter(|prompt| prompt.done_by <= now) {
            self.prompt_ahead -= u64::from(prompt.tokens);
            self.prompts.pop_front();
        }
    }

    /// When [`Engine::forget_prompts`] has something to forget.
    pub(super) fn next_prompt(&self) -> Option<Time> {
        self.prompts.front().map(|prompt| prompt.done_by)
    }

    /// The prompt of a pair's request came over.
    pub(super) const fn arrived_here(&mut self) {
        self.elsewhere = self.elsewhere.saturating_sub(1);
    }

    /// A request has ended here.
    pub(super) fn release(&mut self, request: RequestId, load: Load) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.elsewhere = self.elsewhere.saturating_sub(u32::from(load.elsewhere));
        self.kv_tokens = self.kv_tokens.saturating_sub(u64::from(load.kv_tokens));
        self.prompt_done(request);
    }

    /// A page. `chunk_tokens`: what waits behind more prompt than that waits for prefill.
    pub(super) fn scraped(&mut self, now: Time, at: Time, load: EndpointLoad, chunk_tokens: u64) {
        let (running, waiting) = (load.running as u32, load.waiting as u32);
        let unsettled = self.unsettled(at);
        let here = self.in_flight.saturating_sub(self.elsewhere);
        self.tally.read(at, running + waiting, here, here.saturating_sub(unsettled));
        (self.relaxed, self.told, self.judged_at) = (waiting == 0, true, now);
        if waiting == 0 {
            // A page that does not show what was just sent proves no room for it.
            if f64::from(running) >= f64::from(self.credit.requests_max()) * SHOWN_MIN {
                self.credit.clear(now, self.requests());
            }
        } else if waiting > unsettled && self.prompt_ahead <= chunk_tokens {
            // If only what was just sent waits, that proves neither room nor the lack of it.
            self.credit.met(now, running);
        }
    }

    /// Without pages a credit stays as it is.
    pub(super) fn lost(&mut self) {
        self.relaxed = false;
        self.tally.blind();
    }

    /// An answer's first token came `ttft` after its dispatch, for which `foretold` was foretold,
    /// with `beside` others there when it was sent. It tells of capacity only where no page does.
    pub(super) fn first_token(&mut self, now: Time, ttft: Span, foretold: Span, beside: u32) {
        if self.told {
            return;
        }
        self.unheard = 0;
        let excess = Span(ttft.0.saturating_sub(foretold.0));
        let usual = self.usual.least();
        self.usual.note(excess);
        let waited = usual.is_some_and(|usual| {
            excess.0 > usual.0 + TTFT_TOLERANCE.0 + (foretold.0 + usual.0) / 4
        });
        if waited && beside < self.credit.requests_max() {
            self.credit.met(now, beside);
        } else if !waited {
            self.credit.clear(now, self.requests());
        }
    }

    /// Judges a credit that binds although nothing waited at the last scrape, and of which no
    /// scrape came since because it would have said the same.
    pub(super) fn grow(&mut self, now: Time) {
        self.credit.clear(now, self.requests());
        self.judged_at = now;
    }

    /// When [`Engine::grow`] may be called: a scrape that says nothing new has surely passed
    /// since the credit began to bind after one and a half intervals.
    pub(super) fn growth_at(&self, batch_max: u32, interval: Span) -> Option<Time> {
        let binds = self.credit.binds(self.requests()) && self.credit.requests_max() < batch_max;
        let grows = binds && self.relaxed && !self.draining;
        let looked = self.judged_at + interval + Span(interval.0 / 2);
        grows.then(|| looked.max(self.credit.next_growth()))
    }

    /// How many of ours are to be forgotten, and since when they have been missing.
    pub(super) fn leaked(&self, now: Time) -> Option<(u32, Time)> {
        self.tally.lost(now)
    }

    pub(super) const fn mended(&mut self) {
        self.tally.mended();
    }

    /// Requests among what waits that were sent too recently to prove anything.
    fn unsettled(&mut self, at: Time) -> u32 {
        while self.recent.front().is_some_and(|shows_at| *shows_at < at) {
            self.recent.pop_front();
        }
        self.recent.len() as u32
    }
}

impl Usual {
    /// The least of this while and the one before; unknown before the first.
    fn least(&self) -> Option<Span> {
        let least = self.excess.min(self.next);
        (least.0 < u64::MAX).then_some(least)
    }

    fn note(&mut self, excess: Span) {
        self.next = self.next.min(excess);
        self.count += 1;
        if self.count == USUAL_PERIOD {
            *self = Self { excess: self.next, next: Span(u64::MAX), count: 0 };
        }
    }
}
