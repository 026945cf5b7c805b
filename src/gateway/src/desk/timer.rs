//! Sends the gate its deadlines.

use forebay_core::gate::GateEvent;
use forebay_core::time::Time;
use tokio::time::sleep_until;

use super::Desk;

/// Sleeps until the armed deadline, sends `Due`, arms the next; never returns.
pub(super) async fn run(desk: &Desk) {
    loop {
        let armed = desk.lock().armed;
        match armed {
            None => desk.shared.rearm.notified().await,
            Some(at) => {
                let wake = desk.shared.clock.instant(at);
                tokio::select! {
                    () = sleep_until(wake) => due(desk, at),
                    () = desk.shared.rearm.notified() => {}
                }
            }
        }
    }
}

/// The armed deadline has come. A later one than it may hold by now: then this only arms again.
fn due(desk: &Desk, at: Time) {
    // Timers have a resolution of a millisecond; the gate must not see a time before its deadline.
    let now = desk.now().max(at);
    let mut state = desk.lock();
    state.armed = None;
    if state.gate.next_deadline().is_some_and(|deadline| deadline <= now) {
        desk.step(&mut state, now, GateEvent::Due, None);
    }
    state.armed = state.gate.next_deadline();
}
