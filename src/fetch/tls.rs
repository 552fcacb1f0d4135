//! TLS: by rustls and graviola, which are Rust and verified assembly, where the program was built with them and the CPU has
//! what graviola needs; by the system's `curl` elsewhere.

use super::connection::Stream;
use super::curl::{Curl, Way};
use super::proxy;
use super::url::Origin;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Asks for `curl` where the program could do without.
const VARIABLE: &str = "QWEN_EDGE_TLS";

/// Why TLS with a server is left to `curl`; `None` where it is not, or where there is none.
pub fn why_curl(origin: &Origin) -> Option<&'static str> {
    if !origin.secure {
        return None;
    }
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "curl") {
        return Some("QWEN_EDGE_TLS asks for it");
    }
    match proxy::of(origin) {
        Some(_) => Some("there is a proxy"),
        None => why_not_built_in(),
    }
}

/// Whether TLS is in this program, and this CPU can do it.
pub fn is_built_in() -> bool {
    why_not_built_in().is_none()
}

#[cfg(not(feature = "pull"))]
fn why_not_built_in() -> Option<&'static str> {
    Some("this program was built without TLS of its own (feature pull)")
}

#[cfg(feature = "pull")]
fn why_not_built_in() -> Option<&'static str> {
    if graviola::util::is_cpu_supported() {
        None
    } else if cfg!(target_arch = "x86_64") {
        Some("this CPU lacks what this program's own TLS needs (AES, AVX2 and ADX)")
    } else {
        Some("this CPU lacks what this program's own TLS needs (AES and SHA-2)")
    }
}

/// What connections with TLS have in common.
#[derive(Default)]
pub struct Tls {
    #[cfg(feature = "pull")]
    config: std::sync::OnceLock<std::sync::Arc<rustls::ClientConfig>>,
}

impl Tls {
    /// A stream within TLS. `connect` gives the one without.
    ///
    /// # Errors
    /// If there is no connection, or the server cannot show that it is who it should be.
    pub(super) fn open(
        &self,
        origin: &Origin,
        address: SocketAddr,
        patience: Duration,
        connect: impl FnOnce() -> io::Result<TcpStream>,
    ) -> io::Result<Box<dyn Stream>> {
        match why_curl(origin) {
            Some(why) => Ok(Box::new(Curl::new(origin, Way::Address(address), patience, why))),
            None => self.built_in(origin, connect()?, patience),
        }
    }

    /// A stream to a server behind a proxy, if there is one.
    pub(super) fn through_proxy(&self, origin: &Origin, patience: Duration) -> Option<Box<dyn Stream>> {
        let (why, proxy) = why_curl(origin).zip(proxy::of(origin))?;
        Some(Box::new(Curl::new(origin, Way::Proxy(proxy), patience, why)))
    }

    #[cfg(not(feature = "pull"))]
    fn built_in(&self, _: &Origin, _: TcpStream, _: Duration) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(feature = "pull")]
    fn built_in(&self, origin: &Origin, mut stream: TcpStream, patience: Duration) -> io::Result<Box<dyn Stream>> {
        use rustls::pki_types::ServerName;
        use std::time::Instant;
        let config = match self.config.get() {
            Some(config) => config,
            None => {
                let config = built_in::config()?;
                self.config.get_or_init(|| config)
            }
        };
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let mut connection = rustls::ClientConnection::new(config.clone(), name).map_err(built_in::failed)?;
        // The greeting is over here, so that a certificate that does not hold is an error of the connection.
        let end = Instant::now() + patience;
        while connection.is_handshaking() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_patience(left)?;
            while connection.wants_write() {
                connection.write_tls(&mut stream)?;
            }
            if connection.is_handshaking() && connection.wants_read() {
                if connection.read_tls(&mut stream)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                connection.process_new_packets().map_err(built_in::failed)?;
            }
        }
        stream.set_patience(patience)?;
        Ok(Box::new(rustls::StreamOwned::new(connection, stream)))
    }
}

#[cfg(feature = "pull")]
mod built_in {
    use super::Stream;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use std::io;
    use std::net::TcpStream;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    /// Where systems keep the certificates that they trust.
    const BUNDLES: [&str; 5] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/system/etc/security/cacerts.pem",
    ];

    impl Stream for StreamOwned<ClientConnection, TcpStream> {
        fn set_patience(&self, patience: Duration) -> io::Result<()> {
            self.get_ref().set_patience(patience)
        }
    }

    pub fn failed(error: rustls::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    pub fn config() -> io::Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Ok(Arc::new(config.map_err(failed)?.with_root_certificates(roots()?).with_no_client_auth()))
    }

    /// Whom to trust: what `SSL_CERT_FILE` names, else what the system trusts, else what Mozilla does.
    fn roots() -> io::Result<RootCertStore> {
        if let Some(named) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
            let path = Path::new(&named);
            return read(path).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("SSL_CERT_FILE: no certificates in {}", path.display()),
                )
            });
        }
        let system = BUNDLES.iter().find_map(|bundle| read(Path::new(bundle)));
        Ok(system.unwrap_or_else(|| RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }))
    }

    /// The certificates in a file, if there are any.
    fn read(bundle: &Path) -> Option<RootCertStore> {
        let certificates = CertificateDer::pem_file_iter(bundle).ok()?.flatten();
        let mut roots = RootCertStore::empty();
        // Bundles have some that are too old to be read.
        roots.add_parsable_certificates(certificates);
        (!roots.is_empty()).then_some(roots)
    }
}
