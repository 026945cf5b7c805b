//! The tonic service.

use std::sync::Arc;

use envoy_types::pb::envoy::service::ext_proc::v3::ProcessingRequest;
use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_server::{
    ExternalProcessor, ExternalProcessorServer,
};
use tonic::{Request, Response, Status, Streaming};

use super::Settings;
use super::admit::Admit;
use super::exchange::Exchange;
use super::session::Session;

/// Largest message of Envoy's that is taken: a chunk of a body as large as its buffers allow.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The endpoint picker.
#[derive(Debug)]
pub struct Picker<A> {
    admit: Arc<A>,
    settings: Arc<Settings>,
}

impl<A: Admit> Picker<A>
where
    A::Grant: Unpin,
{
    /// A picker that asks `admit`.
    #[must_use]
    pub fn new(admit: A, settings: Settings) -> Self {
        Self { admit: Arc::new(admit), settings: Arc::new(settings) }
    }

    /// The gRPC service, with limits as large as bodies need.
    #[must_use]
    pub fn service(self) -> ExternalProcessorServer<Self> {
        ExternalProcessorServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
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
        let peer = request.remote_addr().map(|address| address.ip());
        let exchange = Exchange::new(Arc::clone(&self.settings), peer);
        Ok(Response::new(Session::new(request.into_inner(), exchange, Arc::clone(&self.admit))))
    }
}
