//! `backfill failed-documents location | count | list`.

use super::status::LocalState;
use super::{Context, print_json, print_line};
use crate::args::StateArgs;
use crate::exit::{Exit, Result};
use backfill::failed::Reader;
use backfill::ports::FailedDocuments;
use local::Mode;
use std::collections::BTreeMap;

pub(super) async fn location(context: &Context<'_>, args: &StateArgs) -> Result<Exit> {
    let state = LocalState::open(args, context, Mode::ReadOnlyExisting)?;
    let location = state.failed().location(&state.run().await?.id);
    if context.json {
        print_json(&serde_json::json!({ "location": location }))?;
    } else {
        print_line(&location);
    }
    Ok(Exit::Done)
}

pub(super) async fn count(context: &Context<'_>, args: &StateArgs) -> Result<Exit> {
    let state = LocalState::open(args, context, Mode::ReadOnlyExisting)?;
    let mut kinds = BTreeMap::<String, u64>::new();
    let (failed, run) = (state.failed(), state.run().await?);
    let mut reader = Reader::open(&state.store, &failed, &run.id, |_| true).await?;
    while let Some(record) = reader.next().await? {
        *kinds.entry(record.error_type).or_default() += 1;
    }
    let total: u64 = kinds.values().sum();
    if context.json {
        print_json(&serde_json::json!({ "total": total, "by_error_type": kinds }))?;
    } else {
        print_line(&total.to_string());
        for (kind, count) in kinds {
            print_line(&format!("{count} {kind}"));
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn list(context: &Context<'_>, limit: usize, args: &StateArgs) -> Result<Exit> {
    let state = LocalState::open(args, context, Mode::ReadOnlyExisting)?;
    let (failed, run) = (state.failed(), state.run().await?);
    let mut reader = Reader::open(&state.store, &failed, &run.id, |_| true).await?;
    for _ in 0..limit {
        let Some(record) = reader.next().await? else { break };
        if context.json {
            print_json(&record)?;
        } else {
            let id = record.id.as_deref().unwrap_or("(unknown id)");
            print_line(&format!(
                "{} {id} [{}] {} {}",
                record.index, record.origin, record.error_type, record.reason
            ));
        }
    }
    Ok(Exit::Done)
}
