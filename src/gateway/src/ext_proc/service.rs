//! The tonic service.

use std::net::IpAddr;
use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::Settings;
use super::admit::Admit;
use super::exchange::Exchange;
use super::session::Session;
use super::wire::ProcessingRequest;
use super::wire::external_processor_server::{ExternalProcessor, ExternalProcessorServer};

/// Largest message of Envoy's that is taken: a chunk of a body as large as its buffers allow.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The endpoint picker, as one connection meets it.
#[derive(Debug)]
pub struct Picker<A> {
    admit: Arc<A>,
    settings: Arc<Settings>,
    peer: Option<IpAddr>,
}

impl<A: Admit> Picker<A>
where
    A::Grant: Unpin,
{
    /// A picker that asks `admit`.
    #[must_use]
    pub fn new(admit: A, settings: Settings) -> Self {
        Self { admit: Arc::new(admit), settings: Arc::new(settings), peer: None }
    }

    /// The gRPC service for a proxy at `peer`, with limits as large as bodies need.
    #[must_use]
    pub fn service(&self, peer: IpAddr) -> ExternalProcessorServer<Self> {
        ExternalProcessorServer::new(Self { peer: Some(peer), ..self.clone() })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Another handle to the same gate.
impl<A> Clone for Picker<A> {
    fn clone(&self) -> Self {
        let (admit, settings) = (Arc::clone(&self.admit), Arc::clone(&self.settings));
        Self { admit, settings, peer: self.peer }
    }
}

#[tonic::async_trait]
impl<A: Admit> ExternalProcessor for Picker<A>
where
    A::Grant: Unpin,
{
    type ProcessStream = Session<A>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Session<A>>, Status> {
        let exchange = Exchange::new(Arc::clone(&self.settings), self.peer);
        Ok(Response::new(Session::new(request.into_inner(), exchange, Arc::clone(&self.admit))))
    }
}
