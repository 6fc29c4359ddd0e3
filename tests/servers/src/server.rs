//! Starts and ends servers.

use std::{
    fmt, fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    str::FromStr,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::{
    Error, Http, Product, Version, distribution,
    error::At,
    jdk,
    release::{Launch, Release},
    tools::tail,
};

/// How long a server may take to become healthy.
const START_LIMIT: Duration = Duration::from_secs(240);
/// How long it may take to end when asked to.
const STOP_LIMIT: Duration = Duration::from_secs(25);

/// The shell that becomes the server. Beside it stays a watcher, which reads a pipe that only the starting process
/// holds open: when that process is gone, however it ended, the watcher ends the server's whole process group and
/// removes the server's directory.
pub(crate) const SHELL: &str = r#"
dir=$1; shift
exec 3<&0
(
  trap '' TERM INT HUP
  read -r _ <&3
  kill -TERM 0
  n=0
  while [ $n -lt 50 ] && kill -0 $$ 2>/dev/null; do sleep 0.1; n=$((n + 1)); done
  rm -rf "$dir"
  kill -KILL 0
) >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"#;

/// Which server to start, and how.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// Whose server.
    pub product: Product,
    /// Its version.
    pub version: Version,
    /// The size of its heap, as Java writes it: `512m`, `1g`.
    pub heap: String,
    /// Directories that it may keep snapshot repositories in (`path.repo`). They are made if they are missing; when
    /// this process is root they and all that is in them are given to the user that the server runs as.
    pub repo_dirs: Vec<PathBuf>,
    /// Further settings of its configuration file.
    pub settings: Vec<(String, Value)>,
    /// Plugins, each as Maven's `group:artifact:version` of its zip file.
    pub plugins: Vec<String>,
    /// The port to listen on (the one after it is used between nodes); without it, a free one.
    pub port: Option<u16>,
}

impl ServerSpec {
    /// A server with a heap of 512 MiB on a free port.
    #[must_use]
    pub fn new(product: Product, version: Version) -> Self {
        Self {
            product,
            version,
            heap: "512m".to_owned(),
            repo_dirs: Vec::new(),
            settings: Vec::new(),
            plugins: Vec::new(),
            port: None,
        }
    }

    /// With another heap, such as `1g`.
    #[must_use]
    pub fn heap(mut self, heap: &str) -> Self {
        heap.clone_into(&mut self.heap);
        self
    }

    /// With a directory for snapshot repositories.
    #[must_use]
    pub fn repo_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.repo_dirs.push(dir.into());
        self
    }

    /// With a setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// With a plugin, as Maven's `group:artifact:version` of its zip file.
    #[must_use]
    pub fn plugin(mut self, plugin: &str) -> Self {
        self.plugins.push(plugin.to_owned());
        self
    }

    /// On a port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }
}

impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.product, self.version)
    }
}

impl FromStr for ServerSpec {
    type Err = Error;

    /// Reads `product:version`, such as `opensearch:2.19.5`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let unclear = || Error::Spec(text.to_owned());
        let (product, version) = text.split_once(':').ok_or_else(unclear)?;
        let product = match product {
            "elasticsearch" => Product::Elasticsearch,
            "opensearch" => Product::OpenSearch,
            _ => return Err(unclear()),
        };
        Ok(Self::new(product, version.parse().map_err(|_| unclear())?))
    }
}

/// Downloads and unpacks what a server needs, without starting it.
///
/// # Errors
/// When a program that is needed is missing, or the download fails.
pub fn fetch(spec: &ServerSpec) -> Result<(), Error> {
    jdk::home(Release::of(spec.product, spec.version)?.java)?;
    distribution::home(spec.product, spec.version, &spec.plugins).map(drop)
}

