//! Keeps what was downloaded: unpacked distributions and Javas, shared by all runs.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    Error, Product, Version,
    error::At,
    patch,
    release::{Jars, Origin, Release},
    server::{Account, check_open},
    tools::{Artifact, maven_copy, maven_copy_with_dependencies},
};

const CACHE_VARIABLE: &str = "BACKFILL_SERVERS";

/// Where unpacked servers are kept: `$BACKFILL_SERVERS`, or `~/.cache/backfill-servers`; for root, whose home other
/// users can not enter, `/var/cache/backfill-servers`.
#[must_use]
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = env::var_os(CACHE_VARIABLE) {
        return PathBuf::from(dir);
    }
    let cache = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/cache")
    } else {
        env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cache")))
            .unwrap_or_else(env::temp_dir)
    };
    cache.join("backfill-servers")
}

/// The home of an unpacked distribution with these plugins (`group:artifact:version`), downloaded if need be.
pub(crate) fn home(product: Product, version: Version, plugins: &[String]) -> Result<PathBuf, Error> {
    let plain = plain_home(product, version)?;
    let Some(name) = plain.file_name().filter(|_| !plugins.is_empty()) else { return Ok(plain) };
    let artifact = |plugin: &str| plugin.split(':').nth(1).unwrap_or(plugin).to_owned();
    let artifacts: Vec<String> = plugins.iter().map(|plugin| artifact(plugin)).collect();
    let dir = cached(&format!("{product}-{version}-with-{}", artifacts.join("-")), |dir| {
        let home = dir.join(name);
        link_tree(&plain, &home)?;
        for (plugin, artifact) in plugins.iter().zip(&artifacts) {
            maven_copy(&format!("{plugin}:zip"), dir)?;
            let version = plugin.rsplit(':').next().unwrap_or_default();
            let zip = dir.join(format!("{artifact}-{version}.zip"));
            let into = home.join("plugins").join(artifact);
            fs::create_dir_all(&into).at(&into)?;
            unpack(&zip, &into)?;
            fs::remove_file(&zip).at(&zip)?;
        }
        Ok(())
    })?;
    Ok(dir.join(name))
}

/// The same directories with the same files, none of them copied.
fn link_tree(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).at(to)?;
    for entry in fs::read_dir(from).at(from)? {
        let entry = entry.at(from)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { link_tree(&from, &to)? } else { fs::hard_link(&from, &to).at(&to)? }
    }
    Ok(())
}

fn plain_home(product: Product, version: Version) -> Result<PathBuf, Error> {
    let release = Release::of(product, version)?;
    let name = format!("{product}-{version}");
    let dir = cached(&name, |dir| {
        match release.origin {
            Origin::Zip(group) => {
                maven_copy(&format!("{group}:{product}:{version}:zip"), dir)?;
                let zip = dir.join(format!("{name}.zip"));
                unpack(&zip, dir)?;
                fs::remove_file(&zip).at(&zip)?;
            }
            Origin::Jars(jars) => {
                let home = dir.join(&name);
                put_together(product, version, jars, &home)?;
                if product == Product::Elasticsearch {
                    patch::for_newer_java(&home.join("lib").join(format!("{name}.jar")))?;
                }
            }
        }
        for missing in ["plugins", "logs"] {
            let path = dir.join(&name).join(missing);
            fs::create_dir_all(&path).at(&path)?;
        }
        Ok(())
    })?;
    Ok(dir.join(name))
}

/// Logging of a server that brings no configuration of its own: to its standard output.
const LOGGING: &str = "status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
";

/// Lays out the jars of a server as its distribution would have them.
fn put_together(product: Product, version: Version, jars: &Jars, home: &Path) -> Result<(), Error> {
    let lib = home.join("lib");
    fs::create_dir_all(&lib).at(&lib)?;
    let further = jars.further.iter().map(|(group, artifact, own)| match own {
        Some(own) => Artifact::new(group, artifact, own),
        None => Artifact::new(group, artifact, version),
    });
    let all: Vec<Artifact> =
        [Artifact::new(jars.group, product.name(), version)].into_iter().chain(further).collect();
    maven_copy_with_dependencies(&all, &lib)?;
    for module in jars.modules {
        let dir = home.join("modules").join(module.name);
        fs::create_dir_all(&dir).at(&dir)?;
        maven_copy_with_dependencies(&[Artifact::new(module.group, module.artifact, version)], &dir)?;
        // A jar that the server has, too, may not be in a module a second time.
        for entry in fs::read_dir(&dir).at(&dir)? {
            let jar = entry.at(&dir)?.path();
            if jar.file_name().is_some_and(|name| lib.join(name).exists()) {
                fs::remove_file(&jar).at(&jar)?;
            }
        }
        let descriptor = dir.join("plugin-descriptor.properties");
        let (name, class) = (module.name, module.class);
        let text = format!(
            "description={name}\nversion={version}\nname={name}\nclassname={class}\njava.version=21\n\
             {product}.version={version}\ncustom.foldername=\nextended.plugins=\nhas.native.controller=false\n"
        );
        fs::write(&descriptor, text).at(&descriptor)?;
    }
    if !jars.modules.is_empty() {
        // A server that is not allowed to write here asks for these all the same.
        for name in ["bin", "config"] {
            let dir = home.join(name);
            fs::create_dir_all(&dir).at(&dir)?;
        }
        let logging = home.join("config/log4j2.properties");
        fs::write(&logging, LOGGING).at(&logging)?;
    }
    Ok(())
}

/// The directory `name` of the cache, filled by `fill` if it is not there. Processes that want the same one at the
/// same time wait for each other, and one that is interrupted leaves nothing half done under that name.
pub(crate) fn cached(name: &str, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<PathBuf, Error> {
    let cache = cache_dir();
    let dir = cache.join(name);
    if dir.exists() {
        return Ok(dir);
    }
    fs::create_dir_all(&cache).at(&cache)?;
    check_open(&cache, &Account::of_servers()?, CACHE_VARIABLE)?;
    let lock = cache.join(format!(".{name}.lock"));
    let lock_file = fs::File::create(&lock).at(&lock)?;
    lock_file.lock().at(&lock)?;
    if !dir.exists() {
        let work = tempfile::Builder::new().prefix(".tmp-").tempdir_in(&cache).at(&cache)?;
        fill(work.path())?;
        make_readable(work.path())?;
        fs::rename(work.keep(), &dir).at(&dir)?;
    }
    Ok(dir)
}

/// Unpacks a zip file into a directory.
pub(crate) fn unpack(zip: &Path, dir: &Path) -> Result<(), Error> {
    let fail =
        |e: zip::result::ZipError| Error::Content { place: zip.display().to_string(), reason: e.to_string() };
    let file = fs::File::open(zip).at(zip)?;
    zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(fail)?.extract(dir).map_err(fail)
}

/// Lets every user read what is in a directory, and run what its owner can run.
fn make_readable(path: &Path) -> Result<(), Error> {
    let meta = fs::symlink_metadata(path).at(path)?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mode = meta.permissions().mode();
    let wanted = mode | 0o444 | if meta.is_dir() || mode & 0o100 != 0 { 0o111 } else { 0 };
    fs::set_permissions(path, fs::Permissions::from_mode(wanted)).at(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).at(path)? {
            make_readable(&entry.at(path)?.path())?;
        }
    }
    Ok(())
}
