//! A real server that speaks S3's protocol, for the tests: versitygw, built by the Go toolchain where there is one.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::Result;

/// The test that needs it.
pub(crate) const TEST: &str = "blobs_on_a_real_server";

const MODULE: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
const USER: &str = "test";
const SECRET: &str = "testsecret";

/// A running server; ends with its owner.
pub(crate) struct S3Server {
    process: Child,
    address: String,
    data: PathBuf,
}

impl S3Server {
    /// Builds the server unless it is there, and starts it; nothing without a Go toolchain.
    pub(crate) fn start() -> Result<Option<Self>> {
        if Command::new("go").arg("version").output().is_err() {
            return Ok(None);
        }
        let dir = servers::cache_dir().join("s3");
        std::fs::create_dir_all(&dir)?;
        let program = dir.join("versitygw");
        if !program.is_file() {
            eprintln!("== go install {MODULE}");
            let status = Command::new("go").args(["install", MODULE]).env("GOBIN", &dir).status()?;
            if !status.success() {
                return Err(format!("go install {MODULE} failed").into());
            }
        }
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let data = dir.join(format!("data-{}", std::process::id()));
        std::fs::create_dir_all(&data)?;
        let process = Command::new(&program)
            .args(["--port", &address, "posix"])
            .arg(&data)
            .envs([("ROOT_ACCESS_KEY", USER), ("ROOT_SECRET_KEY", SECRET)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let server = Self { process, address, data };
        server.wait()?;
        Ok(Some(server))
    }

    /// Waits until it answers.
    fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answers = TcpStream::connect(&self.address).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
                stream.read(&mut [0; 1])
            });
            if answers.is_ok_and(|n| n > 0) {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(30) {
                return Err(format!("the S3 server does not answer on {}", self.address).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Tells the tests where it is, and how it lets them in.
    pub(crate) fn tell(&self, tests: &mut Command) {
        tests.env("BACKFILL_TEST_S3", format!("http://{}", self.address)).envs([
            ("AWS_ACCESS_KEY_ID", USER),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
        ]);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // What is left behind by a failure here is a process that nobody uses and a few files in a cache.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
