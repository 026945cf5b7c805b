//! The manifests that come with the binary, so that it works without files: profiles, accelerator
//! classes and scenarios to refer to, fleets to start from.

use std::sync::OnceLock;

use super::{Errors, Manifests, Source, parse};

/// Path in the repository and text.
type File = (&'static str, &'static str);

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        [$((
            concat!("policies/", $path, ".yaml"),
            include_str!(concat!("../../../../policies/", $path, ".yaml")),
        )),*]
    };
}

/// What any manifest may refer to without including it.
const LIBRARY: &[File] = &files![
    "accelerators",
    "profiles/gpt-oss-120b",
    "profiles/llama-3.1-8b",
    "profiles/llama-3.3-70b",
    "profiles/qwen3-235b-a22b",
    "profiles/qwen3-32b",
    "scenarios/constant-15",
    "scenarios/hourly-dump-15",
    "scenarios/bad-day-15",
];

/// Fleets to start from.
const FLEETS: &[File] =
    &files!["fleets/chat-8b", "fleets/chat-70b-pd", "fleets/gate-demo", "fleets/shared-quota"];

/// Profiles, accelerator classes and scenarios that come with the binary. What a person's own
/// files call by the same name goes first.
///
/// # Errors
/// None in a binary whose tests passed.
pub fn library() -> Result<&'static Manifests, Errors> {
    static LIBRARY_PARSED: OnceLock<Result<Manifests, Errors>> = OnceLock::new();
    LIBRARY_PARSED.get_or_init(|| parse(&sources(LIBRARY))).as_ref().map_err(Clone::clone)
}

/// Names of the fleets that come with the binary.
pub fn fleet_names() -> impl Iterator<Item = &'static str> {
    FLEETS.iter().map(|(path, _)| name_of(path))
}

/// The file of a fleet that comes with the binary.
#[must_use]
pub fn fleet(name: &str) -> Option<Source> {
    FLEETS
        .iter()
        .find(|(path, _)| name_of(path) == name)
        .map(|(path, text)| Source::new(*path, *text))
}

/// Paths of all files that come with the binary.
pub fn paths() -> impl Iterator<Item = &'static str> {
    LIBRARY.iter().chain(FLEETS).map(|(path, _)| *path)
}

fn sources(files: &[File]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(*path, *text)).collect()
}

fn name_of(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.strip_suffix(".yaml").unwrap_or(file)
}
