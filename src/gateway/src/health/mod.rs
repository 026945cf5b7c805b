//! gRPC health: whether the picker takes requests.
//!
//! `liveness` is true as long as we answer at all, so that nobody restarts a gate that waits for
//! its fleet. The empty name, `readiness` and the picker's own name follow readiness.

use std::pin::Pin;

use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// Generated from `proto/grpc/health/v1/health.proto`.
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("grpc.health.v1");
}

#[cfg(test)]
mod tests;

use v1::health_check_response::ServingStatus;
use v1::health_server::HealthServer;
use v1::{HealthCheckRequest, HealthCheckResponse};

/// The service that Envoy and Kubernetes probe.
pub const PICKER_SERVICE: &str = "envoy.service.ext_proc.v3.ExternalProcessor";

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Process,
    Gate,
}

fn subject(service: &str) -> Option<Subject> {
    match service {
        "liveness" => Some(Subject::Process),
        "" | "readiness" | PICKER_SERVICE => Some(Subject::Gate),
        _ => None,
    }
}

const fn status(subject: Subject, ready: bool) -> HealthCheckResponse {
    let status = match (subject, ready) {
        (Subject::Process, _) | (Subject::Gate, true) => ServingStatus::Serving,
        (Subject::Gate, false) => ServingStatus::NotServing,
    };
    HealthCheckResponse { status: status as i32 }
}

/// The health of this process, told by whoever knows whether it is ready.
#[derive(Clone, Debug)]
pub struct Health {
    ready: watch::Receiver<bool>,
}

impl Health {
    /// Follows `ready`: synced, with a policy, active, not shutting down, and speaking the pool's
    /// protocol.
    #[must_use]
    pub const fn new(ready: watch::Receiver<bool>) -> Self {
        Self { ready }
    }

    /// The gRPC service.
    #[must_use]
    pub fn service(self) -> HealthServer<Self> {
        HealthServer::new(self)
    }
}

#[tonic::async_trait]
impl v1::health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        match subject(service) {
            Some(subject) => Ok(Response::new(status(subject, *self.ready.borrow()))),
            None => Err(Status::not_found(format!("there is no service `{service}` here"))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let subject = subject(&request.get_ref().service);
        let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown as i32 };
        let changes = WatchStream::new(self.ready.clone())
            .map(move |ready| Ok(subject.map_or(unknown, |subject| status(subject, ready))));
        Ok(Response::new(Box::pin(changes)))
    }
}
