//! The names on the target that a run writes to: what they are when it begins, and whether they still are that.
//!
//! An index can be deleted while it is filled, by a person or by a policy. Most clusters create it again with the next
//! document, so every request succeeds and yet the documents written before are gone. Names do not tell the two indices
//! apart, but UUIDs do. They are recorded when the run begins, and compared at both ends of every chunk and at the end
//! of the run. A UUID never comes back, so if it is the same after the last document of a chunk, it was the same all the
//! time. To forbid the cluster to create indices would need a setting of the cluster that others depend on.

use crate::model::{Amendment, Identity, IndexPlan, Run, RunId};
use crate::patient::PatientTarget;
use crate::ports::{Checkpoints, Place, PlaceKind, StoreError, Target, TargetError};
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};

/// Names looked up at once.
const LOOKUPS: usize = 8;
/// Names that a message lists, at most.
const MAX_NAMES: usize = 10;

/// What the destinations of a run are.
#[derive(Debug, Default)]
pub struct Destinations {
    /// Their identities.
    pub identities: BTreeMap<String, Option<Identity>>,
}

/// Why destinations cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// The target does not answer, or refuses.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The checkpoint store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Destinations are missing, and may not be created.
    #[error(
        "the target {target} lacks {}: create them with their mappings first, leave them out of --index, or let the \
         target guess mappings with --create-missing-indices",
        names.join(", ")
    )]
    Missing {
        /// The target.
        target: String,
        /// The names.
        names: Vec<String>,
    },
}

impl Destinations {
    /// Looks at the destinations of plans, and adapts these to what is there: a data stream takes documents by `create`
    /// only, and a backing index of one takes none by itself. With `create`, those that are missing are created first.
    /// What the operator should know is added to the warnings of the plans.
    ///
    /// # Errors
    /// When the target does not answer, when destinations are missing and are not to be created, or cannot be.
    pub async fn look(
        plans: &mut [IndexPlan],
        target: &PatientTarget<'_>,
        create: bool,
    ) -> Result<Destinations, DestinationError> {
        let names = plans.iter().flat_map(IndexPlan::destinations).map(str::to_owned).collect();
        let mut places = places(target, &names).await?;
        to_streams(plans, target, &mut places).await?;
        let streams: BTreeMap<String, bool> = plans
            .iter()
            .flat_map(|plan| plan.destinations().into_iter().map(|name| (name.to_owned(), plan.data_stream)))
            .collect();
        if create {
            create_missing(target, &streams, &mut places).await?;
        }
        for plan in plans {
            adapt(plan, &places);
        }
        let (mut found, mut missing) = (Destinations::default(), Vec::new());
        for name in streams.into_keys() {
            match places.remove(&name).flatten() {
                Some(place) => drop(found.identities.insert(name, Some(place.identity))),
                None => missing.push(name),
            }
        }
        match missing.is_empty() {
            true => Ok(found),
            false => Err(DestinationError::Missing { target: target.location(), names: missing }),
        }
    }

    /// Returns a warning about destinations whose replacement would go unnoticed.
    pub fn unvouched(&self) -> Option<String> {
        unvouched(&self.identities)
    }
}

/// Returns a sentence about destinations of which the target does not tell what they are.
fn unvouched(identities: &BTreeMap<String, Option<Identity>>) -> Option<String> {
    let unknown = identities.iter().filter_map(|(name, identity)| match identity {
        Some(Identity::Unknown(why)) => Some((name.as_str(), why)),
        _ => None,
    });
    let unknown: Vec<_> = unknown.collect();
    let (_, why) = unknown.first()?;
    let names: Vec<&str> = unknown.iter().map(|(name, _)| *name).take(MAX_NAMES).collect();
    let more = match unknown.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} others"),
    };
    Some(format!(
        "the target does not tell the UUIDs of {}{more} ({why}): if such an index were deleted and created again, that \
         would go unnoticed; allow indices:monitor/settings/get",
        names.join(", ")
    ))
}

impl Run {
    /// Returns a sentence about destinations of the run whose replacement would go unnoticed.
    pub fn unvouched(&self) -> Option<String> {
        unvouched(&self.notes.targets)
    }
}

/// Prepares the destinations of a run that goes on. Records what those are of which that is not known: of a run that an
/// older version of the program began, and of indices that are to be migrated again. Which were found replaced when the
/// run ended is forgotten, since that is found out again. Returns the run as it is then.
///
/// # Errors
/// When target or checkpoints do not answer, or destinations are missing.
pub async fn resume(
    checkpoints: &dyn Checkpoints,
    target: &PatientTarget<'_>,
    run: &RunId,
    create: bool,
) -> Result<Run, DestinationError> {
    let run = checkpoints.run(run).await?;
    if !run.notes.replaced.is_empty() {
        checkpoints.amend(&run.id, &Amendment::Replaced(Vec::new())).await?;
    }
    let mut unknown: Vec<IndexPlan> = run.indices.clone();
    unknown.retain(|plan| plan.destinations().into_iter().any(|name| run.notes.target(name).is_none()));
    if !unknown.is_empty() {
        let mut found = Destinations::look(&mut unknown, target, create).await?;
        found.identities.retain(|name, _| run.notes.target(name).is_none());
        checkpoints.amend(&run.id, &Amendment::Targets(found.identities)).await?;
    }
    Ok(checkpoints.run(&run.id).await?)
}

