//! Settings: what arguments, environment and configuration file say together, checked and with defaults.

use crate::args::{
    DocumentArgs, FileCompression, RepositoryArgs, SendArgs, SnapshotArgs, SourceClusterArgs, StartArgs,
    StateArgs, TargetArgs, When,
};
use crate::config::{Cluster, Config};
use crate::exit::{CommandError, Result};
use aws::{S3Blobs, S3Options};
use backfill::budget::Budget;
use backfill::encode::Encoding;
use backfill::indices::Handling;
use backfill::model::{FieldName, RunSpec, Selection, TimeFields};
use backfill::ports::{Blobs, Target};
use backfill::secrets::{SecretString, shown_address};
use local::{Compression, ExportTarget, FsBlobs};
use serde::Deserialize;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use target::{
    Auth, ClientCertificate, Cluster as HttpCluster, Compression as CompressRequests, OpenSearchTarget,
    Service, TargetConfig,
};

/// Means the newest successful snapshot, where a name is expected.
pub const LATEST: &str = "latest";

/// The state file that is used when none is named.
pub const DEFAULT_STATE: &str = "backfill.sqlite";

/// The repository, by its settings.
#[derive(Clone, Debug)]
pub struct RepositorySetting {
    /// Directory or S3 URI.
    pub location: String,
    /// Options of S3.
    pub s3: S3Options,
}

impl RepositorySetting {
    /// Flag and environment first, then the file.
    pub fn new(args: &RepositoryArgs, config: &Config) -> Result<RepositorySetting> {
        let snapshot = config.snapshot.as_ref();
        let s3 = snapshot.and_then(|s| s.s3.as_ref());
        let fs = snapshot.and_then(|s| s.fs.as_ref());
        let location = args
            .repo
            .clone()
            .or_else(|| s3.map(|s3| s3.repo_uri.clone()))
            .or_else(|| fs.map(|fs| fs.repo_path.clone()))
            .ok_or_else(|| {
                CommandError::usage(
                    "say where the snapshot repository is: --repo DIR or --repo s3://bucket/prefix",
                )
            })?;
        let s3 = S3Options {
            region: args.s3_region.clone().or_else(|| s3.and_then(|s3| s3.aws_region.clone())),
            endpoint: args.s3_endpoint.clone().or_else(|| s3.and_then(|s3| s3.endpoint.clone())),
            ..S3Options::default()
        };
        // A later start from another directory must mean the same place.
        let location = match location.strip_prefix("file://") {
            Some(path) => path.to_owned(),
            None => location,
        };
        let location = if location.contains("://") { location } else { absolute(Path::new(&location)) };
        Ok(RepositorySetting { location, s3 })
    }

    /// Opens it. Clients belong to the async runtime in which this is called.
    pub async fn open(&self) -> Result<Arc<dyn Blobs>> {
        if self.location.starts_with("s3://") {
            let blobs = S3Blobs::open(&self.location, self.s3.clone()).await?;
            return Ok(Arc::new(blobs));
        }
        if let Some((scheme, _)) = self.location.split_once("://") {
            return Err(CommandError::usage(format!(
                "{}: a repository is a directory or s3://bucket/prefix, not {scheme}://",
                shown_address(&self.location)
            )));
        }
        Ok(Arc::new(FsBlobs::new(&self.location)))
    }
}

/// The one name of a path, whether it is there already or not: that of what is there of it, and the rest as it is written.
fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
        whole = std::fs::canonicalize(&whole).unwrap_or(whole);
    }
    whole.to_string_lossy().into_owned()
}

