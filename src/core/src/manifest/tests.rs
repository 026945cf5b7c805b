//! The files that come with the binary are right, and a wrong one is told what is wrong with it.

use std::path::Path;

use super::{Errors, KINDS, Manifests, Source, builtin, parse, schema_of};
use crate::fleet::Role;
use crate::scenario::{Client, FaultKind};
use crate::units::UsdPerHour;

#[test]
fn every_fleet_that_comes_with_the_binary_resolves_under_every_scenario() {
    let library = builtin::library().unwrap_or_else(|errors| panic!("{errors}"));
    for name in builtin::fleet_names() {
        let own = parse(&[builtin::fleet(name).unwrap()])
            .unwrap_or_else(|errors| panic!("{name}: {errors}"));
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
fn every_file_in_policies_comes_with_the_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Configurations of other programs are not manifests of ours.
            let of_others = path.ends_with("policies/envoy") || path.ends_with("policies/nginx");
            if path.is_dir() && !of_others {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let inside = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push(format!("policies/{inside}"));
            }
        }
    }
    let mut embedded: Vec<&str> = builtin::paths().collect();
    found.sort();
    embedded.sort_unstable();
    assert_eq!(found, embedded);
}

#[test]
fn the_fleets_are_what_their_files_say() {
    let world_of = |fleet: &str, scenario: &str| {
        parse(&[builtin::fleet(fleet).unwrap()]).unwrap().resolve(Some(scenario)).unwrap()
    };
    let (world, plan) = world_of("chat-8b", "constant-15");
    let names: Vec<&str> = world.tiers.iter().map(|tier| tier.name.as_str()).collect();
    assert_eq!(names, ["interactive", "standard", "batch"]);
    assert!(world.tiers[2].deferrable);
    assert_eq!(world.variants[0].profile.name, "llama-3.1-8b-fp8-l40s-tp1");
    assert_eq!(world.variants[0].replicas_initial, 2);
    assert_eq!(world.variants[0].start_up.median().to_string(), "82s");
    assert_eq!(world.replica_price(crate::ids::VariantId(1)), Some(UsdPerHour(2.45)));
    let batch = world.tier("batch").unwrap();
    let batch = plan.shares.iter().find(|share| share.tier == batch).unwrap();
    assert!((batch.weight - 0.15).abs() < 1e-12);
    assert!(matches!(batch.client, Client::Ticket { .. }));
    assert!((plan.tenant_weights["acme"] - 2.0).abs() < 1e-12);

    let (world, plan) = world_of("chat-70b-pd", "bad-day-15");
    let roles: Vec<Role> = world.variants.iter().map(|variant| variant.role).collect();
    assert_eq!(roles, [Role::Prefill, Role::Prefill, Role::Decode, Role::Decode]);
    assert!((world.fleets[0].transfer.bytes_per_second - 40e9).abs() < 1.0);
    assert_eq!(plan.faults.len(), 7);
    assert!(matches!(plan.faults[0].kind, FaultKind::FlashCrowd { .. }));
    assert_eq!(plan.faults[0].to.to_string(), "01:10:00.000");

    let (world, plan) = world_of("shared-quota", "hourly-dump-15");
    assert_eq!((world.fleets.len(), plan.shares.len()), (2, 6));
    assert_eq!(world.accelerators[0].quota, Some(32));
    assert_eq!(world.variants[0].replicas_max, 32);
    let pairs = world.variants.iter().find(|v| v.accelerators_per_replica == 2).unwrap();
    assert_eq!(pairs.replicas_max, 8, "the quota holds eight pairs");
}

#[test]
fn fleets_that_share_a_policy_can_be_read_together() {
    let sources = ["chat-8b", "chat-70b-pd"].map(|name| builtin::fleet(name).unwrap());
    let (world, plan) = parse(&sources).unwrap().resolve(Some("constant-15")).unwrap();
    assert_eq!((world.fleets.len(), world.tiers.len(), plan.shares.len()), (2, 3, 6));
}

