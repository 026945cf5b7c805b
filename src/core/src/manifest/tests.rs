//! The files that come with the binary are right, and what a wrong one is told.

use super::{builtin, parse};
use crate::scenario::Client;
use crate::units::UsdPerHour;

#[test]
fn everything_that_comes_with_the_binary_reads_and_resolves() {
    let all = parse(&builtin::all()).unwrap_or_else(|errors| panic!("{errors}"));
    let library = builtin::library().unwrap_or_else(|errors| panic!("{errors}"));
    assert!(all.profiles.len() > 50, "{}", all.profiles.len());
    for name in builtin::fleet_names() {
        let own = parse(&[builtin::fleet(name).unwrap()]).unwrap();
        let scenarios = library.scenarios.iter().map(|scenario| Some(scenario.name()));
        for scenario in scenarios.chain([None]) {
            let (world, plan) =
                own.resolve(scenario).unwrap_or_else(|errors| panic!("{name}: {errors}"));
            assert!(!world.variants.is_empty());
            let whole: f64 = plan.shares.iter().map(|share| share.weight).sum();
            assert!((whole - 1.0).abs() < 1e-9, "{name}: {whole}");
            assert!(world.tiers.windows(2).all(|pair| pair[0].priority >= pair[1].priority));
        }
    }
}

#[test]
fn the_first_fleet_is_what_its_file_says() {
    let own = parse(&[builtin::fleet("chat-8b").unwrap()]).unwrap();
    let (world, plan) = own.resolve(Some("constant-15")).unwrap();
    let names: Vec<&str> = world.tiers.iter().map(|tier| tier.name.as_str()).collect();
    assert_eq!(names, ["interactive", "standard", "batch"]);
    assert!(world.tiers[2].deferrable);
    assert_eq!(world.variants[0].profile.name, "llama-3.1-8b-fp8-l40s-tp1");
    assert_eq!(world.variants[0].replicas_initial, 2);
    assert_eq!(world.variants[0].start_up.median().to_string(), "82s");
    assert_eq!(world.replica_price(crate::ids::VariantId(1)), Some(UsdPerHour(2.45)));
    let batch =
        plan.shares.iter().find(|share| share.tier == world.tier("batch").unwrap()).unwrap();
    assert!((batch.weight - 0.15).abs() < 1e-12);
    assert!(matches!(batch.client, Client::Ticket { .. }));
    assert!((plan.tenant_weights["acme"] - 2.0).abs() < 1e-12);
}
