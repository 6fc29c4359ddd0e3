//! `backfill plan`: what start would do.

use super::snapshots::{Described, index_table};
use super::stack::repository;
use super::{Context, nothing_selected, open_snapshot, print_json, print_line};
use crate::args::PlanArgs;
use crate::exit::{CommandError, Exit, Result};
use crate::render::{bytes, count};
use crate::settings::{handling, selection, snapshot_name};
use crate::terminal;

pub(super) async fn plan(context: &Context<'_>, args: &PlanArgs) -> Result<Exit> {
    let blobs = repository(context, &args.repository).await?.open().await?;
    let name = snapshot_name(&args.snapshot, context.config);
    let (repository, opened) = open_snapshot(blobs, &name, args.snapshot.allow_partial).await?;
    let selection = selection(&args.snapshot, context.config);
    let handling = handling(&args.documents, context.config, None)?;
    let plan = backfill::plan::plan(&repository, &opened, &selection, &handling, args.chunk.bytes()).await?;
    if plan.indices.is_empty() && plan.refused.is_empty() {
        return Err(CommandError::usage(nothing_selected(&plan.snapshot)));
    }
    let described = Described::new(&plan, opened.info.state.to_string());
    let broken = plan.shards.iter().any(|s| !s.findings.is_empty()) || !plan.refused.is_empty();
    if context.json {
        print_json(&described)?;
    } else {
        print_line(&format!("Snapshot {} ({})", described.snapshot, described.state));
        index_table(&described.indices, true).print();
        for note in &described.notes {
            print_line(note);
        }
        let damaged: u64 = plan.shards.iter().map(|s| s.damaged_docs).sum();
        let uncounted: u64 = plan.shards.iter().map(|s| s.uncounted_segments).sum();
        let documents = plan.shards.iter().map(|s| s.live_docs).sum::<u64>().saturating_sub(damaged);
        let stored: u64 = plan.shards.iter().map(|s| s.stored_bytes).sum();
        print_line(&format!(
            "start would read {} of stored fields in {} chunks for {} live documents (nested ones included)",
            bytes(stored),
            count(plan.chunks.len() as u64),
            count(documents)
        ));
        if damaged > 0 || uncounted > 0 {
            let at_least = if uncounted > 0 { "at least " } else { "" };
            terminal::notice(&format!("warning: {at_least}{} live documents cannot be read", count(damaged)));
        }
    }
    Ok(if broken { Exit::Snapshot } else { Exit::Done })
}
