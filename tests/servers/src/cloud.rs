//! What stands in for AWS: an emulator that runs the real functions, and the tools that build and deploy them. All come
//! from PyPI, in versions that are written down beside this file, into environments of their own in the cache.

use std::{
    ffi::OsString,
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Error, Http,
    distribution::cached,
    error::At,
    server::{SHELL, signal_kill},
    tools::{find_program, run, tail},
};

const PYTHON: &str =
    "Python 3.9 or later with venv is missing, which runs the emulator of AWS: apt-get install python3-venv";
const EMULATOR: &str = include_str!("cloud/emulator.txt");
const SAM: &str = include_str!("cloud/sam.txt");
const TRANSLATE: &str = include_str!("cloud/translate.py");
const REGION: &str = "us-east-1";
const START_LIMIT: Duration = Duration::from_secs(60);
/// What the emulator is to answer for.
const SERVICES: &str = "s3,sqs,dynamodb,lambda,iam,sts,secretsmanager,logs,events,scheduler,cloudwatch,cloudformation,\
    kms,sns,ssm,monitoring";

/// A running emulator of AWS. It ends, with all functions that it runs, when this value is dropped or the process that
/// started it ends.
#[derive(Debug)]
pub struct Cloud {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Cloud {
    /// Starts one, without any resources.
    ///
    /// # Errors
    /// When Python is missing, packages cannot be got, or it does not answer.
    pub fn start() -> Result<Self, Error> {
        Self::start_behind(None, free_port()?)
    }

    /// The same on a given port, whose functions reach it by another address: that of a proxy, say.
    ///
    /// # Errors
    /// As for [`Cloud::start`].
    pub fn start_behind(address: Option<&str>, port: u16) -> Result<Self, Error> {
        let python = python("emulator", EMULATOR)?;
        let dir = tempfile::Builder::new().prefix("backfill-cloud-").tempdir().at(std::env::temp_dir())?;
        let url = format!("http://127.0.0.1:{port}");
        let path = dir.path().join("log");
        let log = fs::File::create(&path).at(&path)?;
        let errors = log.try_clone().at(&path)?;
        let child = Command::new("/bin/sh")
            .args(["-c", SHELL, "backfill-cloud"])
            .arg(dir.path())
            .arg(&python)
            .args(["-m", "ministack"])
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .current_dir(dir.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", dir.path())
            .env("TMPDIR", dir.path())
            .env("S3_DATA_DIR", dir.path().join("s3"))
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("AWS_ENDPOINT_URL", address.unwrap_or(&url))
            .env("SERVICES", SERVICES)
            .envs([
                ("IOT_MTLS_ENABLED", "0"),
                ("SFTP_ENABLED", "0"),
                ("LAMBDA_ACCOUNT_CONCURRENCY", "1000"),
                ("MINISTACK_HOST", "127.0.0.1"),
            ])
            .envs(Self::credentials())
            .process_group(0)
            .spawn()
            .at("/bin/sh")?;
        let mut cloud = Self { child, url, dir };
        cloud.wait()?;
        Ok(cloud)
    }

    /// Where it listens, such as `http://127.0.0.1:4566`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id, which is that of its group, too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that it logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// How it lets clients in: the variables of AWS.
    #[must_use]
    pub fn credentials() -> [(&'static str, &'static str); 4] {
        [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
        ]
    }

    /// All variables that lead a client of AWS here.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<(&str, String)> =
            Self::credentials().iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        all.push(("AWS_ENDPOINT_URL", self.url.clone()));
        all
    }

    fn wait(&mut self) -> Result<(), Error> {
        let http = Http::with_timeout(&self.url, Duration::from_secs(5));
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait().at("ministack")? {
                let server = "ministack".to_owned();
                return Err(Error::Died { server, status: status.to_string(), log: self.log_tail() });
            }
            if http.get("/_ministack/ready").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            sleep(Duration::from_millis(50));
        }
        let (server, seconds) = ("ministack".to_owned(), START_LIMIT.as_secs());
        Err(Error::NotHealthy { server, seconds, log: self.log_tail() })
    }

    fn log_tail(&self) -> String {
        tail(&String::from_utf8_lossy(&fs::read(self.log()).unwrap_or_default()), 40)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        signal_kill(&self.child);
        // It is gone or can not be helped.
        let _ = self.child.wait();
    }
}

/// The command `sam` with these arguments, ready to run offline; `cargo lambda` is on its path.
///
/// # Errors
/// When Python is missing, or packages cannot be got.
pub fn sam(arguments: &[&str]) -> Result<Command, Error> {
    let python = python("sam", SAM)?;
    let mut command = Command::new(&python);
    command.args(["-m", "samcli"]).args(arguments).env("PATH", path_with(&python)).envs(quiet());
    Ok(command)
}

