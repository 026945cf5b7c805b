//! Test engines in a process of their own.

use std::net::SocketAddr;
use std::path::Path;

use super::BenchError;
use super::process::Child;

/// Running engines.
#[derive(Debug)]
pub(super) struct Engines {
    _child: Child,
    pub(super) addresses: Vec<SocketAddr>,
}

/// Starts `count` engines on free ports whose first token takes `service_ms.0` and each later one
/// `service_ms.1`.
pub(super) async fn start(
    forebay: &Path,
    folder: &Path,
    count: u16,
    service_ms: (f64, f64),
    slots: u32,
) -> Result<Engines, BenchError> {
    let (first, token) = (service_ms.0.to_string(), service_ms.1.to_string());
    let (slots, engines) = (slots.to_string(), count.to_string());
    let arguments = [
        "engine",
        "--fixed-ms",
        &first,
        "--token-ms",
        &token,
        "--slots",
        &slots,
        "--listen",
        "127.0.0.1:0",
        "--count",
        &engines,
    ];
    let mut child = Child::start(forebay, &arguments, &folder.join("engines.log"))?;
    let mut addresses = Vec::new();
    for line in child.lines(usize::from(count)).await? {
        let address = line.trim_start_matches("http://").parse();
        addresses.push(address.map_err(|_| child.wrong(&format!("it said `{line}`")))?);
    }
    Ok(Engines { _child: child, addresses })
}

impl Engines {
    pub(super) fn endpoints(&self) -> Vec<String> {
        self.addresses.iter().map(ToString::to_string).collect()
    }
}
