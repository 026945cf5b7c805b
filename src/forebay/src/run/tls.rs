//! Certificates of the faces, and whose certificates they ask for.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use forebay_gateway::tls::{Files, Protocols, Resolver, TlsServer};

/// TLS. What is given for one face goes before what is given for all.
#[derive(Args, Debug)]
pub(crate) struct TlsArguments {
    /// Folder with `tls.crt` and `tls.key` for the reverse proxy, the endpoint picker and the
    /// webhook; read again when they change. Without one a face speaks plain text.
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,

    /// The same for the reverse proxy alone.
    #[arg(long, value_name = "DIR", requires = "listen")]
    listen_tls: Option<PathBuf>,

    /// The same for the endpoint picker alone.
    #[arg(long, value_name = "DIR", requires = "ext_proc")]
    ext_proc_tls: Option<PathBuf>,

    /// The same for the webhook alone.
    #[arg(long, value_name = "DIR", requires = "admit")]
    admit_tls: Option<PathBuf>,

    /// TLS for the endpoint picker with a certificate of its own making, where no folder is given.
    #[arg(long)]
    ext_proc_self_signed: bool,

    /// Clients of the reverse proxy must show a certificate that an authority in this file (PEM)
    /// has signed. The name in it (URI, else DNS name, else common name) is what a policy's
    /// identity source `MutualTls` reads.
    #[arg(long, value_name = "FILE", requires = "listen")]
    listen_client_ca: Option<PathBuf>,

    /// The same of whoever asks the endpoint picker.
    #[arg(long, value_name = "FILE", requires = "ext_proc")]
    ext_proc_client_ca: Option<PathBuf>,

    /// The same of the webhook's callers, who then need no token.
    #[arg(long, value_name = "FILE", requires = "admit")]
    admit_client_ca: Option<PathBuf>,
}

/// A face that can speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Proxy,
    Picker,
    Webhook,
}

impl Face {
    /// As logs and flags name it.
    const fn named(self) -> (&'static str, &'static str) {
        match self {
            Self::Proxy => ("reverse proxy", "listen"),
            Self::Picker => ("endpoint picker (ext_proc)", "ext-proc"),
            Self::Webhook => ("request admission webhook", "admit"),
        }
    }
}

impl TlsArguments {
    /// Whether the webhook's callers prove who they are by certificates.
    pub(super) const fn admit_by_certificate(&self) -> bool {
        self.admit_client_ca.is_some()
    }

    /// TLS of a face, its files looked at for as long as this runtime runs; `None` = plain text.
    pub(super) fn of(&self, face: Face) -> Result<Option<Arc<TlsServer>>> {
        let (name, flag) = face.named();
        let (own, client_ca, protocols) = match face {
            Face::Proxy => (&self.listen_tls, &self.listen_client_ca, Protocols::Http),
            Face::Picker => (&self.ext_proc_tls, &self.ext_proc_client_ca, Protocols::Http2),
            Face::Webhook => (&self.admit_tls, &self.admit_client_ca, Protocols::Http),
        };
        let resolver = match own.as_ref().or(self.tls.as_ref()) {
            Some(folder) => Resolver::from_files(Files::in_folder(folder)),
            None if face == Face::Picker && self.ext_proc_self_signed => Resolver::self_signed(),
            None if client_ca.is_some() => bail!(
                "--{flag}-client-ca: clients show certificates inside TLS only; give --{flag}-tls or --tls, too"
            ),
            None => return Ok(None),
        };
        let tls = TlsServer::new(resolver?, protocols, client_ca.clone())
            .with_context(|| format!("the {name} cannot speak TLS"))?;
        tokio::spawn(Arc::clone(&tls).keep_fresh(name));
        Ok(Some(tls))
    }
}