/// A running server. It ends when this value is dropped, and when the process that started it ends, however that
/// comes about.
#[derive(Debug)]
pub struct Server {
    spec: ServerSpec,
    url: String,
    /// Holds config, data, logs; ended with the server.
    dir: tempfile::TempDir,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Server {
    /// Starts a server and waits until it is healthy.
    ///
    /// # Errors
    /// When a program that is needed is missing, the download fails, or the server ends or is not healthy in time.
    pub fn start(spec: &ServerSpec) -> Result<Self, Error> {
        let account = Account::of_servers()?;
        let release = Release::of(spec.product, spec.version)?;
        let java = jdk::home(release.java)?;
        let home = distribution::home(spec.product, spec.version, &spec.plugins)?;

        let dir = tempfile::Builder::new().prefix("backfill-server-").tempdir().at(std::env::temp_dir())?;
        check_open(dir.path(), &account, "TMPDIR")?;
        for sub in ["config", "data", "logs", "tmp"] {
            let path = dir.path().join(sub);
            fs::create_dir(&path).at(path)?;
        }
        let mut repos = Vec::new();
        for repo in &spec.repo_dirs {
            fs::create_dir_all(repo).at(repo)?;
            let repo = repo.canonicalize().at(repo)?;
            check_open(&repo, &account, "TMPDIR")?;
            account.give(&repo)?;
            repos.push(repo);
        }
        let (port, transport) = match spec.port {
            Some(port) => (port, port + 1),
            None => free_ports()?,
        };
        write_config(spec, release, dir.path(), &home, &repos, port, transport)?;
        account.give(dir.path())?;

        let (command, environment) = command_line(spec, release, dir.path(), &home, &java);
        let url = format!("http://127.0.0.1:{port}");
        let mut server = Self { spec: spec.clone(), url, dir, command, environment, child: None };
        server.launch()?;
        Ok(server)
    }

    /// Where it listens, such as `http://127.0.0.1:9200`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id, unless it is stopped. It leads its own process group.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A client of it.
    #[must_use]
    pub fn http(&self) -> Http {
        Http::new(&self.url)
    }

    /// What was started.
    #[must_use]
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// The file that it logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// Ends it as an operator would, and keeps its data for [`Server::restart`].
    ///
    /// # Errors
    /// When its process can not be waited for.
    pub fn stop(&mut self) -> Result<(), Error> {
        if let Some(child) = &mut self.child {
            signal(child, Signal::TERM);
            let start = Instant::now();
            while start.elapsed() < STOP_LIMIT && child.try_wait().at("server process")?.is_none() {
                sleep(Duration::from_millis(50));
            }
        }
        self.kill()
    }

    /// Ends it as a crash would (`kill -9`), and keeps its data for [`Server::restart`].
    ///
    /// # Errors
    /// When its process can not be waited for.
    pub fn kill(&mut self) -> Result<(), Error> {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::KILL);
            child.wait().at("server process")?;
        }
        Ok(())
    }

    /// Starts it again with the same data on the same port; one that still runs is killed first.
    ///
    /// # Errors
    /// When the server ends or is not healthy in time.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill()?;
        self.launch()
    }

    /// Waits until the server ends by itself.
    ///
    /// # Errors
    /// When its process can not be waited for.
    pub fn wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(child) = &mut self.child else { return Ok(None) };
        loop {
            // Not `Child::wait`: it would close the pipe that tells the watcher that this process lives.
            if let Some(status) = child.try_wait().at("server process")? {
                return Ok(Some(status));
            }
            sleep(Duration::from_millis(200));
        }
    }

    fn launch(&mut self) -> Result<(), Error> {
        let path = self.log();
        let log = fs::File::options().create(true).append(true).open(&path).at(&path)?;
        let errors = log.try_clone().at(&path)?;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", SHELL, "backfill-server"])
            .arg(self.dir.path())
            .args(&self.command)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .process_group(0);
        Account::of_servers()?.assume(&mut shell);
        self.child = Some(shell.spawn().at("/bin/sh")?);
        let healthy = self.wait_until_healthy();
        if healthy.is_err() {
            self.kill()?;
        }
        healthy
    }

    fn wait_until_healthy(&mut self) -> Result<(), Error> {
        let http = Http::with_timeout(&self.url, Duration::from_secs(10));
        let start = Instant::now();
        let mut first_answer = None;
        while start.elapsed() < START_LIMIT {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait().at("server process")?
            {
                return Err(Error::Died {
                    server: self.spec.to_string(),
                    status: status.to_string(),
                    log: self.log_tail(),
                });
            }
            if let Ok(health) = http.get("/_cluster/health").and_then(|answer| answer.json()) {
                // An index may be red for good (a test may want that), so red is waited for only for a while.
                let since = first_answer.get_or_insert_with(Instant::now).elapsed();
                let red = health["status"] == "red" && since < Duration::from_secs(20);
                if health["number_of_nodes"] == 1 && !red {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(100));
        }
        Err(Error::NotHealthy {
            server: self.spec.to_string(),
            seconds: START_LIMIT.as_secs(),
            log: self.log_tail(),
        })
    }

    fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text), 40)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process is gone or can not be helped; its directory goes with the value.
        let _ = self.kill();
    }
}

