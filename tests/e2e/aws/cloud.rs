//! The emulator, stacks deployed on it, and what a person would see of them.

use crate::support::{Desk, Documents, create_indices, files_below, fixture};
use ::aws::{DynamoCheckpoints, LambdaFleet, S3FailedDocuments, SqsQueue, Stack};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use backfill::failed::Reader;
use backfill::model::{Chunk, ChunkState, RunId, RunState};
use backfill::ports::{Checkpoints, Clock, FailedDocument, Fleet, SystemClock};
use serde_json::{Value, json};
use servers::Fixture;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The bucket that holds all fixtures, each below its own name.
const BUCKET: &str = "snapshots";

/// An emulator of AWS, and clients of it.
pub(crate) struct Cloud {
    pub(crate) emulator: servers::Cloud,
    runtime: Runtime,
    config: SdkConfig,
}

impl Cloud {
    /// The one that tests share.
    pub(crate) fn shared() -> &'static Cloud {
        static SHARED: OnceLock<Cloud> = OnceLock::new();
        SHARED.get_or_init(|| Cloud::of(servers::Cloud::start().unwrap()))
    }

    pub(crate) fn of(emulator: servers::Cloud) -> Cloud {
        let runtime = Runtime::new().unwrap();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(emulator.url())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http());
        let config = runtime.block_on(config.load());
        let cloud = Cloud { emulator, runtime, config };
        cloud.wait(async {
            cloud.s3().create_bucket().bucket(BUCKET).send().await.unwrap();
        });
        cloud
    }

    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(crate) fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(true).build();
        aws_sdk_s3::Client::from_conf(config)
    }

    pub(crate) fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    pub(crate) fn lambda(&self) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::new(&self.config)
    }

    /// Puts the repository of a fixture into the bucket, below the fixture's name.
    pub(crate) fn upload(&self, name: &str, fixture: &Fixture) {
        self.upload_dir(name, &fixture.repo);
    }

    /// Puts a repository into the bucket, below `name`.
    pub(crate) fn upload_dir(&self, name: &str, repo: &Path) {
        for file in files_below(repo) {
            let key = format!("{name}/{}", file.strip_prefix(repo).unwrap().display());
            let body = std::fs::read(&file).unwrap().into();
            self.wait(async {
                self.s3().put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap()
            });
        }
    }

    /// Uploads a fixture, and creates the indices of the selection (names with commas between them, or all) in the target;
    /// the documents that are to arrive there.
    pub(crate) fn prepare(&self, name: &str, url: &str, selection: Option<&str>) -> Documents {
        let fixture = fixture(name);
        self.upload(name, &fixture);
        let mut expected = Documents::expected(&fixture);
        let wanted = |index: &str| selection.is_none_or(|names| names.split(',').any(|name| name == index));
        expected.0.retain(|key, _| wanted(&key.index));
        create_indices(url, &expected, &[]);
        expected
    }

    /// Deploys the template as `sam deploy` does it for a person.
    #[track_caller]
    pub(crate) fn deploy(&self, name: &str, parameters: &[(&str, &str)]) -> Deployed<'_> {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let built = std::env::var_os("BACKFILL_TEST_FUNCTIONS").map(PathBuf::from);
        let built = built.expect("BACKFILL_TEST_FUNCTIONS is not set: run these tests by `cargo xtask test`");
        let fixed = [("Architecture", architecture), ("SnapshotBucket", BUCKET), ("TargetAuth", "none")];
        // A quoted value may hold spaces.
        let overrides = fixed.iter().chain(parameters).map(|(name, value)| format!("{name}=\"{value}\""));
        let mut sam =
            servers::sam(&["deploy", "--resolve-s3", "--no-confirm-changeset", "--no-progressbar"]).unwrap();
        sam.args(["--capabilities", "CAPABILITY_IAM", "--no-fail-on-empty-changeset", "--stack-name", name])
            .arg("--template-file")
            .arg(built)
            .arg("--parameter-overrides")
            .args(overrides)
            .envs(self.emulator.environment());
        // In a directory without a samconfig.toml.
        let desk = Desk::new();
        let output = sam.current_dir(desk.dir.path()).output().unwrap();
        let told =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sam deploy: {told}");
        let client = aws_sdk_cloudformation::Client::new(&self.config);
        let stack = self.wait(Stack::read(&client, name)).unwrap();
        let checkpoints = DynamoCheckpoints::new(aws_sdk_dynamodb::Client::new(&self.config), &stack.table);
        Deployed { cloud: self, stack, checkpoints }
    }
}

/// A stack that was deployed.
pub(crate) struct Deployed<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) stack: Stack,
    pub(crate) checkpoints: DynamoCheckpoints,
}

