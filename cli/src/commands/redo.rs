//! `backfill redo`: put indices back to their beginning, so that the next start migrates them again.
//!
//! It is for indices of which the target has lost documents: a run never sends what was acknowledged a second time by
//! itself. Only the run's own records change. The chunks of the indices are given up, which is what a start tries again.

use super::control::lock;
use super::failed::indices;
use super::state::State;
use super::{Context, print_json, print_line};
use crate::args::RedoArgs;
use crate::exit::{CommandError, Exit, Result};
use crate::render::count;
use backfill::model::{Amendment, IndexPlan, Planning, RunState};
use backfill::ports::{Clock, SystemClock};
use local::Mode;
use std::collections::BTreeMap;

pub(super) async fn redo(context: &Context<'_>, args: &RedoArgs) -> Result<Exit> {
    let state = State::open(&args.state, context, Mode::ReadWriteExisting).await?;
    let advice = "stop it with `backfill stop` first";
    let _lock = match &state {
        State::Local(local) => Some(lock(&local.path, advice)?),
        State::Stack(_) => None,
    };
    let run = state.run().await?;
    if let State::Stack(stack) = &state {
        stack.check_idle(&run, advice).await?;
    }
    if run.planning != Planning::Complete {
        return Err(CommandError::other(format!(
            "run {} is not planned to its end yet: continue it with `backfill start`",
            run.id
        )));
    }
    let chosen = indices(&args.index.join(","), &run)?;
    let plans: Vec<&IndexPlan> = run.indices.iter().filter(|plan| chosen.contains(&plan.name)).collect();
    let checkpoints = state.checkpoints();
    if run.state.is_finished() {
        // First of all: a run that has ended is not gone on with.
        checkpoints.set_state(&run.id, RunState::Failed, SystemClock.now(), &[]).await?;
    }
    // The next start records what the destinations are by then. Other indices may write to the same ones, and what these
    // wrote is gone as well.
    let anew: BTreeMap<_, _> =
        plans.iter().flat_map(|plan| plan.destinations()).map(|name| (name.to_owned(), None)).collect();
    checkpoints.amend(&run.id, &Amendment::Targets(anew.clone())).await?;
    checkpoints.amend(&run.id, &Amendment::Replaced(Vec::new())).await?;
    let shares = |plan: &&IndexPlan| plan.destinations().into_iter().any(|name| anew.contains_key(name));
    let redone: Vec<&IndexPlan> = run.indices.iter().filter(shares).collect();
    let mut documents = 0;
    let counters = checkpoints.summary(&run.id, SystemClock.now()).await?.indices;
    for shard in checkpoints.shards(&run.id).await? {
        if redone.iter().any(|plan| plan.name == shard.id.index) {
            checkpoints.redo(&run.id, &shard.id).await?;
        }
    }
    for index in counters.iter().filter(|index| redone.iter().any(|plan| plan.name == index.index)) {
        documents += index.counters.documents();
    }
    let names: Vec<&str> = redone.iter().map(|plan| plan.name.as_str()).collect();
    if context.json {
        print_json(&serde_json::json!({ "run": run.id.0, "indices": names, "documents": documents }))?;
    } else {
        print_line(&format!(
            "Nothing counts as migrated any more of {}: {} documents. `backfill start` migrates them again.",
            names.join(", "),
            count(documents)
        ));
    }
    Ok(Exit::Done)
}
