//! What is decided of each index before anything of it is read: where it goes, what becomes of its types, and what
//! its operator should know.

use crate::encode::Encoding;
use crate::model::{DocumentPlan, FilteredSources, IndexPlan, TimeFields, Types, TypesChoice, index_of_type};
use crate::source::IndexSource;
use snapshot::index_metadata::{Beside, Mappings, SourceHandling};
use std::collections::HashMap;

/// The longest name of an index, in bytes.
const MAX_NAME: usize = 255;
/// The modes of an index (`index.mode`) of which it is known where documents store their ids and sources.
const MODES: [&str; 4] = ["standard", "time_series", "logsdb", "lookup"];

/// What a run wants to become of documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// Of the types of indices that have several.
    pub types: Option<TypesChoice>,
    /// Whether documents of whose source only a part is stored are sent as they are.
    pub allow_partial_source: bool,
    /// The fields that take what documents have beside their source.
    pub time_fields: TimeFields,
    /// How the target wants documents; `None` while nobody has said where they go.
    pub encoding: Option<Encoding>,
}

/// Decides on each index. Those that cannot go are left out of the plans and returned apart, each with the reason.
pub fn plan_indices(indices: &[IndexSource], handling: &Handling) -> (Vec<IndexPlan>, Vec<(String, String)>) {
    let mut plans = Vec::with_capacity(indices.len());
    let mut refused = Vec::new();
    for index in indices {
        match plan_index(index, handling) {
            Ok(plan) => plans.push(plan),
            Err(why) => refused.push((index.entry.name.clone(), why)),
        }
    }
    refuse_shared(&mut plans, &mut refused);
    (plans, refused)
}

fn plan_index(index: &IndexSource, handling: &Handling) -> Result<IndexPlan, String> {
    let (mappings, bytes) = (&index.metadata.mappings, index.entry.name.len());
    if bytes > MAX_NAME {
        return Err(format!("its name has {bytes} bytes, and that of no index has more than {MAX_NAME}"));
    }
    let mode = index.metadata.mode();
    if let Some(mode) = mode.as_deref().filter(|mode| !MODES.contains(mode)) {
        return Err(format!(
            "its mode is {mode} (index.mode), of which it is not known where ids and sources are stored"
        ));
    }
    let mut warnings = Vec::new();
    if index.data_stream.is_none()
        && let Some(why) = impossible_name(&index.entry.name)
    {
        let name = &index.entry.name;
        let advice = format!(
            "OpenSearch has no index of this name, since it {why}; leave it out: --index '*,-{name}'"
        );
        match handling.encoding {
            Some(Encoding::Bulk) => return Err(advice),
            Some(Encoding::Export) => {}
            None => warnings.push(advice),
        }
    }
    let types = plan_types(&index.entry.name, mappings, handling, &mut warnings)?;
    let filtered = plan_sources(mappings, handling, &mut warnings);
    warn_of_times(mappings, handling, &mut warnings);
    if mappings.routing_lost {
        warnings.push(
            "the mapping leaves _routing out of the stored fields, and it is nowhere else where backfill reads it: \
             documents that have one arrive without"
                .to_owned(),
        );
    }
    for alias in &index.filtered_aliases {
        warnings
            .push(format!("the alias {alias} has a filter, which is not applied: all documents are meant"));
    }
    Ok(IndexPlan {
        name: index.entry.name.clone(),
        destination: index.data_stream.clone().unwrap_or_else(|| index.entry.name.clone()),
        data_stream: index.data_stream.is_some(),
        documents: DocumentPlan {
            types,
            filtered,
            send_filtered: handling.allow_partial_source,
            copies_filtered: mappings.copies_filtered,
            time_series: mode.as_deref() == Some("time_series"),
            time_fields: handling.time_fields.clone(),
            routing_paths: mappings.routing_paths.clone(),
            masked_vectors: mappings.masked_vectors.clone(),
        },
        warnings,
    })
}

/// Why OpenSearch refuses to create an index of this name, if it does. Elasticsearch allowed some of these names up to
/// version 6.
fn impossible_name(name: &str) -> Option<String> {
    if let Some(first) = name.chars().next().filter(|c| "-_+".contains(*c)) {
        return Some(format!("begins with {first:?}"));
    }
    let illegal = name.chars().find(|c| c.is_uppercase() || ":#,*?\"<>|\\/ ".contains(*c))?;
    Some(format!("contains {illegal:?}"))
}

