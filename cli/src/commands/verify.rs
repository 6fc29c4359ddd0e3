//! `backfill verify`: compares the snapshot with the target.

use super::stack::repository;
use super::{Context, nothing_selected, open_snapshot, print_json, print_line};
use crate::args::VerifyArgs;
use crate::exit::{CommandError, Exit, Result};
use crate::render::{Align, count, table};
use crate::settings::{TargetSetting, handling, selection, snapshot_name};
use async_trait::async_trait;
use backfill::ports::TargetError;
use backfill::verify::{Depth, IndexVerification, TargetDocument, VerifiableTarget};
use target::Cluster;

struct ClusterTarget(Cluster);

#[async_trait]
impl VerifiableTarget for ClusterTarget {
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
        let document = |d: target::FetchedDoc| TargetDocument {
            routing: d.routing,
            source: Box::<serde_json::value::RawValue>::into(d.source),
        };
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
    Ok(if equal { Exit::Done } else { Exit::FailedDocuments })
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
                r.target_count.map_or_else(|| "no index".to_owned(), count),
                count(r.compared),
                count(r.missing),
                count(r.different),
                count(r.incomparable),
                if r.is_equal() { "equal" } else { "DIFFERENT" }.to_owned(),
            ]
        })
        .collect();
    table(&columns, &rows).print();
    for result in results {
        for difference in &result.differences {
            print_line(&format!("{}: {difference}", result.index));
        }
    }
    print_line(if equal {
        "The target holds what the snapshot holds."
    } else {
        "The target does not hold what the snapshot holds."
    });
}
