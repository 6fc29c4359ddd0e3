//! `backfill failed-documents location | count | list`.

use super::state::State;
use super::{Context, print_json, print_line};
use crate::args::{FailedArgs, StateArgs};
use crate::exit::{CommandError, Exit, Result};
use crate::render::{Align, table};
use crate::terminal::notice;
use backfill::failed::{Reader, Wanted};
use backfill::model::Run;
use local::Mode;
use snapshot::selection::{IndexPatterns, IndexSummary};
use std::collections::{BTreeMap, HashSet};

pub(super) async fn location(context: &Context<'_>, args: &StateArgs) -> Result<Exit> {
    let state = State::open(args, context, Mode::ReadOnlyExisting).await?;
    let location = state.failed().location(&state.run().await?.id);
    if context.json {
        print_json(&serde_json::json!({ "location": location }))?;
    } else {
        print_line(&location);
    }
    Ok(Exit::Done)
}

pub(super) async fn count(context: &Context<'_>, filter: &FailedArgs, args: &StateArgs) -> Result<Exit> {
    let state = State::open(args, context, Mode::ReadOnlyExisting).await?;
    let (failed, run) = (state.failed(), state.run().await?);
    let wanted = wanted(filter, &run)?;
    let mut by_index = BTreeMap::<String, BTreeMap<String, u64>>::new();
    let mut reader =
        Reader::open(state.checkpoints(), failed.as_ref(), &run.id, |index| wanted.index(index)).await?;
    while let Some(record) = reader.next().await? {
        if wanted.error_type(&record.error_type) {
            *by_index.entry(record.index).or_default().entry(record.error_type).or_default() += 1;
        }
    }
    let mut by_error_type = BTreeMap::<&str, u64>::new();
    for (kind, count) in by_index.values().flatten() {
        *by_error_type.entry(kind).or_default() += count;
    }
    let total: u64 = by_error_type.values().sum();
    if context.json {
        print_json(&serde_json::json!({
            "total": total, "by_error_type": by_error_type, "by_index": by_index
        }))?;
        return Ok(Exit::Done);
    }
    print_line(&total.to_string());
    let rows: Vec<Vec<String>> = by_index
        .iter()
        .flat_map(|(index, kinds)| {
            kinds.iter().map(move |(kind, count)| vec![index.clone(), kind.clone(), count.to_string()])
        })
        .collect();
    if !rows.is_empty() {
        let columns = [("index", Align::Left), ("error", Align::Left), ("documents", Align::Right)];
        table(&columns, &rows).print();
    }
    Ok(Exit::Done)
}

pub(super) async fn list(
    context: &Context<'_>,
    filter: &FailedArgs,
    limit: usize,
    args: &StateArgs,
) -> Result<Exit> {
    let state = State::open(args, context, Mode::ReadOnlyExisting).await?;
    let (failed, run) = (state.failed(), state.run().await?);
    let wanted = wanted(filter, &run)?;
    let mut reader =
        Reader::open(state.checkpoints(), failed.as_ref(), &run.id, |index| wanted.index(index)).await?;
    let mut listed = 0;
    while let Some(record) = reader.next().await? {
        if !wanted.error_type(&record.error_type) {
            continue;
        }
        if listed == limit {
            notice(&format!("There are more than these {limit}: --limit N lists more of them."));
            break;
        }
        listed += 1;
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

/// Which failed documents of a run are meant.
pub(super) fn wanted(filter: &FailedArgs, run: &Run) -> Result<Wanted> {
    let indices = filter.index.as_deref().map(|patterns| indices(patterns, run)).transpose()?;
    Ok(Wanted { indices, error_type: filter.error_type.clone() })
}

/// The names of the indices of a run that are meant, as they are in the snapshot.
pub(super) fn indices(patterns: &str, run: &Run) -> Result<HashSet<String>> {
    let available: Vec<IndexSummary> = run
        .indices
        .iter()
        .map(|plan| IndexSummary {
            name: plan.name.clone(),
            hidden: false,
            data_stream: plan.data_stream.then(|| plan.destination.clone()),
            aliases: Vec::new(),
        })
        .collect();
    // The run was asked for them: none is hidden.
    let chosen = IndexPatterns::parse(patterns)
        .map(|patterns| patterns.include_hidden(true))
        .and_then(|patterns| Ok(patterns.select(&available)?.into_iter().map(|i| i.name.clone()).collect()));
    chosen.map_err(|error| CommandError::usage(format!("--index: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use backfill::model::{IndexPlan, Planning, RunId, RunSpec, RunState, Selection};

    #[test]
    fn indices_are_chosen_by_their_names_and_those_of_data_streams() {
        let plan = |name: &str, stream: Option<&str>| IndexPlan {
            name: name.to_owned(),
            destination: stream.unwrap_or(name).to_owned(),
            data_stream: stream.is_some(),
            documents: Default::default(),
            warnings: Vec::new(),
        };
        let run = Run {
            id: RunId("run".to_owned()),
            spec: RunSpec {
                repository: String::new(),
                snapshot: String::new(),
                snapshot_uuid: String::new(),
                selection: Selection { patterns: "*".to_owned(), include_hidden: true },
                target: String::new(),
                allow_partial: false,
                types: None,
                allow_partial_source: false,
                time_fields: Default::default(),
                chunk_bytes: 1,
            },
            state: RunState::Done,
            planning: Planning::Complete,
            desired_workers: 1,
            created: 0,
            finished: None,
            indices: vec![plan("a", None), plan(".kibana", None), plan(".ds-logs-000001", Some("logs"))],
            missing_shards: Vec::new(),
            refused: Vec::new(),
            damage: Vec::new(),
            notes: Default::default(),
        };
        for (patterns, expected) in [
            ("a", &["a"][..]),
            ("logs", &[".ds-logs-000001"]),
            ("*,-a", &[".kibana", ".ds-logs-000001"]),
            (".k*", &[".kibana"]),
        ] {
            let expected: HashSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(indices(patterns, &run).unwrap(), expected, "{patterns}");
        }
        assert_eq!(indices("b", &run).unwrap_err().exit, Exit::Usage);
    }
}
