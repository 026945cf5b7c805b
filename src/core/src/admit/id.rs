//! Names that nobody can guess: whoever knows one may use what it stands for.

/// Not a name that was given out here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: 32 hexadecimal digits are expected")]
pub struct NotAnId;

/// Reads 128 bits from 32 hexadecimal digits.
pub(super) fn from_hex(text: &str) -> Result<u128, NotAnId> {
    let right = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !right {
        return Err(NotAnId);
    }
    u128::from_str_radix(text, 16).map_err(|_| NotAnId)
}

/// A type of such names.
macro_rules! secret_id {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        ///
        /// 128 random bits, as 32 hexadecimal digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "{:032x}", self.0)
            }
        }

        impl std::fmt::Debug for $name {
            /// Its first digits: who reads a log must not be able to use it.
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "{}({:08x}..)", stringify!($name), self.0 >> 96)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::admit::id::NotAnId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::admit::id::from_hex(text).map(Self)
            }
        }
    };
}
pub(super) use secret_id;
