//! The progress of a run while it is in the foreground: a bar on a terminal, plain lines elsewhere.

use crate::render::{bytes, bytes_percent, count, span};
use crate::terminal;
use backfill::model::RunId;
use backfill::ports::{Checkpoints, Clock, SteadyClock};
use backfill::status::{FleetStatus, StatusReport};
use indicatif::{ProgressBar, ProgressStyle};
use local::SqliteStore;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How often the bar moves.
const BAR: Duration = Duration::from_millis(250);
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// How long the state file may take to answer before that is said.
const BUSY: Duration = Duration::from_secs(2);

/// Shows progress until it is told to end.
pub struct Progress {
    quiet: bool,
    bar: Option<ProgressBar>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Progress {
    /// Begins to show the progress of a run on standard error; nothing if `quiet`.
    pub fn start(quiet: bool, store: SqliteStore, run: RunId) -> Progress {
        let (stop, mut stopped) = oneshot::channel();
        let bar = (!quiet && std::io::stderr().is_terminal()).then(bar);
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            if quiet {
                return;
            }
            let mut ticks = tokio::time::interval(if shown.is_some() { BAR } else { LINE });
            ticks.reset();
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    _ = ticks.tick() => {}
                }
                let report = tokio::select! {
                    _ = &mut stopped => break,
                    report = report(&store, &run, shown.as_ref()) => report,
                };
                // Progress that cannot be read is not worth ending the run for.
                let Some(report) = report else { continue };
                if let Some(bar) = &shown {
                    bar.set_length(report.bytes_total.max(1));
                    bar.set_position(report.bytes_done);
                }
                show(shown.as_ref(), line(&report));
            }
            if let Some(bar) = shown {
                bar.finish_and_clear();
            }
        });
        Progress { quiet, bar, stop, task }
    }

    /// Prints a line between those of the progress.
    pub fn say(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| terminal::notice(text)),
            None => terminal::notice(text),
        }
    }

    /// Ends it, and clears the bar.
    pub async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Where the run stands. Says so when the state file does not answer for long: its workers wait for it, too.
async fn report(store: &SqliteStore, run: &RunId, bar: Option<&ProgressBar>) -> Option<StatusReport> {
    let now = SteadyClock.now();
    let asked = Instant::now();
    let summary = store.summary(run, now);
    let mut summary = std::pin::pin!(summary);
    let summary = loop {
        match tokio::time::timeout(BUSY, &mut summary).await {
            Ok(summary) => break summary.ok()?,
            Err(_) => {
                let text = format!(
                    "State file busy for {}s: another process writes to it",
                    asked.elapsed().as_secs()
                );
                show(bar, text);
            }
        }
    };
    let fleet = FleetStatus { active: true, present: true, ..FleetStatus::default() };
    Some(StatusReport::new(&summary, fleet, String::new(), now))
}

fn show(bar: Option<&ProgressBar>, text: String) {
    match bar {
        Some(bar) => bar.set_message(terminal::line(&text).into_owned()),
        None => terminal::notice(&text),
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// One line: how far the run is and how fast it goes, or what it waits for.
fn line(report: &StatusReport) -> String {
    let eta = report.eta_ms.map_or_else(String::new, |eta| format!(", {} left", span(eta)));
    let failed = match report.documents_failed {
        0 => String::new(),
        n => format!(", {} failed", count(n)),
    };
    let pace = match report.waiting.first() {
        Some(waiting) if report.rate.window_ms == 0 => format!("; {}", waiting.text),
        _ => format!(
            ", {} documents/s, {}/s{eta}",
            count(report.rate.documents as u64),
            bytes(report.rate.stored_bytes as u64)
        ),
    };
    let done = format!(
        "{} of {} documents, {} of {} ({})",
        count(report.documents_done),
        count(report.documents_total),
        bytes(report.bytes_done),
        bytes(report.bytes_total),
        bytes_percent(report)
    );
    format!("{done}{failed}{pace}")
}