fn plan_types(
    index: &str,
    mappings: &Mappings,
    handling: &Handling,
    warnings: &mut Vec<String>,
) -> Result<Types, String> {
    let types = &mappings.types;
    if types.len() < 2 {
        return Ok(Types::Dropped);
    }
    let split = || types.iter().map(|t| (t.clone(), index_of_type(index, t)));
    match (handling.encoding, &handling.types) {
        (Some(Encoding::Export), _) => Ok(Types::Kept),
        (_, Some(TypesChoice::Merge)) => Ok(Types::Merged),
        (_, Some(TypesChoice::Field(name))) => Ok(Types::Field(name.clone())),
        (_, Some(TypesChoice::Split)) => match split().find(|(_, name)| name.len() > MAX_NAME) {
            Some((_, name)) => {
                Err(format!("the index {name} for one of its types would have too long a name"))
            }
            None => Ok(Types::Split(split().collect())),
        },
        (encoding, None) => {
            let names: Vec<String> = split().map(|(_, name)| name).collect();
            let choice = format!(
                "it has the types {}, and an index of OpenSearch has none; choose what becomes of them: --types merge \
                 (all in one index), split (into {}) or field (all in one index, the type in a field)",
                types.join(", "),
                names.join(", ")
            );
            if encoding.is_some() {
                return Err(choice);
            }
            warnings.push(format!("{choice}; an export keeps them and needs no choice"));
            Ok(Types::Kept)
        }
    }
}

/// Of what documents have beside their source.
fn warn_of_times(mappings: &Mappings, handling: &Handling, warnings: &mut Vec<String>) {
    let TimeFields { timestamp, ttl } = &handling.time_fields;
    for (name, beside, field, option) in [
        ("_timestamp", mappings.timestamp, timestamp, "--timestamp-field"),
        ("_ttl", mappings.ttl, ttl, "--ttl-field"),
    ] {
        match beside {
            Beside::No => {}
            Beside::Unstored => warnings
                .push(format!("documents have a {name} that the index does not store: they arrive without")),
            Beside::Stored if field.is_some() || handling.encoding == Some(Encoding::Export) => {}
            Beside::Stored => warnings.push(format!(
                "documents have a {name} beside their source, for which an index of OpenSearch has no place: they \
                 arrive without, unless {option} NAME puts it into a field; an export keeps it"
            )),
        }
    }
}

/// Two types may become one name, and a type's index may be the name of another index.
fn refuse_shared(plans: &mut Vec<IndexPlan>, refused: &mut Vec<(String, String)>) {
    let mut users: HashMap<&str, Vec<&str>> = HashMap::new();
    for plan in plans.iter() {
        for destination in plan.destinations() {
            users.entry(destination).or_default().push(&plan.name);
        }
    }
    let shared: Vec<(String, String)> = plans
        .iter()
        .filter(|plan| matches!(plan.documents.types, Types::Split(_)))
        .filter_map(|plan| {
            let twice = plan.destinations().into_iter().find(|d| users.get(d).is_some_and(|u| u.len() > 1))?;
            let why = format!(
                "split by type it would write to {twice}, and so would another type or index; choose --types merge or \
                 field for it, in a run of its own"
            );
            Some((plan.name.clone(), why))
        })
        .collect();
    plans.retain(|plan| !shared.iter().any(|(name, _)| *name == plan.name));
    refused.extend(shared);
}

fn plan_sources(mappings: &Mappings, handling: &Handling, warnings: &mut Vec<String>) -> FilteredSources {
    let lost = "documents that store none are kept as failed documents";
    let several = mappings.types.len() > 1;
    let mut filtered = FilteredSources::None;
    for (doc_type, source) in &mappings.sources {
        let of = if several { format!(" of type {doc_type}") } else { String::new() };
        match source {
            SourceHandling::Enabled => {}
            SourceHandling::Disabled if !mappings.copies_filtered => warnings.push(format!("_source{of} is disabled: {lost}")),
            SourceHandling::Synthetic => warnings.push(format!("_source{of} is synthetic: {lost}")),
            SourceHandling::Derived => warnings.push(format!("_source{of} is derived: {lost}")),
            SourceHandling::WithoutVectors => warnings.push(format!(
                "_source{of} is stored without its vectors (index.knn.derived_source.enabled): documents that have any \
                 are kept as failed documents"
            )),
            SourceHandling::Disabled | SourceHandling::Filtered { .. } | SourceHandling::ExcludedVectors => {
                let what = if handling.allow_partial_source {
                    "documents arrive without the rest"
                } else {
                    "documents are kept as failed documents, unless --allow-partial-source lets them go without the rest"
                };
                let why = match source {
                    SourceHandling::ExcludedVectors => "without vectors, index.mapping.exclude_source_vectors",
                    SourceHandling::Disabled => "disabled, but for a while in copies with includes or excludes",
                    _ => "includes or excludes",
                };
                warnings.push(format!("_source{of} is stored only in part ({why}): {what}"));
                filtered = match (filtered, several) {
                    (_, false) => FilteredSources::All,
                    (FilteredSources::OfTypes(mut types), true) => {
                        types.insert(doc_type.clone());
                        FilteredSources::OfTypes(types)
                    }
                    (_, true) => FilteredSources::OfTypes([doc_type.clone()].into()),
                };
            }
        }
    }
    filtered
}

#[cfg(test)]
mod tests;
