//! The sections of `services.yaml`. Pure: text in, settings out.

use backfill::model::FieldName;
use backfill::secrets::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The source cluster, if it still runs.
    pub source_cluster: Option<Cluster>,
    /// The target cluster.
    pub target_cluster: Option<Cluster>,
    /// The snapshot.
    pub snapshot: Option<Snapshot>,
    /// The backfill.
    pub backfill: Option<Backfill>,
}

/// A cluster and how it lets us in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// URL.
    pub endpoint: String,
    /// Whether to accept any TLS certificate.
    pub allow_insecure: bool,
    /// Version, as other tools want it; not needed here.
    pub version: Option<String>,
    /// No authentication. Present, whatever its value.
    pub no_auth: Option<serde_json::Value>,
    /// Basic authentication.
    pub basic_auth: Option<BasicAuth>,
    /// AWS signatures.
    pub sigv4: Option<SigV4>,
    /// Certificate authority to trust, PEM.
    pub ca_cert: Option<PathBuf>,
    /// Client certificate, PEM.
    pub client_cert: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    pub client_key: Option<PathBuf>,
}

/// User and password.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<SecretString>,
    /// ARN of a secret in Secrets Manager.
    pub user_from_secret_arn: Option<String>,
}

/// AWS signatures.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigV4 {
    /// Region.
    pub region: Option<String>,
    /// Service: `es` or `aoss`.
    pub service: Option<String>,
}

/// The snapshot and its repository.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// Name of the snapshot.
    pub snapshot_name: Option<String>,
    /// Name under which clusters know the repository; not needed here.
    pub snapshot_repo_name: Option<String>,
    /// Repository in S3.
    pub s3: Option<S3Repository>,
    /// Repository in a directory.
    pub fs: Option<FsRepository>,
}

/// Repository in S3.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Repository {
    /// `s3://bucket/prefix`.
    pub repo_uri: String,
    /// Region of the bucket.
    pub aws_region: Option<String>,
    /// Role with which clusters read it; not needed here.
    pub role: Option<String>,
    /// Endpoint of an S3-compatible store.
    pub endpoint: Option<String>,
}

/// Repository in a directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FsRepository {
    /// The directory.
    pub repo_path: String,
}

/// The backfill.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Backfill {
    /// A backfill on this machine.
    pub local: Option<LocalBackfill>,
    /// A backfill elsewhere.
    pub reindex_from_snapshot: Option<ReindexFromSnapshot>,
}

/// A backfill elsewhere. What runs on other platforms is for other tools.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReindexFromSnapshot {
    /// In a stack on AWS.
    pub lambda: Option<LambdaBackfill>,
}

/// A backfill in a stack on AWS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaBackfill {
    /// Name of the stack.
    pub stack_name: String,
    /// Region of the stack.
    #[serde(default)]
    pub aws_region: Option<String>,
}

/// A backfill on this machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalBackfill {
    /// File that keeps the checkpoints.
    pub state: Option<PathBuf>,
    /// Number of workers.
    pub workers: Option<u32>,
    /// Index patterns.
    pub index: Option<String>,
    /// Whether wildcards match hidden and dot-prefixed indices too.
    pub include_hidden: Option<bool>,
    /// What becomes of the types of indices that have several: `merge`, `split`, `field` or `field=NAME`.
    pub types: Option<String>,
    /// Whether documents of whose source only a part is stored are sent as they are.
    pub allow_partial_source: Option<bool>,
    /// The field that takes the `_timestamp` of documents.
    pub timestamp_field: Option<FieldName>,
    /// The field that takes the `_ttl` of documents.
    pub ttl_field: Option<FieldName>,
    /// Where documents go instead of the target cluster: `ndjson:DIR`.
    pub target: Option<String>,
}

impl Config {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// In one line, without a word of what may be secret.
    pub fn parse(text: &str) -> Result<Config, String> {
        if text.trim().is_empty() {
            return Ok(Config::default());
        }
        // One line: the parser's own messages may show an excerpt over several.
        let config: Config = serde_saphyr::from_str(text).map_err(|error| {
            let message = error.without_snippet().to_string();
            message.lines().map(str::trim).collect::<Vec<_>>().join(" ")
        })?;
        for (name, cluster) in
            [("source_cluster", &config.source_cluster), ("target_cluster", &config.target_cluster)]
        {
            if let Some(cluster) = cluster {
                cluster.check().map_err(|why| format!("{name}: {why}"))?;
            }
        }
        if let Some(Snapshot { s3: Some(_), fs: Some(_), .. }) = &config.snapshot {
            return Err("snapshot: s3 and fs exclude each other".to_owned());
        }
        Ok(config)
    }
}

