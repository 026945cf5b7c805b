//! Did you mean: the nearest of the names that exist.

/// The candidate nearest to `given`, if it is near enough to be what was meant: at most a third
/// of its letters differ, upper and lower case counting as the same.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given: Vec<char> = given.to_lowercase().chars().collect();
    candidates
        .into_iter()
        .map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            (distance(&given, &letters), letters.len().max(given.len()), candidate)
        })
        .filter(|(distance, length, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, candidate)| candidate)
}

/// Words for a hint: the nearest name, or else all there are (as far as a person reads).
pub(crate) fn hint<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    /// Longer lists are not read.
    const LISTED_MAX: usize = 16;
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(given, candidates.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    match candidates.len() {
        0 => "there is none".to_owned(),
        1 => format!("there is only `{}`", candidates[0]),
        count if count <= LISTED_MAX => format!("there are `{}`", candidates.join("`, `")),
        count => {
            format!("there are {count}, among them `{}`", candidates[..LISTED_MAX].join("`, `"))
        }
    }
}

/// Letters to insert, delete, replace, or swap with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_near_and_other_words_are_not() {
        let names = ["interactive", "standard", "batch"];
        assert_eq!(nearest("intractive", names), Some("interactive"));
        assert_eq!(nearest("Standrad", names), Some("standard"));
        assert_eq!(nearest("gold", names), None);
        assert_eq!(hint("gold", names), "there are `interactive`, `standard`, `batch`");
        assert_eq!(nearest("", names), None);
    }

    #[test]
    fn a_swap_is_one_letter() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
    }
}
