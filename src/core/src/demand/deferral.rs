//! Work that can wait: when it must be done, and how much of the fleet it needs now.
//!
//! Two laws, both pure. The simple one spreads what is due evenly up to its deadline. The other
//! fills the valleys of the forecast first: it raises one water level over the slots up to each
//! deadline until all work fits, earliest deadline first, and asks now only for what that level
//! leaves above the work that cannot wait.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// Buckets of arrival time that are told apart: with buckets of a sixtieth of the deadline, all
/// that is not late yet; what is older falls into the first.
const BUCKETS_MAX: usize = 64;
/// A tier's deadline holds so many buckets.
const BUCKETS_PER_DEADLINE: u64 = 60;
/// Halvings of the search for a water level: a millionth of its range.
const HALVINGS: u32 = 20;
/// Shortest time in which work that is due, or late, is asked to be done.
const SOON: Span = Span::from_secs(60);

/// Work that must be done by a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Due {
    /// The deadline.
    pub by: Time,
    /// Work, in replica-seconds of one variant (or any other unit, all the same).
    pub work: f64,
}

/// When what a deferrable tier holds arrived. A router tells how much waits but not since when;
/// what came first is taken to be done first. Kept in requests (or any unit that does not drift),
/// so that a new estimate of their work changes what is due and not since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    within: Span,
    /// Start of each bucket and the requests that arrived in it and still wait, oldest first.
    buckets: VecDeque<(Time, f64)>,
    last: Option<Time>,
}

impl Backlog {
    /// Of a tier whose work is due `within` a span of its arrival.
    #[must_use]
    pub const fn new(within: Span) -> Self {
        Self { within, buckets: VecDeque::new(), last: None }
    }

    /// Takes in the requests that arrived since the last call and those that wait now. What waits
    /// beyond all arrivals that were seen came at the last call, or, when there was none, half of
    /// its time ago.
    pub fn observe(&mut self, now: Time, arrived: f64, waiting: f64) {
        let sound = |requests: f64| if requests.is_finite() { requests.max(0.0) } else { 0.0 };
        // A reading that is no number leaves the record as it is.
        let known = self.requests() + sound(arrived);
        let unseen = if waiting.is_finite() { waiting.max(0.0) - known } else { 0.0 };
        if unseen > 0.0 {
            let half_ago = Time(now.0.saturating_sub(self.within.0 / 2));
            self.push(self.last.unwrap_or(half_ago), unseen);
        }
        self.push(now, sound(arrived));
        self.done(-unseen);
        self.last = Some(now);
    }

    /// All that wait.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.buckets.iter().map(|(_, requests)| requests).sum()
    }

    /// By when what work must be done, earliest first, at this work per request.
    #[must_use]
    pub fn due(&self, work_per_request: f64) -> Vec<Due> {
        let due =
            |&(from, requests)| Due { by: from + self.within, work: requests * work_per_request };
        self.buckets.iter().map(due).collect()
    }

    fn push(&mut self, now: Time, requests: f64) {
        if requests <= 0.0 {
            return;
        }
        let width = Span(self.within.0 / BUCKETS_PER_DEADLINE);
        match self.buckets.back_mut() {
            // A clock that stepped back falls into the newest bucket.
            Some((from, held)) if now.since(*from) < width => *held += requests,
            _ => self.buckets.push_back((now, requests)),
        }
        if self.buckets.len() > BUCKETS_MAX
            && let Some((from, requests)) = self.buckets.pop_front()
            && let Some(next) = self.buckets.front_mut()
        {
            // The older deadline holds for both.
            *next = (from, requests + next.1);
        }
    }

    fn done(&mut self, mut requests: f64) {
        while requests > 0.0
            && let Some((_, held)) = self.buckets.front_mut()
        {
            if *held > requests {
                *held -= requests;
                return;
            }
            requests -= *held;
            self.buckets.pop_front();
        }
    }
}

/// Replicas that must be busy from now on so that everything is done evenly by its deadline:
/// `max over d of W(d) / (d - now - lead - margin)`. What is due before capacity asked for now
/// would be ready is to be done soon.
#[must_use]
pub fn rate_needed(now: Time, due: &[Due], lead: Span, margin: Span) -> f64 {
    let ready = now + lead + margin;
    let mut work = 0.0;
    let mut rate = 0.0_f64;
    for item in in_order(due) {
        work += item.work;
        let left = item.by.since(ready).as_seconds().max(SOON.as_seconds());
        rate = rate.max(work / left);
    }
    rate
}

