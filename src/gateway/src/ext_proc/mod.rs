//! The endpoint picker: one gate behind Envoy's external processing filter.
//!
//! [`Exchange`] is what happens on one stream, as a state machine without I/O: Envoy's messages in,
//! replies out, and in between what it wants to know ([`Todo`]). [`Picker`] is the tonic service
//! around it; [`Admit`] is the gate that it asks.
//!
//! Request bodies come `FULL_DUPLEX_STREAMED`. Response bodies either way: the same, and usage is
//! read from what passes; or `NONE`, where answers survive our death and cost nothing per event, how
//! they end is mostly not observed, and usage comes from elsewhere.

mod admit;
mod codec;
mod exchange;
mod head;
mod metadata;
mod replies;
mod request;
mod response;
mod service;
mod session;
#[cfg(test)]
mod tests;
pub mod wire;

pub use admit::{Admit, Grant};
pub use codec::Codec;
pub use exchange::{Exchange, Todo};
pub use head::Head;
pub use request::{Asked, Reading};
pub use service::{MESSAGE_BYTES_MAX, Picker};
pub use session::Session;

/// Where a request is to go; `ip:port`.
pub const HEADER_DESTINATION: &str = "x-gateway-destination-endpoint";
/// Where its prompt is computed first; `ip:port`.
pub const HEADER_PREFILLER: &str = "x-prefiller-host-port";

/// How a picker speaks.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Ports of the pool, when the headers of the Gateway API Inference Extension's conformance
    /// tests are to be honoured; `None` in production.
    pub conformance_ports: Option<Vec<u16>>,
}
