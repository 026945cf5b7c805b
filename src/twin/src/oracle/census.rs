//! Which pieces of prompts more than one request carries: all that a prefix cache can ever save.

use std::collections::BTreeMap;

/// Counts identities of prompt pieces in a first pass over a trace. A piece that only one request
/// carries must be computed by that request; for any other the bound charges nobody, whichever
/// request may really have computed it first and whether that one attained.
#[derive(Clone, Debug, Default)]
pub struct Census {
    seen_again: BTreeMap<u64, bool>,
}

impl Census {
    /// Counts the pieces of one request's prompt.
    pub fn count(&mut self, ids: &[u64]) {
        for &id in ids {
            self.seen_again.entry(id).and_modify(|again| *again = true).or_insert(false);
        }
    }

    /// Tokens at the head of a prompt that other requests carry too: what `Load::add` takes as
    /// `shared_tokens`. Identities are chained, so the first piece of one's own ends the prefix.
    #[must_use]
    pub fn shared_tokens(&self, ids: &[u64], piece_tokens: u32, prompt_tokens: u32) -> u32 {
        let pieces = ids.iter().take_while(|id| self.seen_again.get(id) == Some(&true)).count();
        let tokens = u64::from(piece_tokens) * pieces as u64;
        u32::try_from(tokens).unwrap_or(u32::MAX).min(prompt_tokens.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pieces_of_several_requests_are_shared() {
        let mut census = Census::default();
        census.count(&[1, 2, 3]);
        census.count(&[1, 2, 4]);
        census.count(&[9]);
        assert_eq!(census.shared_tokens(&[1, 2, 3], 512, 1_400), 1_024);
        assert_eq!(census.shared_tokens(&[1, 2], 512, 1_000), 999);
        assert_eq!(census.shared_tokens(&[9], 512, 300), 0);
    }
}
