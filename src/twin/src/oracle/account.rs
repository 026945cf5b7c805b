//! What requests must pay, kept by bucket of arrival, window and size: small enough for days of
//! traffic, exact enough that the dearest requests can be told apart.

use std::collections::BTreeMap;

/// Payments of similar requests that arrived in one bucket with the same windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    /// Bucket of arrival.
    pub(super) bucket: u32,
    /// Window class of the prompt.
    pub(super) near: u8,
    /// Window class of everything else.
    pub(super) far: u8,
    /// Requests.
    pub(super) count: u32,
    /// The least and the most that one of them must buy, USD at `sigma = 1`.
    pub(super) range_usd: (f64, f64),
    /// Sum of what must be bought within the near window, USD at `sigma = 1`.
    pub(super) near_usd: f64,
    /// Sum of everything that must be bought, USD at `sigma = 1`.
    pub(super) total_usd: f64,
}

/// Window classes of the prompt and of everything else, and the size bin of the total.
type Key = (u8, u8, u16);

/// Payments of one tier on one fleet.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    open: BTreeMap<Key, Entry>,
    entries: Vec<Entry>,
}

impl Book {
    /// Enters one request. Buckets should not go back; if they do, only memory is lost.
    pub(super) fn add(&mut self, bucket: u32, near: u8, far: u8, near_usd: f64, total_usd: f64) {
        if self.open.first_key_value().is_some_and(|(_, entry)| entry.bucket != bucket) {
            self.close();
        }
        let new = Entry {
            bucket,
            near,
            far,
            count: 0,
            range_usd: (total_usd, total_usd),
            near_usd: 0.0,
            total_usd: 0.0,
        };
        let entry = self.open.entry((near, far, bin_of(total_usd))).or_insert(new);
        entry.count += 1;
        entry.range_usd.0 = entry.range_usd.0.min(total_usd);
        entry.range_usd.1 = entry.range_usd.1.max(total_usd);
        entry.near_usd += near_usd;
        entry.total_usd += total_usd;
    }

    /// Moves what is open to the entries.
    pub(super) fn close(&mut self) {
        self.entries.extend(std::mem::take(&mut self.open).into_values());
    }

    /// All entries after [`Book::close`].
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Bits of a double that a bin drops: what is left is the exponent and three bits of mantissa, so
/// eight bins per octave.
const BIN_SHIFT: u32 = 49;

/// The bin of a payment that is not negative.
pub(super) fn bin_of(usd: f64) -> u16 {
    (usd.max(0.0).to_bits() >> BIN_SHIFT) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_rise_with_payments_and_are_narrow() {
        let payments = [0.0, 1e-12, 1e-4, 0.999, 1.0, 1.2, 17.0];
        assert!(payments.windows(2).all(|pair| bin_of(pair[0]) < bin_of(pair[1])));
        assert_eq!(bin_of(1.0), bin_of(1.12));
        assert_ne!(bin_of(1.0), bin_of(1.13));
    }

    #[test]
    fn entries_keep_sums() {
        let mut book = Book::default();
        book.add(0, 0, 1, 1.0, 2.0);
        book.add(0, 0, 1, 1.5, 2.1);
        book.add(3, 0, 0, 0.5, 0.5);
        book.close();
        assert_eq!(book.entries().len(), 2);
        assert_eq!(book.entries()[0].count, 2);
        assert_eq!(book.entries()[0].range_usd, (2.0, 2.1));
        assert!((book.entries()[0].total_usd - 4.1).abs() < 1e-12);
        assert_eq!(book.entries()[1].bucket, 3);
    }
}
