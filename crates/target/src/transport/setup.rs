//! From a configuration to a way to the cluster.

use super::{Marks, Transport, faults::Timeouts, pinned};
use crate::config::{Auth, ConfigError, MAX_DOCUMENT, TargetConfig};
use crate::sigv4::Signer;
use backfill::secrets::{ExposeSecret, Redactor, SecretString, shown_address};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Client, ClientBuilder, Identity, Url, redirect};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Connections that were not used for so long are closed: what is in between may have forgotten them.
const IDLE: Duration = Duration::from_secs(55);

/// KiB for answers that are kept whole, at most: more than any machine has, and fewer than permits can count.
const MAX_ROOM: u32 = 1 << 28;

pub(super) fn transport(config: &TargetConfig) -> Result<Transport, ConfigError> {
    let url = endpoint(&config.endpoint)?;
    let location = url.as_str().trim_end_matches('/').to_owned();
    let loopback = is_loopback(&url);
    let client = client(config, &location, loopback)?;
    let mut secrets: Vec<SecretString> = Vec::new();
    let (mut basic, mut signer) = (None, None);
    match &config.auth {
        Auth::None => {}
        Auth::Basic { user, password } => {
            let password = password.expose_secret();
            let token = STANDARD.encode(format!("{user}:{password}"));
            let header = HeaderValue::from_str(&format!("Basic {token}"));
            let mut header =
                header.map_err(|_| ConfigError::Header { what: "user", endpoint: location.clone() })?;
            header.set_sensitive(true);
            basic = Some(header);
            secrets = vec![token.into(), format!("{user}:{password}").into(), password.to_owned().into()];
        }
        Auth::SigV4 { region, service } => signer = Some(Signer::new(region.clone(), *service)),
    }
    let redactor = Redactor::new(secrets);
    let timeouts = Timeouts { connect: config.connect_timeout, request: config.request_timeout };
    // The other half is for the outcomes of bulk requests. A permit stands for a KiB.
    let room_kib = u32::try_from(config.answer_bytes >> 11).unwrap_or(u32::MAX).clamp(1, MAX_ROOM);
    Ok(Transport {
        client,
        endpoint: location.clone(),
        location,
        loopback,
        basic,
        signer,
        redactor,
        timeouts,
        speaks: AtomicBool::new(false),
        marks: Marks::new(),
        room: Arc::new(Semaphore::new(room_kib as usize)),
        room_kib,
        document_bytes: config.document_bytes.min(MAX_DOCUMENT),
    })
}

fn endpoint(text: &str) -> Result<Url, ConfigError> {
    let shown = shown_address(text);
    let wrong = |reason: &str| ConfigError::Endpoint {
        endpoint: shown.clone().into_owned(),
        reason: reason.to_owned(),
    };
    let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("user and password are given apart from it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment, which is not shown here"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn client(config: &TargetConfig, location: &str, loopback: bool) -> Result<Client, ConfigError> {
    // Fails when a provider is there already, which then does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let agent = HeaderValue::from_str(&config.user_agent)
        .map_err(|_| ConfigError::Header { what: "user agent", endpoint: location.to_owned() })?;
    let mut builder = Client::builder()
        .user_agent(agent)
        .redirect(redirect::Policy::none())
        .referer(false)
        .timeout(config.request_timeout)
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(IDLE);
    if loopback {
        builder = builder.no_proxy();
    }
    tls(builder, config, location)?
        .build()
        .map_err(|e| ConfigError::Client { endpoint: location.to_owned(), reason: super::faults::root(&e) })
}

fn tls(
    mut builder: ClientBuilder,
    config: &TargetConfig,
    location: &str,
) -> Result<ClientBuilder, ConfigError> {
    let read = |path: &Path| {
        let fault = |source| ConfigError::File { path: path.into(), endpoint: location.to_owned(), source };
        std::fs::read(path).map_err(fault)
    };
    let identity = match &config.client_certificate {
        None => None,
        Some(pair) => {
            let mut pem = read(&pair.certificate)?;
            pem.push(b'\n');
            pem.extend(read(&pair.key)?);
            Some((pem, ConfigError::Pem { path: pair.certificate.clone(), what: "certificate with its key" }))
        }
    };
    if let (false, Some(path)) = (config.allow_insecure, &config.ca_certificate) {
        let trusted = pinned::certificates(&read(path)?)
            .ok_or_else(|| ConfigError::Pem { path: path.clone(), what: "certificate" })?;
        let pem = identity.as_ref().map(|(pem, _)| pem.as_slice());
        return match pinned::client(trusted, pem) {
            Ok(tls) => Ok(builder.tls_backend_preconfigured(tls)),
            Err(pinned::Fault::Identity) => Err(identity.map_or_else(
                || ConfigError::Pem { path: path.clone(), what: "certificate" },
                |(_, error)| error,
            )),
            Err(pinned::Fault::Setup(reason)) => {
                Err(ConfigError::Client { endpoint: location.to_owned(), reason })
            }
        };
    }
    if config.allow_insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some((pem, error)) = identity {
        builder = builder.identity(Identity::from_pem(&pem).map_err(|_| error)?);
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked_without_repeating_passwords() {
        for bad in [
            "",
            "localhost:9200",
            "ftp://h",
            "http://",
            "https://u:secret@h",
            "https://u:s/secret@h",
            "u:secret@h:9200",
            "http://h/?token=secret",
            "http://h/#secret",
        ] {
            let error = endpoint(bad).unwrap_err().to_string();
            assert!(!error.contains("secret") && error.ends_with("https://host:port"), "{error}");
        }
        for (url, loopback) in [
            ("http://localhost:9200", true),
            ("http://127.0.0.2:9200/", true),
            ("https://[::1]:9200/a/b", true),
            ("https://example.com", false),
            ("https://10.0.0.1", false),
            ("https://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&endpoint(url).unwrap()), loopback, "{url}");
        }
    }

    #[test]
    fn nothing_shows_the_password() {
        let mut config = TargetConfig::new("http://h:1/base/");
        config.auth = Auth::Basic { user: "me".into(), password: "hunter22".into() };
        let transport = transport(&config).unwrap();
        let shown = format!("{config:?} {transport:?}");
        assert!(!shown.contains("hunter22"), "{shown}");
        assert_eq!(transport.location(), "http://h:1/base");
        assert_eq!(transport.redactor.redact("you sent me:hunter22"), "you sent ***");
    }
}
