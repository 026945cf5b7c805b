//! `forebay profiles`.

use anyhow::{Context, Result};
use forebay_twin::profiles;

use crate::cli::ProfilesArguments;
use crate::output;

pub(crate) fn run(arguments: &ProfilesArguments) -> Result<()> {
    let files = profiles::generate(&arguments.data)?;
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot create {}", arguments.out.display()))?;
    for (name, text) in &files {
        let path = arguments.out.join(name);
        output::write_file(&path, text)?;
        output::print(&format!("wrote {}\n", path.display()))?;
    }
    Ok(())
}
