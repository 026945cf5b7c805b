//! Instances that are wrong say what, where and how to mend it.

use super::*;

fn good() -> Instance {
    let offer = variant("v", 1.0, 10, &[("row", 0.5)], &[("h100", 1)]);
    instance(&[("h100", 4)], vec![FleetAsk::new("chat", vec![Row::new("row")], vec![offer])])
}

/// What is said about an instance that was spoilt.
fn said(spoil: impl FnOnce(&mut Instance)) -> String {
    let mut asked = good();
    spoil(&mut asked);
    solve(&asked, None, Budget::default()).expect_err("it is wrong").to_string()
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    assert!(solve(&good(), None, Budget::default()).is_ok());
    let cases: [(String, &str, &str); 15] = [
        (said(|i| i.fleets.clear()), "fleets", "at least one fleet"),
        (said(|i| i.horizon_hours = 0.0), "horizonHours", "more than 0"),
        (said(|i| i.horizon_hours = f64::NAN), "horizonHours", "more than 0"),
        (said(|i| i.fleets[0].rows.clear()), "fleets[0].rows", "1 to 64 rows"),
        (said(|i| i.fleets[0].rows[0].need = 0.0), "fleets[0].rows[0].need", "unknown demand"),
        (said(|i| i.fleets[0].rows[0].weight = f64::NAN), "fleets[0].rows[0].weight", "priorities"),
        (said(|i| i.fleets[0].variants.clear()), "fleets[0].variants", "64 variants"),
        (
            said(|i| i.fleets[0].variants[0].price_per_hour = Some(UsdPerHour(-1.0))),
            "fleets[0].variants[0].pricePerHour",
            "leave out what is unknown",
        ),
        (
            said(|i| i.fleets[0].variants[0].start_cost = f64::INFINITY),
            "fleets[0].variants[0].startCost",
            "an amount in $",
        ),
        (said(|i| i.fleets[0].variants[0].min = 11), "fleets[0].variants[0].min", "min no larger"),
        (
            said(|i| {
                i.fleets[0].variants[0].covers.insert("row".to_owned(), f64::NAN);
            }),
            "fleets[0].variants[0].covers.row",
            "0 or more",
        ),
        (
            said(|i| {
                i.fleets[0].variants[0].covers.insert("rwo".to_owned(), 1.0);
            }),
            "fleets[0].variants[0].covers.rwo",
            "add the row",
        ),
        (said(|i| i.pools.clear()), "fleets[0].variants[0].uses", "add it under pools"),
        (
            said(|i| {
                let again = i.fleets[0].clone();
                i.fleets.push(again);
            }),
            "fleets[1].name",
            "its own name",
        ),
        (
            said(|i| {
                i.fleets[0].ratio = vec![RatioPart { variants: vec!["v".to_owned()], replicas: 1 }];
            }),
            "fleets[0].ratio",
            "two parts",
        ),
    ];
    for (said, place, hint) in &cases {
        assert!(said.starts_with(&format!("{place}: ")), "{said}");
        assert!(said.contains(hint), "{said}");
    }
}
