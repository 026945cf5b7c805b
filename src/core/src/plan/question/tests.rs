use super::*;
use crate::manifest::{Source, builtin, parse};

fn world(name: &str) -> World {
    let manifests = parse(&[builtin::fleet(name).unwrap()]).unwrap();
    manifests.resolve(Some("constant-15")).unwrap().0
}

/// The answer, rendered, after checks that hold for every answer.
fn ask(name: &str, demand: &str) -> (Answer, String) {
    let world = world(name);
    let demand = Demand::parse(demand, &world).unwrap_or_else(|errors| panic!("{errors}"));
    let answer = answer(&world, &demand, Manner::default()).unwrap();
    let text = render(&answer);
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 100, "{widest} columns\n{text}");
    let json = serde_json::to_string(&answer).unwrap();
    let read: Answer = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json, "stable as JSON");
    let sum: f64 = answer.fleets.iter().map(|fleet| fleet.price.usd_per_hour).sum();
    assert!((sum - answer.price.usd_per_hour).abs() < 1e-6);
    (answer, text)
}

const CHAT: &str = "interactive:rate=30,prompt=1115,prompt_p95=3500,output=183,cached=20%;\
                    standard:rate=10,prompt=2000,output=300;\
                    batch:rate=5,prompt=3000,output=400,burstiness=20";

#[test]
fn one_fleet_is_answered_on_one_screen() {
    let (answer, text) = ask("chat-8b", CHAT);
    insta::assert_snapshot!("chat_8b", text);
    insta::assert_snapshot!("chat_8b_json", serde_json::to_string_pretty(&answer).unwrap());
    assert!(text.lines().count() <= 50, "{text}");
    let fleet = &answer.fleets[0];
    for tier in ["interactive", "standard"] {
        let share = fleet.mix.attainment[tier];
        assert!((0.989..=1.0).contains(&share), "{tier} {share}\n{text}");
    }
    assert!(fleet.alternatives.iter().all(|other| other.usd_per_hour >= fleet.mix.usd_per_hour));
    let cost = |what: &str| {
        answer.sensitivity.iter().find(|other| other.what == what).unwrap().usd_per_hour
    };
    assert!(cost("load 20% lower") < answer.price.usd_per_hour);
    assert!(cost("load 20% higher") > answer.price.usd_per_hour);
    assert!(cost("steps 10% slower") >= cost("steps 10% faster"));
}

#[test]
fn prefill_and_decode_are_answered_together() {
    let (answer, text) = ask("chat-70b-pd", "interactive:rate=4,prompt=2000,output=300,cached=0.1");
    insta::assert_snapshot!("chat_70b_pd", text);
    let roles: Vec<&str> = answer.fleets[0]
        .variants
        .iter()
        .filter(|variant| variant.replicas > 0)
        .map(|variant| variant.role.as_str())
        .collect();
    assert!(roles.contains(&"prefill") && roles.contains(&"decode"), "{roles:?}");
}

#[test]
fn fleets_that_share_quotas_are_answered_together() {
    let demand = "chat-8b/interactive:rate=60,prompt=1115,output=183;\
                  chat-32b/interactive:rate=8,prompt=1500,output=250";
    let (answer, text) = ask("shared-quota", demand);
    insta::assert_snapshot!("shared_quota", text);
    for pool in &answer.accelerators {
        assert!(pool.quota.is_none_or(|quota| pool.used <= u64::from(quota)), "{pool:?}");
    }
    let (short, text) = ask("shared-quota", "chat-32b/interactive:rate=200,prompt=1500,output=250");
    assert!(text.contains("NOT ENOUGH"), "{text}");
    assert!(short.fleets[1].mix.attainment["interactive"] < 0.01, "{text}");
}

#[test]
fn a_file_says_the_same_as_a_line() {
    let world = world("chat-8b");
    let file = "\
tiers:
- tier: interactive
  requestsPerSecond: 30
  promptTokens: {mean: 1115, p95: 3500}
  outputTokens: 183
  cachedShare: 20%
- {tier: standard, requestsPerSecond: 10, promptTokens: 2000, outputTokens: 300}
- tier: batch
  requestsPerSecond: 5
  promptTokens: 3000
  outputTokens: 400
  burstiness: 20
";
    let read = Demand::read(Source::new("demand.yaml", file), &world).unwrap();
    assert_eq!(read, Demand::parse(CHAT, &world).unwrap());
    let json = serde_json::to_string(&read).unwrap();
    assert_eq!(Demand::read(Source::new("demand.json", json), &world).unwrap(), read);
}

#[test]
fn wrong_files_say_where_and_how_to_mend_it() {
    let world = world("shared-quota");
    let wrong = |text: &str| {
        Demand::read(Source::new("demand.yaml", text), &world).unwrap_err().to_string()
    };
    let mut all = String::new();
    for text in [
        "fleets:\n- fleet: chat-8b\n  tiers:\n  - tier: interactive\n    requestPerSecond: 30\n    \
         promptTokens: {mean: 100, p59: 300}\n    outputTokens: many\n",
        "fleets:\n- fleet: chat-8\n  tiers: []\n- fleet: chat-8b\n  tiers:\n  - {tier: batch, \
         requestsPerSecond: 3, promptTokens: {mean: 100, p95: 50}, outputTokens: {mean: 9, p95: \
         12, variation: 2}}\n  - {tier: bulk, requestsPerSecond: 3, promptTokens: 10, \
         outputTokens: 0}\n",
        "fleets:\n- fleet: chat-8\n  tiers: []\n- fleet: chat-8b\n  tiers:\n  - {tier: batch, \
         requestsPerSecond: 3, promptTokens: {mean: 100, p95: 50}, outputTokens: {mean: 9, p95: \
         12, variation: 2}}\n  - {tier: bulk, requestsPerSecond: 3, promptTokens: 10, \
         outputTokens: 1}\n",
        "tiers: [{tier: batch, requestsPerSecond: 3, promptTokens: 1, outputTokens: 1}]\n",
        "{}\n",
    ] {
        all.push_str(&wrong(text));
        all.push_str("\n----\n");
    }
    insta::assert_snapshot!("wrong_files", all);
}

#[test]
fn wrong_lines_say_where_and_how_to_mend_it() {
    let world = world("chat-8b");
    let mut all = String::new();
    for text in [
        "interactive",
        "interactive:rate=30,promt=1115,output=183",
        "interactive:rate=often,prompt=1115,output=183; standard:rate=1",
        "interactiv:rate=3,prompt=5,output=1;batch:rate=1,prompt=10,prompt_p95=5,output=10",
        "chat-9b/batch:rate=3,prompt=5,output=1,cached=20",
        "chat-9b/batch:rate=3,prompt=5,output=1,cached=20%",
        "batch:rate=3,prompt=5,output=1;batch:rate=3,prompt=5,output=1",
        ";",
    ] {
        all.push_str(&Demand::parse(text, &world).unwrap_err().to_string());
        all.push_str("\n----\n");
    }
    insta::assert_snapshot!("wrong_lines", all);
}