impl Deployed<'_> {
    /// Invokes a function and returns its answer.
    #[track_caller]
    pub(crate) fn invoke(&self, function: &str, event: &Value) -> Value {
        let payload = aws_sdk_lambda::primitives::Blob::new(event.to_string());
        let request = self.cloud.lambda().invoke().function_name(function).payload(payload);
        let answer = self.cloud.wait(request.send()).unwrap();
        let text = answer.payload().map(|blob| blob.as_ref().to_vec()).unwrap_or_default();
        assert!(answer.function_error().is_none(), "{function}: {}", String::from_utf8_lossy(&text));
        serde_json::from_slice(&text).unwrap()
    }

    /// Asks the start function; an answer that refuses is returned, too.
    pub(crate) fn start(&self, event: &Value) -> Value {
        self.invoke(&self.stack.start_function, event)
    }

    pub(crate) fn status(&self) -> Value {
        self.invoke(&self.stack.status_function, &json!({}))["report"].take()
    }

    /// Waits until the run has ended, and returns its last status.
    #[track_caller]
    pub(crate) fn finished(&self, limit: Duration) -> Value {
        let begun = Instant::now();
        loop {
            let report = self.status();
            if !report["finished"].is_null() || report["outcome"] == "failed" {
                return report;
            }
            assert!(begun.elapsed() < limit, "the run has not ended: {report:#}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub(crate) fn fleet(&self) -> LambdaFleet {
        LambdaFleet::new(self.cloud.lambda(), &self.stack.worker_function, &self.stack.mapping_uuid)
    }

    pub(crate) fn run(&self) -> Option<RunId> {
        self.cloud.wait(self.checkpoints.latest_run()).unwrap().map(|run| run.id)
    }

    /// As `backfill scale`.
    pub(crate) fn scale(&self, workers: u32) {
        self.cloud.wait(async {
            if let Some(run) = self.checkpoints.latest_run().await.unwrap() {
                self.checkpoints.set_desired_workers(&run.id, workers).await.unwrap();
            }
            self.fleet().scale(workers).await.unwrap();
        });
    }

    /// As `backfill stop`.
    pub(crate) fn stop(&self) {
        self.cloud.wait(async {
            if let Some(run) = self.checkpoints.latest_run().await.unwrap() {
                let now = SystemClock.now();
                self.checkpoints.set_state(&run.id, RunState::Stopped, now, &[]).await.unwrap();
            }
            self.fleet().stop().await.unwrap();
        });
    }

    /// All chunks of the newest run.
    pub(crate) fn chunks(&self) -> Vec<Chunk> {
        self.cloud.wait(async {
            let Some(run) = self.checkpoints.latest_run().await.unwrap() else { return Vec::new() };
            let mut all = Vec::new();
            for shard in self.checkpoints.shards(&run.id).await.unwrap() {
                all.extend(self.checkpoints.chunks(&run.id, &shard.id).await.unwrap());
            }
            all
        })
    }

    /// Chunks in the hands of workers that are alive, or were.
    pub(crate) fn leased(&self) -> usize {
        self.chunks().iter().filter(|chunk| matches!(chunk.state, ChunkState::Leased(_))).count()
    }

    fn queue(&self) -> SqsQueue {
        SqsQueue::new(self.cloud.sqs(), &self.stack.queue_url)
    }

    /// Messages in the queue of chunks, in workers' hands or not.
    pub(crate) fn depth(&self) -> u64 {
        self.cloud.wait(self.queue().depth()).unwrap().total()
    }

    /// Puts a message into the queue of chunks.
    pub(crate) fn send(&self, body: &str) {
        let request = self.cloud.sqs().send_message().queue_url(&self.stack.queue_url).message_body(body);
        self.cloud.wait(request.send()).unwrap();
    }

    /// Removes all messages from the queue of chunks.
    pub(crate) fn purge(&self) {
        self.cloud.wait(self.queue().purge()).unwrap();
    }

    /// The failed documents of the newest run.
    pub(crate) fn failed_documents(&self) -> Vec<FailedDocument> {
        let failed = S3FailedDocuments::open(self.cloud.s3(), &self.stack.failed_documents).unwrap();
        let Some(run) = self.run() else { return Vec::new() };
        self.cloud.wait(async {
            let mut reader = Reader::open(&self.checkpoints, &failed, &run, |_| true).await.unwrap();
            let mut records = Vec::new();
            while let Some(record) = reader.next().await.unwrap() {
                records.push(record);
            }
            records
        })
    }

    /// Messages in the dead-letter queue.
    pub(crate) fn dead_letters(&self) -> u64 {
        let queue = SqsQueue::new(self.cloud.sqs(), &self.stack.dead_letter_queue_url);
        self.cloud.wait(queue.depth()).unwrap().total()
    }

    /// The processes of the worker function.
    pub(crate) fn worker_processes(&self) -> Vec<u32> {
        let name = format!("AWS_LAMBDA_FUNCTION_NAME={}", self.stack.worker_function);
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let of_worker = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
        };
        pids.filter(of_worker).collect()
    }

    /// Sets an environment variable of a function, as a person might in the console.
    pub(crate) fn set_variable(&self, function: &str, name: &str, value: &str) {
        let lambda = self.cloud.lambda();
        self.cloud.wait(async {
            let known = lambda.get_function_configuration().function_name(function).send().await.unwrap();
            let variables = known.environment().and_then(|e| e.variables().cloned()).unwrap_or_default();
            let environment = aws_sdk_lambda::types::Environment::builder()
                .set_variables(Some(variables))
                .variables(name, value)
                .build();
            let update = lambda.update_function_configuration().function_name(function);
            update.environment(environment).send().await.unwrap();
        });
    }

    /// The end of the emulator's log, for the message of a test that fails.
    pub(crate) fn logs(&self) -> String {
        let text = std::fs::read(self.cloud.emulator.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let from = text.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
        text[from..].to_owned()
    }
}

/// The process that holds a chunk, or held it when it died.
pub(crate) fn worker_of(chunk: &Chunk) -> Option<u32> {
    match &chunk.state {
        ChunkState::Leased(lease) => lease.owner.rsplit_once('/')?.1.parse().ok(),
        _ => None,
    }
}
