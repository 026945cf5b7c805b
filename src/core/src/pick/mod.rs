//! Which endpoint: tables and orders over the endpoints of one fleet that answer without
//! allocating.

mod table;
mod tournament;

pub use table::EndpointTable;
pub use tournament::Tournament;