impl Cluster {
    fn check(&self) -> Result<(), String> {
        if self.endpoint.is_empty() {
            return Err("endpoint is missing".to_owned());
        }
        let kinds = [self.no_auth.is_some(), self.basic_auth.is_some(), self.sigv4.is_some()]
            .into_iter()
            .filter(|k| *k);
        if kinds.count() > 1 {
            return Err("no_auth, basic_auth and sigv4 exclude each other".to_owned());
        }
        match &self.basic_auth {
            Some(auth) if auth.user_from_secret_arn.is_some() => {
                Err("user_from_secret_arn is not supported here: give username and password, \
                     or BACKFILL_TARGET_USERNAME and BACKFILL_TARGET_PASSWORD"
                    .to_owned())
            }
            Some(auth) if auth.username.is_none() => Err("basic_auth needs username and password".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ecosystems_file_is_understood() {
        let text = "
source_cluster:
  endpoint: https://old:9200
  allow_insecure: true
  version: ES_7.10
  basic_auth: {username: u, password: p}
target_cluster:
  endpoint: https://new:9200
  sigv4: {region: eu-west-1, service: aoss}
snapshot:
  snapshot_name: snap
  snapshot_repo_name: repo
  s3: {repo_uri: 's3://bucket/prefix', aws_region: eu-west-1}
metrics_source: {prometheus: {endpoint: x}}
backfill:
  reindex_from_snapshot: {k8s: {namespace: a, deployment_name: b}}
  local: {workers: 3}
";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.source_cluster.unwrap().basic_auth.unwrap().username.as_deref(), Some("u"));
        assert_eq!(config.target_cluster.unwrap().sigv4.unwrap().service.as_deref(), Some("aoss"));
        assert_eq!(config.snapshot.unwrap().s3.unwrap().repo_uri, "s3://bucket/prefix");
        assert_eq!(config.backfill.unwrap().local.unwrap().workers, Some(3));
        let lambda = "backfill: {reindex_from_snapshot: {lambda: {stack_name: s, aws_region: eu-west-1}}}";
        let lambda =
            Config::parse(lambda).unwrap().backfill.unwrap().reindex_from_snapshot.unwrap().lambda.unwrap();
        assert_eq!((lambda.stack_name.as_str(), lambda.aws_region.as_deref()), ("s", Some("eu-west-1")));
        let no_auth = Config::parse("target_cluster: {endpoint: x, no_auth: }").unwrap();
        assert_eq!(no_auth.target_cluster.unwrap().endpoint, "x");
        assert!(Config::parse(" \n").unwrap().snapshot.is_none());
    }

    #[test]
    fn no_mistake_repeats_a_password() {
        for password in ["[hunter22]", "{hunter22: 1}", "hunter22, port: 1", "\"hunter22", "!!int hunter22"] {
            let text = format!(
                "target_cluster:\n  endpoint: x\n  basic_auth: {{username: u, password: {password}}}"
            );
            let message = Config::parse(&text).unwrap_err();
            assert!(!message.contains("hunter22"), "{message}");
        }
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        let cases = [
            ("target_cluster: [1", ""),
            ("target_cluster: {endpoint: x, basic: 1}", "basic"),
            ("target_cluster: {basic_auth: {username: u}}", "endpoint is missing"),
            ("target_cluster: {endpoint: x, no_auth: 1, sigv4: {}}", "exclude"),
            ("backfill: {reindex_from_snapshot: {lambda: {stack: s}}}", "stack"),
            ("snapshot: {s3: {repo_uri: a}, fs: {repo_path: b}}", "exclude"),
        ];
        for (text, part) in cases {
            let message = Config::parse(text).unwrap_err();
            assert!(
                message.contains(part) && !message.contains('\n') && !message.is_empty(),
                "{text}: {message}"
            );
        }
    }

    /// A file with all sections.
    const WHOLE: &str = "
source_cluster: {endpoint: 'https://a:9200', basic_auth: {username: u, password: p}}
target_cluster:
  endpoint: https://b:9200
  sigv4: {region: us-east-1, service: es}
snapshot:
  snapshot_name: latest
  s3: {repo_uri: 's3://bucket/path', aws_region: us-east-1}
backfill:
  local: {workers: 3}
metrics_source: &anchor {deployment: {a: [1, 2.5, null, true]}}
replay: *anchor
";

    #[test]
    fn a_damaged_file_is_read_or_told_in_one_line() {
        let mut random = fastrand::Rng::with_seed(7);
        let insertions = [
            ": ",
            "- ",
            "&a ",
            "*a ",
            "<<: *anchor\n",
            "!!x ",
            "[",
            "{",
            "\u{0}",
            "\n---\n",
            "9e999",
            "'",
            "\t",
            "|\n",
        ];
        let mut refused = 0;
        for _ in 0..3000 {
            let mut text = WHOLE.to_owned();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..=text.len());
                match random.u8(0..3) {
                    0 if at < text.len() => drop(text.remove(at)),
                    1 => text.insert_str(at, random.choice(insertions).unwrap()),
                    _ => text.truncate(at.max(1)),
                }
            }
            if let Err(why) = Config::parse(&text) {
                refused += 1;
                assert!(!why.is_empty() && !why.contains('\n'), "{text}: {why}");
            }
        }
        assert!(refused > 300, "{refused}");
    }
}
