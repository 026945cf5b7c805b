//! A pool of clients, each with its own arrivals and lengths, merged in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use forebay_core::time::Time;

use super::draw::{self, Purpose, Stream};
use super::gaps::{Family, RenewalGaps};
use super::lengths::LengthDistribution;
use super::rebuilt::RebuiltLengths;
use super::servegen::Histograms;
use super::stratified::Stratified;
use super::{Request, Source, TraceError};

/// A span of constant rate; bins lie in order and do not overlap, between them nothing arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bin {
    /// From the start of the window, s.
    pub(super) start_s: f64,
    /// Length, s; positive.
    pub(super) length_s: f64,
    /// Requests expected in it; positive.
    pub(super) requests: f64,
    /// Coefficient of variation of the gaps.
    pub(super) cv: f64,
    /// Family of the gaps.
    pub(super) family: Family,
}

/// One client of a pool.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Its number in the trace.
    pub(super) id: u32,
    /// Factor on the requests of its bins.
    pub(super) share: f64,
    /// When how much arrives.
    pub(super) bins: Arc<[Bin]>,
    /// How the arrivals of a bin are drawn.
    pub(super) arrivals: Arrivals,
}

/// How a client's arrivals are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arrivals {
    /// Each bin's count is a measurement and is held.
    Held,
    /// Rates are rates: a renewal process with this CV in operational time.
    Renewal {
        /// Coefficient of variation of the gaps.
        cv: f64,
    },
}

/// Where the lengths of a pool's requests come from.
#[derive(Clone, Debug)]
pub(super) enum PoolLengths {
    /// The same for all.
    Common {
        /// Prompt lengths.
        prompt: LengthDistribution,
        /// Output lengths.
        output: LengthDistribution,
    },
    /// By client and time of day.
    Histograms(Histograms),
    /// By time, from recorded metrics.
    Rebuilt(RebuiltLengths),
}

/// Clients and lengths: all that a pass needs.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) clients: Vec<Client>,
    pub(super) lengths: PoolLengths,
    pub(super) seed: u64,
}

impl Pool {
    /// Requests expected over the window.
    #[cfg(test)]
    pub(super) fn requests_expected(&self) -> f64 {
        let of = |client: &Client| {
            client.bins.iter().map(|bin| bin.requests).sum::<f64>() * client.share
        };
        self.clients.iter().map(of).sum()
    }

    /// A fresh pass.
    pub(super) fn stream(self: &Arc<Self>) -> PoolSource {
        let mut clients: Vec<ClientState> =
            self.clients.iter().map(|client| ClientState::new(client, self.seed)).collect();
        let mut heads = BinaryHeap::with_capacity(clients.len());
        for (index, client) in clients.iter_mut().enumerate() {
            if let Some(at) = client.next_arrival() {
                heads.push(Reverse((Time::from_seconds(at), index as u32)));
            }
        }
        PoolSource { pool: Arc::clone(self), clients, heads }
    }
}

/// One pass over a pool.
pub(super) struct PoolSource {
    pool: Arc<Pool>,
    clients: Vec<ClientState>,
    heads: BinaryHeap<Reverse<(Time, u32)>>,
}

struct ClientState {
    arrivals: ArrivalState,
    gaps_random: Stream,
    lengths_random: Stream,
}

enum ArrivalState {
    Held(Stratified),
    Renewal { gaps: RenewalGaps, clock: OperationalClock, next: Option<f64> },
}

impl ClientState {
    fn new(client: &Client, seed: u64) -> Self {
        let identity = u64::from(client.id);
        let mut gaps_random = draw::stream(seed, Purpose::Arrivals, identity);
        let clock = OperationalClock::new(Arc::clone(&client.bins), client.share);
        let arrivals = match client.arrivals {
            Arrivals::Held => ArrivalState::Held(Stratified::new(clock, &mut gaps_random)),
            Arrivals::Renewal { cv } => {
                let gaps = RenewalGaps::new(cv);
                let next = Some(gaps.draw_first(&mut gaps_random));
                ArrivalState::Renewal { gaps, clock, next }
            }
        };
        Self {
            arrivals,
            gaps_random,
            lengths_random: draw::stream(seed, Purpose::Lengths, identity),
        }
    }

    /// Seconds from the start of the window.
    fn next_arrival(&mut self) -> Option<f64> {
        match &mut self.arrivals {
            ArrivalState::Held(stratified) => stratified.next_arrival(&mut self.gaps_random),
            ArrivalState::Renewal { gaps, clock, next } => {
                let position = (*next)?;
                let at = clock.seconds_at(position);
                *next = at.is_some().then(|| position + gaps.draw(&mut self.gaps_random));
                at
            }
        }
    }
}

impl Source for PoolSource {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((at, index)) = *head;
        let client = &mut self.clients[index as usize];
        match client.next_arrival() {
            Some(next) => head.0.0 = Time::from_seconds(next).max(at),
            None => {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        let random = &mut client.lengths_random;
        let (prompt_tokens, output_tokens) = match &self.pool.lengths {
            PoolLengths::Common { prompt, output } => (prompt.draw(random), output.draw(random)),
            PoolLengths::Histograms(histograms) => histograms.draw(index, at, random),
            PoolLengths::Rebuilt(rebuilt) => rebuilt.draw(at, random),
        };
        let client = self.pool.clients[index as usize].id;
        Ok(Some(Request { at, prompt_tokens, output_tokens, client, prefix: None }))
    }
}

/// Turns operational time (the requests expected so far) into seconds, for positions that never
/// fall.
#[derive(Clone, Debug)]
pub(super) struct OperationalClock {
    pub(super) bins: Arc<[Bin]>,
    pub(super) scale: f64,
    bin: usize,
    /// Operational time at the start of that bin.
    before: f64,
}

impl OperationalClock {
    pub(super) fn new(bins: Arc<[Bin]>, scale: f64) -> Self {
        Self { bins, scale, bin: 0, before: 0.0 }
    }

    /// Seconds at which `position` is reached; `None` after the last bin.
    pub(super) fn seconds_at(&mut self, position: f64) -> Option<f64> {
        loop {
            let bin = self.bins.get(self.bin)?;
            let requests = bin.requests * self.scale;
            let part = (position - self.before) / requests;
            if part < 1.0 {
                return Some(part.max(0.0).mul_add(bin.length_s, bin.start_s));
            }
            self.before += requests;
            self.bin += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operational_time_stands_still_where_nothing_arrives() {
        let bin = |start_s, requests| Bin {
            start_s,
            length_s: 10.0,
            requests,
            cv: 1.0,
            family: Family::Gamma,
        };
        let mut clock = OperationalClock::new([bin(0.0, 5.0), bin(100.0, 10.0)].into(), 2.0);
        assert_eq!(clock.seconds_at(0.0), Some(0.0));
        assert_eq!(clock.seconds_at(5.0), Some(5.0));
        assert_eq!(clock.seconds_at(10.0), Some(100.0));
        assert_eq!(clock.seconds_at(20.0), Some(105.0));
        assert_eq!(clock.seconds_at(30.0), None);
    }
}
