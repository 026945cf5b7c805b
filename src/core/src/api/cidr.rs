//! A block of addresses as network configuration writes it: `10.0.0.0/8`, `fd00::/8`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::scalar::ScalarError;

/// Format of a [`Cidr`] in our schemas.
pub const FORMAT_CIDR: &str = "cidr";

/// A block of addresses; an address without a length is a block of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Its first address.
    network: IpAddr,
    /// Leading bits that all of its addresses have in common: at most 32 or 128.
    bits: u8,
}

impl Cidr {
    /// What is expected of one, in words.
    pub const EXPECTED: &'static str = "addresses such as `10.0.0.0/8`, `192.0.2.7` or `fd00::/8`";

    /// Reads `10.0.0.0/8` or a single address.
    ///
    /// # Errors
    /// Not an address, a length beyond the address, or bits set behind the length: whoever writes
    /// `10.1.2.3/8` means something else than what he gets.
    pub fn parse(text: &str) -> Result<Self, ScalarError> {
        let wrong = |what: String| ScalarError { what, expected: Self::EXPECTED };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let network: IpAddr =
            address.parse().map_err(|_| wrong(format!("`{address}` is not an IP address")))?;
        let whole = if network.is_ipv4() { 32 } else { 128 };
        let bits = match length {
            None => whole,
            Some(length) => {
                length.parse::<u8>().ok().filter(|bits| *bits <= whole).ok_or_else(|| {
                    wrong(format!("`/{length}` is not a length of 0 to {whole} bits"))
                })?
            }
        };
        let block = Self { network, bits };
        if prefix(network, bits) != number(network) {
            return Err(wrong(format!("`{text}` has bits set behind its length")));
        }
        Ok(block)
    }

    /// Whether an address lies in the block. An IPv4 address that came over an IPv6 socket
    /// (`::ffff:10.0.0.1`) counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4()
            && prefix(address, self.bits) == number(self.network)
    }
}

/// The address as a number, left-aligned in 128 bits.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `bits` of the address, the others cleared.
fn prefix(address: IpAddr, bits: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    number(address) & mask
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.bits)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": FORMAT_CIDR })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_holds_its_own_addresses_and_no_others() {
        let holds = |block: &str, address: &str| {
            Cidr::parse(block).unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.255.1.2"));
        assert!(!holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(holds("0.0.0.0/0", "255.255.255.255"));
        assert!(!holds("0.0.0.0/0", "::1"), "all of IPv4 is none of IPv6");
        assert!(!holds("::/0", "127.0.0.1"));
        assert!(holds("fd00::/8", "fdff::1"));
        assert!(holds("192.0.2.7", "192.0.2.7"));
        assert!(!holds("192.0.2.7", "192.0.2.6"));
    }

    #[test]
    fn what_is_no_block_is_told_why() {
        for wrong in ["", "10.0.0.0/33", "10.1.2.3/8", "ten/8", "10.0.0.0/", "::/129", "10.0.0/8"] {
            assert!(Cidr::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_block_written_is_read_back(address: u32, bits in 0_u8..=32) {
            let network = IpAddr::V4(((prefix(IpAddr::V4(address.into()), bits) >> 96) as u32).into());
            let block = Cidr { network, bits };
            prop_assert_eq!(Cidr::parse(&block.to_string()), Ok(block));
            prop_assert!(block.contains(IpAddr::V4(address.into())));
        }
    }
}
