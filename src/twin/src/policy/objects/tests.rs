//! Objects as users have them, and round trips.

use std::path::PathBuf;

use forebay_core::fleet::{Role, World};

use super::super::registry::autoscalers_of;
use super::super::testing::{Bench, world};
use super::super::{PolicySpec, to_yaml};

fn one() -> World {
    world(&[("l40s", Role::Both)])
}

/// A file that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forebay-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn spec(&self, policy: &str) -> String {
        let separator = if policy.contains(':') { ',' } else { ':' };
        format!("{policy}{separator}file={}", self.0.display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const SCALED_OBJECT: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: chat
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm-decode
  pollingInterval: 15
  minReplicaCount: 2
  maxReplicaCount: 8
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          stabilizationWindowSeconds: 0
          policies:
            - type: Pods
              value: 1
              periodSeconds: 180
  triggers:
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: http://prometheus:9090
        query: >-
          sum(llm_d_epp_request_running{namespace="x",model_name="y"})
        threshold: "16"
"#;

const AUTOSCALER: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: chat}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: l40s}
  minReplicas: 2
  maxReplicas: 30
  metrics:
    - type: External
      external:
        metric: {name: vllm_prompt_tokens_per_second}
        target: {type: AverageValue, averageValue: "2k"}
    - type: Pods
      pods:
        metric: {name: vllm_num_requests_running}
        target: {type: AverageValue, averageValue: 7500m}
  behavior:
    scaleDown: {selectPolicy: Disabled}
"#;

#[test]
fn a_users_scaled_object_runs_as_it_is() {
    let file = Scratch::new("keda.yaml", SCALED_OBJECT);
    let mut bench = Bench::new(&file.spec("keda"), one());
    assert_eq!(
        (bench.world.variants[0].replicas_min, bench.world.variants[0].replicas_max),
        (2, 8)
    );
    bench.scrape_router(0.0, 0.0, |tier| tier.running = 100.0);
    // 100 / 16 = 6.25: 7 wanted, one pod per 180 s.
    assert_eq!(bench.tick(0.0), ["l40s=3"]);
    assert_eq!(bench.tick(179.0), [""; 0]);
    bench.scrape_router(180.0, 0.0, |tier| tier.running = 100.0);
    assert_eq!(bench.tick(195.0), ["l40s=4"]);
}

#[test]
fn a_users_autoscaler_runs_as_it_is() {
    let file = Scratch::new("hpa.yaml", AUTOSCALER);
    let mut bench = Bench::new(&file.spec("hpa"), one());
    bench.scrape(0, 0.0, |page| page.running = 30.0);
    bench.scrape(0, 15.0, |page| page.running = 30.0);
    // The rate is 0, running 30 / 7.5 = 4 times 2 pods: 8, of at most max(2 + 4, 2 * 2).
    assert_eq!(bench.tick(15.0), ["l40s=6"]);
    bench.scrape(0, 1000.0, |page| page.running = 0.0);
    bench.scrape(0, 1015.0, |page| page.running = 0.0);
    // Down is disabled.
    assert_eq!(bench.tick(1015.0), [""; 0]);
}

#[test]
fn what_cannot_be_used_is_said() {
    let message = |policy: &str, text: &str, world: World| {
        let file = Scratch::new("wrong.yaml", text);
        PolicySpec::parse(&file.spec(policy)).unwrap().parameters(&world).unwrap_err().to_string()
    };
    let unknown = SCALED_OBJECT.replace("llm_d_epp_request_running", "my_own_gauge");
    let error = message("keda", &unknown, one());
    assert!(
        error.contains("ScaledObject chat") && error.contains("unknown series my_own_gauge"),
        "{error}"
    );
    assert!(error.contains("vllm:num_requests_running"), "{error}");
    let error = message("hpa", SCALED_OBJECT, one());
    assert!(error.contains("no object of kind HorizontalPodAutoscaler"), "{error}");
    let two = world(&[("a100", Role::Both), ("h100", Role::Both)]);
    let error = message("keda:fill=each", SCALED_OBJECT, two);
    assert!(error.contains("vllm-decode") && error.contains("forebay.dev/variant"), "{error}");
}

#[test]
fn what_is_written_reads_back_as_the_same_policy() {
    let specs = [
        "hpa:metric=running|kv,target=12.5|0.7,type=Pods|AverageValue,tolerance=0,min=2,max=9",
        "hpa:metric=load,type=Value,target=20,up.window=30s,down.policies=10%/60s|2/90s,down.select=min",
        "keda:metric=prompt_tokens|queue,target=1234.5|3,activation=1|0,min=0,polling=20s",
        "keda:metric=arriving_prompt_tokens,target=900,window=90s,ignore_null=false",
        "llmd-queue:running_target=40",
        "llmd-saturation",
        "llmd-tokens:kv_target=0.6",
    ];
    for text in specs {
        for mut world in [one(), world(&[("p", Role::Prefill), ("d", Role::Decode)])] {
            let spec = PolicySpec::parse(text).unwrap();
            spec.apply(&mut world).unwrap();
            let yaml = to_yaml(&spec, &world).unwrap();
            let file = Scratch::new("round.yaml", &yaml);
            let policy = if text.starts_with("hpa") { "hpa" } else { "keda" };
            let again = PolicySpec::parse(&file.spec(policy)).unwrap();
            let meant = autoscalers_of(&spec, &world).unwrap();
            let read = autoscalers_of(&again, &world).unwrap();
            assert_eq!(meant.len(), read.len());
            for ((group, mut settings, mut keda), (read_group, read_settings, read_keda)) in
                meant.into_iter().zip(read)
            {
                settings.min = settings
                    .min
                    .or(Some(group.min).filter(|_| keda.is_some()).or(Some(group.min.max(1))));
                settings.max = settings.max.or(Some(group.max));
                if let Some(keda) = &mut keda {
                    keda.min = Some(group.min);
                }
                assert_eq!(group.variants, read_group.variants, "{yaml}");
                assert_eq!(settings, read_settings, "{yaml}");
                assert_eq!(keda, read_keda, "{yaml}");
            }
        }
    }
}

#[test]
fn a_formula_is_no_plain_object() {
    for text in ["llmd-queue:guard=true", "llmd-slo", "dynamo", "static"] {
        let error = to_yaml(&PolicySpec::parse(text).unwrap(), &one()).unwrap_err().to_string();
        assert!(error.contains("plain scaling objects"), "{error}");
    }
}