/// Builds the functions of the template in `root` with `sam build`, for this machine and without optimisation, so that
/// it takes as little time as possible; returns the template that can be deployed.
///
/// # Errors
/// When a program that is needed is missing, or the build fails.
pub fn build_functions(root: &Path, build_dir: &Path) -> Result<PathBuf, Error> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let mut build = sam(&["build", "--build-dir"])?;
    build
        .arg(build_dir)
        .arg("--parameter-overrides")
        .args([&format!("Architecture={architecture}"), "SnapshotBucket=any", "TargetEndpoint=http://any"])
        .current_dir(root)
        .env("SAM_BUILD_MODE", "debug")
        // The compiler of this machine will do: nothing is built for another one.
        .env("CARGO_LAMBDA_COMPILER", "cargo")
        // Hundreds of megabytes of symbols would only be zipped and unzipped again.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_STRIP", "symbols");
    run(&mut build, "sam build")?;
    Ok(build_dir.join("template.yaml"))
}

/// What `cfn-lint` says of a SAM template as `sam deploy` translates it; empty if it has nothing to say. It sees faults
/// in that which it does not see in the source.
///
/// # Errors
/// When Python is missing, packages cannot be got, or the template cannot be translated.
pub fn lint_translated(template: &Path) -> Result<String, Error> {
    let python = python("sam", SAM)?;
    let mut translate = Command::new(&python);
    translate.args(["-c", TRANSLATE]).arg(template).envs(quiet());
    let output = translate.output().at(&python)?;
    if !output.status.success() {
        let output = tail(&String::from_utf8_lossy(&output.stderr), 20);
        return Err(Error::Program { program: format!("translating {}", template.display()), output });
    }
    let translated = tempfile::Builder::new().suffix(".json").tempfile().at(std::env::temp_dir())?;
    fs::write(translated.path(), output.stdout).at(translated.path())?;
    let mut lint = Command::new(&python);
    // Not the script itself: its first line names the directory that the environment was made in.
    lint.arg(python.with_file_name("cfn-lint")).arg("--").arg(translated.path()).envs(quiet());
    let output = lint.output().at(&python)?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() && told.is_empty() {
        let output = tail(&String::from_utf8_lossy(&output.stderr), 20);
        return Err(Error::Program { program: "cfn-lint".to_owned(), output });
    }
    Ok(told)
}

/// Gets everything that is needed, without starting anything.
///
/// # Errors
/// When Python is missing, or packages cannot be got.
pub fn fetch_cloud() -> Result<(), Error> {
    python("emulator", EMULATOR)?;
    python("sam", SAM).map(drop)
}

/// What is missing for it.
pub(crate) fn missing_python() -> Option<&'static str> {
    let check = ["-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))"];
    let works = find_program("python3")
        .and_then(|python| Command::new(python).args(check).output().ok())
        .is_some_and(|output| output.status.success());
    (!works).then_some(PYTHON)
}

/// The Python of the environment with these packages, made if it is not there.
fn python(name: &str, packages: &str) -> Result<PathBuf, Error> {
    // Other packages make another environment.
    let name = format!("{name}-{:08x}", crc(packages));
    let dir = cached(&name, |dir| {
        let python = find_program("python3").ok_or_else(|| Error::Missing(PYTHON.to_owned()))?;
        eprintln!("== installing {name} from PyPI");
        run(Command::new(python).args(["-m", "venv"]).arg(dir), "python3 -m venv")?;
        let list = dir.join("packages.txt");
        fs::write(&list, packages).at(&list)?;
        let mut pip = Command::new(dir.join("bin/python"));
        pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "-r"]).arg(&list);
        run(&mut pip, "pip install")
    })?;
    Ok(dir.join("bin/python"))
}

fn crc(text: &str) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}

fn path_with(python: &Path) -> OsString {
    let own = python.parent().map(Path::to_owned);
    let others = std::env::var_os("PATH").unwrap_or_default();
    let paths = own.into_iter().chain(std::env::split_paths(&others));
    std::env::join_paths(paths).unwrap_or(others)
}

fn quiet() -> [(&'static str, &'static str); 3] {
    [("SAM_CLI_TELEMETRY", "0"), ("AWS_DEFAULT_REGION", REGION), ("PYTHONWARNINGS", "ignore")]
}

/// A free port of loopback.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).at("a free port")?;
    Ok(listener.local_addr().at("a free port")?.port())
}
