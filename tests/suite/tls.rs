//! `forebay run` inside TLS: flags, certificates of both sides, leases by certificate.

use std::net::SocketAddr;

use forebay_rig::authority::{Authority, Issued};
use serde_json::{Value, json};

use crate::support::{Folder, Forebay, demo_fleet, eventually, free_address};

/// A client that trusts `server` and shows the certificate of `own`.
fn client(server: &Authority, own: Option<&Issued>) -> reqwest::Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let trusted = reqwest::Certificate::from_pem(server.pem().as_bytes()).unwrap();
    let mut client = reqwest::Client::builder().tls_certs_only([trusted]);
    if let Some(Issued { certificate, key }) = own {
        let identity = reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes());
        client = client.identity(identity.unwrap());
    }
    client.build().unwrap()
}

/// Status and body of an answer; `None` where the connection fails.
fn ask(
    client: &reqwest::Client,
    at: SocketAddr,
    path: &str,
    body: Option<&Value>,
) -> Option<(u16, Value)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("https://{at}{path}");
        let request = match body {
            None => client.get(url),
            Some(body) => {
                client.post(url).header("content-type", "application/json").body(body.to_string())
            }
        };
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    })
}

#[test]
fn proxy_and_webhook_speak_tls_and_know_callers_by_their_certificates() {
    let folder = Folder::new("tls");
    let authority = Authority::new("ours").unwrap();
    let Issued { certificate, key } = authority.issue("127.0.0.1").unwrap();
    let directory = folder.write("tls.crt", &certificate);
    let directory = directory.parent().unwrap().to_str().unwrap();
    folder.write("tls.key", &key);
    let ca = folder.write("ca.crt", authority.pem());
    let ca = ca.to_str().unwrap();
    let (_engines, engines) = Forebay::engines(1, &["--fixed-ms", "1"]);
    let fleet = folder.write("fleet.yaml", &demo_fleet(&engines));
    let more = ["--tls", directory, "--admit-client-ca", ca];
    let (gate, at) = Forebay::gate(&fleet, &["--listen", "--admit"], &more);

    let (one, other) = (authority.issue("one.example"), authority.issue("other.example"));
    let (one, other) =
        (client(&authority, Some(&one.unwrap())), client(&authority, Some(&other.unwrap())));
    let nobody = client(&authority, None);
    // The proxy asks nobody for a certificate here.
    let models = ask(&nobody, at[0], "/v1/models", None).expect("TLS without a certificate");
    assert_eq!((models.0, &models.1["data"][0]["id"]), (200, &json!("demo")));
    let question = json!({"model": "demo", "prompt": "hi", "max_tokens": 2});
    eventually("the engine is in the fleet", || {
        ask(&nobody, at[0], "/v1/completions", Some(&question)).is_some_and(|said| said.0 == 200)
    });

    assert_eq!(ask(&nobody, at[1], "/v1/budget", None), None, "the webhook asks for one");
    let stranger = Authority::new("theirs").unwrap().issue("one.example").unwrap();
    assert_eq!(ask(&client(&authority, Some(&stranger)), at[1], "/v1/budget", None), None);
    let question = json!({"model": "demo", "prompt_tokens": 8, "max_tokens": 2});
    let (status, admitted) = ask(&one, at[1], "/v1/admit", Some(&question)).expect("an answer");
    assert_eq!(status, 200, "{admitted}");
    let release = json!({"lease": admitted["lease"]});
    let stolen = ask(&other, at[1], "/v1/release", Some(&release)).expect("an answer");
    assert_eq!(stolen.0, 404, "a lease is its caller's own, from wherever he calls");
    let released = ask(&one, at[1], "/v1/release", Some(&release)).expect("an answer");
    assert_eq!((released.0, &released.1["state"]), (200, &json!("released")));

    // A new certificate in the folder is shown without a restart.
    let next = Authority::new("next").unwrap();
    let Issued { certificate, key } = next.issue("127.0.0.1").unwrap();
    folder.write("tls.crt", &certificate);
    folder.write("tls.key", &key);
    let trusting = client(&next, None);
    eventually("the certificate is renewed", || {
        ask(&trusting, at[0], "/v1/models", None).is_some_and(|said| said.0 == 200)
    });
    assert!(gate.said().contains("the files changed"), "{}", gate.said());
}

#[test]
fn what_tls_lacks_is_said_with_what_to_do() {
    let folder = Folder::new("no-tls");
    let fleet = folder.write("fleet.yaml", &demo_fleet(&[free_address()]));
    let fleet = fleet.to_str().unwrap();
    let authority = Authority::new("ours").unwrap();
    let ca = folder.write("ca.crt", authority.pem());
    let ca = ca.to_str().unwrap();
    let empty = ca.strip_suffix("/ca.crt").unwrap();
    for (arguments, said) in [
        (["--listen", "127.0.0.1:0", "--listen-client-ca", ca], "give --listen-tls or --tls, too"),
        (["--listen", "127.0.0.1:0", "--listen-tls", empty], "tls.crt: "),
        (["--ext-proc", "127.0.0.1:0", "--listen-tls", empty], "--listen <ADDR>"),
    ] {
        let arguments = [&["run", "--fleet", fleet][..], &arguments].concat();
        let mut run = Forebay::start(&arguments);
        assert_ne!(run.ended(), Some(0), "{arguments:?}");
        eventually("it says what is missing", || run.said().contains(said));
    }
}
