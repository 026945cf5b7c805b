//! Generates the types of the protocols that are spoken; no `protoc` is needed.

use std::error::Error;

/// Protocols, relative to `proto/`.
const PROTOS: [&str; 3] = [
    "envoy/service/ext_proc/v3/external_processor.proto",
    "forebay/fleet/v1/fleet.proto",
    "grpc/health/v1/health.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure()
        // Headers and bodies are parts of the message that they came in, not copies of it.
        .bytes(".envoy")
        .compile_fds(files)?;
    Ok(())
}
