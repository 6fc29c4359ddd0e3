//! Stand-ins for services of AWS that are published as jars on Maven Central.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    Error, Version, distribution,
    error::At,
    jdk,
    listen::{free_address, wait_for_answer},
    tools::{Artifact, maven_copy_with_dependencies},
};

const START_LIMIT: Duration = Duration::from_secs(60);

/// Credentials that any of them takes, as the variables of AWS.
const CREDENTIALS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testsecret"), ("AWS_REGION", "us-east-1")];

/// Amazon's own local edition of DynamoDB, in memory. It ends when this value is dropped.
#[derive(Debug)]
pub struct DynamoDb(JarServer);

/// `ElasticMQ`, which speaks SQS's protocol, in memory. It ends when this value is dropped.
#[derive(Debug)]
pub struct Sqs(JarServer);

#[derive(Debug)]
struct JarServer {
    process: Child,
    address: String,
}

impl DynamoDb {
    /// Gets the server unless it is there, and starts it without any tables.
    ///
    /// # Errors
    /// When it cannot be had or does not answer.
    pub fn start() -> Result<Self, Error> {
        let jars =
            jars("software.amazon.dynamodb", "DynamoDBLocal", Version { major: 3, minor: 3, patch: 1 })?;
        JarServer::start(&jars, |java, _, port| {
            java.arg(format!("-Dsqlite4java.library.path={}", jars.display()))
                .args(["-Xmx512m", "software.amazon.dynamodb.services.local.main.ServerRunner"])
                .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", port]);
        })
        .map(Self)
    }

    /// Where it listens, such as `http://127.0.0.1:8000`.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// How it lets clients in: the variables of AWS.
    #[must_use]
    pub fn credentials() -> [(&'static str, &'static str); 3] {
        CREDENTIALS
    }
}

impl Sqs {
    /// Gets the server unless it is there, and starts it without any queues.
    ///
    /// # Errors
    /// When it cannot be had or does not answer.
    pub fn start() -> Result<Self, Error> {
        let jars = jars("org.elasticmq", "elasticmq-server_2.13", Version { major: 1, minor: 7, patch: 1 })?;
        JarServer::start(&jars, |java, host, port| {
            java.arg("-Xmx256m")
                .arg(format!("-Drest-sqs.bind-hostname={host}"))
                .arg(format!("-Drest-sqs.bind-port={port}"))
                .arg(format!("-Dnode-address.host={host}"))
                .arg(format!("-Dnode-address.port={port}"))
                .args(["-Drest-stats.enabled=false", "org.elasticmq.server.Main"]);
        })
        .map(Self)
    }

    /// Where it listens, such as `http://127.0.0.1:9324`.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }
}

impl JarServer {
    /// Starts a server of these jars; `arguments` adds what belongs behind the class path, given host and port.
    fn start(
        jars: &std::path::Path,
        arguments: impl FnOnce(&mut Command, &str, &str),
    ) -> Result<Self, Error> {
        let java = jdk::home(&[17, 21, 25])?.join("bin/java");
        let address = free_address()?;
        let (host, port) = address.split_once(':').unwrap_or((&address, ""));
        let mut command = Command::new(&java);
        command.arg("-cp").arg(jars.join("*"));
        arguments(&mut command, host, port);
        let process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().at(&java)?;
        let server = Self { process, address };
        wait_for_answer(&server.address, START_LIMIT)?;
        Ok(server)
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for JarServer {
    fn drop(&mut self) {
        // What is left behind by a failure here is a process that nobody uses.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The directory with the jar of an artifact and all that it needs.
fn jars(group: &str, artifact: &str, version: Version) -> Result<PathBuf, Error> {
    let name = format!("{artifact}-{version}");
    let dir = distribution::cached(&name, |dir| {
        let lib = dir.join("lib");
        fs::create_dir_all(&lib).at(&lib)?;
        eprintln!("== getting {group}:{artifact}:{version}");
        maven_copy_with_dependencies(&[Artifact::new(group, artifact, version)], &lib)
    })?;
    Ok(dir.join("lib"))
}
