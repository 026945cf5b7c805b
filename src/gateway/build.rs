//! Generates the types of our own protocols; no `protoc` is needed.

use std::error::Error;

/// Protocols, relative to `proto/`.
const PROTOS: [&str; 2] = ["forebay/fleet/v1/fleet.proto", "grpc/health/v1/health.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
