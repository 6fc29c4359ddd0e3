//! The progress of a run while it is in the foreground: a bar on a terminal, plain lines elsewhere.

use crate::render::{bytes, count, percent, span};
use backfill::model::RunId;
use backfill::ports::{Checkpoints, Clock, SystemClock};
use backfill::status::{FleetStatus, StatusReport};
use indicatif::{ProgressBar, ProgressStyle};
use local::SqliteStore;
use std::io::IsTerminal;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How often the bar moves.
const BAR: Duration = Duration::from_millis(250);
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// Shows progress until it is told to end.
pub struct Progress {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Progress {
    /// Begins to show the progress of a run on standard error; nothing if `quiet`.
    pub fn start(quiet: bool, store: SqliteStore, run: RunId) -> Progress {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            if quiet {
                return;
            }
            let bar = std::io::stderr().is_terminal().then(bar);
            let mut ticks = tokio::time::interval(if bar.is_some() { BAR } else { LINE });
            ticks.reset();
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    _ = ticks.tick() => {}
                }
                let now = SystemClock.now();
                // Progress that cannot be read is not worth ending the run for.
                let Ok(summary) = store.summary(&run, now).await else { continue };
                let fleet = FleetStatus { active: true, ..FleetStatus::default() };
                let report = StatusReport::new(&summary, fleet, String::new(), now);
                match &bar {
                    Some(bar) => {
                        bar.set_length(report.bytes_total.max(1));
                        bar.set_position(report.bytes_done);
                        bar.set_message(line(&report));
                    }
                    None => eprintln!("{}", line(&report)),
                }
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        });
        Progress { stop, task }
    }

    /// Ends it, and clears the bar.
    pub async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn line(report: &StatusReport) -> String {
    let eta = report.eta_ms.map_or_else(String::new, |eta| format!(", {} left", span(eta)));
    let failed = match report.documents_failed {
        0 => String::new(),
        n => format!(", {} failed", count(n)),
    };
    format!(
        "{} of {} documents, {} of {} ({}), {} documents/s, {}/s{eta}{failed}",
        count(report.documents_done),
        count(report.documents_total),
        bytes(report.bytes_done),
        bytes(report.bytes_total),
        percent(report.bytes_done, report.bytes_total),
        count(report.rate.documents as u64),
        bytes(report.rate.stored_bytes as u64)
    )
}
