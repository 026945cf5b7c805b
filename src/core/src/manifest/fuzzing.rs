//! What must hold for any text that claims to be manifests; called by fuzzers and by a test.

use super::{Source, parse};

/// Manifests are read or told what is wrong with them, with a place that is in the text.
pub fn manifests(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(&[Source::new("fuzz.yaml", text)]) {
        Ok(manifests) => {
            // Resolving may find more wrong, but ends.
            let _ = manifests.resolve(None).map_err(|errors| errors.to_string());
            for fleet in &manifests.fleets {
                let _ = manifests.policy_of(fleet).map_err(|problem| problem.to_string());
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty(), "wrong, and nobody says why");
            assert!(!errors.to_string().is_empty());
        }
    }
}
