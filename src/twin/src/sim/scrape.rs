//! What Prometheus and the gate's own scraper read, and when.

use forebay_core::gate::{EndpointLoad, GateEvent};
use forebay_core::ids::{EndpointId, FleetId, VariantId};
use forebay_core::observe::EngineSample;
use forebay_core::time::{Picos, Time};

use super::Simulation;
use super::calendar::Event;
use super::faults::ScrapeLuck;

impl Simulation<'_> {
    /// Prometheus scrapes everybody.
    pub(super) fn scrape(&mut self) {
        let now = Time::from_picos(self.now);
        for variant in 0..self.alive.len() {
            for &endpoint in &self.alive[variant] {
                let Some(engine) = &self.replicas[endpoint.index()].engine else { continue };
                let variant = VariantId(variant as u16);
                let sample = match self.faults.scrape(self.now, variant, endpoint) {
                    ScrapeLuck::Failed => continue,
                    ScrapeLuck::Read => engine.sample(self.now),
                    ScrapeLuck::Nan => with_nan_gauges(engine.sample(self.now)),
                };
                self.store.record_engine(endpoint, variant, now, sample);
            }
        }
        if !self.faults.blackout(self.now) {
            for (index, router) in self.routers.iter().enumerate() {
                let sample = router.sample(self.gates[index].gate.as_ref());
                self.store.record_router(FleetId(index as u16), now, sample);
            }
        }
        self.calendar.push(self.now + self.scenario.scrape_interval.as_picos(), Event::Scrape);
    }

    /// Before an engine changes: keeps what the gate's scraper saw at its last tick, so that
    /// scraping 20 times a second costs only where something happens.
    pub(super) fn note_scrape(&mut self, endpoint: EndpointId) {
        let fleet = self.fleet_of(endpoint);
        let Some(interval) = self.gates[fleet.index()].scrape_interval else { return };
        let replica = &mut self.replicas[endpoint.index()];
        let (tick, at) = last_tick(self.now, endpoint, interval);
        if tick > replica.scraped_tick
            && at >= replica.ready_at
            && replica.scrape_waiting.is_none_or(|(waiting, _)| waiting < tick)
            && let Some(engine) = &replica.engine
        {
            replica.scrape_waiting = Some((tick, engine.load(at)));
        }
    }

    /// Before a gate decides: its scrapes up to now.
    pub(super) fn deliver_scrapes(&mut self, fleet: FleetId) {
        let seat = &mut self.gates[fleet.index()];
        let Some(interval) = seat.scrape_interval else { return };
        let now = Time::from_picos(self.now);
        let mut effects = std::mem::take(&mut seat.effects);
        for &endpoint in &seat.endpoints {
            let replica = &mut self.replicas[endpoint.index()];
            let (tick, at) = last_tick(self.now, endpoint, interval);
            if tick <= replica.scraped_tick || at < replica.ready_at {
                continue;
            }
            let Some(engine) = &replica.engine else { continue };
            let mut load: EndpointLoad = match replica.scrape_waiting.take() {
                Some((waiting, load)) if waiting == tick => load,
                _ => engine.load(at),
            };
            replica.scraped_tick = tick;
            let luck = self.faults.scrape(at, replica.variant, endpoint);
            let lost = luck == ScrapeLuck::Failed;
            if luck == ScrapeLuck::Nan {
                load = EndpointLoad { running: f64::NAN, waiting: f64::NAN, kv_usage: f64::NAN };
            }
            let event = if lost {
                GateEvent::ScrapeLost { endpoint }
            } else {
                GateEvent::Scraped { endpoint, at: Time::from_picos(at), load }
            };
            // That scrapes fail is news once.
            if !(lost && std::mem::replace(&mut replica.scrape_lost, lost)) {
                replica.scrape_lost = lost;
                seat.gate.step(now, event, &mut effects);
            }
        }
        if effects.is_empty() {
            self.gates[fleet.index()].effects = effects;
        } else {
            self.carry_out_effects(fleet, effects);
        }
    }
}

/// The last tick of the scraper at or before `now`. Endpoints are scraped out of step with one
/// another, each at its own phase.
fn last_tick(now: Picos, endpoint: EndpointId, interval: Picos) -> (u64, Picos) {
    let phase = u64::from(endpoint.0).wrapping_mul(PHASE_STEP) % interval;
    // The count begins at one interval, so that it never goes below zero.
    let tick = (now + interval - phase) / interval;
    let at = (tick * interval + phase).saturating_sub(interval);
    (tick, at)
}

/// A large odd number spreads the phases over the interval.
const PHASE_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn with_nan_gauges(mut sample: EngineSample) -> EngineSample {
    sample.running = f64::NAN;
    sample.waiting = f64::NAN;
    sample.waiting_deferred = f64::NAN;
    sample.kv_usage = f64::NAN;
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_at_most_an_interval_back_and_count_up() {
        let interval = 50_000_000_000;
        let mut before = 0;
        for now in (0..2_000_000_000_000).step_by(7_000_000_000) {
            let (tick, at) = last_tick(now, EndpointId(13), interval);
            assert!(now < at + interval && (at <= now || now < interval), "{now} {at}");
            assert!(tick >= before);
            before = tick;
        }
    }
}
