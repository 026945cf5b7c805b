//! What tests of several rooms need.

use forebay_core::manifest::{self, Source};
use forebay_core::time::Span;

use crate::front::{FleetTerms, Front};

/// The terms of the first fleet of this manifest.
pub(crate) fn terms(text: &str) -> FleetTerms {
    let manifests = manifest::parse(&[Source::new("test.yaml", text)]).unwrap();
    let read = FleetTerms::read(&manifests, 7, Span::from_secs(1));
    read.unwrap_or_else(|errors| panic!("{errors}")).remove(0).1
}

/// A front for it that keeps time until the test's runtime ends.
pub(crate) fn front(text: &str) -> Front {
    let front = Front::new(terms(text), 7);
    tokio::spawn(front.clone().keep_time());
    front
}
