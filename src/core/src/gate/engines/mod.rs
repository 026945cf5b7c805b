//! The endpoints as our gate keeps account of them: credits, prompts ahead, and who would serve a
//! request first.

mod calibration;
mod credit;
mod engine;
mod group;
mod placed;
mod share;
mod tally;

pub(super) use self::group::{Lengths, Places};
pub(super) use self::placed::{InFlight, Placed, Placement};

use self::calibration::{Tries, Work};
use self::engine::Engine;
use self::group::{Choice, Group};
use self::share::Share;
use super::{Account, EndpointLoad};
use crate::engine::Prefix;
use crate::engine::profile::EngineProfile;
use crate::fleet::{Role, Transfer, World};
use crate::ids::{EndpointId, FleetId, RequestId, VariantId};
use crate::pick::{Cached, EndpointTable, PrefixIndex, Speed};
use crate::time::{Span, Time};

/// Shorter prompts are prefilled where they decode: they cost less than a transfer's set-up.
const SPLIT_TOKENS_MIN: u32 = 256;

/// Share of the strictest TPOT for which batches are sized: what is promised is promised for
/// nearly all requests, and the mean step is that of half of them. In overload on ServeGen's
/// chat pool the 99th percentile lay 49 % above the mean that was aimed at.
const TPOT_SHARE: f64 = 0.67;

/// What is asked of a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: f64,
    pub(super) prefix: Option<&'a Prefix>,
    pub(super) adapter: Option<u64>,
    pub(super) candidates: Option<&'a [EndpointId]>,
    pub(super) tpot: Option<Span>,
}

/// What a place must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A credit.
    Credit,
    /// A credit and room: for deferrable work.
    Room,
    /// Nothing: it is sent in any case.
    Nothing,
}

/// All endpoints of a fleet.
#[derive(Debug)]
pub(super) struct Engines {
    groups: Vec<Group>,
    first: u16,
    group_of: EndpointTable<usize>,
    tpot: Option<Span>,
    transfer: Transfer,
    lengths: Lengths,
    prefixes: PrefixIndex,
    share: Share,
    tries: Tries,
    sent: u64,
}

impl Ask<'_> {
    /// Prompt and answer.
    pub(super) fn tokens(&self) -> f64 {
        f64::from(self.prompt_tokens) + self.output_tokens
    }
}

impl Engines {
    /// `tpot`: the strictest promise of the fleet.
    pub(super) fn new(world: &World, fleet: FleetId, tpot: Option<Span>, lengths: Lengths) -> Self {
        let transfer = &world.fleets[fleet.index()].transfer;
        let groups = world.variants_of(fleet).map(|(_, variant)| {
            Group::new(variant.role, Speed::new(&variant.profile, transfer, lengths.context))
        });
        let mut engines = Self {
            groups: groups.collect(),
            first: world.fleets[fleet.index()].variants.start,
            group_of: EndpointTable::default(),
            tpot: tpot.map(|tpot| Span((tpot.0 as f64 * TPOT_SHARE) as u64)),
            transfer: *transfer,
            lengths,
            prefixes: PrefixIndex::default(),
            share: Share::default(),
            tries: Tries::default(),
            sent: 0,
        };
        engines.learn(lengths);
        engines
    }

    /// What requests are like in the mean.
    pub(super) fn learn(&mut self, lengths: Lengths) {
        self.lengths = lengths;
        for group in &mut self.groups {
            group.learn(self.tpot, lengths);
        }
    }

    /// Another profile of a variant is in force. Credits, and what is there, stay.
    pub(super) fn relearn(&mut self, variant: VariantId, profile: &EngineProfile) {
        let index = usize::from(variant.0.wrapping_sub(self.first));
        let Some(group) = self.groups.get_mut(index) else { return };
        group.relearn(Speed::new(profile, &self.transfer, self.lengths.context));
        group.learn(self.tpot, self.lengths);
    }

    /// Whether a prompt may be sent although it is foretold to be late even on an idle engine; if
    /// so, this is the try.
    pub(super) fn try_prompt(&mut self, now: Time, prompt_tokens: u32) -> bool {
        self.tries.take(now, prompt_tokens)
    }

    pub(super) fn ready(&mut self, now: Time, endpoint: EndpointId, variant: VariantId) {
        let index = usize::from(variant.0.wrapping_sub(self.first));
        let Some(group) = self.groups.get_mut(index) else { return };
        self.group_of.insert(endpoint, index);
        self.prefixes.add(endpoint, group.speed.kv_tokens());
        match group.engines.get_mut(endpoint) {
            Some(engine) => engine.draining = false,
            None => {
                group.engines.insert(endpoint, Engine::new(now));
            }
        }
        group.rebuild();
    }

