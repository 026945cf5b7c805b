//! What must hold for any page of an engine; called by fuzzers and by a test.

use super::read_engine_page;

/// A page is read or not; numbers that steer are numbers.
pub fn page(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(page) = read_engine_page(text) {
        let load = page.load;
        assert!(!load.running.is_nan() && !load.waiting.is_nan(), "{load:?}");
        // The same page says the same.
        let again = read_engine_page(text).map(|page| page.load.running.to_bits());
        assert_eq!(again.ok(), Some(load.running.to_bits()));
    }
}
