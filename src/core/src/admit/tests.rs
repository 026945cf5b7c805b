//! Who counts as whom, by manifests as people write them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Facts, Identity, Terms, TierBy};
use crate::ids::TierId;
use crate::manifest::{Errors, Source, parse};

const FLEET: &str = "\
apiVersion: forebay.dev/v1alpha1
kind: InferenceFleet
metadata: {name: chat}
spec:
  poolRef: {name: chat}
  variants:
  - name: l40s
    acceleratorClass: l40s
    profile: llama-3.1-8b-fp8-l40s-tp1
    min: 2
    max: 8
    startUp: {image: 0s, weights: 18s, compile: 30s, warmUp: 34s, sigma: 0.15}
";

const POLICY: &str = "
---
apiVersion: forebay.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: chat}
spec:
  tiers:
  - {name: interactive, priority: 100}
  - {name: standard, priority: 0}
  - {name: batch, priority: -100, deferrable: true}
  tenants:
  - {name: acme, weight: 2, tiers: [standard, batch]}
";

const OBJECTIVES: &str = "
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: urgent}
spec: {priority: 50, poolRef: {name: chat}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: gold, annotations: {forebay.dev/tier: interactive, forebay.dev/fairness-weight: '3'}}
spec: {priority: -7, poolRef: {name: chat}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: of-another-pool}
spec: {priority: 1000, poolRef: {name: other}}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceObjective
metadata: {name: plain}
spec: {poolRef: {name: chat}, aFieldOfLater: true}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: m1, annotations: {forebay.dev/fairness-weight: '0.5'}}
spec:
  modelName: important
  criticality: Critical
  poolRef: {name: chat}
  targetModels: [{name: important-v1, weight: 1}, {name: important-v2, weight: 3}]
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: m2, annotations: {forebay.dev/priority: '100'}}
spec: {modelName: raised, criticality: Sheddable, poolRef: {name: chat}}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: m3}
spec: {modelName: cheap, criticality: Sheddable, poolRef: {name: chat}}
";

const KEYS: &str = "
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData:
  # printf %s open-sesame | sha256sum
  acme: d7ecdf25eaf3deba0f2628771dbdd22d4138ab6cf38f91ed02a2ca0dec7c8ab7
";

const SEED: u64 = 7;

fn read(text: &str) -> Result<Terms, Errors> {
    let manifests = parse(&[Source::new("gate.yaml", text)])?;
    let (world, _) = manifests.resolve(None)?;
    Terms::read(&manifests, &manifests.fleets[0], &world.tiers, SEED)
}

fn terms(identity: &str) -> Terms {
    let text = format!("{FLEET}{POLICY}{identity}{OBJECTIVES}{KEYS}");
    read(&text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A request as a test writes it.
#[derive(Default)]
struct Request {
    headers: BTreeMap<&'static str, &'static str>,
    claims: BTreeMap<(&'static str, &'static str), &'static str>,
    peer: Option<IpAddr>,
    certificate: Option<&'static str>,
    model: Option<&'static str>,
    vouched: bool,
}

impl Facts for Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).copied()
    }
    fn peer(&self) -> Option<IpAddr> {
        self.peer
    }
    fn claim(&self, namespace: &str, claim: &str) -> Option<&str> {
        self.claims.get(&(namespace, claim)).copied()
    }
    fn certificate_name(&self) -> Option<&str> {
        self.certificate
    }
    fn model(&self) -> Option<&str> {
        self.model
    }
    fn vouched(&self) -> bool {
        self.vouched
    }
}

fn with(headers: &[(&'static str, &'static str)]) -> Request {
    Request { headers: headers.iter().copied().collect(), ..Request::default() }
}

fn from(peer: &str, headers: &[(&'static str, &'static str)]) -> Request {
    Request { peer: Some(peer.parse().unwrap()), ..with(headers) }
}

fn tier_of(identity: Identity<'_>) -> (&'static str, TierBy) {
    (["interactive", "standard", "batch"][identity.tier.index()], identity.by)
}

const TRUSTING: &str = "  identity: {trustClients: true}\n";
const HEADER_OF_PROXY: &str = "  identity:
    tenant: [{type: Header, name: X-Tenant, trustedProxies: [10.0.0.0/8]}]
    tier: [{type: Header, name: x-llm-d-inference-objective, trustedProxies: [10.0.0.0/8]}]
