//! From a configuration to a way to the cluster.

use super::{Transport, faults::Timeouts, secrets::Secrets};
use crate::config::{Auth, ConfigError, TargetConfig};
use crate::sigv4::Signer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Url, redirect};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Connections that were not used for so long are closed: what is in between may have forgotten them.
const IDLE: Duration = Duration::from_secs(55);

pub(super) fn transport(config: &TargetConfig) -> Result<Transport, ConfigError> {
    let url = endpoint(&config.endpoint)?;
    let location = url.as_str().trim_end_matches('/').to_owned();
    let loopback = is_loopback(&url);
    let client = client(config, &location, loopback)?;
    let mut secrets = Vec::new();
    let (mut basic, mut signer) = (None, None);
    match &config.auth {
        Auth::None => {}
        Auth::Basic { user, password } => {
            let token = STANDARD.encode(format!("{user}:{password}"));
            let header = HeaderValue::from_str(&format!("Basic {token}"));
            let mut header =
                header.map_err(|_| ConfigError::Header { what: "user", endpoint: location.clone() })?;
            header.set_sensitive(true);
            basic = Some(header);
            secrets.extend([token, password.clone()]);
        }
        Auth::SigV4 { region, service } => signer = Some(Signer::new(region.clone(), *service)),
    }
    let secrets = Secrets::new(secrets);
    let timeouts = Timeouts { connect: config.connect_timeout, request: config.request_timeout };
    Ok(Transport { client, endpoint: location.clone(), location, loopback, basic, signer, secrets, timeouts })
}

fn endpoint(text: &str) -> Result<Url, ConfigError> {
    // What is before an @ may be a password.
    let shown = if text.contains('@') { "…".to_owned() } else { text.to_owned() };
    let wrong = |reason: &str| ConfigError::Endpoint { endpoint: shown.clone(), reason: reason.to_owned() };
    let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("user and password are given apart from it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment"));
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
    if config.allow_insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    } else if let Some(path) = &config.ca_certificate {
        let none = || ConfigError::Pem { path: path.clone(), what: "certificate" };
        let authorities = Certificate::from_pem_bundle(&read(path)?).map_err(|_| none())?;
        if authorities.is_empty() {
            return Err(none());
        }
        builder = builder.tls_certs_merge(authorities);
    }
    if let Some(pair) = &config.client_certificate {
        let mut pem = read(&pair.certificate)?;
        pem.push(b'\n');
        pem.extend(read(&pair.key)?);
        let none = || ConfigError::Pem { path: pair.certificate.clone(), what: "certificate with its key" };
        builder = builder.identity(Identity::from_pem(&pem).map_err(|_| none())?);
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked_without_repeating_passwords() {
        for bad in
            ["", "localhost:9200", "ftp://h", "http://", "https://u:secret@h", "http://h/?a=b", "http://h/#x"]
        {
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
        let body = transport.secrets.redact("you sent me:hunter22".into());
        assert_eq!(body, "you sent me:***");
    }
}
