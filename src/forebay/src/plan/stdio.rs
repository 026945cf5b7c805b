//! `forebay plan --stdio`: our planner as somebody else's policy.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context, Result, bail};
use forebay_twin::policy::{Mirror, PolicySpec};

use crate::cli::PlanArguments;
use crate::inputs::load_world;

/// Longest observation, bytes: tens of thousands of engines fit.
const LINE_BYTES_MAX: u64 = 1 << 28;

pub(super) fn run(arguments: &PlanArguments) -> Result<()> {
    let (world, _) = load_world(&arguments.fleet, None)?;
    let told = || format!("--policy {}", arguments.policy);
    let spec = PolicySpec::parse(&arguments.policy).with_context(told)?;
    if spec.name() == "exec" {
        bail!("--policy {}: a program cannot be run by a program; name a policy", spec);
    }
    let mut mirror = Mirror::new(world, spec).with_context(told)?;
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut output = std::io::stdout().lock();
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
        match read.with_context(|| format!("cannot read line {number} of stdin"))? {
            0 => break,
            length if length as u64 == LINE_BYTES_MAX => {
                bail!("line {number} of stdin is longer than {LINE_BYTES_MAX} bytes");
            }
            _ if line.trim().is_empty() => continue,
            _ => {}
        }
        let answer = mirror.answer(&line).with_context(|| format!("line {number} of stdin"))?;
        let written = output.write_all(answer.as_bytes()).and_then(|()| output.flush());
        match written {
            // Whoever asked went away.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written.context("cannot write to stdout")?,
        }
    }
    Ok(())
}