/// Replicas for interactive work and what is deferred, by the simple law.
///
/// `interactive` is the work at the end of the lead time, `now` that of now, both in busy
/// replicas; each needs headroom: `rho_interactive` where nobody waits, `rho_saturated` where
/// deferred work fills the gaps.
#[must_use]
pub fn replicas_needed(
    interactive: f64,
    deferred_rate: f64,
    rho_interactive: f64,
    rho_saturated: f64,
) -> f64 {
    (interactive / rho_interactive).max((interactive + deferred_rate) / rho_saturated)
}

/// One stretch of the forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Its end; it begins where the one before ends, the first one now.
    pub until: Time,
    /// Work that cannot wait, in busy replicas.
    pub interactive: f64,
    /// Most busy replicas there can be: what is there until the lead time has passed, what may be
    /// bought afterwards.
    pub most: f64,
}

/// Where deferred work goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// Busy replicas, interactive work included, that must be there up to the deadline that binds.
    pub level: f64,
    /// Busy replicas that deferred work should have by slot.
    pub rates: Vec<f64>,
    /// Work that no level does in time; 0 when all fits.
    pub unplaced: f64,
}

/// Places deferred work into the valleys of the forecast, earliest deadline first, at the lowest
/// level that does all of it in time. Work due after the last slot is due at its end.
#[must_use]
pub fn fill_valleys(now: Time, slots: &[Slot], due: &[Due]) -> Fill {
    let due: Vec<Due> = in_order(due);
    let work: f64 = due.iter().map(|item| item.work).sum();
    let most = slots.iter().map(|slot| slot.most).fold(0.0, f64::max);
    let (mut low, mut high) = (0.0, most);
    let late = pour(now, slots, &due, most);
    let unplaced = late.late;
    if work <= 0.0 {
        return Fill { level: 0.0, rates: vec![0.0; slots.len()], unplaced: 0.0 };
    }
    // Above what cannot be placed anyway, the lowest level that is as good as the highest.
    let tolerance = unplaced + 1e-9 * work;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if pour(now, slots, &due, middle).late <= tolerance {
            high = middle;
        } else {
            low = middle;
        }
    }
    let poured = pour(now, slots, &due, high);
    Fill { level: high, rates: poured.rates, unplaced }
}

struct Poured {
    rates: Vec<f64>,
    /// Work that was not done by its deadline.
    late: f64,
}

/// Runs through the slots at one level, earliest deadline first.
fn pour(now: Time, slots: &[Slot], due: &[Due], level: f64) -> Poured {
    let mut left: Vec<Due> = due.to_vec();
    let (mut first, mut from, mut late) = (0, now, 0.0);
    let mut rates = Vec::with_capacity(slots.len());
    let end = slots.last().map_or(now, |slot| slot.until);
    for slot in slots {
        let seconds = slot.until.since(from).as_seconds();
        let rate = (level.min(slot.most) - slot.interactive).max(0.0);
        let mut room = rate * seconds;
        let mut done = 0.0;
        while let Some(item) = left.get_mut(first) {
            // Only the part of the slot before the deadline counts.
            let usable = item.by.min(end).since(from).as_seconds().min(seconds);
            let now_done = item.work.min(room).min((rate * usable - done).max(0.0));
            item.work -= now_done;
            room -= now_done;
            done += now_done;
            let missed = item.by <= slot.until && item.by < end;
            if item.work > 0.0 && !missed {
                break;
            }
            late += item.work;
            first += 1;
        }
        rates.push(if seconds > 0.0 { done / seconds } else { 0.0 });
        from = slot.until;
    }
    late += left[first..].iter().map(|item| item.work).sum::<f64>();
    Poured { rates, late }
}

fn in_order(due: &[Due]) -> Vec<Due> {
    let mut due: Vec<Due> =
        due.iter().filter(|item| item.work.is_finite() && item.work > 0.0).copied().collect();
    due.sort_by_key(|item| item.by);
    due
}

#[cfg(test)]
#[path = "deferral_tests.rs"]
mod tests;
