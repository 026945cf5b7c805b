//! From manifest files to the terms of each fleet's gate and the addresses of its engines.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use forebay_core::fleet::Role;
use forebay_core::ids::VariantId;
use forebay_core::manifest::{self, Source};
use forebay_core::time::Span;
use forebay_gateway::front::FleetTerms;

use crate::inputs;

/// One engine at a given address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Engine {
    /// Place of its fleet in the list.
    pub(super) fleet: usize,
    /// `ip:port`.
    pub(super) address: String,
    pub(super) variant: VariantId,
    pub(super) role: Role,
}

/// What the files say.
#[derive(Debug)]
pub(super) struct Read {
    /// By [`FleetId`]: name and terms.
    pub(super) fleets: Vec<(String, FleetTerms)>,
    pub(super) engines: Vec<Engine>,
}

/// The texts of the files, to see whether they changed.
pub(super) fn sources(files: &[String]) -> Result<Vec<Source>> {
    files.iter().map(|file| inputs::read_source(file)).collect()
}

/// Reads and resolves; names of hosts are looked up.
pub(super) fn read(sources: &[Source], seed: u64, scrape_interval: Span) -> Result<Read> {
    let manifests = manifest::parse(sources).map_err(inputs::explained)?;
    let fleets = FleetTerms::read(&manifests, seed, scrape_interval).map_err(inputs::explained)?;
    let mut engines = Vec::new();
    for (index, (fleet, (name, terms))) in manifests.fleets.iter().zip(&fleets).enumerate() {
        let variants = terms.world.variants_of(terms.fleet);
        for ((variant, resolved), spec) in variants.zip(&fleet.spec().variants) {
            for endpoint in &spec.endpoints {
                let address = resolve(endpoint)
                    .with_context(|| format!("endpoint `{endpoint}` of {name}"))?;
                let role = resolved.role;
                engines.push(Engine { fleet: index, address: address.to_string(), variant, role });
            }
        }
    }
    engines.sort();
    engines.dedup();
    Ok(Read { fleets, engines })
}

/// The first address of a `host:port`.
fn resolve(endpoint: &str) -> Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let mut addresses = endpoint
        .to_socket_addrs()
        .context("cannot be looked up: expected `host:port` or `ip:port`")?;
    addresses.next().context("has no address")
}
