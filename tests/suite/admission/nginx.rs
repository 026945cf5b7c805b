//! NGINX with the configuration that is shipped, in front of an engine.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::fleet;
use super::http::ask;
use crate::support::{Folder, Forebay, eventually, free_address};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// NGINX on `listen`; `None` where there is none on this machine.
fn nginx(
    folder: &Folder,
    listen: SocketAddr,
    webhook: SocketAddr,
    engine: SocketAddr,
) -> Option<Nginx> {
    let shipped =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/nginx/forward-auth.conf");
    let shipped = std::fs::read_to_string(shipped).expect("it is in the repository");
    let mut server = shipped.clone();
    for (from, to) in
        [("127.0.0.1:8080", listen), ("127.0.0.1:9300", webhook), ("127.0.0.1:8000", engine)]
    {
        assert_eq!(shipped.matches(from).count(), 1, "{from} stands once in the configuration");
        server = server.replace(from, &to.to_string());
    }
    let root = folder.write("nginx.pid", "");
    let root = root.parent().unwrap().to_str().unwrap();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {root}/{kind};\n"))
        .collect();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {root}/nginx.pid;\nerror_log stderr warn;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temporary}{server}}}\n"
    );
    let file = folder.write("nginx.conf", &text);
    let program = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| {
        let version = Command::new(program).arg("-v").stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    })?;
    let child = Command::new(program).arg("-c").arg(file).arg("-e").arg("stderr").spawn();
    Some(Nginx(child.expect("nginx starts")))
}

#[test]
fn nginx_passes_what_is_let_in_and_turns_refusals_back_into_429() {
    let folder = Folder::new("nginx");
    let (_engines, engines) = Forebay::engines(1, &["--fixed-ms", "1"]);
    let file = folder.write("fleet.yaml", &fleet(&engines));
    let (_gate, at) = Forebay::gate(&file, &["--admit"], &["--scrape-seconds", "0.1"]);
    let listen = free_address();
    let Some(_nginx) = nginx(&folder, listen, at[0], engines[0]) else {
        eprintln!("skipped: there is no nginx on this machine");
        return;
    };
    eventually("nginx listens", || std::net::TcpStream::connect(listen).is_ok());
    let body = json!({"model": "demo", "max_tokens": 2, "prompt": "hi"});
    let complete =
        |headers: &[(&str, &str)]| ask("POST", listen, "/v1/completions", headers, Some(&body));
    eventually("the engine is in the fleet", || complete(&[]).status == 200);

    let trial = [("x-llm-d-inference-fairness-id", "trial")];
    let mut passed = 0;
    let refused = loop {
        let said = complete(&trial);
        if said.status != 200 {
            break said;
        }
        assert!(said.body["choices"].is_array(), "the engine's own answer: {}", said.body);
        passed += 1;
        assert!(passed < 100, "the limit is 30 a minute");
    };
    assert!(passed >= 30, "{passed}");
    assert_eq!(refused.status, 429, "{}", refused.body);
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("x-llm-d-request-dropped-reason"), Some("rejected-tenant-limit"));
    assert_eq!(refused.body["error"]["code"], "rejected-tenant-limit");
    assert_eq!(complete(&[]).status, 200, "others go on");
}
