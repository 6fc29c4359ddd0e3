//! A real server that speaks S3's protocol: versitygw, built by the Go toolchain where there is one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    Error, cache_dir,
    error::At,
    listen::{free_address, wait_for_answer},
    tools::{find_program, tail},
};

const MODULE: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
const USER: &str = "test";
const SECRET: &str = "testsecret";
const REGION: &str = "us-east-1";
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running S3 server. It ends when this value is dropped.
#[derive(Debug)]
pub struct S3Server {
    process: Child,
    address: String,
    data: Data,
}

/// Where buckets are kept.
#[derive(Debug)]
enum Data {
    /// Until the server ends.
    Temporary(PathBuf),
    /// Afterwards, too.
    Kept(PathBuf),
}

impl S3Server {
    /// Builds the server unless it is there, and starts it without any buckets; nothing without a Go toolchain.
    ///
    /// # Errors
    /// When it cannot be built or does not answer.
    pub fn start() -> Result<Option<Self>, Error> {
        Self::launch(Data::Temporary(cache_dir().join("s3").join(format!("data-{}", std::process::id()))))
    }

    /// The same with the buckets of `dir`, in which they stay.
    ///
    /// # Errors
    /// When it cannot be built or does not answer.
    pub fn start_in(dir: &Path) -> Result<Option<Self>, Error> {
        Self::launch(Data::Kept(dir.to_owned()))
    }

    /// Where it listens, such as `http://127.0.0.1:7070`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it lets clients in: the variables of AWS.
    #[must_use]
    pub fn credentials() -> [(&'static str, &'static str); 3] {
        [("AWS_ACCESS_KEY_ID", USER), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_REGION", REGION)]
    }

    fn launch(data: Data) -> Result<Option<Self>, Error> {
        let Some(program) = program()? else { return Ok(None) };
        let (Data::Temporary(dir) | Data::Kept(dir)) = &data;
        fs::create_dir_all(dir).at(dir)?;
        let address = free_address()?;
        let process = Command::new(&program)
            // S3 keeps connections, too.
            .args(["--keep-alive", "--quiet", "--port", &address, "posix"])
            .arg(dir)
            .envs([("ROOT_ACCESS_KEY", USER), ("ROOT_SECRET_KEY", SECRET)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .at(&program)?;
        let server = Self { process, address, data };
        wait_for_answer(&server.address, START_LIMIT)?;
        Ok(Some(server))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // What is left behind by a failure here is a process that nobody uses and a few files in a cache.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Data::Temporary(dir) = &self.data {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// The server's program, built if need be; nothing without a Go toolchain.
fn program() -> Result<Option<PathBuf>, Error> {
    let dir = cache_dir().join("s3");
    let program = dir.join("versitygw");
    let Some(go) = find_program("go") else { return Ok(None) };
    if !program.is_file() {
        fs::create_dir_all(&dir).at(&dir)?;
        eprintln!("== go install {MODULE}");
        let output = Command::new(go).args(["install", MODULE]).env("GOBIN", &dir).output().at("go")?;
        if !output.status.success() {
            return Err(Error::Program {
                program: format!("go install {MODULE}"),
                output: tail(&String::from_utf8_lossy(&output.stderr), 20),
            });
        }
    }
    Ok(Some(program))
}