";

#[test]
fn an_objective_has_the_highest_tier_not_above_its_priority() {
    let terms = terms(TRUSTING);
    let tier = |objective| {
        tier_of(terms.identifier.identify(&with(&[("x-llm-d-inference-objective", objective)])))
    };
    assert_eq!(tier("urgent"), ("standard", TierBy::Objective), "50 is below 100");
    assert_eq!(tier("gold"), ("interactive", TierBy::Objective), "an annotation goes first");
    assert_eq!(tier("plain"), ("standard", TierBy::Objective), "no priority is 0");
    assert_eq!(tier("nobody"), ("standard", TierBy::UnknownName));
    assert_eq!(tier("of-another-pool"), ("standard", TierBy::UnknownName));
}

#[test]
fn what_a_client_says_of_itself_counts_only_where_clients_are_trusted() {
    let claims: &[(&str, &str)] = &[
        ("x-llm-d-inference-objective", "gold"),
        ("x-llm-d-inference-fairness-id", "acme"),
        ("x-forebay-tier", "interactive"),
    ];
    let strict = terms("");
    let request = with(claims);
    let identity = strict.identifier.identify(&request);
    assert_eq!(tier_of(identity), ("standard", TierBy::Default));
    assert_eq!((identity.tenant, identity.flow, identity.trusted), (None, 0, false));

    let vouched = Request { vouched: true, ..with(&claims[..2]) };
    let identity = strict.identifier.identify(&vouched);
    assert_eq!(identity.tenant, Some("acme"));
    assert!(identity.listed && identity.trusted);
    assert!((identity.weight - 2.0).abs() < 1e-12, "the policy's weight, not the objective's 3");
    assert_eq!(tier_of(identity), ("standard", TierBy::Objective));
    assert!(identity.not_allowed, "acme may not use interactive");
}

#[test]
fn the_canonical_name_of_a_header_wins_over_its_alias() {
    let terms = terms(TRUSTING);
    let both = with(&[
        ("x-llm-d-inference-objective", "gold"),
        ("x-gateway-inference-objective", "nobody"),
    ]);
    assert_eq!(tier_of(terms.identifier.identify(&both)), ("interactive", TierBy::Objective));
    let alias = with(&[("x-gateway-inference-objective", "gold")]);
    assert_eq!(tier_of(terms.identifier.identify(&alias)), ("interactive", TierBy::Objective));
}

#[test]
fn a_header_counts_from_listed_proxies_alone_and_copies_are_stripped() {
    let terms = terms(HEADER_OF_PROXY);
    let headers: &[(&str, &str)] =
        &[("x-tenant", "zeta"), ("x-gateway-inference-objective", "gold")];
    let inside = from("10.1.2.3", headers);
    let identity = terms.identifier.identify(&inside);
    assert_eq!(identity.tenant, Some("zeta"));
    assert_eq!(tier_of(identity), ("interactive", TierBy::Source));
    assert!((identity.weight - 3.0).abs() < 1e-12, "zeta is not listed: the objective's weight");
    let stripped = |request: &Request| -> Vec<String> {
        terms.identifier.stripped(request).map(str::to_ascii_lowercase).collect()
    };
    assert!(!stripped(&inside).contains(&"x-tenant".to_owned()));

    for outside in [from("192.0.2.1", headers), with(headers)] {
        let identity = terms.identifier.identify(&outside);
        assert_eq!((identity.tenant, tier_of(identity)), (None, ("standard", TierBy::Default)));
        assert!(stripped(&outside).contains(&"x-tenant".to_owned()));
        assert!(stripped(&outside).contains(&"x-gateway-inference-fairness-id".to_owned()));
        assert!(stripped(&outside).contains(&"x-llm-d-slo-ttft-ms".to_owned()));
    }
}

