//! What the webhook has given out: leases, and tickets of its own.

use super::families::Families;
use crate::admission::Admission;

pub(super) fn collect(admission: &Admission, families: &mut Families) {
    let leases = admission.lease_meters();
    families.gauge(
        "forebay_admit_leases_open",
        "Leases that have neither been released nor ended by themselves",
        Vec::new(),
        Some(leases.held as f64),
    );
    for (event, value) in [
        ("granted", leases.granted),
        ("released", leases.released),
        // Never released: what they held was given back late.
        ("expired", leases.expired),
    ] {
        families.counter(
            "forebay_admit_leases",
            "Leases by what happened to them",
            vec![("event", event.to_owned())],
            value as f64,
        );
    }
    families.gauge(
        "forebay_admit_tickets_open",
        "Tickets of the webhook that can still be redeemed",
        Vec::new(),
        Some(admission.tickets() as f64),
    );
}
