use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A folder of its own for each test, removed in the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forebay-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(self.0.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(self.0.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Takes any certificate: the tests look at it themselves.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

type Client = tokio_rustls::client::TlsStream<DuplexStream>;

/// A connection to a server that echoes, and the certificate that it showed.
async fn connect(config: &Arc<ServerConfig>) -> (Client, Vec<u8>) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await.unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            stream.write_all(&byte).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(client)).connect(name, near).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    (stream, shown)
}

async fn echoes(stream: &mut Client) {
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"x");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_open_streams_go_on() {
    let folder = Folder::new("renewed");
    let first = folder.write("one.example");
    let resolver = Resolver::from_files(Files::in_folder(&folder.0)).unwrap();
    let config = server_config(Arc::clone(&resolver), Protocols::Http2, None).unwrap();
    let (mut open, shown) = connect(&config).await;
    assert_eq!(shown, first);
    assert!(!resolver.reload().unwrap(), "nothing has changed");

    let second = folder.write("two.example");
    assert!(resolver.reload().unwrap());
    let (mut renewed, shown) = connect(&config).await;
    assert_eq!(shown, second);
    echoes(&mut open).await;
    echoes(&mut renewed).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_the_last_certificate() {
    let folder = Folder::new("broken");
    let first = folder.write("one.example");
    let resolver = Resolver::from_files(Files::in_folder(&folder.0)).unwrap();
    let config = server_config(Arc::clone(&resolver), Protocols::Http, None).unwrap();
    // Half of a renewal: the key of another certificate.
    let other = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    std::fs::write(folder.0.join("tls.key"), other.signing_key.serialize_pem()).unwrap();
    assert!(matches!(resolver.reload(), Err(TlsError::Unusable { .. })));
    assert_eq!(connect(&config).await.1, first);
    std::fs::write(folder.0.join("tls.crt"), "nonsense").unwrap();
    assert!(matches!(resolver.reload(), Err(TlsError::Unreadable { .. })));
    // The other half comes: the look that finds both takes them.
    let last = folder.write("two.example");
    assert!(resolver.reload().unwrap());
    assert_eq!(connect(&config).await.1, last);
}

#[tokio::test]
async fn a_self_signed_certificate_serves() {
    let resolver = Resolver::self_signed().unwrap();
    assert!(!resolver.reload().unwrap());
    let config = server_config(resolver, Protocols::Http2, None).unwrap();
    let (mut stream, _) = connect(&config).await;
    echoes(&mut stream).await;
}

#[tokio::test]
async fn a_client_authority_without_certificates_is_refused() {
    let folder = Folder::new("authority");
    let path = folder.0.join("ca.crt");
    std::fs::write(&path, "").unwrap();
    let resolver = Resolver::self_signed().unwrap();
    let error = server_config(resolver, Protocols::Http, Some(&path)).unwrap_err();
    assert!(error.to_string().contains("no certificate"), "{error}");
}