#[test]
fn without_a_scenario_all_traffic_goes_to_the_default_tier() {
    let (world, plan) = base().resolve(None).unwrap();
    assert_eq!(plan.shares.len(), 1);
    assert_eq!(plan.shares[0].tier, world.tier("standard").unwrap());
}

#[test]
fn documents_of_others_are_passed_over() {
    let text = format!("{BASE}\n---\napiVersion: apps/v1\nkind: Deployment\nspec: {{x: 1}}\n---\n");
    assert_eq!(parse(&[Source::new("fleet.yaml", text)]).unwrap().fleets.len(), 1);
}

#[test]
fn every_kind_has_a_schema_that_knows_its_fields() {
    for kind in KINDS {
        let schema = schema_of(kind).unwrap();
        assert_eq!(schema["properties"]["kind"]["const"], kind);
        assert!(schema["required"].as_array().unwrap().contains(&"spec".into()));
    }
    assert!(schema_of("Deployment").is_none());
    let mut schema = schema_of("AcceleratorClass").unwrap();
    without_descriptions(&mut schema);
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).unwrap());
}

fn without_descriptions(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(map) => {
            map.remove("description");
            map.values_mut().for_each(without_descriptions);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_descriptions),
        _ => (),
    }
}

/// A right manifest that each case below breaks in one way.
pub(super) const BASE: &str = "\
apiVersion: forebay.dev/v1alpha1
kind: InferenceFleet
metadata:
  name: chat
spec:
  slos:
  - tier: interactive
    ttft: 1s
    tpot: 60ms
  - tier: batch
    completion: 1h
  variants:
  - name: l40s
    acceleratorClass: l40s
    profile: llama-3.1-8b-fp8-l40s-tp1
    min: 2
    max: 8
    startUp: {image: 0s, weights: 18s, compile: 30s, warmUp: 34s, sigma: 0.15}
---
apiVersion: forebay.dev/v1alpha1
kind: TrafficPolicy
metadata:
  name: chat
spec:
  tiers:
  - {name: interactive, priority: 100}
  - {name: standard, priority: 0, floor: 10%}
  - {name: batch, priority: -100, deferrable: true}
---
apiVersion: forebay.dev/v1alpha1
kind: Scenario
metadata:
  name: day
spec:
  shares:
  - {tier: interactive, share: 60%}
  - {tier: batch, share: 40%, client: Ticket}
  faults:
  - {type: NodeLoss, at: 1h, nodes: 1}
";

fn base() -> Manifests {
    let fleet = BASE.rsplit_once("---").unwrap().0;
    parse(&[Source::new("fleet.yaml", fleet)]).unwrap()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]
    /// Whatever is cut out of a manifest or put into it, there is an answer, and every problem
    /// points into the text.
    #[test]
    fn a_damaged_manifest_is_answered(at in 0_usize..900, cut in 0_usize..40, put in "[ -~\n]{0,8}") {
        let start = at.min(BASE.len());
        let end = (start + cut).min(BASE.len());
        let text = format!("{}{put}{}", &BASE[..start], &BASE[end..]);
        let lines = text.lines().count() + 1;
        let read = parse(&[Source::new("fleet.yaml", text)]);
        if let Err(errors) = read.and_then(|manifests| manifests.resolve(None)) {
            proptest::prop_assert!(!errors.0.is_empty());
            for problem in &errors.0 {
                proptest::prop_assert!(!problem.what.is_empty());
                let inside = problem.source.as_ref().is_none_or(|s| s.name != "fleet.yaml")
                    || (1..=lines).contains(&(problem.at.line as usize));
                proptest::prop_assert!(inside, "{problem}");
            }
        }
    }
}

/// What is said of `BASE` after replacing one text by another.
fn said(from: &str, to: &str) -> String {
    assert_eq!(BASE.matches(from).count(), 1, "`{from}` must stand in the base once");
    said_of(&BASE.replace(from, to))
}

pub(super) fn said_of(text: &str) -> String {
    let read = parse(&[Source::new("fleet.yaml", text)]);
    let resolved = read.and_then(|manifests| manifests.resolve(None));
    resolved.map_err(|errors: Errors| errors.to_string()).expect_err("it is wrong")
}

