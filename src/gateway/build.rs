//! Generates the types of the protocols that are spoken; no `protoc` is needed.

use std::error::Error;

/// Our own and gRPC's, relative to `proto/`.
const PROTOS: [&str; 2] = ["forebay/fleet/v1/fleet.proto", "grpc/health/v1/health.proto"];

/// Envoy's.
const EXT_PROC: &str = "envoy/service/ext_proc/v3/external_processor.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    tonic_prost_build::configure().compile_fds(protox::compile(PROTOS, ["proto"])?)?;
    tonic_prost_build::configure()
        // Headers and bodies are parts of the message that they came in, not copies of it.
        .bytes(".")
        .codec_path("crate::ext_proc::Codec")
        .compile_fds(protox::compile([EXT_PROC], ["proto"])?)?;
    Ok(())
}