/// Ends a process and its whole group.
pub(crate) fn signal_kill(child: &Child) {
    signal(child, Signal::KILL);
}

fn signal(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It fails when no process of the group is left, which is what is wanted.
        let _ = kill_process_group(group, signal);
    }
}

/// The user that servers run as: they refuse to run as root.
pub(crate) struct Account {
    name: String,
    /// Set when this process is root and so must become another user.
    ids: Option<(u32, u32)>,
}

impl Account {
    pub(crate) fn of_servers() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { name: "of this process".to_owned(), ids: None });
        }
        let users = fs::read_to_string("/etc/passwd").at("/etc/passwd")?;
        let ids = users.lines().find_map(|line| {
            let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        let ids = ids.ok_or_else(|| {
            Error::Missing(
                "there is no user nobody, as which servers run when this process is root".to_owned(),
            )
        })?;
        Ok(Self { name: "nobody".to_owned(), ids: Some(ids) })
    }

    fn assume(&self, command: &mut Command) {
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
    }

    /// Gives a directory and all that is in it to the account.
    fn give(&self, path: &Path) -> Result<(), Error> {
        let Some((user, group)) = self.ids else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(user), Some(group)).at(path)?;
        if fs::symlink_metadata(path).at(path)?.is_dir() {
            for entry in fs::read_dir(path).at(path)? {
                self.give(&entry.at(path)?.path())?;
            }
        }
        Ok(())
    }
}

/// Fails if a directory above `path` is closed to the account.
pub(crate) fn check_open(path: &Path, account: &Account, variable: &'static str) -> Result<(), Error> {
    let Some((user, group)) = account.ids else { return Ok(()) };
    for dir in path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()) {
        let meta = fs::metadata(dir).at(dir)?;
        let needed = match () {
            () if meta.uid() == user => 0o100,
            () if meta.gid() == group => 0o010,
            () => 0o001,
        };
        if meta.permissions().mode() & needed == 0 {
            let user = account.name.clone();
            return Err(Error::Closed { user, path: dir.to_owned(), variable });
        }
    }
    Ok(())
}

/// Two free ports. Another process may take them before the server does; the server then ends and says so.
fn free_ports() -> Result<(u16, u16), Error> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).at("a free port");
    let (first, second) = (bind()?, bind()?);
    let port = |listener: &TcpListener| listener.local_addr().map(|a| a.port()).at("a free port");
    Ok((port(&first)?, port(&second)?))
}

fn write_config(
    spec: &ServerSpec,
    release: &Release,
    dir: &Path,
    home: &Path,
    repos: &[PathBuf],
    port: u16,
    transport: u16,
) -> Result<(), Error> {
    let mut yaml = String::new();
    // JSON is YAML.
    let mut set = |name: &str, value: &Value| yaml.push_str(&format!("{name}: {value}\n"));
    set("cluster.name", &json!(format!("backfill-{}-{}", spec.product, spec.version)));
    set("node.name", &json!("n1"));
    set("path.data", &json!(dir.join("data")));
    set("path.logs", &json!(dir.join("logs")));
    set("path.repo", &json!(repos));
    set("network.host", &json!("127.0.0.1"));
    set("http.port", &json!(port));
    set(release.transport_port, &json!(transport));
    set("cluster.routing.allocation.disk.threshold_enabled", &json!(false));
    for (name, value) in &spec.settings {
        set(name, value);
    }
    for (name, value) in release.settings {
        yaml.push_str(&format!("{name}: {value}\n"));
    }
    let config = dir.join("config");
    let file = config.join(format!("{}.yml", spec.product));
    fs::write(&file, yaml).at(file)?;
    for name in ["log4j2.properties", "logging.yml"] {
        let logging = home.join("config").join(name);
        if logging.exists() {
            fs::copy(&logging, config.join(name)).at(logging)?;
        }
    }
    let options = config.join("jvm.options");
    let heap = &spec.heap;
    let tmp = dir.join("tmp");
    fs::write(&options, format!("-Xms{heap}\n-Xmx{heap}\n-Djava.io.tmpdir={}\n", tmp.display())).at(options)
}