#[test]
fn claims_keys_and_certificates_vouch_in_the_order_of_the_policy() {
    let terms = terms(
        "  identity:
    tenant:
    - {type: ApiKey, header: Authorization, secretName: keys}
    - {type: JwtClaim, claim: org}
    - {type: MutualTls}
    user: [{type: JwtClaim, claim: sub, metadataNamespace: own}]
",
    );
    let tenant = |request: &Request| terms.identifier.identify(request).tenant.map(str::to_owned);
    let mut request = Request { certificate: Some("spiffe://zeta"), ..Request::default() };
    assert_eq!(tenant(&request).as_deref(), Some("spiffe://zeta"));
    request.claims.insert(("envoy.filters.http.jwt_authn", "org"), "beta");
    assert_eq!(tenant(&request).as_deref(), Some("beta"));
    request.headers.insert("authorization", "Bearer wrong");
    assert_eq!(tenant(&request).as_deref(), Some("beta"), "an unknown key vouches for nobody");
    assert!(!terms.identifier.stripped(&request).any(|name| name == "Authorization"));
    request.headers.insert("authorization", "bearer open-sesame");
    assert_eq!(tenant(&request).as_deref(), Some("acme"));
    assert!(terms.identifier.stripped(&request).any(|name| name == "Authorization"));

    let nobody = terms.identifier.identify(&request).user;
    request.claims.insert(("own", "sub"), "alice");
    let alice = terms.identifier.identify(&request).user;
    assert!(nobody == 0 && alice != 0);
}

#[test]
fn the_model_decides_where_nobody_else_does() {
    let terms = terms("");
    let tier = |model| {
        let request = Request { model: Some(model), ..Request::default() };
        let identity = terms.identifier.identify(&request);
        (tier_of(identity), identity.weight)
    };
    assert_eq!(tier("important"), (("interactive", TierBy::Model), 0.5));
    assert_eq!(tier("raised"), (("interactive", TierBy::Model), 1.0));
    assert_eq!(tier("cheap"), (("batch", TierBy::Model), 1.0));
    assert_eq!(tier("any"), (("standard", TierBy::Default), 1.0));
}

#[test]
fn a_name_too_long_or_empty_identifies_nobody() {
    let terms = terms(TRUSTING);
    let long: &'static str = Box::leak("x".repeat(254).into_boxed_str());
    for name in ["", "  ", long] {
        let request = with(&[("x-llm-d-inference-fairness-id", name)]);
        assert_eq!(terms.identifier.identify(&request).tenant, None);
    }
}

#[test]
fn clients_that_make_up_names_make_a_bounded_number_of_flows() {
    let terms = terms(TRUSTING);
    let flows: std::collections::BTreeSet<u64> = (0..20_000)
        .map(|index| {
            let name: &'static str = Box::leak(format!("tenant-{index}").into_boxed_str());
            let request = with(&[("x-llm-d-inference-fairness-id", name)]);
            terms.identifier.identify(&request).flow
        })
        .collect();
    assert!(flows.len() as u64 <= super::identity::UNLISTED_FLOWS_MAX);
    assert!(flows.len() > 3_900, "they are spread: {}", flows.len());
    let acme = with(&[("x-llm-d-inference-fairness-id", "acme")]);
    assert!(!flows.contains(&terms.identifier.identify(&acme).flow), "a listed tenant is alone");
    assert!(!flows.contains(&super::identity::FLOW_UNKNOWN));
}

#[test]
fn rules_beat_the_header_and_the_header_beats_targets() {
    let rules = "
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r}
spec:
  poolRef: {name: chat}
  rules:
  - matches: [{model: {type: Exact, value: old}}, {model: {value: older}}]
    targets: [{modelRewrite: new-a, weight: 1}, {modelRewrite: new-b, weight: 3}]
";
    let with_rules = read(&format!("{FLEET}{POLICY}{OBJECTIVES}{rules}")).unwrap().rewrites;
    assert_eq!(with_rules.rewrite("old", Some("asked"), 0), Some("new-a"));
    assert_eq!(with_rules.rewrite("older", None, u64::MAX), Some("new-b"));
    assert_eq!(with_rules.rewrite("important", Some("asked"), 0), Some("asked"));
    assert_eq!(with_rules.rewrite("important", None, 0), Some("important-v1"));
    assert_eq!(with_rules.rewrite("any", None, 0), None);
    assert_eq!(with_rules.rewrite("any", Some("any"), 0), None, "nothing changes");
    let draws = (0..4_000_u64).map(|index| index * (u64::MAX / 4_000));
    let first = draws.filter(|draw| with_rules.rewrite("old", None, *draw) == Some("new-a"));
    assert!((999..=1_001).contains(&first.count()), "by weight");

    let fallback = format!("{rules}  - targets: [{{modelRewrite: base}}]\n");
    let all = read(&format!("{FLEET}{POLICY}{OBJECTIVES}{fallback}")).unwrap().rewrites;
    assert_eq!(all.rewrite("any", Some("asked"), 0), Some("base"));
    assert_eq!(all.rewrite("important", None, 0), Some("base"));
    assert_eq!(all.rewrite("base", None, 0), None);
}