#[test]
fn the_base_of_the_wrong_inputs_is_right() {
    parse(&[Source::new("fleet.yaml", BASE)]).unwrap().resolve(None).unwrap();
}

macro_rules! wrong_inputs {
    ($($name:ident: $said:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!($said);
        })*
    };
}

wrong_inputs! {
    unknown_field: said("    min: 2", "    minimum: 2");
    unknown_field_near: said("acceleratorClass", "accelerator_class");
    unknown_kind: said("kind: TrafficPolicy", "kind: TraficPolicy");
    wrong_version: said_of(&BASE.replacen("v1alpha1", "v1", 1));
    duration_without_unit: said("ttft: 1s", "ttft: 1");
    share_in_percent_without_sign: said("floor: 10%", "floor: 10");
    unknown_tier: said("tier: batch\n", "tier: bach\n");
    unknown_profile: said("llama-3.1-8b-fp8-l40s-tp1", "llama-3.1-8b-fp8-l40-tp1");
    unknown_accelerator: said("acceleratorClass: l40s", "acceleratorClass: tpu-v9");
    profile_of_another_accelerator: said("8b-fp8-l40s-tp1", "8b-fp8-h100-sxm-tp1");
    more_at_least_than_at_most: said("min: 2", "min: 9");
    prefill_without_decode: said("  - name: l40s", "  - name: l40s\n    role: Prefill");
    unknown_role: said("  - name: l40s", "  - name: l40s\n    role: prefil");
    percentile_of_one: said("tpot: 60ms", "tpot: 60ms\n    percentile: 100%");
    ttft_without_tpot: said("    tpot: 60ms\n", "");
    latency_of_a_deferrable_tier: said("completion: 1h", "ttft: 1s\n    tpot: 1s");
    price_unknown: said("    min: 2", "    capacityType: Committed\n    min: 0");
    duplicate_name: said_of(&format!("{BASE}---\n{}", BASE.split("---").nth(1).unwrap().replace("10%", "20%")));
    shares_beyond_the_whole: said("share: 60%", "share: 70%");
    waiting_outside_without_deferral: said("share: 60%", "share: 60%, client: Ticket");
    unknown_fault: said("type: NodeLoss", "type: NodeLost");
    fault_with_a_wrong_field: said("at: 1h, nodes: 1", "at: 1h, node: 1");
    not_yaml: said("  name: chat\nspec:\n  slos:", "  name: [chat\nspec:\n  slos:");
    same_field_twice: said("    min: 2", "    min: 2\n    min: 3");
    indented_with_a_tab: said("    min: 2", "\tmin: 2");
    not_a_number: said("sigma: 0.15", "sigma: .nan");
    field_missing: said("    profile: llama-3.1-8b-fp8-l40s-tp1\n", "");
    nothing_in_a_list: said_of(BASE.split_once("  variants:").map(|(head, _)| format!("{head}  variants: []\n")).unwrap().as_str());
    start_up_missing: said("    startUp: {image: 0s, weights: 18s, compile: 30s, warmUp: 34s, sigma: 0.15}\n", "");
    several_things_at_once: said_of(
        &BASE
            .replace("ttft: 1s", "ttft: soon")
            .replace("max: 8", "max: many")
            .replace("priority: 0", "priority: high"),
    );
}

#[test]
fn quota_smaller_than_the_minimums() {
    let class = "\
---
apiVersion: forebay.dev/v1alpha1
kind: AcceleratorClass
metadata: {name: l40s}
spec:
  accelerator: l40s
  prices: {onDemand: 1.55}
  quota: 1
  nodes: {acceleratorsPerNode: 4, provisioningTime: 4m, removalDelay: 10m}
";
    insta::assert_snapshot!(said_of(&format!("{BASE}{class}")));
}

#[test]
fn a_scenario_that_does_not_exist() {
    insta::assert_snapshot!(base().resolve(Some("constant-51")).unwrap_err());
}