/// The packages that old servers reach into, which Java has closed since.
const OPEN_PACKAGES: &[&str] = &[
    "java.io",
    "java.lang",
    "java.lang.invoke",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "sun.nio.ch",
    "sun.security.provider",
];

fn command_line(
    spec: &ServerSpec,
    release: &Release,
    dir: &Path,
    home: &Path,
    java: &Path,
) -> (Vec<String>, Vec<(String, String)>) {
    let config = dir.join("config").display().to_string();
    let tmp = dir.join("tmp").display().to_string();
    let (run, home, java) =
        (dir.display().to_string(), home.display().to_string(), java.display().to_string());
    let mut environment: Vec<(&str, String)> = vec![
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("HOME", run),
        ("LANG", "C.UTF-8".to_owned()),
        ("JAVA_HOME", java.clone()),
        ("LIBFFI_TMPDIR", tmp.clone()),
    ];
    let command = match release.launch {
        Launch::Script => {
            environment.extend([
                ("ES_JAVA_HOME", java),
                ("ES_PATH_CONF", config),
                ("ES_TMPDIR", tmp),
                ("CLI_JAVA_OPTS", "-Xmx64m".to_owned()),
            ]);
            vec![format!("{home}/bin/{}", spec.product)]
        }
        Launch::Java { main, properties, arguments } => {
            let fill = |text: &&str| text.replace("{home}", &home).replace("{config}", &config);
            let mut command =
                vec![format!("{java}/bin/java"), "-Xms128m".to_owned(), format!("-Xmx{}", spec.heap)];
            command.extend(
                [
                    "-Xss1m",
                    "-XX:+UseG1GC",
                    "-XX:-OmitStackTraceInFastThrow",
                    "-Dfile.encoding=UTF-8",
                    "-Djava.awt.headless=true",
                    "-Djna.nosys=true",
                    "-Dio.netty.noUnsafe=true",
                    "-Dio.netty.noKeySetOptimization=true",
                    "-Dio.netty.recycler.maxCapacityPerThread=0",
                    "-Dio.netty.allocator.numDirectArenas=0",
                    "-Dlog4j.shutdownHookEnabled=false",
                    "-Dlog4j2.disable.jmx=true",
                    "-Dlog4j2.formatMsgNoLookups=true",
                ]
                .map(str::to_owned),
            );
            command.extend([format!("-Djava.io.tmpdir={tmp}"), format!("-Djna.tmpdir={tmp}")]);
            command
                .extend(OPEN_PACKAGES.iter().map(|name| format!("--add-opens=java.base/{name}=ALL-UNNAMED")));
            command.extend(properties.iter().map(fill));
            // Its own jar comes first: old versions replace classes of Lucene's jars.
            let class_path = if spec.product == Product::Elasticsearch && spec.version.major < 5 {
                format!("{home}/lib/{}-{}.jar:{home}/lib/*", spec.product, spec.version)
            } else {
                format!("{home}/lib/*")
            };
            command.extend(["-cp".to_owned(), class_path, main.to_owned()]);
            command.extend(arguments.iter().map(fill));
            command
        }
    };
    (command, environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_reads_product_and_version() {
        let spec: ServerSpec = "opensearch:2.19.5".parse().unwrap();
        assert_eq!((spec.product, spec.version.minor), (Product::OpenSearch, 19));
        assert_eq!(spec.to_string(), "opensearch:2.19.5");
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for text in ["", "opensearch", "opensearch:2", "solr:9.0.0", "opensearch:2.19.x"] {
            let error = text.parse::<ServerSpec>().unwrap_err().to_string();
            assert!(error.contains("opensearch:2.19.5"), "{error}");
        }
    }
}
