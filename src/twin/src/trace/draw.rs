//! Random streams: one per purpose and identity, so that no draw of one shifts those of another.

use rand::{Rng, RngExt};
use rand_pcg::Pcg64Dxsm;

/// Number generator of all traces.
pub(super) type Stream = Pcg64Dxsm;

/// What a stream is used for; part of its key.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Arrival times of a client.
    Arrivals = 1,
    /// Lengths of a client's requests.
    Lengths = 2,
    /// Shifts and thinning of a recorded trace's copies.
    Copies = 3,
}

/// The stream of (seed, purpose, identity).
pub(super) fn stream(seed: u64, purpose: Purpose, identity: u64) -> Stream {
    let key = mix(seed, purpose as u64);
    let state = u128::from(mix(key, identity)) << 64 | u128::from(mix(!key, identity));
    Pcg64Dxsm::new(state, u128::from(identity) << 8 | purpose as u128)
}

/// Mixes two words into one (the finaliser of SplitMix64, twice).
pub(super) const fn mix(first: u64, second: u64) -> u64 {
    const fn finalise(mut word: u64) -> u64 {
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
    finalise(
        finalise(first.wrapping_add(0x9e37_79b9_7f4a_7c15))
            ^ second.wrapping_mul(0xd6e8_feb8_6659_fd93),
    )
}

/// Uniform in (0, 1): never 0, so that its logarithm exists.
pub(super) fn open_unit(random: &mut impl Rng) -> f64 {
    (random.random::<u64>() >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON / 4.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_identity() {
        let first = |seed, purpose, identity| stream(seed, purpose, identity).next_u64();
        let base = first(1, Purpose::Arrivals, 7);
        assert_eq!(base, first(1, Purpose::Arrivals, 7));
        assert_ne!(base, first(2, Purpose::Arrivals, 7));
        assert_ne!(base, first(1, Purpose::Lengths, 7));
        assert_ne!(base, first(1, Purpose::Arrivals, 8));
    }
}
