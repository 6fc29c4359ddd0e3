//! Why there is no answer, in words that help.

use super::pinned::is_authority;
use backfill::ports::TargetError;
use rustls::CertificateError;
use std::error::Error;
use std::io;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) request: Duration,
}

/// `speaks` tells whether the target has answered before, in the protocol of its address.
pub(super) fn explain(
    location: &str,
    error: &reqwest::Error,
    timeouts: &Timeouts,
    speaks: bool,
) -> TargetError {
    let target = location.to_owned();
    match tls(error) {
        Some(rustls::Error::InvalidMessage(_)) if !speaks => {
            let reason = "it does not speak TLS; write its address with http://".to_owned();
            return TargetError::Unexpected { target, reason };
        }
        Some(error) => return of_tls(target, &error),
        None => {}
    }
    let reason = if error.is_timeout() && error.is_connect() {
        format!("no connection within {:?}; check its address and the network", timeouts.connect)
    } else if error.is_timeout() {
        format!("no answer within {:?}", timeouts.request)
    } else if error.is_connect() {
        format!("{}; check its address and that it is up", root(error))
    } else {
        root(error)
    };
    TargetError::Unreachable { target, reason }
}

fn of_tls(target: String, error: &rustls::Error) -> TargetError {
    use rustls::AlertDescription as Alert;
    let refused = [
        Alert::CertificateRequired,
        Alert::BadCertificate,
        Alert::CertificateUnknown,
        Alert::CertificateExpired,
        Alert::UnsupportedCertificate,
        Alert::UnknownCA,
        Alert::AccessDenied,
        Alert::HandshakeFailure,
    ];
    match error {
        rustls::Error::InvalidCertificate(why) => TargetError::Unreachable { target, reason: untrusted(why) },
        rustls::Error::AlertReceived(alert) if refused.contains(alert) => {
            let reason = format!(
                "it refuses the client certificate or the lack of one ({alert:?}); give the right one"
            );
            TargetError::Denied { target, reason }
        }
        other => TargetError::Unreachable { target, reason: format!("TLS failed: {other}") },
    }
}

/// What is wrong with a cluster's certificate, and what to do.
fn untrusted(why: &CertificateError) -> String {
    use CertificateError as E;
    match why {
        E::Expired | E::ExpiredContext { .. } => {
            "its certificate has expired; renew it, or check the clock of this machine".to_owned()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check the clock of this machine".to_owned()
        }
        E::NotValidForName => {
            "its certificate is not for this host name; use a name that it is for".to_owned()
        }
        E::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!(
                "its certificate is not for {}, but for {}; use a name that it is for",
                expected.to_str(),
                crate::words::shorten(&names, crate::words::MAX_WORDS)
            )
        }
        E::UnknownIssuer => {
            "its certificate is not trusted, because its authority is unknown; give the certificate of its authority, \
             or allow insecure TLS for it"
                .to_owned()
        }
        _ if is_authority(why) => {
            "its certificate is its own authority; give this certificate as that of its authority, or allow insecure \
             TLS for it"
                .to_owned()
        }
        _ => format!(
            "its certificate is not trusted ({why}); give the certificate of its authority, or allow insecure TLS for it"
        ),
    }
}

/// Whether a request with TLS failed in such a way that the other side speaks TLS.
pub(super) fn is_answer_in_tls(error: &reqwest::Error) -> bool {
    tls(error).is_some_and(|error| !matches!(error, rustls::Error::InvalidMessage(_)))
}

/// The TLS error at the bottom of it, if it is one.
fn tls(error: &reqwest::Error) -> Option<rustls::Error> {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls.clone());
        }
        // The source of an I/O error is that of the error inside: the inner one itself is asked for otherwise.
        let inner = error.downcast_ref::<io::Error>().and_then(|e| e.get_ref());
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The innermost words of an error: the outer ones only say that a request failed.
pub(super) fn root(error: &reqwest::Error) -> String {
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    // Without a source the error itself would show its URL, which is no secret, but is said already.
    crate::words::shorten(&innermost.to_string(), crate::words::MAX_WORDS)
}
