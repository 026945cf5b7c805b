//! Where results go: files, stdout, and progress on stderr.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Widest table where the terminal does not say.
const WIDTH_DEFAULT: usize = 120;

/// Writes JSON to a file, or to stdout for `-`.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    text.push('\n');
    if path == Path::new("-") { print(&text) } else { write_file(path, &text) }
}

/// Writes a text file.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints to stdout; a reader that went away is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// Prints what a person reads: on stdout, or on stderr when stdout carries JSON.
pub(crate) fn show(text: &str, json: Option<&Path>) -> Result<()> {
    if json == Some(Path::new("-")) {
        eprint!("{text}");
        Ok(())
    } else {
        print(text)
    }
}

/// Whether what [`show`] prints may be coloured.
pub(crate) fn colour(json: Option<&Path>) -> bool {
    let terminal = if json == Some(Path::new("-")) {
        std::io::stderr().is_terminal()
    } else {
        std::io::stdout().is_terminal()
    };
    terminal && std::env::var_os("NO_COLOR").is_none()
}

/// Columns of the terminal.
pub(crate) fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(WIDTH_DEFAULT)
}
