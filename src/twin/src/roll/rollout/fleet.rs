//! The fleet of a plan at the beginning: who is there, who comes and who goes, and what runs.

use std::cmp::Reverse;

use forebay_core::engine::{Engine, Part};
use forebay_core::fleet::Role;
use forebay_core::plan::roll::{Candidate, EngineLoad, LiveEndpoint, PendingReplica};
use forebay_core::time::{PICOS_PER_SECOND, Picos};
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

use super::{Billed, Flight, Rollout, Seat, Timer};
use crate::roll::course::Known;
use crate::roll::scenario::{picos, whole};

/// A replica that is overdue takes this much longer, as a share of its usual time.
const OVERDUE_SHARE: f64 = 0.1;
/// What runs is stretched or shrunk to fill the KV cache as its page says, within these bounds: a
/// page may be of another moment than the count of sequences.
const KV_FIT: (f64, f64) = (0.25, 4.0);
/// Odd numbers, so that every draw has a stream of its own.
const ENDPOINT_SALT: u64 = 0xd6e8_feb8_6659_fd93;
const START_SALT: u64 = 0xbf58_476d_1ce4_e5b9;

impl<'a> Rollout<'a> {
    /// Enters the replicas of a plan.
    pub(super) fn take_seats(&mut self, plan: &Candidate) {
        let course = self.course;
        let live = &course.request.live;
        let mut loads: Vec<(u32, u32, EngineLoad)> = Vec::new();
        for known in &course.variants {
            let mut there: Vec<&LiveEndpoint> =
                live.endpoints.iter().filter(|endpoint| endpoint.variant == known.id).collect();
            there.sort_by_key(|endpoint| (endpoint.draining, endpoint.endpoint));
            let mut pending: Vec<&PendingReplica> =
                live.pending.iter().filter(|replica| replica.variant == known.id).collect();
            // Those without a node go first when replicas go, then those that would come last.
            pending.sort_by_key(|replica| (replica.ready_at.is_none(), replica.ready_at));
            let usual = mean_load(&there);
            let mut wanted = plan.of(known.id) as usize;
            for endpoint in there {
                let stays = !endpoint.draining && wanted > 0;
                wanted -= usize::from(stays);
                let latest = self.now.saturating_add(known.drain_max.as_picos());
                let billed = if stays { Billed::Throughout } else { Billed::Draining { latest } };
                let seat = self.add_seat(known, stays, billed);
                if let Some(load) = endpoint.load.or(usual) {
                    loads.push((seat, endpoint.endpoint.0, load));
                }
            }
            let kept = wanted.min(pending.len());
            for (nth, replica) in pending[..kept].iter().enumerate() {
                let ready_at = self.pending_ready_at(known, replica, nth);
                self.add_coming(known, ready_at);
            }
            for nth in kept..wanted {
                let lead_s = known.lead_s * self.luck(known, nth);
                self.add_coming(known, Some(self.now.saturating_add(picos(lead_s))));
            }
        }
        self.due
            .rebuild(vec![forebay_core::pick::Tournament::ABSENT; self.seats.len()].into_iter());
        for (seat, endpoint, load) in loads {
            self.load(seat, endpoint, load);
        }
        for index in 0..self.seats.len() {
            let seat = &mut self.seats[index];
            if seat.in_flight == 0 && matches!(seat.billed, Billed::Draining { .. }) {
                seat.billed = Billed::Never;
            }
        }
        self.heed_all();
    }

    fn add_seat(&mut self, known: &'a Known, open: bool, billed: Billed) -> u32 {
        self.seats.push(Seat {
            known,
            engine: Engine::new(std::sync::Arc::clone(&known.physics)),
            open,
            in_flight: 0,
            prefill_tokens: 0,
            kv_tokens: 0,
            billed,
        });
        (self.seats.len() - 1) as u32
    }

    /// A replica that will be ready; without a time it has no node.
    fn add_coming(&mut self, known: &'a Known, ready_at: Option<Picos>) {
        let billed = if ready_at.is_some() { Billed::Throughout } else { Billed::Never };
        let seat = self.add_seat(known, false, billed);
        if let Some(at) = ready_at {
            self.timers.push(Reverse((at, Timer::Ready(seat))));
        }
    }

    /// When a pending replica is ready: its expected time spread out, given that it is not yet.
    fn pending_ready_at(
        &self,
        known: &Known,
        replica: &PendingReplica,
        nth: usize,
    ) -> Option<Picos> {
        let expected = replica.ready_at?;
        let usual_s = expected.since(replica.asked_at).as_seconds();
        let asked_at = replica.asked_at.as_picos();
        let at = asked_at.saturating_add(picos(usual_s * self.luck(known, nth)));
        if at > self.now {
            return Some(at);
        }
        Some(self.now.saturating_add(picos(usual_s.max(known.lead_s) * OVERDUE_SHARE)))
    }

    /// How many times the usual the n-th start of a variant takes; the same for every plan.
    fn luck(&self, known: &Known, nth: usize) -> f64 {
        let stream = (u64::from(known.id.0) << 32 | nth as u64).wrapping_mul(START_SALT);
        let normal: f64 = StandardNormal.sample(&mut seeded(self.scenario.seed ^ stream));
        (known.lead_sigma * normal).exp()
    }