/// Returns the destinations of a run that are not what they were when it began, each in a sentence.
///
/// # Errors
/// When the target does not answer.
pub async fn replaced(target: &PatientTarget<'_>, run: &Run) -> Result<Vec<String>, TargetError> {
    let names: BTreeSet<&str> = run.indices.iter().flat_map(IndexPlan::destinations).collect();
    let known: Vec<_> = names.into_iter().filter_map(|name| Some((name, vouched(run, name)?))).collect();
    let lost =
        known.into_iter().map(async |(name, before)| Ok(lost(name, before, target.identity(name).await?)));
    let lost: Vec<_> = lost.collect();
    let lost: Vec<Option<String>> = futures::stream::iter(lost).buffered(LOOKUPS).try_collect().await?;
    Ok(lost.into_iter().flatten().collect())
}

/// Returns the same for one index of the snapshot, without waiting for the target.
pub(crate) async fn replaced_of(
    target: &dyn Target,
    run: &Run,
    index: &IndexPlan,
) -> Result<Option<String>, TargetError> {
    for name in index.destinations() {
        let Some(before) = vouched(run, name) else { continue };
        let lost = lost(name, before, target.identity(name).await?);
        if lost.is_some() {
            return Ok(lost);
        }
    }
    Ok(None)
}

/// What a destination was when the run began, if there is anything that could be replaced.
fn vouched<'a>(run: &'a Run, name: &str) -> Option<&'a Identity> {
    run.notes
        .target(name)
        .filter(|identity| matches!(identity, Identity::Indices(indices) if !indices.is_empty()))
}

fn lost(name: &str, before: &Identity, now: Option<Identity>) -> Option<String> {
    if let Some(now) = &now {
        let added = before.added(now);
        if !added.is_empty() {
            tracing::info!(name, ?added, "the target has rolled over");
        }
        if let Identity::Unknown(why) = now {
            tracing::warn!(name, why, "the target does not tell any more whether the index was replaced");
        }
    }
    before.lost(name, now.as_ref())
}

type Places = BTreeMap<String, Option<Place>>;

async fn places(target: &PatientTarget<'_>, names: &BTreeSet<String>) -> Result<Places, TargetError> {
    let looked = names.iter().map(async |name| {
        let place = target.place(name).await?;
        Ok((name.clone(), place))
    });
    let looked: Vec<_> = looked.collect();
    futures::stream::iter(looked).buffered(LOOKUPS).try_collect().await
}

/// Sends backing indices whose data stream the snapshot does not hold to the stream of the target.
async fn to_streams(
    plans: &mut [IndexPlan],
    target: &PatientTarget<'_>,
    places: &mut Places,
) -> Result<(), TargetError> {
    for plan in plans.iter_mut().filter(|plan| !plan.data_stream && plan.destination == plan.name) {
        for stream in streams_of(&plan.name) {
            if !places.contains_key(stream) {
                places.insert(stream.to_owned(), target.place(stream).await?);
            }
            let Some(Some(Place { identity, kind: PlaceKind::DataStream })) = places.get(stream) else {
                continue;
            };
            // An index of that name that is not the stream's takes documents by itself.
            let there = places.get(&plan.name).is_some_and(Option::is_some);
            if there && !matches!(identity, Identity::Indices(backing) if backing.contains_key(&plan.name)) {
                continue;
            }
            plan.warnings.push(format!(
                "its data stream is not in the snapshot: the documents go to the data stream {stream} of the target"
            ));
            plan.destination = stream.to_owned();
            plan.data_stream = true;
            break;
        }
    }
    Ok(())
}

/// Returns the names that the data stream of a backing index may have: `.ds-NAME-000001`, in Elasticsearch from 7.11 on
/// `.ds-NAME-2024.01.31-000001`.
fn streams_of(backing: &str) -> Vec<&str> {
    let stream = backing.strip_prefix(".ds-").and_then(|rest| rest.rsplit_once('-'));
    let Some((stream, generation)) = stream else { return Vec::new() };
    if generation.len() < 6 || !generation.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    let dated = stream.rsplit_once('-').filter(|(_, date)| {
        let shape: Vec<usize> = date.split('.').map(str::len).collect();
        shape == [4, 2, 2] && date.bytes().all(|b| b == b'.' || b.is_ascii_digit())
    });
    dated.map(|(stream, _)| stream).into_iter().chain([stream]).filter(|name| !name.is_empty()).collect()
}

async fn create_missing(
    target: &PatientTarget<'_>,
    streams: &BTreeMap<String, bool>,
    places: &mut Places,
) -> Result<(), TargetError> {
    for (name, data_stream) in streams {
        if places.get(name).is_some_and(Option::is_some) {
            continue;
        }
        let place = if target.create(name, *data_stream).await? {
            target.place(name).await?
        } else {
            let why = "it is missing, and may not be created before its first document is written".to_owned();
            Some(Place::index(Identity::Unknown(why)))
        };
        places.insert(name.clone(), place);
    }
    Ok(())
}

/// Adapts a plan to what its destinations are.
fn adapt(plan: &mut IndexPlan, places: &Places) {
    let kinds: Vec<_> = plan
        .destinations()
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), places.get(name)?.as_ref()?.kind.clone())))
        .collect();
    for (name, kind) in kinds {
        match kind {
            PlaceKind::Alias { routing: Some(routing) } => plan.warnings.push(format!(
                "{name} is an alias on the target that gives documents the routing {routing:?}: they arrive with it, and \
                 those that have another one are refused; write to an alias without a routing, or leave the index out"
            )),
            PlaceKind::DataStream if !plan.data_stream => {
                plan.warnings.push(format!("{name} is a data stream on the target: documents are only added to it"));
                plan.data_stream = true;
            }
            PlaceKind::DataStream | PlaceKind::Alias { .. } | PlaceKind::Index => {}
        }
    }
}

#[cfg(test)]
mod tests;