/// Completes a `start` from the run that is not finished: whatever neither arguments nor file give is as in that run.
/// What they do give is kept, and may turn out to ask for another run.
pub fn as_in_run(args: &mut StartArgs, config: &Config, spec: &RunSpec) {
    let snapshot = config.snapshot.as_ref();
    let local = config.backfill.as_ref().and_then(|b| b.local.as_ref());
    target_as_in_run(&mut args.target, config, spec);
    let fill = |named: &mut Option<String>, configured: bool, value: &str| {
        if named.is_none() && !configured {
            *named = Some(value.to_owned());
        }
    };
    fill(
        &mut args.repository.repo,
        snapshot.is_some_and(|s| s.s3.is_some() || s.fs.is_some()),
        &spec.repository,
    );
    fill(&mut args.snapshot.snapshot, snapshot.is_some_and(|s| s.snapshot_name.is_some()), &spec.snapshot);
    fill(&mut args.snapshot.index, local.is_some_and(|l| l.index.is_some()), &spec.selection.patterns);
    args.snapshot.include_hidden |= spec.selection.include_hidden;
    args.snapshot.allow_partial |= spec.allow_partial;
    if args.documents.types.is_none() && local.is_none_or(|l| l.types.is_none()) {
        args.documents.types = spec.types.clone();
    }
    args.documents.allow_partial_source |= spec.allow_partial_source;
    let fill = |named: &mut Option<FieldName>, configured: bool, value: &Option<FieldName>| {
        if named.is_none() && !configured {
            named.clone_from(value);
        }
    };
    let TimeFields { timestamp, ttl } = &spec.time_fields;
    fill(&mut args.documents.timestamp_field, local.is_some_and(|l| l.timestamp_field.is_some()), timestamp);
    fill(&mut args.documents.ttl_field, local.is_some_and(|l| l.ttl_field.is_some()), ttl);
}

/// The target of a run, unless another one is said.
pub fn target_as_in_run(args: &mut TargetArgs, config: &Config, spec: &RunSpec) {
    let local = config.backfill.as_ref().and_then(|b| b.local.as_ref());
    let configured = config.target_cluster.is_some() || local.is_some_and(|l| l.target.is_some());
    if args.target.is_none() && !configured {
        args.target = Some(spec.target.clone());
    }
}

/// Name of the snapshot: `latest` unless it is named.
pub fn snapshot_name(args: &SnapshotArgs, config: &Config) -> String {
    let configured = config.snapshot.as_ref().and_then(|s| s.snapshot_name.clone());
    args.snapshot.clone().or(configured).unwrap_or_else(|| LATEST.to_owned())
}

/// The indices that are meant: all unless they are named.
pub fn selection(args: &SnapshotArgs, config: &Config) -> Selection {
    let local = config.backfill.as_ref().and_then(|b| b.local.as_ref());
    Selection {
        patterns: args
            .index
            .clone()
            .or_else(|| local.and_then(|l| l.index.clone()))
            .unwrap_or_else(|| "*".to_owned()),
        include_hidden: args.include_hidden || local.and_then(|l| l.include_hidden).unwrap_or(false),
    }
}

/// What becomes of documents: flag and environment first, then the file.
pub fn handling(args: &DocumentArgs, config: &Config, target: Option<&TargetSetting>) -> Result<Handling> {
    let local = config.backfill.as_ref().and_then(|b| b.local.as_ref());
    let types = match (&args.types, local.and_then(|l| l.types.as_deref())) {
        (Some(types), _) => Some(types.clone()),
        (None, Some(text)) => {
            let parsed = text.parse();
            Some(
                parsed
                    .map_err(|why| CommandError::usage(format!("backfill.local.types: {text:?}: {why}")))?,
            )
        }
        (None, None) => None,
    };
    Ok(Handling {
        types,
        allow_partial_source: args.allow_partial_source
            || local.and_then(|l| l.allow_partial_source).unwrap_or(false),
        time_fields: TimeFields {
            timestamp: args.timestamp_field.clone().or_else(|| local?.timestamp_field.clone()),
            ttl: args.ttl_field.clone().or_else(|| local?.ttl_field.clone()),
        },
        encoding: target.map(TargetSetting::encoding),
    })
}