    pub(super) fn draining(&mut self, now: Time, endpoint: EndpointId) {
        self.change(now, endpoint, |engine| engine.draining = true);
    }

    pub(super) fn gone(&mut self, endpoint: EndpointId) {
        self.prefixes.remove(endpoint);
        if let Some(index) = self.group_of.remove(endpoint) {
            self.groups[index].engines.remove(endpoint);
            self.groups[index].rebuild();
        }
    }

    /// A scrape; gauges that are not numbers prove nothing. Says how many of our requests have
    /// been missing there since when, once that is certain.
    pub(super) fn scraped(
        &mut self,
        now: Time,
        endpoint: EndpointId,
        at: Time,
        load: EndpointLoad,
    ) -> Option<(u32, Time)> {
        if load.running.is_nan() || load.waiting.is_nan() {
            self.lost(now, endpoint);
            return None;
        }
        let group = &mut self.groups[*self.group_of.get(endpoint)?];
        let chunk_tokens = group.speed.chunk_tokens;
        let leaked = group.change(now, endpoint, |engine| {
            engine.scraped(now, at, load, chunk_tokens);
            let leaked = engine.leaked(now);
            if leaked.is_some() {
                engine.mended();
            }
            leaked
        });
        leaked.flatten()
    }

    /// Without scrapes a credit stays as it is.
    pub(super) fn lost(&mut self, now: Time, endpoint: EndpointId) {
        self.change(now, endpoint, Engine::lost);
    }

    /// Judges credits that bind although nothing waited at the last scrape, and forgets prompts
    /// that should be done. Says whether anything changed.
    pub(super) fn look(&mut self, now: Time, interval: Span) -> bool {
        let mut any = false;
        for group in &mut self.groups {
            let batch_max = group.batch_max();
            let mut changed = false;
            for engine in group.engines.values_mut() {
                if engine.growth_at(batch_max, interval).is_some_and(|at| at <= now) {
                    engine.grow(now);
                    changed = true;
                }
                if engine.next_prompt().is_some_and(|at| at <= now) {
                    engine.forget_prompts(now);
                    changed = true;
                }
            }
            if changed {
                group.rebuild();
            }
            any |= changed;
        }
        any
    }

    /// When [`Engines::look`] has something to do next.
    pub(super) fn next_look(&self, interval: Span) -> Option<Time> {
        let times = self.groups.iter().flat_map(|group| {
            group.engines.values().iter().filter_map(|engine| {
                let growth = engine.growth_at(group.batch_max(), interval);
                let prompt = engine.next_prompt().filter(|_| group.waits_for_prompts(engine));
                growth.into_iter().chain(prompt).min()
            })
        });
        times.min()
    }

    /// Whether anybody that answers has what is needed.
    pub(super) fn any(&self, need: Need) -> bool {
        let mut answering = self.groups.iter().filter(|group| group.role != Role::Prefill);
        answering.any(|group| group.any(need))
    }

    /// Places of everybody that answers.
    pub(super) fn places(&self) -> Places {
        self.groups.iter().fold(Places::default(), |sum, group| sum.plus(group.places()))
    }

    /// [`Engines::places`], counted anew.
    #[cfg(test)]
    pub(super) fn count_places(&self) -> Places {
        self.groups.iter().fold(Places::default(), |sum, group| sum.plus(group.count_places()))
    }