    /// Puts into an engine what its page says is there.
    fn load(&mut self, seat: u32, endpoint: u32, load: EngineLoad) {
        let salt = u64::from(endpoint + 1).wrapping_mul(ENDPOINT_SALT);
        let mut random = seeded(self.scenario.seed ^ salt);
        let known = self.seats[seat as usize].known;
        let mut running = self.met(known, load, &mut random);
        let waiting = load.waiting + load.waiting_for_kv;
        let role = known.role;
        for (prompt, output) in running.drain(..) {
            match role {
                // Its prompt is being computed: half of it is left, on average.
                Role::Prefill => {
                    self.put(seat, prompt.div_ceil(2), output, Part::Prefill, false);
                }
                Role::Both | Role::Decode => self.put(seat, prompt, output, Part::Decode, true),
            }
        }
        for _ in 0..waiting {
            let (prompt, output) = self.new_lengths(&mut random);
            let part = match role {
                Role::Both => Part::Whole,
                Role::Prefill => Part::Prefill,
                Role::Decode => Part::Decode,
            };
            self.put(seat, prompt, output, part, role == Role::Decode);
        }
        self.heed_all();
    }

    /// Those in the batch: tokens so far and tokens to come.
    fn met(&self, known: &Known, load: EngineLoad, random: &mut impl Rng) -> Vec<(u32, u32)> {
        let mut running: Vec<(f64, f64)> = (0..load.running)
            .map(|_| {
                let means = self.course.tiers[self.any_tier(random)];
                let prompt = self.course.prompts.draw(means.prompt_tokens, random);
                if known.role == Role::Prefill {
                    return (prompt, self.course.outputs.draw(means.output_tokens, random));
                }
                let output = self.course.outputs.draw_met(means.output_tokens, random);
                let done: f64 = random.random();
                (prompt + output * done, output * (1.0 - done))
            })
            .collect();
        let capacity = known.physics.capacity_tokens() as f64;
        let held: f64 = running.iter().map(|(prompt, _)| prompt).sum();
        if known.role != Role::Prefill && held > 0.0 && load.kv_usage > 0.0 {
            let fit = (load.kv_usage * capacity / held).clamp(KV_FIT.0, KV_FIT.1);
            running.iter_mut().for_each(|(prompt, _)| *prompt *= fit);
        }
        // What never fits would be refused: a page that says so is of another engine.
        running.into_iter().map(|(so_far, to_come)| (whole(so_far), whole(to_come))).collect()
    }

    fn new_lengths(&self, random: &mut impl Rng) -> (u32, u32) {
        let means = self.course.tiers[self.any_tier(random)];
        let prompt = self.course.prompts.draw(means.prompt_tokens, random);
        (whole(prompt), whole(self.course.outputs.draw(means.output_tokens, random)))
    }

    /// A tier, as often as it arrives.
    fn any_tier(&self, random: &mut impl Rng) -> usize {
        let record = &self.course.request.record;
        let rates = (0..self.course.tiers.len()).map(|tier| record.requests_per_s(tier));
        let rates: Vec<f64> = rates.map(|rate| rate.unwrap_or(0.0)).collect();
        let mut place = random.random::<f64>() * rates.iter().sum::<f64>();
        let found = rates.iter().position(|rate| {
            place -= rate;
            place < 0.0
        });
        found.unwrap_or(0)
    }

    fn put(&mut self, seat: u32, prompt: u32, output: u32, part: Part, present: bool) {
        let id = self.flights.len() as u32;
        self.flights.push(Flight {
            tier: None,
            prompt_tokens: prompt,
            output_tokens: output,
            arrived_at: self.now,
            first_token_at: None,
            seat,
            prefill: (part == Part::Prefill).then_some(seat),
            overhead: 0,
            kv_tokens: 0,
            present,
            ended: false,
        });
        self.send(id, seat, part);
    }
}

/// What an engine of the same variant does whose page is known.
fn mean_load(endpoints: &[&LiveEndpoint]) -> Option<EngineLoad> {
    let known: Vec<EngineLoad> = endpoints.iter().filter_map(|endpoint| endpoint.load).collect();
    let count = u32::try_from(known.len()).ok().filter(|&count| count > 0)?;
    let mean = |read: fn(&EngineLoad) -> u32| known.iter().map(read).sum::<u32>() / count;
    Some(EngineLoad {
        running: mean(|load| load.running),
        waiting: mean(|load| load.waiting),
        waiting_for_kv: mean(|load| load.waiting_for_kv),
        kv_usage: known.iter().map(|load| load.kv_usage).sum::<f64>() / f64::from(count),
    })
}

fn seeded(seed: u64) -> Pcg64Mcg {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    // The first draws of nearby seeds are correlated.
    let _ = random.next_u64();
    random
}

/// Time of a transfer of KV between two replicas.
pub(super) fn transfer_picos(setup: Picos, bytes: f64, bytes_per_second: f64) -> Picos {
    let seconds = if bytes_per_second > 0.0 { bytes / bytes_per_second } else { 0.0 };
    setup.saturating_add((seconds * PICOS_PER_SECOND as f64) as Picos)
}
