//! Which endpoint: tables and orders over the endpoints of one fleet that answer without
//! allocating, and predictions of how soon each would serve.

mod prefix;
mod speed;
mod table;
mod tournament;

pub use prefix::{Cached, PrefixIndex};
pub use speed::Speed;
pub use table::EndpointTable;
pub use tournament::Tournament;