    /// Who would give this request its first token soonest, among those that have what it needs.
    pub(super) fn pick(&self, ask: &Ask<'_>, need: Need) -> Option<Placement> {
        let cached = match ask.prefix {
            Some(prefix) => self.prefixes.cached(ask.prompt_tokens, prefix),
            None => Cached::default(),
        };
        let best = |group: &Group, computes| group.best(ask, &cached, &self.share, need, computes);
        let splits = ask.prompt_tokens >= SPLIT_TOKENS_MIN && self.any_prefill();
        let prefilling = self.groups.iter().filter(|group| group.role == Role::Prefill && splits);
        let prefill = prefilling
            .filter_map(|group| best(group, true))
            .min_by(|left, right| left.ttft_ns.total_cmp(&right.ttft_ns));
        let answering = self.groups.iter().filter(|group| group.role != Role::Prefill);
        let placements = answering.filter_map(|group| {
            if group.role == Role::Both || !splits {
                return best(group, true)
                    .map(|choice| (choice.ttft_ns, Placement::of(choice, None)));
            }
            let here = best(group, true)?;
            if here.cached_tokens + SPLIT_TOKENS_MIN > ask.prompt_tokens {
                // What is cached where it decodes need not be moved.
                return Some((here.ttft_ns, Placement::of(here, None)));
            }
            // Waiting for a prefill endpoint beats a long prompt on a decode endpoint.
            let (there, here) = (prefill?, best(group, false)?);
            let moved = f64::from(ask.prompt_tokens) * group.speed.transfer_ns_per_token;
            let ttft_ns = there.ttft_ns + group.speed.transfer_ns + moved + here.ttft_ns;
            let other_ns = ttft_ns - there.ttft_ns + there.other_ns;
            let pair = Choice { endpoint: here.endpoint, ttft_ns, other_ns, ..there };
            Some((ttft_ns, Placement::of(pair, Some(there.endpoint))))
        });
        placements.min_by(|left, right| left.0.total_cmp(&right.0)).map(|(_, place)| place)
    }

    /// Time to first token of this prompt on an empty engine of the fastest variant, and time per
    /// token after it; zero for a fleet without variants.
    pub(super) fn unloaded(&self, prompt_tokens: u32) -> (Span, Span) {
        let serving = self.groups.iter().filter(|group| group.role != Role::Decode);
        let work = Work { prompt_tokens, sequences: 0 };
        let ttft_ns = serving.map(|group| group.predicted_ns(work)).reduce(f64::min);
        let decoding = self.groups.iter().filter(|group| group.role != Role::Prefill);
        let step_ns = decoding.map(Group::step_ns).reduce(f64::min);
        (Span(ttft_ns.unwrap_or(0.0) as u64), Span(step_ns.unwrap_or(0.0) as u64))
    }

    /// A request is sent. `ask` is what it was placed for.
    pub(super) fn take(
        &mut self,
        now: Time,
        request: RequestId,
        ask: &Ask<'_>,
        placed: &mut Placed,
    ) {
        self.sent += 1;
        let (weight, factor) = self.share.weight(now);
        if let Some(factor) = factor {
            for engine in self.groups.iter_mut().flat_map(|group| group.engines.values_mut()) {
                engine.work *= factor;
            }
        }
        let (sent, work) = (self.sent, weight * ask.tokens());
        let (placement, adapter) = (placed.placement, ask.adapter);
        let place = |engine: &mut Engine, load| {
            let beside = engine.requests();
            engine.take(now, request, load, placement.ttft);
            engine.work += work;
            engine.sent = sent;
            if let Some(adapter) = adapter {
                engine.use_adapter(adapter);
            }
            beside
        };
        let here = placed.here();
        let beside = self.change(now, placement.endpoint, |engine| place(engine, here));
        placed.beside = beside.unwrap_or(0);
        placed.queued = self.get(placement.computed_at()).is_some_and(Engine::is_queued);
        if let Some(prefill) = placed.prefilling() {
            let there = placed.there();
            self.change(now, prefill, |engine| place(engine, there));
        }
        if let Some(prefix) = ask.prefix {
            self.prefixes.record(placement.computed_at(), placed.uncached_tokens(), prefix);
        }
    }

    /// The prefill endpoint of a pair is done with a request.
    pub(super) fn prefilled(&mut self, now: Time, request: RequestId, placed: &mut Placed) {
        let there = placed.there();
        if let Some(prefill) = placed.prefilling() {
            placed.elsewhere = false;
            self.change(now, prefill, |engine| engine.release(request, there));
            self.change(now, placed.placement.endpoint, Engine::arrived_here);
        }
    }

    /// The first token of a request is out.
    pub(super) fn first_token(&mut self, now: Time, request: RequestId, placed: &mut Placed) {
        if placed.first_at.is_none() {
            placed.first_at = Some(now);
            self.answered(placed, now.since(placed.sent_at), false);
        }
        self.change(now, placed.placement.endpoint, |engine| engine.prompt_done(request));
    }

    /// Tells the variant that computed the prompt how long a first token took.
    fn answered(&mut self, placed: &Placed, took: Span, exactly: bool) {
        let took = Span(took.0.saturating_sub(placed.placement.other.0));
        if let Some(index) = self.group_of.get(placed.placement.computed_at()) {
            self.groups[*index].answered(took, placed.placement.work, exactly);
        }
    }

