//! A real S3 server on loopback, and repositories in it.

use crate::Result;
use crate::data::COMPLETE;
use crate::pipeline::runtime;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_smithy_http_client::tls;
use servers::S3Server;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The bucket that repositories lie in, each below a prefix of its name.
const BUCKET: &str = "bench";
/// How long signed addresses are good for.
const SIGNED_FOR: Duration = Duration::from_secs(3600);

/// Starts the server on the data sets' buckets; `None` without a Go toolchain.
pub(crate) fn start(data: &Path) -> Result<Option<S3Server>> {
    Ok(S3Server::start_in(&data.join("s3"))?)
}

/// What a process must know to use the server.
pub(crate) fn environment(server: &S3Server) -> Vec<(&'static str, String)> {
    let mut variables = vec![("AWS_ENDPOINT_URL_S3", server.url())];
    variables.extend(S3Server::credentials().map(|(name, value)| (name, value.to_owned())));
    variables
}

/// The address of a repository in the bucket.
pub(crate) fn address(name: &str) -> String {
    format!("s3://{BUCKET}/{name}")
}

/// A client of the server at this address.
fn client(endpoint: &str) -> Client {
    let [(_, key), (_, secret), (_, region)] = S3Server::credentials();
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(region))
        .credentials_provider(Credentials::new(key, secret, None, None, "bench"))
        .endpoint_url(endpoint)
        .force_path_style(true);
    Client::from_conf(config.build())
}

/// Copies a repository into the bucket, unless this very one is there.
pub(crate) fn put(server: &S3Server, name: &str, repo: &Path) -> Result<()> {
    let client = client(&server.url());
    runtime()?.block_on(async {
        // An error here is one of the next requests', too.
        let _ = client.create_bucket().bucket(BUCKET).send().await;
        let (done, mark) = (format!("{name}.complete"), std::fs::read(repo.with_file_name(COMPLETE))?);
        if let Ok(found) = client.get_object().bucket(BUCKET).key(&done).send().await
            && found.body.collect().await?.into_bytes() == mark
        {
            return Ok(());
        }
        eprintln!("== copying {} to {}", repo.display(), address(name));
        for file in files(repo)? {
            let key = format!("{name}/{}", file.strip_prefix(repo)?.display());
            let bytes = std::fs::read(&file)?;
            client.put_object().bucket(BUCKET).key(key).body(bytes.into()).send().await?;
        }
        client.put_object().bucket(BUCKET).key(done).body(mark.into()).send().await?;
        Ok(())
    })
}

/// A signed address for the object at each of these paths below a repository.
pub(crate) async fn sign(endpoint: &str, repo: &str, paths: &[String]) -> Result<Vec<String>> {
    let client = client(endpoint);
    let prefix = repo.strip_prefix(&format!("s3://{BUCKET}/")).ok_or("not an address in the bucket")?;
    let mut signed = Vec::with_capacity(paths.len());
    for path in paths {
        let request = client.get_object().bucket(BUCKET).key(format!("{prefix}/{path}"));
        let request = request.presigned(PresigningConfig::expires_in(SIGNED_FOR)?).await?;
        signed.push(request.uri().to_owned());
    }
    Ok(signed)
}

/// All files below a directory.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}
