//! Gate and controller in one process: the same messages, without a network.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::OUTBOX_MAX;
use super::controller::{ControllerHandle, ControllerInput};
use super::gate::{GateHandle, GateInput};

/// Joins a gate and a controller for as long as the task runs; aborting it parts them.
#[must_use = "dropping the handle leaves them joined for good"]
pub fn join(gate: &GateHandle, controller: &ControllerHandle) -> JoinHandle<()> {
    let (gate, controller) = (gate.clone(), controller.clone());
    tokio::spawn(async move {
        let (up, mut from_gate) = mpsc::channel(OUTBOX_MAX);
        let (down, mut to_gate) = mpsc::channel(OUTBOX_MAX);
        let (gate_link, controller_link) = (gate.next_link(), controller.next_link());
        let _parted = Parted(gate.clone(), gate_link, controller.clone(), controller_link);
        if controller.inbox.send(ControllerInput::Connected(controller_link, down)).await.is_err()
            || gate.inbox.send(GateInput::Connected(gate_link, up)).await.is_err()
        {
            return;
        }
        loop {
            let sent = tokio::select! {
                message = from_gate.recv() => match message {
                    Some(message) => {
                        let heard = ControllerInput::Heard(controller_link, message);
                        controller.inbox.send(heard).await.is_ok()
                    }
                    None => false,
                },
                message = to_gate.recv() => match message {
                    Some(message) => {
                        gate.inbox.send(GateInput::Heard(gate_link, message)).await.is_ok()
                    }
                    None => false,
                },
            };
            if !sent {
                return;
            }
        }
    })
}

/// Tells both ends when the join ends, however it does.
struct Parted(GateHandle, forebay_core::sync::LinkId, ControllerHandle, forebay_core::sync::LinkId);

impl Drop for Parted {
    fn drop(&mut self) {
        // A full inbox finds the link closed at its next message.
        let _ = self.0.inbox.try_send(GateInput::Lost(self.1));
        let _ = self.2.inbox.try_send(ControllerInput::Lost(self.3));
    }
}
