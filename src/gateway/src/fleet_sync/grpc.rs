//! `forebay.fleet.v1` over gRPC: gates call, controllers answer.

use std::pin::Pin;
use std::time::Duration;

use forebay_core::sync::{FromGate, ToGate};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};

use super::OUTBOX_MAX;
use super::controller::{ControllerHandle, ControllerInput};
use super::gate::{GateHandle, GateInput};
use super::wire::v1;
use super::wire::v1::fleet_sync_client::FleetSyncClient;
use super::wire::v1::fleet_sync_server::{FleetSync, FleetSyncServer};

/// Largest message: ten thousand endpoints with long addresses fit in.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// First and longest wait before a controller is called again.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A controller that does not answer a call within this is not there.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A connection that shows no sign of life for so long is dead.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// The controller's side.
#[derive(Clone, Debug)]
pub struct FleetSyncService {
    controller: ControllerHandle,
}

impl FleetSyncService {
    /// The service to add to a tonic server.
    #[must_use]
    pub fn server(controller: ControllerHandle) -> FleetSyncServer<Self> {
        FleetSyncServer::new(Self { controller })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl FleetSync for FleetSyncService {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<v1::ToGate, Status>> + Send>>;

    async fn sync(
        &self,
        request: Request<Streaming<v1::FromGate>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let mut incoming = request.into_inner();
        let (outbox, outgoing) = mpsc::channel::<ToGate>(OUTBOX_MAX);
        let controller = self.controller.clone();
        let link = controller.next_link();
        let gone = |_| Status::unavailable("the controller is shutting down");
        controller.inbox.send(ControllerInput::Connected(link, outbox)).await.map_err(gone)?;
        tokio::spawn(async move {
            while let Some(message) = incoming.next().await {
                let Ok(message) = message else { break };
                match FromGate::try_from(message) {
                    Ok(message) => {
                        let heard = ControllerInput::Heard(link, message);
                        if controller.inbox.send(heard).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "a gate"),
                }
            }
            let _ = controller.inbox.send(ControllerInput::Lost(link)).await;
        });
        let outgoing = ReceiverStream::new(outgoing).map(|message| Ok(message.into()));
        Ok(Response::new(Box::pin(outgoing)))
    }
}

/// Keeps a gate connected to one controller until every state machine is gone or the task is
/// aborted; calls again, slower each time, when the connection breaks.
pub async fn follow(gate: GateHandle, controller: Endpoint) {
    let controller = controller
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(ALIVE_EVERY)
        .keep_alive_timeout(ALIVE_EVERY)
        .keep_alive_while_idle(true);
    let mut wait = AGAIN_AFTER.0;
    while !gate.inbox.is_closed() {
        let began = Instant::now();
        if let Err(error) = once(&gate, &controller).await {
            let address = controller.uri();
            tracing::info!(%address, %error, "no connection to a controller");
        }
        let held = began.elapsed() > AGAIN_AFTER.1;
        wait = if held { AGAIN_AFTER.0 } else { (wait * 2).min(AGAIN_AFTER.1) };
        tokio::time::sleep(wait).await;
    }
}

/// One connection, from its first to its last message.
async fn once(
    gate: &GateHandle,
    controller: &Endpoint,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let channel = controller.connect().await?;
    let mut client = FleetSyncClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (outbox, outgoing) = mpsc::channel::<FromGate>(OUTBOX_MAX);
    let link = gate.next_link();
    let _lost = Lost(gate.clone(), link);
    gate.inbox.send(GateInput::Connected(link, outbox)).await?;
    let outgoing = ReceiverStream::new(outgoing).map(v1::FromGate::from);
    let mut incoming = client.sync(outgoing).await?.into_inner();
    while let Some(message) = incoming.next().await {
        match ToGate::try_from(message?) {
            Ok(message) => gate.inbox.send(GateInput::Heard(link, message)).await?,
            Err(error) => tracing::warn!(%error, "a controller"),
        }
    }
    Ok(())
}

/// Tells the gate's end when a connection ends, however it does.
struct Lost(GateHandle, forebay_core::sync::LinkId);

impl Drop for Lost {
    fn drop(&mut self) {
        // With a full inbox the link is found closed, and messages to it are dropped.
        let _ = self.0.inbox.try_send(GateInput::Lost(self.1));
    }
}
