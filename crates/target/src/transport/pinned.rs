//! TLS for clusters whose certificate, or that of its authority, is given.
//!
//! A certificate that `openssl req -x509` makes is its own authority and says so. Verifiers for the web refuse such a
//! certificate as that of a server, although it was given as trusted, byte for byte. Here it is trusted as curl trusts it: if
//! the server shows the very certificate that was given, only its time and its names are left to check.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;
use std::sync::Arc;

/// Why TLS cannot be set up.
pub(super) enum Fault {
    /// The client's certificate or its key is not one.
    Identity,
    /// Something else, in words.
    Setup(String),
}

/// The certificates in a PEM file, if it holds any and nothing that is broken.
pub(super) fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

/// A client that trusts these certificates besides those of the system, and shows the certificate in `identity`, a PEM file
/// with its key.
pub(super) fn client(
    trusted: Vec<CertificateDer<'static>>,
    identity: Option<&[u8]>,
) -> Result<ClientConfig, Fault> {
    let setup = |error: Error| Fault::Setup(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let others = Verifier::new_with_extra_roots(trusted.clone(), provider.clone()).map_err(setup)?;
    let verifier = Pinned { others, trusted, provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(pem) = identity else { return Ok(config.with_no_client_auth()) };
    let chain = certificates(pem).ok_or(Fault::Identity)?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| Fault::Identity)?;
    config.with_client_auth_cert(chain, key).map_err(|_| Fault::Identity)
}

/// Trusts what the system trusts, what these certificates have signed, and these certificates.
#[derive(Debug)]
struct Pinned {
    others: Verifier,
    trusted: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.others.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verified {
            // The time is checked before this: an authority that has expired is refused as expired.
            Err(Error::InvalidCertificate(error))
                if is_authority(&error) && self.trusted.iter().any(|trusted| trusted == certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate was refused only because it is that of an authority.
pub(super) fn is_authority(error: &CertificateError) -> bool {
    let CertificateError::Other(error) = error else { return false };
    matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}