    /// Tells the variant that answered how long its steps took.
    fn stepped(&mut self, placed: &Placed, gap: Span) {
        let Some(index) = self.group_of.get(placed.placement.endpoint) else { return };
        let group = &mut self.groups[*index];
        if group.stepped(gap, placed.beside + 1, self.lengths) {
            group.learn(self.tpot, self.lengths);
        }
    }

    /// A request is gone from where it was; `output_tokens` if it ended well.
    pub(super) fn release(
        &mut self,
        now: Time,
        request: RequestId,
        placed: &Placed,
        output_tokens: Option<u32>,
    ) {
        if let Some(prefill) = placed.prefilling() {
            self.change(now, prefill, |engine| engine.release(request, placed.there()));
        }
        let streamed = placed.streamed(now, output_tokens.unwrap_or(0));
        if let Some(ttft) = streamed.filter(|_| !placed.queued) {
            self.answered(placed, ttft, true);
        }
        if let Some(gap) = streamed.and(placed.gap(now, output_tokens.unwrap_or(0))) {
            self.stepped(placed, gap);
        }
        let Placement { endpoint, ttft: foretold, .. } = placed.placement;
        self.change(now, endpoint, |engine| {
            engine.release(request, placed.here());
            match (streamed, output_tokens) {
                (Some(ttft), _) => engine.first_token(now, ttft, foretold, placed.beside),
                (None, Some(_)) => engine.unheard(now),
                (None, None) => {}
            }
        });
    }

    /// Requests of about this length for which there is room now.
    pub(super) fn room(&self, prompt_tokens: f64) -> u64 {
        let answering = self.groups.iter().filter(|group| group.role != Role::Prefill);
        let rooms = answering.flat_map(|group| {
            let engines = group.engines.values().iter();
            engines.map(|engine| group.room_of(engine, prompt_tokens))
        });
        rooms.sum()
    }

    /// What endpoints would serve in the time until none has more requests than slots, tokens.
    pub(super) fn excess_tokens(&self) -> f64 {
        let answering = self.groups.iter().filter(|group| group.role != Role::Prefill);
        let excess = answering.flat_map(|group| {
            let engines = group.engines.values().iter();
            engines.map(|engine| group.excess_tokens(engine, self.lengths))
        });
        excess.sum()
    }

    /// Tokens per second that the physics foretell for what is ready.
    pub(super) fn tokens_per_second(&self) -> f64 {
        let serving = self.groups.iter().map(|group| {
            let open = group.engines.values().iter().filter(|engine| !engine.draining).count();
            open as f64 * group.tokens_per_second
        });
        serving.sum()
    }

    /// The same for one replica of a variant.
    pub(super) fn tokens_per_second_of(&self, variant: VariantId) -> f64 {
        let index = usize::from(variant.0.wrapping_sub(self.first));
        self.groups.get(index).map_or(0.0, |group| group.tokens_per_second)
    }

    /// Whether any of these endpoints could ever take a request; all endpoints for `None`.
    pub(super) fn serves(&self, candidates: Option<&[EndpointId]>) -> bool {
        let Some(listed) = candidates else { return self.any(Need::Nothing) };
        listed.iter().any(|endpoint| {
            let group = self.group_of.get(*endpoint).map(|index| &self.groups[*index]);
            group.is_some_and(|group| {
                let engine = group.engines.get(*endpoint);
                group.role != Role::Prefill && engine.is_some_and(|engine| !engine.draining)
            })
        })
    }

    /// What is on one endpoint.
    pub(super) fn account(&self, endpoint: EndpointId) -> Option<Account> {
        let engine = self.get(endpoint)?;
        let in_flight = engine.is_told().then(|| engine.requests());
        Some(Account { in_flight, draining: engine.draining })
    }

    fn get(&self, endpoint: EndpointId) -> Option<&Engine> {
        self.groups[*self.group_of.get(endpoint)?].engines.get(endpoint)
    }

    fn any_prefill(&self) -> bool {
        let mut prefill = self.groups.iter().filter(|group| group.role == Role::Prefill);
        prefill.any(|group| group.engines.values().iter().any(|engine| !engine.draining))
    }

    fn change<R>(
        &mut self,
        now: Time,
        endpoint: EndpointId,
        change: impl FnOnce(&mut Engine) -> R,
    ) -> Option<R> {
        let index = *self.group_of.get(endpoint)?;
        self.groups[index].change(now, endpoint, change)
    }
}