#[test]
fn enforcement_is_by_tier_and_share_and_the_same_for_the_same_request() {
    let policy = "
---
apiVersion: forebay.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: chat}
spec:
  enforcement: Enforce
  enforcementShare: 25%
  tiers:
  - {name: interactive, priority: 100, enforcement: Observe}
  - {name: standard, priority: 0}
";
    let enforcement = read(&format!("{FLEET}{policy}")).unwrap().enforcement;
    let enforced = |tier| (0..10_000).filter(|id| enforcement.enforced(TierId(tier), *id)).count();
    assert_eq!(enforced(0), 0);
    assert!((2_300..2_700).contains(&enforced(1)), "{}", enforced(1));
    assert!(!enforcement.any(TierId(0)) && enforcement.any(TierId(1)));
    assert_eq!(enforced(1), enforced(1));

    let whole = policy.replace("  enforcementShare: 25%\n", "");
    let enforcement = read(&format!("{FLEET}{whole}")).unwrap().enforcement;
    assert!((0..10_000).all(|id| enforcement.enforced(TierId(1), id)));
    let none = whole.replace("enforcement: Enforce\n", "enforcement: Observe\n");
    let enforcement = read(&format!("{FLEET}{none}")).unwrap().enforcement;
    assert!(!(0..10_000).any(|id| enforcement.enforced(TierId(1), id)));
}

#[test]
fn the_newer_group_of_an_object_counts() {
    let twice = "
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceObjective
metadata: {name: urgent}
spec: {priority: 1000, poolRef: {name: chat}}
";
    let identity = TRUSTING;
    let terms = read(&format!("{FLEET}{POLICY}{identity}{OBJECTIVES}{twice}")).unwrap();
    let request = with(&[("x-llm-d-inference-objective", "urgent")]);
    assert_eq!(tier_of(terms.identifier.identify(&request)).0, "standard");
}

#[test]
fn what_does_not_fit_together_is_told_with_its_place() {
    let wrong = "
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata:
  name: wrong
  annotations: {forebay.dev/tier: interactve, forebay.dev/priority: high, forebay.dev/fairness-weight: '0'}
spec: {}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: again}
spec: {modelName: important}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: two-fallbacks}
spec:
  rules:
  - targets: [{modelRewrite: a}]
  - targets: [{modelRewrite: b}]
";
    let identity = "  identity:
    tenant: [{type: ApiKey, header: authorization, secretName: kees}]
    tier: [{type: ApiKey, header: authorization, secretName: broken}]
";
    let broken = "
---
apiVersion: v1
kind: Secret
metadata: {name: broken}
data: {acme: bm90IGEgaGFzaA==}
";
    let text = format!("{FLEET}{POLICY}{identity}{OBJECTIVES}{KEYS}{wrong}{broken}");
    insta::assert_snapshot!(read(&text).unwrap_err());
}

#[test]
fn what_is_wrong_in_one_object_is_told_with_its_place() {
    let text = "
apiVersion: llm-d.ai/v1alpha3
kind: InferenceObjective
metadata: {name: later}
spec: {}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: model}
spec: {criticality: Vital}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: rewrite}
spec: {rules: [{targets: []}, {matches: [{model: {type: Regex, value: x}}], targets: [{modelRewrite: y, weight: 0}]}]}
---
apiVersion: forebay.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: policy}
spec:
  tiers: [{name: one, priority: 0}]
  identity: {tenant: [{type: Header, name: x-tenant, trustedProxies: [10.1.2.3/8]}]}
";
    insta::assert_snapshot!(parse(&[Source::new("gate.yaml", text)]).unwrap_err());
}
