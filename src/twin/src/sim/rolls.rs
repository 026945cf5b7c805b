//! A planner's effects, and the roll-forwards among them.

use forebay_core::plan::roll::{RollAnswer, RollRequest};
use forebay_core::plan::{PlanEffect, PlanEvent};
use forebay_core::time::{Span, Time};

use super::Simulation;
use super::calendar::Event;
use crate::roll::roll_forward;

/// From a request to its answer: what a live controller may take for it, off its fast path.
pub const ROLL_DELAY: Span = Span::from_secs(1);
/// Answers under way; a planner that asks faster than this gets no answer to the rest.
const ROLLS_MAX: usize = 8;

impl Simulation<'_> {
    /// Does what the planner wants done, and asks when it wants to be called next.
    pub(super) fn carry_out_plan(&mut self, mut effects: Vec<PlanEffect>) {
        for effect in effects.drain(..) {
            match effect {
                PlanEffect::Scale { variant, replicas, .. } => self.scale(variant, replicas),
                PlanEffect::Roll(request) => self.roll(&request),
                PlanEffect::Decided(decision) => {
                    if let Some(decided) = &mut self.decided {
                        decided(*decision);
                    }
                }
                PlanEffect::Abort { what } => self.aborted = Some(what),
            }
        }
        self.plan_effects = effects;
        self.schedule_planner();
    }

    fn roll(&mut self, request: &RollRequest) {
        if self.rolls.len() >= ROLLS_MAX {
            return;
        }
        match roll_forward(self.world, request) {
            Ok(answer) => {
                self.rolls.push_back(answer);
                self.calendar.push(self.now + ROLL_DELAY.as_picos(), Event::Rolled);
            }
            Err(error) => self.aborted = Some(format!("asked for a roll-forward: {error}")),
        }
    }

    /// The oldest answer reaches the planner.
    pub(super) fn rolled(&mut self) {
        let Some(answer): Option<RollAnswer> = self.rolls.pop_front() else { return };
        if self.aborted.is_some() {
            return;
        }
        let now = Time::from_picos(self.now);
        let mut effects = std::mem::take(&mut self.plan_effects);
        self.planner.step(now, PlanEvent::Rolled(&answer), &mut effects);
        self.carry_out_plan(effects);
    }
}
