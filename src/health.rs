//! `redkeep healthcheck`: does the running proxy answer, and is its upstream there? For containers without a shell.
//!
//! It reads the same configuration as the proxy, connects to the first listener that lets it in, and asks the
//! upstream itself. Over TLS it accepts exactly the listener's own certificate, so it needs neither a CA nor a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::app::block_on;
use crate::config::Plan;
use crate::server::tls::provider;
use crate::server::{Bind, LOCAL_PROXY_HEADER, ListenerSettings};
use crate::upstream::{LinkKey, dial};

/// Time for the whole check: below the 3 s that the container files give it, so that it can still say why it failed.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Exit code 0 if listener and upstream answer, 1 if not, 2 if the configuration is wrong.
pub fn main(path: &Path) -> ExitCode {
    let plan = match Plan::load(path) {
        Ok(plan) => plan,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    match block_on(async { tokio::time::timeout(TIMEOUT, check(&plan)).await }) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        Ok(Ok(Err(text))) => fail(&text),
        Ok(Err(_)) => fail("no answer in time"),
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("redkeep: unhealthy: {text}");
    ExitCode::FAILURE
}

async fn check(plan: &Plan) -> Result<(), String> {
    let listeners = plan.server.listeners.iter().zip(&plan.certificates);
    // Where nobody of this machine may connect, there is nothing to ask.
    let listener = listeners.into_iter().find(|(listener, _)| admits_us(listener));
    if let Some((listener, certificate)) = listener {
        let certificate = certificate.clone().filter(|_| listener.tls.is_some());
        let asked = ask(listener, certificate).await;
        asked.map_err(|error| format!("listener {}: {error}", listener.bind))?;
    }
    let upstream = &plan.server.upstream;
    match dial(upstream, LinkKey::default(), false, None).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("upstream {}: {error}", upstream.address)),
    }
}

/// Whether the listener lets us in: we connect from the address that we connect to.
fn admits_us(listener: &ListenerSettings) -> bool {
    let address = match &listener.bind {
        Bind::Tcp(address) => Some(reachable(*address).ip()),
        Bind::Unix(_) => None,
    };
    let proxies = &listener.trust.proxies;
    listener.trust.networks.admit(address) && proxies.as_ref().is_none_or(|proxies| proxies.admit(address))
}

/// The address by which a listener of this machine is reached.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

async fn ask(
    listener: &ListenerSettings,
    certificate: Option<CertificateDer<'static>>,
) -> std::io::Result<()> {
    let behind_proxy = listener.trust.proxies.is_some();
    match &listener.bind {
        Bind::Unix(path) => ask_on(UnixStream::connect(path).await?, behind_proxy, certificate).await,
        Bind::Tcp(address) => {
            ask_on(TcpStream::connect(reachable(*address)).await?, behind_proxy, certificate).await
        }
    }
}

async fn ask_on<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    behind_proxy: bool,
    certificate: Option<CertificateDer<'static>>,
) -> std::io::Result<()> {
    if behind_proxy {
        stream.write_all(LOCAL_PROXY_HEADER).await?;
    }
    match certificate {
        None => ping(stream).await,
        Some(leaf) => match handshake(stream, leaf).await {
            Ok(stream) => ping(stream).await,
            // In TLS 1.2 it is said within the handshake, behind the listener's own certificate.
            Err(error) if asks_for_certificate(&error) => Ok(()),
            Err(error) => Err(error),
        },
    }
}

/// Any reply will do: a guarded proxy says NOAUTH.
async fn ping<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> std::io::Result<()> {
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
    stream.flush().await?;
    let mut first = [0u8; 1];
    match stream.read_exact(&mut first).await {
        Ok(_) => Ok(()),
        // A listener that demands client certificates has answered by asking for ours.
        Err(error) if asks_for_certificate(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn asks_for_certificate(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired)))
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    leaf: CertificateDer<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<S>> {
    let provider = provider();
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OwnCertificate { leaf, provider }))
        .with_no_client_auth();
    // Whoever names no server gets the certificate that the check knows.
    config.enable_sni = false;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Accepts one certificate: the one that the configuration gives to the listener.
#[derive(Debug)]
struct OwnCertificate {
    leaf: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *leaf == self.leaf {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(
            "the listener shows another certificate than the configuration".to_owned(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
