//! The simulated fleet: the same decisions as live, in virtual time, on real or generated traffic.

#![forbid(unsafe_code)]

pub mod capacity;
pub mod experiment;
pub mod fault_runs;
pub mod fidelity;
pub mod fit;
pub mod forecast;
pub mod gates;
pub mod oracle;
pub mod policy;
pub mod profiles;
pub mod report;
pub mod roll;
pub mod sim;
pub mod table;
pub mod trace;
pub mod tune;
