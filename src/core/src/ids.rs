//! Identities that we give out ourselves; nothing a client sends becomes a key.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The identity as an index into a dense table.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(
    /// A fleet: its place in [`crate::fleet::World::fleets`].
    FleetId(u16)
);
id!(
    /// A variant, across all fleets: its place in [`crate::fleet::World::variants`].
    VariantId(u16)
);
id!(
    /// A tier: its place in [`crate::fleet::World::tiers`], which is ordered by falling priority,
    /// so 0 is the most important.
    TierId(u8)
);
id!(
    /// An accelerator class: its place in [`crate::fleet::World::accelerators`].
    AcceleratorId(u8)
);
id!(
    /// One endpoint (the address of one replica). Numbers count up and are never used twice.
    EndpointId(u32)
);
id!(
    /// One request. Numbers count up in order of first arrival and are never used twice.
    RequestId(u64)
);
