use super::*;
#[test]
fn the_cheapest_mix_covers_the_row() {
    let mut v = VariantOffer::new("a", Some(crate::units::UsdPerHour(2.0)), 10);
    v.covers.insert("d".into(), 0.3);
    let mut w = VariantOffer::new("b", Some(crate::units::UsdPerHour(1.0)), 10);
    w.covers.insert("d".into(), 0.12);
    let i = Instance {
        fleets: vec![FleetAsk::new("f", vec![Row::new("d")], vec![v, w])],
        ..Instance::default()
    };
    let s = solve(&i, None, Budget::default()).unwrap();
    // 3 x 0.3 + 0.12 = 1.02 for 7 $; 4 of the dear one and 9 of the cheap one cost 8 and 9.
    assert!(s.optimal);
    assert_eq!((s.replicas("f", "a"), s.replicas("f", "b")), (Some(3), Some(1)));
    assert!((s.cost_per_hour - 7.0).abs() < 1e-9);
}
