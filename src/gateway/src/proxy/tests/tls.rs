//! The proxy inside TLS: who gets in, under which name, and what a rotation does to whom.

use std::io;
use std::path::PathBuf;

use forebay_rig::authority::{Authority, Issued};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{Files, Protocols, Resolver, TlsServer};

const WORKER: &str = "spiffe://prod/worker";

/// Certificates of a server, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("forebay-proxy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A server that this authority vouches for, and that asks for certificates of its clients.
    fn write(&self, authority: &Authority) {
        let Issued { certificate, key } = authority.issue("localhost").unwrap();
        std::fs::write(self.0.join("tls.crt"), certificate).unwrap();
        std::fs::write(self.0.join("tls.key"), key).unwrap();
        std::fs::write(self.0.join("ca.crt"), authority.pem()).unwrap();
    }

    fn server(&self) -> Arc<TlsServer> {
        let resolver = Resolver::from_files(Files::in_folder(&self.0)).unwrap();
        TlsServer::new(resolver, Protocols::Http, Some(self.0.join("ca.crt"))).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks for an answer as somebody who trusts `server` and shows the certificate of `own`.
async fn ask(
    at: SocketAddr,
    server: &Authority,
    own: Option<&Issued>,
    stream: bool,
) -> io::Result<http::Response<Incoming>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let certificate = CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let plain = TcpStream::connect(at).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let encrypted = TlsConnector::from(Arc::new(config)).connect(name, plain).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(encrypted)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::post("/v1/chat/completions").header("host", "localhost");
    let request = request.body(Full::new(Bytes::from(question(stream).to_string()))).unwrap();
    sender.send_request(request).await.map_err(io::Error::other)
}

#[tokio::test]
async fn a_rotation_counts_for_new_connections_and_drops_no_stream() {
    let folder = Folder::new("rotation");
    let (first, second) = (Authority::new("first").unwrap(), Authority::new("second").unwrap());
    folder.write(&first);
    let tls = folder.server();
    let mut rig = Rig::with(1, SLOW, Some(Arc::clone(&tls))).await;
    let worker = first.issue(WORKER).unwrap();
    let mut open = ask(rig.at, &first, Some(&worker), true).await.unwrap();
    open.body_mut().frame().await.unwrap().unwrap();

    folder.write(&second);
    assert!(tls.reload().unwrap() && !tls.reload().unwrap());
    assert!(ask(rig.at, &first, Some(&worker), false).await.is_err(), "it shows another now");
    let denied = ask(rig.at, &second, Some(&worker), false).await;
    assert!(denied.is_err(), "and trusts another authority");
    let renewed = second.issue(WORKER).unwrap();
    let answer = ask(rig.at, &second, Some(&renewed), false).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);

    // Somebody who never begins his handshake holds up nobody's end.
    let _silent = TcpStream::connect(rig.at).await.unwrap();
    rig.stop.take().unwrap().send(()).unwrap();
    let text = text_of(open).await;
    assert!(text.ends_with("data: [DONE]\n\n"), "nothing is cut off");
    json_of(answer).await;
    tokio::time::timeout(PATIENCE, &mut rig.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_shows_a_certificate_is_known_by_its_name_and_nobody_else_gets_in() {
    let folder = Folder::new("names");
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    folder.write(&ours);
    let rig = Rig::with(1, QUICK, Some(folder.server())).await;
    for wrong in [None, Some(theirs.issue(WORKER).unwrap())] {
        assert!(ask(rig.at, &ours, wrong.as_ref(), false).await.is_err());
    }
    let trusting = ask(rig.at, &theirs, Some(&ours.issue(WORKER).unwrap()), false).await;
    assert!(trusting.is_err(), "whoever checks us finds out, too");
    assert_eq!(rig.engines.addresses.len(), 1);
    assert_eq!(rig.usage(0).await["requests"]["finished"], 0, "nobody got through");

    for name in [WORKER, "stranger.example"] {
        let own = ours.issue(name).unwrap();
        let answer = ask(rig.at, &ours, Some(&own), false).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        json_of(answer).await;
    }
    rig.idle().await;
    let tenants = rig.front.inspect_meters(|meters| {
        let finished = |(key, counted): (&(Arc<str>, _), &crate::front::TenantMeters)| {
            (key.0.to_string(), counted.finished)
        };
        meters.tenants.iter().map(finished).collect::<Vec<_>>()
    });
    assert_eq!(tenants, [("other".to_owned(), 1), (WORKER.to_owned(), 1)]);
    // Plain text is not understood, and ends nothing but itself.
    let plain = rig.client.get(format!("http://{}/health", rig.at).parse().unwrap()).await;
    assert!(plain.is_err());
}
