//! `backfill reset`: forget a run.

use super::control::lock;
use super::state::State;
use super::{Context, print_json, print_line};
use crate::args::ResetArgs;
use crate::exit::{CommandError, Exit, Result};
use crate::render::count;
use crate::terminal;
use backfill::ports::{Clock, SystemClock};
use local::Mode;
use std::io::{IsTerminal, Write};

pub(super) async fn reset(context: &Context<'_>, args: &ResetArgs) -> Result<Exit> {
    let state = State::open(&args.state, context, Mode::ReadWriteExisting).await?;
    let advice = "stop it with `backfill stop` first, or forget the run under it with --force";
    // Whoever holds the lock may hold leases. Without it they are those of the dead.
    let _lock = match &state {
        State::Local(local) if !args.force => Some(lock(&local.path, advice)?),
        _ => None,
    };
    let run = state.run_named(args.run.as_deref()).await?;
    if let State::Stack(stack) = &state
        && !args.force
    {
        stack.check_idle(&run, advice).await?;
    }
    let counters = state.checkpoints().summary(&run.id, SystemClock.now()).await?.counters;
    let failed = state.failed();
    let location = failed.location(&run.id);
    let arrived = counters.indexed + counters.already_there;
    if !args.yes {
        let what = format!(
            "Forget run {} of snapshot {} into {}: its checkpoints and messages{}? The {} documents in the target stay.",
            run.id,
            run.spec.snapshot,
            run.spec.target,
            if args.failed_documents { ", and its failed documents" } else { "" },
            count(arrived)
        );
        confirm(&what)?;
    }
    // The run names the stream: it goes last, so that a reset that was killed can be repeated.
    if args.failed_documents {
        failed.delete(&run.id).await?;
    }
    state.checkpoints().delete_run(&run.id).await?;
    let kept = counters.failed > 0 && !args.failed_documents;
    if context.json {
        print_json(&serde_json::json!({
            "run": run.id.0, "documents_in_target": arrived, "failed_documents": counters.failed,
            "failed_documents_location": kept.then_some(location),
        }))?;
        return Ok(Exit::Done);
    }
    print_line(&format!("Run {} is forgotten. Documents in the target {} stay.", run.id, run.spec.target));
    if kept {
        print_line(&format!("Its {} failed documents stay in {location}.", count(counters.failed)));
    }
    Ok(Exit::Done)
}

/// Asks on a terminal. Where nobody can be asked, only `--yes` will do.
fn confirm(what: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("there is no terminal to ask on: add --yes to forget the run"));
    }
    eprint!("{} [y/N] ", terminal::line(what));
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CommandError::new(Exit::Interrupted, "nothing was changed")),
    }
}
