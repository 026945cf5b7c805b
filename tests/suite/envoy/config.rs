//! The shipped configurations are valid, and say what the protocol needs.

use std::process::Command;

use super::proxy::{Config, binary};

#[test]
fn shipped_configurations_are_valid() {
    let Some(envoy) = binary() else { return };
    for config in [Config::answers_pass(), Config::answers_survive(), Config::ext_authz()] {
        let output = Command::new(&envoy)
            .args(["--mode", "validate", "--use-dynamic-base-id", "-c"])
            .arg(config.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn point_16_both_forward_and_receive_metadata_and_lift_the_limits_that_spoil_queueing() {
    for config in [Config::answers_pass(), Config::answers_survive()] {
        let text = std::fs::read_to_string(config.path()).unwrap();
        for needed in [
            "untyped: [envoy.lb.subset_hint, envoy.lb,",
            "receiving_namespaces:\n                          untyped: [envoy.lb]",
            "stream_idle_timeout: 0s",
            "request_timeout: 0s",
            "                            timeout: 0s",
            "                            idle_timeout: 0s",
            "message_timeout: 3600s",
            "max_requests: 1000000",
            "circuit_breakers: *unlimited",
            "http_header_name: x-gateway-destination-endpoint",
        ] {
            assert!(text.contains(needed), "{}: {needed}", config.path().display());
        }
    }
}
