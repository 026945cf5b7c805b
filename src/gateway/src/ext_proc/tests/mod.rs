//! What any picker must do on the wire, point by point, without sockets: messages in, replies out.

mod request;
mod response;
mod wire;

use wire::*;
