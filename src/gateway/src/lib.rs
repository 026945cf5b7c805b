//! One gate behind three faces: Envoy's endpoint picker (ext_proc), the request admission webhook
//! (asked about requests, not about Kubernetes objects) and a reverse proxy.

#![forbid(unsafe_code)]

pub mod admission;
pub mod body;
pub mod clock;
pub mod connections;
pub mod desk;
pub mod ext_proc;
pub mod fleet_sync;
pub mod front;
pub mod fuzzing;
pub mod grpc;
pub mod health;
pub mod metrics;
pub mod proxy;
pub mod spans;
#[cfg(test)]
mod testing;
pub mod tls;
