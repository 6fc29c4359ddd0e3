//! TLS, certificates and signatures, against servers made here.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use backfill::model::WriteMode;
use backfill::ports::{ItemOutcome, Target, TargetError};
use common::{Request, answer, batch, writer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::PathBuf;
use std::sync::Arc;
use target::{Auth, ClientCertificate, Cluster, OpenSearchTarget, Service, TargetConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const MAIN: &str = r#"{"version":{"distribution":"opensearch","number":"2.19.5"}}"#;

/// A certificate authority with a server's and a client's certificate.
struct Pki {
    directory: PathBuf,
    authority: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Pki {
    fn new(name: &str) -> Pki {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let leaf = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let ((server, server_key), (client, client_key)) = (leaf(), leaf());
        let directory = std::env::temp_dir().join(format!("backfill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (file, pem) in [
            ("ca.pem", authority.pem()),
            ("client.pem", client.pem()),
            ("client.key", client_key.serialize_pem()),
        ] {
            std::fs::write(directory.join(file), pem).unwrap();
        }
        Pki {
            directory,
            authority: authority.der().clone(),
            chain: vec![server.der().clone()],
            key: PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn client_certificate(&self) -> ClientCertificate {
        ClientCertificate { certificate: self.file("client.pem"), key: self.file("client.key") }
    }

    /// A server whose port expects TLS and does this with requests without.
    async fn serve_plain(&self, plain: Plain) -> String {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(self.chain.clone(), self.key.clone_key()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut first = [0];
                socket.peek(&mut first).await.unwrap();
                match plain {
                    // What TLS sends begins with this byte, and rustls sends an alert if there is another one.
                    _ if first[0] == 22 => drop(acceptor.accept(socket).await),
                    Plain::Alert => drop(acceptor.accept(socket).await),
                    Plain::Reset => socket.set_zero_linger().unwrap(),
                    Plain::Close => drop(Request::read(&mut socket).await),
                    Plain::BadRequest => {
                        Request::read(&mut socket).await.unwrap();
                        let text = "The plain HTTP request was sent to HTTPS port";
                        socket.write_all(answer("400 Bad Request", "", text).as_bytes()).await.unwrap();
                    }
                }
            }
        });
        url
    }

    /// A server that answers every request, and says in a header of its answer how many certificates it was shown;
    /// with `strict`, it insists on one.
    async fn serve(&self, strict: bool) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = if strict { verifier } else { verifier.allow_unauthenticated() }.build().unwrap();
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(verifier);
        let config = config.with_single_cert(self.chain.clone(), self.key.clone_key()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
                while let Some(request) = Request::read(&mut stream).await {
                    let basic = request.header("authorization") == Some("Basic bWU6aHVudGVyMjI=");
                    let body = MAIN.replace("2.19.5", &format!("{shown} {basic}"));
                    stream.write_all(answer("200 OK", "", &body).as_bytes()).await.unwrap();
                }
            }
        });
        url
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What a port that expects TLS does with a request without.
#[derive(Clone, Copy, Debug)]
enum Plain {
    Alert,
    Reset,
    Close,
    BadRequest,
}

/// Number of certificates that the server was shown, and whether it got the password.
async fn seen(config: &TargetConfig) -> Result<String, TargetError> {
    Cluster::new(config).unwrap().version().await.map(|v| v.number)
}

#[tokio::test]
async fn certificates_are_checked_unless_told_otherwise() {
    let pki = Pki::new("server");
    let url = pki.serve(false).await;
    let mut config = TargetConfig::new(&url);
    let error = seen(&config).await.unwrap_err();
    let TargetError::Unreachable { reason, .. } = &error else { panic!("{error:?}") };
    assert!(
        reason.starts_with("its certificate is not trusted, because its authority is unknown"),
        "{reason}"
    );
    assert!(
        reason.ends_with("give the certificate of its authority, or allow insecure TLS for it"),
        "{reason}"
    );

    config.allow_insecure = true;
    assert_eq!(seen(&config).await.unwrap(), "0 false");

    config.allow_insecure = false;
    config.ca_certificate = Some(pki.file("ca.pem"));
    assert_eq!(seen(&config).await.unwrap(), "0 false");

    // The right authority, but another name.
    config.endpoint = url.replace("localhost", "127.0.0.1");
    assert!(seen(&config).await.unwrap_err().to_string().contains("its certificate is not for 127.0.0.1"));
}

/// A server whose certificate is its own authority and valid in these years, as `openssl req -x509` makes them; and the
/// certificate.
async fn self_signed(name: &str, years: std::ops::Range<i32>) -> (String, Pki) {
    let mut pki = Pki::new(name);
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(pki.file("own.pem"), certificate.pem()).unwrap();
    pki.chain = vec![certificate.der().clone()];
    pki.key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (pki.serve(false).await, pki)
}

#[tokio::test]
async fn a_server_may_be_its_own_authority() {
    let (url, pki) = self_signed("self", 2020..4096).await;
    let mut config = TargetConfig::new(&url);
    config.ca_certificate = Some(pki.file("own.pem"));
    assert_eq!(seen(&config).await.unwrap(), "0 false");
    config.client_certificate = Some(pki.client_certificate());
    assert_eq!(seen(&config).await.unwrap(), "1 false");

    // Of another server, or not given at all.
    config.ca_certificate = Some(pki.file("ca.pem"));
    let refused = seen(&config).await.unwrap_err().to_string();
    assert!(refused.contains("give this certificate as that of its authority"), "{refused}");
    config.ca_certificate = None;
    let refused = seen(&config).await.unwrap_err().to_string();
    assert!(refused.contains("give this certificate as that of its authority"), "{refused}");

    config.ca_certificate = Some(pki.file("own.pem"));
    config.endpoint = url.replace("localhost", "127.0.0.1");
    let refused = seen(&config).await.unwrap_err().to_string();
    assert!(refused.contains("its certificate is not for 127.0.0.1, but for "), "{refused}");
    assert!(refused.ends_with("localhost\"); use a name that it is for"), "{refused}");
}

#[tokio::test]
async fn certificates_outside_of_their_time_are_said_to_be() {
    for (name, years, expected) in [
        ("old", 2010..2011, "its certificate has expired; renew it, or check the clock of this machine"),
        ("new", 4000..4001, "its certificate is not valid yet; check the clock of this machine"),
    ] {
        let (url, pki) = self_signed(name, years).await;
        let mut config = TargetConfig::new(&url);
        config.ca_certificate = Some(pki.file("own.pem"));
        let refused = seen(&config).await.unwrap_err().to_string();
        assert!(refused.ends_with(expected), "{refused}");
    }
}

#[tokio::test]
async fn clients_show_their_certificate_and_their_password() {
    let pki = Pki::new("client");
    let url = pki.serve(true).await;
    let mut config = TargetConfig::new(&url);
    config.ca_certificate = Some(pki.file("ca.pem"));
    let error = seen(&config).await.unwrap_err();
    let TargetError::Denied { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("client certificate"), "{reason}");

    config.client_certificate = Some(pki.client_certificate());
    assert_eq!(seen(&config).await.unwrap(), "1 false");

    config.auth = Auth::Basic { user: "me".into(), password: "hunter22".into() };
    assert_eq!(seen(&config).await.unwrap(), "1 true");
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let pki = Pki::new("files");
    let refused = |change: &dyn Fn(&mut TargetConfig)| {
        let mut config = TargetConfig::new("https://localhost");
        change(&mut config);
        Cluster::new(&config).unwrap_err().to_string()
    };
    let absent = refused(&|c| c.ca_certificate = Some(pki.file("absent.pem")));
    assert!(absent.contains("absent.pem: cannot be read"), "{absent}");
    let key = refused(&|c| c.ca_certificate = Some(pki.file("client.key")));
    assert!(key.contains("client.key: holds no certificate"), "{key}");
    let swapped = ClientCertificate { certificate: pki.file("ca.pem"), key: pki.file("client.pem") };
    let swapped = refused(&|c| c.client_certificate = Some(swapped.clone()));
    assert!(swapped.contains("ca.pem: holds no certificate with its key"), "{swapped}");
}

#[tokio::test]
async fn speaking_the_wrong_protocol_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let error = seen(&TargetConfig::new(&url)).await.unwrap_err().to_string();
    assert!(error.ends_with("it does not speak TLS; write its address with http://"), "{error}");
}

#[tokio::test]
async fn a_port_that_expects_tls_is_recognised_however_it_refuses_plain_requests() {
    let pki = Pki::new("plain");
    for plain in [Plain::Alert, Plain::Reset, Plain::Close, Plain::BadRequest] {
        let url = pki.serve_plain(plain).await;
        let error = seen(&TargetConfig::new(&url)).await.unwrap_err();
        assert!(matches!(error, TargetError::Unexpected { .. }), "{plain:?}: it is not waited for: {error}");
        let text = error.to_string();
        assert!(text.ends_with("it expects TLS; write its address with https://"), "{plain:?}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_is_not_taken_for_one_that_expects_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let error = seen(&TargetConfig::new(&url)).await.unwrap_err();
    assert!(matches!(error, TargetError::Unreachable { .. }), "{error}");
    assert!(!error.to_string().contains("https"), "{error}");
}

/// Runs in a process of its own, whose environment holds the credentials.
#[tokio::test]
#[ignore = "is run by requests_are_signed_with_the_credentials_of_the_environment"]
async fn signing_child() {
    let service = match std::env::var("BACKFILL_TEST_SERVICE").as_deref() {
        Ok("es") => Service::Es,
        Ok("aoss") => Service::Aoss,
        _ => return,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = TargetConfig::new(format!("http://{}", listener.local_addr().unwrap()));
    config.auth = Auth::SigV4 { region: "eu-south-7".into(), service };
    config.compression = target::Compression::On;
    let target = OpenSearchTarget::new(config).unwrap();
    let padding = format!("{{\"x\":\"{}\"}}", "x".repeat(2000));
    let batch = batch(WriteMode::Index, &[("1", None, &padding)]);
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let request = Request::read(&mut socket).await.unwrap();
        let body = r#"{"items":[{"index":{"_index":"größe","_id":"1","status":201}}]}"#;
        socket.write_all(answer("200 OK", "", body).as_bytes()).await.unwrap();
        // The next one is refused with all that it said.
        let echoed = Request::read(&mut socket).await.unwrap();
        let dump = serde_json::to_string(&echoed.headers.join("\n")).unwrap();
        let error = format!(r#"{{"type":"a","reason":{dump}}}"#);
        let body = body.replace("201", &format!(r#"400,"error":{error}"#));
        socket.write_all(answer("200 OK", "", &body).as_bytes()).await.unwrap();
        (request, echoed)
    };
    let writer = writer(&target, "größe", WriteMode::Index).await;
    let replies = async { (writer.send(&batch).await, writer.send(&batch).await) };
    let ((request, echoed), (reply, refused)) = tokio::join!(server, replies);
    assert_eq!(reply.unwrap().items, [ItemOutcome::Indexed]);
    let refused = format!("{refused:?}");
    let of_refused = echoed.header("authorization").unwrap().rsplit_once("Signature=").unwrap().1;
    assert!(refused.contains("x-amz-date"), "{refused}");
    assert!(!refused.contains(of_refused) && !refused.contains("the-session"), "{refused}");

    let signature = request.header("authorization").unwrap();
    let scope = format!("/eu-south-7/{}/aws4_request", service.name());
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{signature}");
    assert!(signature.contains(&scope), "{signature}");
    for header in ["content-encoding", "content-type", "host", "x-amz-content-sha256", "x-amz-date"] {
        assert!(signature.contains(header), "{header} is not signed: {signature}");
    }
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let digest = std::process::Command::new("sha256sum").stdin(file_with(&request.body)).output().unwrap();
    let digest = String::from_utf8(digest.stdout).unwrap();
    assert_eq!(request.header("x-amz-content-sha256").unwrap(), &digest[..64]);
    assert_eq!(request.header("x-amz-security-token"), Some("the-session"));
    let shown = format!("{target:?}");
    assert!(!shown.contains("the-secret") && !shown.contains("the-session"), "{shown}");
}

fn file_with(bytes: &[u8]) -> std::fs::File {
    let path = std::env::temp_dir().join(format!("backfill-body-{}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// This test's program again, with only the one test and this environment.
fn child(test: &str, environment: &[(&str, &str)]) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--include-ignored"]).env_clear().envs(environment.iter().copied());
    let output = command.env("PATH", std::env::var_os("PATH").unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn requests_are_signed_with_the_credentials_of_the_environment() {
    for service in ["es", "aoss"] {
        child(
            "signing_child",
            &[
                ("BACKFILL_TEST_SERVICE", service),
                ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                ("AWS_SECRET_ACCESS_KEY", "the-secret"),
                ("AWS_SESSION_TOKEN", "the-session"),
            ],
        );
    }
}

/// Runs in a process of its own, whose environment holds no credentials.
#[tokio::test]
#[ignore = "is run by missing_credentials_are_said_to_be_missing"]
async fn unsigned_child() {
    if std::env::var_os("BACKFILL_TEST_UNSIGNED").is_none() {
        return;
    }
    let mut config = TargetConfig::new("http://127.0.0.1:9");
    config.auth = Auth::SigV4 { region: "eu-south-7".into(), service: Service::Es };
    let error = OpenSearchTarget::new(config).unwrap().check().await.unwrap_err();
    let TargetError::Denied { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("no AWS credentials can be had"), "{reason}");
}

#[test]
fn missing_credentials_are_said_to_be_missing() {
    let environment =
        [("BACKFILL_TEST_UNSIGNED", "1"), ("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", "/nonexistent")];
    child("unsigned_child", &environment);
}

/// Runs in a process of its own, whose environment names a proxy.
#[tokio::test]
#[ignore = "is run by proxies_of_the_environment_are_used_but_not_for_this_machine"]
async fn proxy_child() {
    let Ok(port) = std::env::var("BACKFILL_TEST_PROXY") else { return };
    let proxy = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).await.unwrap();
    let direct = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = format!("http://{}", direct.local_addr().unwrap());
    for (listener, url) in [(proxy, "http://cluster.invalid:9200"), (direct, here.as_str())] {
        let server = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let request = Request::read(&mut socket).await.unwrap();
            socket.write_all(answer("200 OK", "", MAIN).as_bytes()).await.unwrap();
            request.line
        };
        let config = TargetConfig::new(url);
        let (line, version) = tokio::join!(server, seen(&config));
        assert_eq!(version.unwrap(), "2.19.5");
        let path = if url == here { "/" } else { "http://cluster.invalid:9200/" };
        assert_eq!(line, format!("GET {path} HTTP/1.1"));
    }
}

#[test]
fn proxies_of_the_environment_are_used_but_not_for_this_machine() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let proxy = format!("http://127.0.0.1:{port}");
    child("proxy_child", &[("BACKFILL_TEST_PROXY", &port), ("HTTP_PROXY", &proxy), ("http_proxy", &proxy)]);
}
