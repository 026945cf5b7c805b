//! `forebay capacity`.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use forebay_twin::capacity::{self, Grid};
use forebay_twin::profiles;

use crate::cli::{CapacityArguments, CapacityGrid};
use crate::output;

pub(crate) fn run(arguments: &CapacityArguments) -> Result<()> {
    let grid = match arguments.grid {
        CapacityGrid::Small => Grid::Small,
        CapacityGrid::Full => Grid::Full,
    };
    let threads = match arguments.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
    let done = AtomicUsize::new(0);
    let finished = |_| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        eprint!("\r[{done}/{}]", grid.points());
    };
    let report = capacity::run(grid, &profiles::built_in()?, arguments.seed, threads, &finished)?;
    eprintln!();
    if let Some(json) = &arguments.json {
        output::write_json(json, &report)?;
    }
    output::show(&capacity::render(&report), arguments.json.as_deref())
}
