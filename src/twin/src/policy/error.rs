//! What can be wrong with a SPEC.

/// A SPEC that cannot be used: where, what, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy `{spec}`: {what}; {hint}")]
pub struct SpecError {
    /// The SPEC as it was given.
    pub spec: String,
    /// What is wrong, with the key or the place in a file.
    pub what: String,
    /// How to mend it.
    pub hint: String,
}

impl SpecError {
    pub(crate) fn new(
        spec: impl ToString,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { spec: spec.to_string(), what: what.into(), hint: hint.into() }
    }
}

/// Longest distance at which a name counts as a slip of the pen.
const SLIP_MAX: usize = 3;

/// `did you mean ...` for the known name nearest to `given`, if one is near.
pub(crate) fn did_you_mean<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    known
        .into_iter()
        .map(|name| (edit_distance(given, name), name))
        .filter(|(distance, name)| *distance <= SLIP_MAX.min(name.len() / 2))
        .min()
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// Levenshtein distance in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        let known = ["static", "hpa", "keda", "llmd-slo"];
        assert_eq!(did_you_mean("statik", known).as_deref(), Some("did you mean `static`?"));
        assert_eq!(did_you_mean("lmd-slo", known).as_deref(), Some("did you mean `llmd-slo`?"));
        assert_eq!(did_you_mean("kubernetes", known), None);
    }
}
