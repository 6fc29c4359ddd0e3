//! `backfill failed-documents retry`.

use super::control::lock;
use super::failed::wanted;
use super::start::{cancel_on_signal, flow_limits};
use super::state::State;
use super::{Context, print_json, print_line};
use crate::args::RetryArgs;
use crate::exit::{CommandError, Exit, Result};
use crate::render::{Align, count, notice, table};
use crate::settings::{self, TargetSetting};
use crate::waiting::Announcer;
use backfill::failed::{IndexRetry, Retry, RetryError, RetryReport};
use backfill::model::Run;
use backfill::patient::ask_target;
use backfill::ports::{Clock, SystemClock};
use backfill::waits::Waits;
use backfill::worker::WorkerOptions;
use backfill::worker::flow::Flow;
use local::Mode;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

pub(super) async fn retry(context: &Context<'_>, args: &RetryArgs) -> Result<Exit> {
    let state = State::open(&args.state, context, Mode::ReadWriteExisting).await?;
    let advice = "wait for its end, or stop it with `backfill stop`, then try again";
    let _lock = match &state {
        State::Local(local) => {
            let lock = lock(&local.path, advice)?;
            local.store.check_integrity()?;
            Some(lock)
        }
        State::Stack(_) => None,
    };
    let run = state.run().await?;
    if let State::Stack(stack) = &state {
        stack.check_idle(&run, advice).await?;
    }
    let wanted = wanted(&args.filter, &run)?;
    let setting = target_of(context, args, &run)?;
    let target = setting.open()?;
    let waits = Waits::default();
    let announcer = Announcer::start(waits.clone(), context.json, None);
    ask_target(&waits, args.send.target_wait, || target.check()).await?;
    let (failed, clock) = (state.failed(), Arc::new(SystemClock));
    let owner = match &state {
        // The lock sees to it: whoever has it may go on at once where another was killed.
        State::Local(_) => "holder of the lock".to_owned(),
        State::Stack(_) => format!("{}/{}", std::process::id(), SystemClock.now()),
    };
    let retry = Retry {
        owner,
        run: &run,
        checkpoints: state.checkpoints(),
        failed: failed.as_ref(),
        target: target.clone(),
        clock: clock.clone(),
        flow: Arc::new(Mutex::new(Flow::new(flow_limits(&args.send), clock.monotonic()))),
        patience: args.send.target_wait,
        drain: WorkerOptions::default().drain,
        waits,
    };
    let stop = CancellationToken::new();
    let signals = tokio::spawn(cancel_on_signal(stop.clone(), || {
        notice("Stopping: requests in flight are finished first; Ctrl-C again ends at once.");
    }));
    let mut report = RetryReport::default();
    let ended = retry.run(&wanted, &stop, &mut report).await;
    signals.abort();
    announcer.end().await;
    // What was done before an error stays done: it is told in any case.
    if ended.is_ok() || !report.indices.is_empty() {
        let left = state.checkpoints().summary(&run.id, clock.now()).await?.counters.failed;
        print(context, &run, &report, left)?;
    }
    ended?;
    Ok(match () {
        () if report.interrupted => Exit::Interrupted,
        () if report.is_clean() => Exit::Done,
        () => Exit::FailedDocuments,
    })
}

/// The target of the run, with the settings that are given for it.
fn target_of(context: &Context<'_>, args: &RetryArgs, run: &Run) -> Result<TargetSetting> {
    let mut named = args.target.clone();
    settings::target_as_in_run(&mut named, context.config, &run.spec);
    let setting = TargetSetting::new(&named, Some(&args.send), context.config)?;
    if setting.location() != run.spec.target {
        return Err(CommandError::usage(format!(
            "run {} wrote into {}: its failed documents are tried again there, not in {}",
            run.id,
            run.spec.target,
            setting.location()
        )));
    }
    Ok(setting)
}

fn print(context: &Context<'_>, run: &Run, report: &RetryReport, left: u64) -> Result<()> {
    let total = report.total();
    if context.json {
        return print_json(&serde_json::json!({
            "run": run.id.0, "indices": report.indices, "total": total, "interrupted": report.interrupted,
            "documents_failed": left,
        }));
    }
    if report.indices.is_empty() {
        print_line("There are no failed documents to try again.");
        return Ok(());
    }
    let columns = [
        ("index", Align::Left),
        ("retried", Align::Right),
        ("indexed", Align::Right),
        ("already there", Align::Right),
        ("failed again", Align::Right),
        ("not retried", Align::Right),
    ];
    let row = |index: &IndexRetry| {
        let mut row = vec![index.index.clone()];
        let not_retried = index.kept.documents() + index.unfinished;
        let counts =
            [index.retried, index.indexed, index.already_there, index.failed.documents(), not_retried];
        row.extend(counts.map(count));
        row
    };
    let rows: Vec<Vec<String>> = report.indices.iter().chain([&total]).map(row).collect();
    table(&columns, &rows).print();
    for index in &report.indices {
        for (what, kinds) in [("failed again", &index.failed), ("cannot be sent again", &index.kept)] {
            for (error_type, kind) in &kinds.0 {
                let documents = count(kind.documents);
                print_line(&format!("{}: {documents} {what}: {error_type}: {}", index.index, kind.reason));
            }
        }
        if index.unfinished > 0 {
            let documents = count(index.unfinished);
            print_line(&format!(
                "{}: {documents} wait for the end of their chunks: start first",
                index.index
            ));
        }
    }
    if total.recovered > 0 {
        print_line(&format!(
            "{} documents had arrived in a retry that broke off before it counted them; they are counted now.",
            count(total.recovered)
        ));
    }
    print_line(&match left {
        0 => "No failed documents are left.".to_owned(),
        left => format!("{} failed documents are left.", count(left)),
    });
    Ok(())
}

impl From<RetryError> for CommandError {
    fn from(error: RetryError) -> CommandError {
        match error {
            RetryError::WholeChunks(_) => CommandError::usage(error.to_string()),
            RetryError::Target(error) => error.into(),
            RetryError::Store(error) => error.into(),
            RetryError::Held { .. } | RetryError::Contended { .. } => CommandError::other(error.to_string()),
        }
    }
}
