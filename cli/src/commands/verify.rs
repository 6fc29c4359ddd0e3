//! `backfill verify`: compares the snapshot with the target.

use super::stack::repository;
use super::{Context, nothing_selected, open_snapshot, print_json, print_line};
use crate::args::VerifyArgs;
use crate::exit::{CommandError, Exit, Result};
use crate::render::{Align, count, table};
use crate::settings::{TargetSetting, handling, selection, snapshot_name};
use async_trait::async_trait;
use backfill::ports::TargetError;
use backfill::verify::{Depth, IndexVerification, ProblemKind, TargetDocument, VerifiableTarget};
use target::Cluster;

struct ClusterTarget(Cluster);

#[async_trait]
impl VerifiableTarget for ClusterTarget {
    async fn check(&self) -> std::result::Result<(), TargetError> {
        self.0.check().await
    }

    async fn count(&self, index: &str) -> std::result::Result<Option<u64>, TargetError> {
        if !self.0.missing(&[index.to_owned()]).await?.is_empty() {
            return Ok(None);
        }
        self.0.count(index, true).await.map(Some)
    }

    async fn fetch(
        &self,
        index: &str,
        keys: &[(String, Option<String>)],
    ) -> std::result::Result<Vec<Option<TargetDocument>>, TargetError> {
        if !self.0.missing(&[index.to_owned()]).await?.is_empty() {
            return Ok(keys.iter().map(|_| None).collect());
        }
        let wanted: Vec<(&str, Option<&str>)> =
            keys.iter().map(|(id, r)| (id.as_str(), r.as_deref())).collect();
        let found = self.0.fetch(index, &wanted).await?;
        let document = |d: target::FetchedDoc| TargetDocument { routing: d.routing, source: d.source };
        Ok(found.into_iter().map(|d| d.map(document)).collect())
    }
}

pub(super) async fn verify(context: &Context<'_>, args: &VerifyArgs) -> Result<Exit> {
    let target = TargetSetting::new(&args.target, None, context.config)?;
    let Some(cluster) = target.cluster()? else {
        return Err(CommandError::usage("verify compares with a cluster: give --target URL"));
    };
    cluster.check().await?;
    let blobs = repository(context, &args.repository).await?.open().await?;
    let name = snapshot_name(&args.snapshot, context.config);
    let (repository, opened) = open_snapshot(blobs, &name, args.snapshot.allow_partial).await?;
    let depth = if args.full { Depth::Full } else { Depth::Sample(args.sample) };
    let selection = selection(&args.snapshot, context.config);
    let handling = handling(&args.documents, context.config, Some(&target))?;
    let cluster = ClusterTarget(cluster);
    let results =
        backfill::verify::verify(&repository, &opened, &selection, &handling, &cluster, depth).await?;
    if results.is_empty() {
        return Err(CommandError::usage(nothing_selected(&opened.info.name)));
    }
    let equal = results.iter().all(IndexVerification::is_equal);
    if context.json {
        print_json(&serde_json::json!({ "equal": equal, "indices": results }))?;
    } else {
        print(&results, equal);
    }
    Ok(exit(&results, equal))
}

/// What could not be compared counts for more than a difference, since there may be others behind it.
fn exit(results: &[IndexVerification], equal: bool) -> Exit {
    let problems: Vec<ProblemKind> = results.iter().flat_map(|r| &r.problems).map(|p| p.kind).collect();
    for (kind, exit) in [
        (ProblemKind::Snapshot, Exit::Snapshot),
        (ProblemKind::Target, Exit::Target),
        (ProblemKind::Refused, Exit::Usage),
    ] {
        if problems.contains(&kind) {
            return exit;
        }
    }
    if equal { Exit::Done } else { Exit::FailedDocuments }
}

fn print(results: &[IndexVerification], equal: bool) {
    let columns = [
        ("index", Align::Left),
        ("target", Align::Left),
        ("in snapshot", Align::Right),
        ("in target", Align::Right),
        ("compared", Align::Right),
        ("missing", Align::Right),
        ("different", Align::Right),
        ("incomparable", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|r| {
            vec![
                r.index.clone(),
                r.destination.clone(),
                count(r.snapshot_count),
                match r.target_count {
                    Some(target_count) => count(target_count),
                    None if r.problems.is_empty() => "no index".to_owned(),
                    None => "unknown".to_owned(),
                },
                count(r.compared),
                count(r.missing),
                count(r.different),
                count(r.incomparable),
                verdict(r).to_owned(),
            ]
        })
        .collect();
    table(&columns, &rows).print();
    for result in results {
        for difference in &result.differences {
            print_line(&format!("{}: {difference}", result.index));
        }
        for problem in &result.problems {
            print_line(&format!("{}: {}", result.index, problem.message));
        }
    }
    let incomplete = results.iter().filter(|r| !r.problems.is_empty()).count();
    if incomplete > 0 {
        print_line(&format!("{incomplete} of {} indices could not be compared completely.", results.len()));
    } else {
        print_line(if equal {
            "The target holds what the snapshot holds."
        } else {
            "The target does not hold what the snapshot holds."
        });
    }
}

fn verdict(result: &IndexVerification) -> &'static str {
    let differs = result.missing > 0 || result.different > 0;
    match (result.is_equal(), differs, result.problems.is_empty()) {
        (true, ..) => "equal",
        (false, false, false) => "INCOMPLETE",
        (false, ..) => "DIFFERENT",
    }
}
