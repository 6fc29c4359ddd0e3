//! What is measured, and how.

use crate::Result;
use crate::report::number;
use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What goes wrong.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Measures of one run. MB are 10^6 bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Documents.
    pub(crate) documents: u64,
    /// Bytes that the rates are of: of `_source`, unless it is said otherwise.
    pub(crate) bytes: u64,
    /// Seconds.
    pub(crate) wall: f64,
    /// Seconds of CPU, in the program and in the kernel for it.
    pub(crate) cpu: f64,
    /// Largest resident set, in bytes.
    pub(crate) peak: u64,
    /// Requests to the repository.
    pub(crate) requests: u64,
    /// Bytes that they brought.
    pub(crate) fetched: u64,
    /// Bytes of stored fields that had to be fetched.
    pub(crate) needed: u64,
    /// Shards.
    pub(crate) shards: u64,
    /// Requests to the target that were refused and sent again.
    #[serde(default)]
    pub(crate) again: u64,
    /// Segments of them.
    #[serde(default)]
    pub(crate) segments: u64,
    /// Processors of the machine that were busy while the process lived, with whatever: known to who started it only.
    #[serde(default)]
    pub(crate) busy: f64,
}

impl Measured {
    /// MB a second of CPU.
    pub(crate) fn per_cpu(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.cpu
    }

    /// MB a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.wall
    }
}

/// Time since its start.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: ProcessTime,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch { wall: Instant::now(), cpu: ProcessTime::now() }
    }

    /// Seconds of wall and CPU time.
    pub(crate) fn read(&self) -> (f64, f64) {
        (self.wall.elapsed().as_secs_f64(), self.cpu.elapsed().as_secs_f64())
    }
}

/// The largest resident set of this process so far, in bytes.
pub(crate) fn peak() -> Result<u64> {
    peak_of("self")
}

/// The same of another process.
pub(crate) fn peak_of(process: &str) -> Result<u64> {
    let line = status_line(process, "VmHWM:")?;
    Ok(line.trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// What this line of the system's record of a process says.
pub(crate) fn status_line(process: &str, name: &str) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.ok_or_else(|| format!("the system does not tell {name} of a process"))?.trim().to_owned())
}

/// What a process must know beside its arguments.
pub(crate) type Environment = Vec<(&'static str, String)>;

/// A process that is measured.
pub(crate) struct Part {
    arguments: Vec<String>,
    environment: Environment,
}

impl Part {
    /// What `bench part` is told.
    pub(crate) fn new(arguments: &[&str], environment: &Environment) -> Part {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Part { arguments, environment: environment.clone() }
    }

    /// Runs it once.
    pub(crate) fn run(&self) -> Result<Measured> {
        let (begun, before) = (Instant::now(), busy_seconds());
        let arguments = self.arguments.join(" ");
        let output = Command::new(std::env::current_exe()?)
            .arg("part")
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("bench part {arguments} ended with {}", output.status).into());
        }
        let mut measured: Measured = serde_json::from_slice(&output.stdout)?;
        measured.busy = (busy_seconds() - before) / begun.elapsed().as_secs_f64();
        eprintln!(
            "   {:<60} {:>7.1} MB/s {:>7.1} MB/CPU-s {:>6} MiB",
            arguments.chars().take(60).collect::<String>(),
            measured.per_second(),
            measured.per_cpu(),
            measured.peak >> 20
        );
        Ok(measured)
    }
}

/// The middle of these values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// How ours compares with what was measured beside it, turn by turn: the middle of the ratios. A machine is faster in one minute
/// than in the next, which says nothing of either.
pub(crate) fn ratio(ours: impl IntoIterator<Item = f64>, theirs: impl IntoIterator<Item = f64>) -> f64 {
    median(ours.into_iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
}

/// The same of this measure of runs.
pub(crate) fn ratio_of(ours: &[Measured], theirs: &[Measured], measure: impl Fn(&Measured) -> f64) -> f64 {
    ratio(ours.iter().map(&measure), theirs.iter().map(&measure))
}

/// Seconds that the processors of this machine have worked so far, all together.
fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    // The fourth and the fifth are those of doing nothing and of waiting for disks, the eighth what others were given; a
    // hundred are a second.
    ticks.iter().take(7).sum::<f64>() / 100.0 - ticks.iter().skip(3).take(2).sum::<f64>() / 100.0
}

/// The largest one of a measure of several runs.
pub(crate) fn most(runs: &[Measured], measure: impl Fn(&Measured) -> f64) -> f64 {
    runs.iter().map(measure).fold(f64::NAN, f64::max)
}

/// The median of these values, and the least and the largest one.
pub(crate) fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::NAN, f64::min);
    let largest = values.iter().copied().fold(f64::NAN, f64::max);
    format!("{} ({}–{})", number(median(values.iter().copied())), number(least), number(largest))
}

/// The same of one measure of several runs.
pub(crate) fn spread_of(runs: &[Measured], measure: impl Fn(&Measured) -> f64) -> String {
    spread(&runs.iter().map(measure).collect::<Vec<_>>())
}

/// The median of one measure of several runs.
pub(crate) fn of(runs: &[Measured], measure: impl Fn(&Measured) -> f64) -> f64 {
    median(runs.iter().map(measure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median([]).is_nan());
    }
}
