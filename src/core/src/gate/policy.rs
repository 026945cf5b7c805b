//! What the traffic policy and the fleet say of a tier, and what was learned of it.

use super::reserve::Reserve;
use crate::fleet::{Late, Slo, World};
use crate::ids::{FleetId, TierId};
use crate::time::{Span, Time};

/// Tokens of guaranteed share that a tier can save up: a few long prompts.
const FLOOR_TOKENS_MAX: f64 = 65_536.0;

/// Output length before anything has finished: that of chat in public traces.
pub(super) const OUTPUT_TOKENS_INITIAL: f64 = 250.0;

/// Weight of one finished request in mean lengths, once there were enough for a mean: they
/// follow within a few hundred.
const LENGTH_GAIN: f64 = 0.005;

/// Half of what a tier took is forgotten after this long.
const TAKEN_HALF_LIFE: Span = Span::from_secs(10);

/// One tier.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) deferrable: bool,
    /// Whether its deadline is that of the whole answer.
    pub(super) completes: bool,
    pub(super) hold_max: Span,
    pub(super) late: Late,
    pub(super) floor: f64,
    /// Guaranteed share that it did not get yet, tokens.
    owed_tokens: f64,
    pub(super) output_tokens: Mean,
    /// What lower tiers leave free for it.
    pub(super) reserve: Reserve,
    taken: Rate,
}

/// A mean that forgets slowly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mean {
    pub(super) value: f64,
    count: u32,
}

/// Something per second, lately.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    sum: f64,
    at: Time,
}

impl Mean {
    pub(super) const fn starting_at(value: f64) -> Self {
        Self { value, count: 0 }
    }

    pub(super) fn learn(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let gain = (1.0 / f64::from(self.count)).max(LENGTH_GAIN);
        self.value += gain * (value - self.value);
    }
}

impl Rate {
    fn add(&mut self, now: Time, amount: f64) {
        self.sum = self.sum * self.kept(now) + amount;
        self.at = now;
    }

    fn per_second(&self, now: Time) -> f64 {
        self.sum * self.kept(now) * std::f64::consts::LN_2 / TAKEN_HALF_LIFE.as_seconds()
    }

    fn kept(&self, now: Time) -> f64 {
        (-now.since(self.at).as_seconds() / TAKEN_HALF_LIFE.as_seconds()).exp2()
    }
}

impl Policy {
    /// All tiers of a fleet.
    pub(super) fn all(world: &World, fleet: FleetId) -> Vec<Self> {
        let slos = &world.fleets[fleet.index()].slos;
        let tiers = world.tiers.iter().enumerate().map(|(index, tier)| Self {
            deferrable: tier.deferrable,
            completes: matches!(slos.get(index), Some(Some(Slo::Completion { .. }))),
            hold_max: tier.hold_max,
            late: tier.late,
            floor: tier.floor.clamp(0.0, 1.0),
            owed_tokens: 0.0,
            output_tokens: Mean::starting_at(OUTPUT_TOKENS_INITIAL),
            reserve: Reserve::new(&world.fleets[fleet.index()], TierId(index as u8)),
            taken: Rate::default(),
        });
        tiers.collect()
    }

    /// Tokens that it will probably generate.
    pub(super) fn output_expected(&self, output_tokens_max: Option<u32>) -> u32 {
        let mean = self.output_tokens.value.max(1.0) as u32;
        output_tokens_max.map_or(mean, |most| mean.min(most))
    }

    /// Whether its guaranteed share pays for a request now.
    pub(super) fn is_owed(&self, cost_tokens: f64) -> bool {
        self.owed_tokens >= cost_tokens.min(FLOOR_TOKENS_MAX)
    }

    /// Something was sent, of this tier (`own`) or another; `waits` whether more of this tier
    /// waits.
    pub(super) fn sent(&mut self, now: Time, cost_tokens: f64, own: bool, waits: bool) {
        if own {
            self.taken.add(now, cost_tokens);
        }
        let paid = if own { cost_tokens } else { 0.0 };
        let owed = self.owed_tokens + self.floor * cost_tokens - paid;
        // Who does not wait saves nothing up.
        self.owed_tokens = if waits { owed.clamp(0.0, FLOOR_TOKENS_MAX) } else { 0.0 };
    }

    /// Tokens per second that it takes.
    pub(super) fn takes(&self, now: Time) -> f64 {
        self.taken.per_second(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_found() {
        let mut rate = Rate::default();
        for tick in 0..1_000 {
            rate.add(Time::ZERO + Span::from_millis(tick * 100), 5.0);
        }
        let found = rate.per_second(Time::ZERO + Span::from_secs(100));
        assert!((45.0..55.0).contains(&found), "{found}");
        let later = rate.per_second(Time::ZERO + Span::from_secs(110));
        assert!((later / found - 0.5).abs() < 0.01);
    }

    #[test]
    fn the_first_lengths_tell_most() {
        let mut mean = Mean::starting_at(250.0);
        mean.learn(10.0);
        mean.learn(20.0);
        assert!((mean.value - 15.0).abs() < 1e-9);
    }
}
