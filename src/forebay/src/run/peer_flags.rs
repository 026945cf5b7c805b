//! The flags with which llm-d's charts start their endpoint picker, so that an exchange of the
//! image is a migration. They come without a subcommand.

use std::ffi::OsString;

/// Flags that mean something here, with ours.
const PORTS: [(&str, &str); 3] = [
    ("grpc-port", "--ext-proc"),
    ("grpc-health-port", "--ext-proc-health"),
    ("metrics-port", "--metrics"),
];

/// Flags that name what this gate finds elsewhere, or does always.
const WITHOUT_EFFECT: [&str; 15] = [
    "pool-name",
    "pool-namespace",
    "pool-group",
    "config-file",
    "config-text",
    "zap-encoder",
    "zap-log-level",
    "zap-devel",
    "v",
    "kv-cache-usage-percentage-metric",
    "total-queued-requests-metric",
    "lora-info-metric",
    "metrics-endpoint-auth",
    "enable-pprof",
    "ha-enable-leader-election",
];

/// Defaults of those ports in llm-d's charts.
const DEFAULTS: [(&str, u16); 3] =
    [("--ext-proc", 9002), ("--ext-proc-health", 9003), ("--metrics", 9090)];

/// Arguments as ours, with what was passed over. Arguments that begin with a subcommand, or ask
/// for help or the version, stay as they are.
pub(crate) fn understood(arguments: Vec<OsString>) -> (Vec<OsString>, Vec<String>) {
    let first = arguments.get(1).and_then(|first| first.to_str()).unwrap_or_default();
    let asks = ["-h", "--help", "-V", "--version"].contains(&first);
    if asks || !first.starts_with('-') {
        return (arguments, Vec::new());
    }
    let mut ours: Vec<OsString> = arguments.iter().take(1).cloned().collect();
    ours.extend(["run", "--components", "gate"].map(OsString::from));
    let mut warnings = Vec::new();
    let mut ports: Vec<(&str, String)> = Vec::new();
    let mut secure = true;
    let mut certificates = None;
    let mut rest = arguments.into_iter().skip(1).peekable();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy().into_owned();
        let flag = text.trim_start_matches('-');
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (flag.to_owned(), None),
        };
        let value = given.or_else(|| {
            let next = rest.peek()?.to_str()?;
            // A flag of Go without a value is followed by the next flag, or by nothing.
            if next.starts_with('-') { None } else { rest.next()?.into_string().ok() }
        });
        if let Some((_, own)) = PORTS.iter().find(|(peer, _)| *peer == name) {
            match value {
                Some(port) => ports.push((own, port)),
                None => warnings.push(format!("--{name} has no value: its default counts")),
            }
        } else if name == "secure-serving" {
            secure = value.is_none_or(|value| value != "false");
        } else if name == "cert-path" {
            certificates = value;
        } else if name == "tracing" {
            // Where to, the environment says, as charts set it.
            if value.is_some_and(|value| value == "false") {
                ours.push("--otlp-endpoint=".into());
            }
        } else if name == "fleet" {
            ours.extend(["--fleet".into(), value.unwrap_or_default().into()]);
        } else if WITHOUT_EFFECT.contains(&name.as_str()) {
            warnings.push(format!("--{name} has no effect here"));
        } else {
            warnings.push(format!("--{name} is not known and was passed over"));
        }
    }
    for (own, default) in DEFAULTS {
        let given = ports.iter().rev().find(|(flag, _)| *flag == own);
        let port = given.map_or_else(|| default.to_string(), |(_, port)| port.clone());
        ours.extend([own.into(), format!("0.0.0.0:{port}").into()]);
    }
    match (secure, certificates) {
        (_, Some(folder)) => ours.extend(["--tls".into(), folder.into()]),
        (true, None) => ours.push("--ext-proc-self-signed".into()),
        (false, None) => {}
    }
    (ours, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood_as(arguments: &str) -> (String, Vec<String>) {
        let words = std::iter::once("forebay").chain(arguments.split_whitespace());
        let (ours, warnings) = understood(words.map(OsString::from).collect());
        let words: Vec<_> = ours.iter().skip(1).map(|word| word.to_string_lossy()).collect();
        (words.join(" "), warnings)
    }

    #[test]
    fn our_own_commands_stay() {
        for own in ["run --fleet x.yaml", "simulate", "--help", "-V", ""] {
            assert_eq!(understood_as(own), (own.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn a_chart_of_llm_d_starts_our_gate() {
        let chart = "--pool-name pool --pool-namespace default --grpc-port 9012 \
            -grpc-health-port=9013 --metrics-port 9091 --cert-path /certs -v=2 --secure-serving \
            --shiny-new-flag on --fleet fleet.yaml";
        let (ours, warnings) = understood_as(chart);
        assert_eq!(
            ours,
            "run --components gate --fleet fleet.yaml --ext-proc 0.0.0.0:9012 \
             --ext-proc-health 0.0.0.0:9013 --metrics 0.0.0.0:9091 --tls /certs"
        );
        assert_eq!(
            warnings,
            [
                "--pool-name has no effect here",
                "--pool-namespace has no effect here",
                "--v has no effect here",
                "--shiny-new-flag is not known and was passed over",
            ]
        );
    }

    #[test]
    fn tracing_goes_by_the_environment_unless_it_is_off() {
        let (on, warnings) = understood_as("--pool-name x --tracing --secure-serving=false");
        assert!(!on.contains("otlp"), "{on}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(understood_as("--tracing=false").0.contains("--otlp-endpoint= "));
    }

    #[test]
    fn llm_d_serves_securely_unless_told_otherwise() {
        assert!(understood_as("--pool-name x").0.ends_with("--ext-proc-self-signed"));
        assert!(!understood_as("--pool-name x --secure-serving=false").0.contains("self-signed"));
    }
}