/// The state file, as it is to be opened.
pub fn state_file(args: &StateArgs, config: &Config) -> Result<PathBuf> {
    let path = state_path(args, config);
    if path.is_dir() {
        return Err(CommandError::usage(format!(
            "the state file {} is a directory; name a file in it, such as --state {}",
            path.display(),
            path.join(DEFAULT_STATE).display()
        )));
    }
    Ok(path)
}

/// Where the state file is, or would be.
fn state_path(args: &StateArgs, config: &Config) -> PathBuf {
    let local = config.backfill.as_ref().and_then(|b| b.local.as_ref());
    args.state
        .clone()
        .or_else(|| local.and_then(|l| l.state.clone()))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_STATE))
}

/// A stack on AWS, by its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSetting {
    /// Its name.
    pub name: String,
    /// Its region, if it is not the SDK's own.
    pub region: Option<String>,
}

/// The file in which `sam deploy --guided` notes what it deployed.
const SAM_CONFIG: &str = "samconfig.toml";

/// `samconfig.toml`, as far as it concerns us.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SamConfig {
    default: SamEnvironment,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SamEnvironment {
    global: SamCommand,
    deploy: SamCommand,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SamCommand {
    parameters: SamParameters,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SamParameters {
    stack_name: Option<String>,
    region: Option<String>,
}

/// The stack that was deployed from here. A file that is not understood is SAM's to complain about.
fn deployed(samconfig: &str, region: Option<String>) -> Option<StackSetting> {
    let SamEnvironment { global, deploy } = toml::from_str::<SamConfig>(samconfig).ok()?.default;
    let (global, deploy) = (global.parameters, deploy.parameters);
    let name = deploy.stack_name.or(global.stack_name)?;
    Some(StackSetting { name, region: region.or(deploy.region).or(global.region) })
}

/// The stack that is meant: flag and environment first, then the file, then what was deployed from this directory, unless
/// a backfill of this machine has left its state here. Nothing if the state is on this machine.
pub fn stack(args: &StateArgs, config: &Config) -> Option<StackSetting> {
    let backfill = config.backfill.as_ref();
    let file = backfill.and_then(|b| b.reindex_from_snapshot.as_ref()).and_then(|r| r.lambda.as_ref());
    let region = || args.region.clone().or_else(|| file.and_then(|f| f.aws_region.clone()));
    match (&args.stack, file) {
        _ if args.local => None,
        (Some(name), _) => Some(StackSetting { name: name.clone(), region: region() }),
        _ if args.state.is_some() => None,
        (None, Some(file)) => Some(StackSetting { name: file.stack_name.clone(), region: region() }),
        (None, None) if state_path(args, config).exists() => None,
        (None, None) if backfill.is_some_and(|b| b.local.is_some()) => None,
        (None, None) => deployed(&std::fs::read_to_string(SAM_CONFIG).ok()?, args.region.clone()),
    }
}

/// Where documents go, by its settings.
#[derive(Clone, Debug)]
pub enum TargetSetting {
    /// A cluster.
    Cluster(Box<TargetConfig>),
    /// Files.
    Export {
        /// Their directory.
        directory: PathBuf,
        /// How they are compressed.
        compression: Compression,
    },
}

impl TargetSetting {
    /// Flag and environment first, then the file.
    pub fn new(args: &TargetArgs, send: Option<&SendArgs>, config: &Config) -> Result<TargetSetting> {
        let local = config.backfill.as_ref().and_then(|b| b.local.as_ref());
        let named = args.target.clone().or_else(|| local.and_then(|l| l.target.clone()));
        if let Some(directory) = named.as_deref().and_then(|t| t.strip_prefix("ndjson:")) {
            if directory.is_empty() {
                return Err(CommandError::usage("--target ndjson:DIR needs a directory"));
            }
            let compression = match send.and_then(|s| s.compress) {
                None => Compression::None,
                Some(FileCompression::Zstd) => Compression::Zstd,
                Some(FileCompression::Gzip) => Compression::Gzip,
            };
            return Ok(TargetSetting::Export {
                directory: absolute(Path::new(directory)).into(),
                compression,
            });
        }
        if send.is_some_and(|s| s.compress.is_some()) {
            return Err(CommandError::usage(
                "--compress is for ndjson targets; for clusters see --compress-requests",
            ));
        }
        let settings = ClusterSettings {
            url: named,
            username: args.target_username.clone(),
            password: args.target_password.clone(),
            region: args.target_region.clone(),
            service: args.target_service.clone(),
            ca: args.target_ca.clone(),
            cert: args.target_cert.clone(),
            key: args.target_key.clone(),
            insecure: args.target_insecure,
        };
        let mut cluster = settings.resolve(config.target_cluster.as_ref(), "target")?.ok_or_else(|| {
            CommandError::usage("say where the documents go: --target URL or --target ndjson:DIR")
        })?;
        cluster.compression = match send.map_or(When::Auto, |s| s.compress_requests) {
            When::Auto => CompressRequests::Auto,
            When::On => CompressRequests::On,
            When::Off => CompressRequests::Off,
        };
        if let Some(send) = send {
            cluster.max_in_flight = usize::from(send.max_in_flight);
        }
        // Whatever is wrong with the address shows before anything else is done.
        HttpCluster::new(&cluster)?;
        Ok(TargetSetting::Cluster(Box::new(cluster)))
    }

    /// The target as it is recorded: without credentials.
    pub fn location(&self) -> String {
        match self {
            TargetSetting::Cluster(config) => HttpCluster::new(config)
                .map_or_else(|_| config.endpoint.clone(), |cluster| cluster.location().to_owned()),
            TargetSetting::Export { directory, .. } => format!("ndjson:{}", directory.display()),
        }
    }

    /// How documents are encoded for it.
    pub fn encoding(&self) -> Encoding {
        match self {
            TargetSetting::Cluster(_) => Encoding::Bulk,
            TargetSetting::Export { .. } => Encoding::Export,
        }
    }

    /// The same for a worker that may take so much memory.
    pub fn within(mut self, budget: &Budget) -> TargetSetting {
        if let TargetSetting::Cluster(config) = &mut self {
            config.answer_bytes = budget.answers;
            config.document_bytes = budget.document;
        }
        self
    }

    /// Opens it. Connections belong to the async runtime in which this is called.
    pub fn open(&self) -> Result<Arc<dyn Target>> {
        Ok(match self {
            TargetSetting::Cluster(config) => Arc::new(OpenSearchTarget::new(config.as_ref().clone())?),
            TargetSetting::Export { directory, compression } => {
                Arc::new(ExportTarget::new(directory.clone(), *compression))
            }
        })
    }

    /// The export, if it is one.
    pub fn export(&self) -> Option<ExportTarget> {
        match self {
            TargetSetting::Cluster(_) => None,
            TargetSetting::Export { directory, compression } => {
                Some(ExportTarget::new(directory.clone(), *compression))
            }
        }
    }

    /// The cluster, if it is one.
    pub fn cluster(&self) -> Result<Option<HttpCluster>> {
        match self {
            TargetSetting::Cluster(config) => Ok(Some(HttpCluster::new(config)?)),
            TargetSetting::Export { .. } => Ok(None),
        }
    }
}

/// The source cluster, if there is one.
pub fn source_cluster(args: &SourceClusterArgs, config: &Config) -> Result<Option<HttpCluster>> {
    let settings = ClusterSettings {
        url: args.source.clone(),
        username: args.source_username.clone(),
        password: args.source_password.clone(),
        region: args.source_region.clone(),
        service: args.source_service.clone(),
        ca: args.source_ca.clone(),
        cert: args.source_cert.clone(),
        key: args.source_key.clone(),
        insecure: args.source_insecure,
    };
    match settings.resolve(config.source_cluster.as_ref(), "source")? {
        Some(config) => Ok(Some(HttpCluster::new(&config)?)),
        None => Ok(None),
    }
}

/// What flags and environment say of a cluster.
struct ClusterSettings {
    url: Option<String>,
    username: Option<String>,
    password: Option<SecretString>,
    region: Option<String>,
    service: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    insecure: bool,
}

impl ClusterSettings {
    /// Completes it by the file; nothing when neither names a cluster.
    fn resolve(self, file: Option<&Cluster>, which: &str) -> Result<Option<TargetConfig>> {
        let Some(url) = self.url.or_else(|| file.map(|f| f.endpoint.clone())) else { return Ok(None) };
        let basic = file.and_then(|f| f.basic_auth.as_ref());
        let sigv4 = file.and_then(|f| f.sigv4.as_ref());
        let auth = if let Some(user) = self.username {
            Auth::Basic { user, password: self.password.unwrap_or_default() }
        } else if let Some(region) = self.region {
            Auth::SigV4 { region, service: service(self.service.as_deref(), which)? }
        } else if let Some(basic) = basic {
            Auth::Basic {
                user: basic.username.clone().unwrap_or_default(),
                // The environment may hold what the file should not.
                password: self.password.or_else(|| basic.password.clone()).unwrap_or_default(),
            }
        } else if let Some(sigv4) = sigv4 {
            let name = self.service.as_deref().or(sigv4.service.as_deref());
            let region = sigv4
                .region
                .clone()
                .ok_or_else(|| CommandError::usage(format!("{which}_cluster: sigv4 needs a region")))?;
            Auth::SigV4 { region, service: service(name, which)? }
        } else {
            Auth::None
        };
        let mut config = TargetConfig::new(url);
        config.auth = auth;
        config.allow_insecure = self.insecure || file.is_some_and(|f| f.allow_insecure);
        config.ca_certificate = self.ca.or_else(|| file.and_then(|f| f.ca_cert.clone()));
        let cert = self.cert.or_else(|| file.and_then(|f| f.client_cert.clone()));
        let key = self.key.or_else(|| file.and_then(|f| f.client_key.clone()));
        config.client_certificate = match (cert, key) {
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
            (None, None) => None,
            _ => {
                return Err(CommandError::usage(format!(
                    "--{which}-cert and --{which}-key must be given together"
                )));
            }
        };
        Ok(Some(config))
    }
}

fn service(name: Option<&str>, which: &str) -> Result<Service> {
    match name {
        None | Some("es") => Ok(Service::Es),
        Some("aoss") => Ok(Service::Aoss),
        Some(other) => Err(CommandError::usage(format!("--{which}-service is es or aoss, not {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{BackfillCli, BackfillCommand};
    use crate::config::{Backfill, LambdaBackfill, ReindexFromSnapshot, Snapshot};
    use backfill::model::TypesChoice;
    use clap::Parser;

    #[test]
    fn what_sam_has_deployed_is_found() {
        let guided = "version = 0.1\n[default.global.parameters]\nstack_name = \"backfill\"\n\
                      [default.deploy.parameters]\nregion = \"eu-central-1\"\nresolve_s3 = true\n";
        let found = deployed(guided, None).unwrap();
        assert_eq!((found.name.as_str(), found.region.as_deref()), ("backfill", Some("eu-central-1")));
        assert_eq!(deployed(guided, Some("r".to_owned())).unwrap().region.as_deref(), Some("r"));
        for text in ["", "version = 0.1", "stack_name = ", "[default]\nglobal = 7"] {
            assert_eq!(deployed(text, None), None, "{text}");
        }
    }

    #[test]
    fn a_directory_has_the_same_name_before_and_after_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        let root = dir.path().canonicalize().unwrap();
        for path in ["link/new/", "real/gone/../new", "link/../real/new", "./real//new/."] {
            let path = dir.path().join(path);
            let before = absolute(&path);
            assert_eq!(Path::new(&before), root.join("real/new"), "{}", path.display());
            std::fs::create_dir(&before).unwrap();
            assert_eq!(absolute(&path), before, "{}", path.display());
            std::fs::remove_dir(&before).unwrap();
        }
    }

    #[test]
    fn a_start_that_says_nothing_means_the_run_that_is_not_through() {
        let selection = Selection { patterns: "a*".to_owned(), include_hidden: true };
        let spec = RunSpec {
            repository: "s3://run/".to_owned(),
            snapshot: "nightly".to_owned(),
            snapshot_uuid: String::new(),
            selection,
            target: "https://run:9200".to_owned(),
            allow_partial: false,
            types: Some(TypesChoice::Merge),
            allow_partial_source: true,
            time_fields: TimeFields { timestamp: Some("at".parse().unwrap()), ttl: None },
            chunk_bytes: 1,
        };
        let filled = |line: &str, config: &Config| {
            let BackfillCommand::Start(mut args) =
                BackfillCli::try_parse_from(line.split(' ')).unwrap().command
            else {
                panic!("{line}");
            };
            as_in_run(&mut args, config, &spec);
            args
        };
        let bare = filled("backfill start", &Config::default());
        let texts =
            [&bare.repository.repo, &bare.snapshot.snapshot, &bare.snapshot.index, &bare.target.target];
        assert_eq!(
            texts.map(|text| text.as_deref().unwrap()),
            ["s3://run/", "nightly", "a*", "https://run:9200"]
        );
        assert_eq!(bare.documents.types, spec.types);
        let flags =
            [bare.snapshot.include_hidden, bare.snapshot.allow_partial, bare.documents.allow_partial_source];
        assert_eq!(flags, [true, false, true]);
        assert_eq!(bare.documents.timestamp_field, spec.time_fields.timestamp);
        let said =
            filled("backfill start --snapshot other --types split --allow-partial", &Config::default());
        assert_eq!(said.snapshot.snapshot.as_deref(), Some("other"));
        assert_eq!((said.documents.types, said.snapshot.allow_partial), (Some(TypesChoice::Split), true));
        let snapshot = Snapshot { snapshot_name: Some("of the file".to_owned()), ..Snapshot::default() };
        let config = Config { snapshot: Some(snapshot), ..Config::default() };
        assert_eq!(filled("backfill start", &config).snapshot.snapshot, None, "the file says it");
        let other = filled("backfill start --target https://other:9200", &Config::default());
        assert_eq!(other.target.target.as_deref(), Some("https://other:9200"));
        assert_eq!(
            other.repository.repo.as_deref(),
            Some("s3://run/"),
            "the comparison names the target alone"
        );
    }

    #[test]
    fn the_stack_is_that_of_the_flag_or_the_file_unless_the_state_is_here() {
        let lambda = LambdaBackfill { stack_name: "file".to_owned(), aws_region: Some("r".to_owned()) };
        let reindex_from_snapshot = Some(ReindexFromSnapshot { lambda: Some(lambda) });
        let backfill = Some(Backfill { local: None, reindex_from_snapshot });
        let (config, nothing) = (Config { backfill, ..Config::default() }, Config::default());
        let args = |stack: Option<&str>, local, state: Option<&str>| StateArgs {
            stack: stack.map(str::to_owned),
            region: None,
            local,
            state: state.map(PathBuf::from),
        };
        let name = |args: &StateArgs, config| stack(args, config).map(|s: StackSetting| s.name);
        assert_eq!(name(&args(None, false, None), &nothing), None);
        assert_eq!(name(&args(Some("flag"), false, None), &nothing).as_deref(), Some("flag"));
        assert_eq!(name(&args(None, false, None), &config).as_deref(), Some("file"));
        assert_eq!(name(&args(Some("flag"), false, Some("x.db")), &config).as_deref(), Some("flag"));
        assert_eq!(name(&args(None, true, None), &config), None);
        assert_eq!(name(&args(None, false, Some("x.db")), &config), None);
        assert_eq!(stack(&args(None, false, None), &config).unwrap().region.as_deref(), Some("r"));
    }
}
