//! Envoy's messages, as far as a picker speaks them.

#![expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the protocol file says what each field is"
)]

tonic::include_proto!("envoy.service.ext_proc.v3");
