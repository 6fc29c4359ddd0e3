//! Runs and shards as items. Of a run, control, damage, notes, samples and waits change; the rest is written once,
//! compressed, in as many parts as needed. Everything here is pure: items in, records out, and the reverse.

use super::item::{Item, Reader, bytes, check_size, new_item, number, pack, text, unpack};
use super::keys::{self, Key};
use backfill::model::{Millis, Notes, Planning, Run, RunId, RunState, Shard, Wait};
use backfill::ports::{RunControl, Sample, StoreError};

/// Bytes of a part of a run's record.
const PART: usize = 300 << 10;

/// How long the records of a run are kept after it was created, in seconds: all of its items expire together.
pub(super) const RETENTION: u64 = 400 * 86_400;

/// Samples that are kept.
pub(super) const SAMPLES: usize = 120;

/// A run with its samples and what its items say beside it.
pub(super) struct StoredRun {
    pub(super) run: Run,
    pub(super) samples: Vec<Sample>,
    /// What is waited for, each with the end of its record's validity.
    pub(super) waits: Vec<(Wait, Millis)>,
}

/// When the items of a run expire.
pub(super) fn expiry(created: Millis) -> u64 {
    created / 1000 + RETENTION
}

/// The items of what never changes of a run.
pub(super) fn parts(run: &Run) -> Result<Vec<Item>, StoreError> {
    let packed = pack(&format!("the plan of run {}", run.id), run)?;
    let parts = packed.chunks(PART).enumerate().map(|(number, part)| {
        let mut item = new_item(&keys::run_part(&run.id, number), expiry(run.created));
        item.insert("record".to_owned(), bytes(part));
        item
    });
    Ok(parts.collect())
}

/// The control item of a new run.
pub(super) fn control_item(run: &Run, parts: usize, place: u64) -> Result<Item, StoreError> {
    let mut control = new_item(&keys::control(&run.id), expiry(run.created));
    let mut put = |name: &str, value| control.insert(name.to_owned(), value);
    put("state", text(run.state.name()));
    put("desired", number(run.desired_workers));
    put("planning", text(planning_text(run.planning)?));
    put("parts", number(parts));
    put("place", number(place));
    if let Some(finished) = run.finished {
        put("finished", number(finished));
    }
    Ok(control)
}

/// The run that the items of its partition hold; `None` if its control item is missing.
pub(super) fn run(id: &RunId, items: &[Item], table: &str) -> Result<Option<StoredRun>, StoreError> {
    let find = |sk: &str| {
        let item = items.iter().find(|item| Key::of(item).is_some_and(|key| key.sk == sk));
        item.map(|item| Reader::new(item, table)).transpose()
    };
    let Some(control) = find(keys::CONTROL)? else { return Ok(None) };
    let mut record = Vec::new();
    for part in 0..control.number::<usize>("parts")? {
        let key = keys::run_part(id, part);
        let part =
            find(&key.sk)?.ok_or_else(|| control.invalid(&format!("its part {} is missing", key.sk)))?;
        record.extend_from_slice(part.bytes("record")?);
    }
    let mut run: Run = unpack(&format!("run {id}"), &record)?;
    let RunControl { state, desired_workers } = read_control(&control)?;
    run.state = state;
    run.desired_workers = desired_workers;
    run.planning = read_planning(&control)?;
    run.finished = control.optional_number("finished")?;
    if let Some(damage) = find(keys::DAMAGE)? {
        run.damage = damage.texts("damage")?;
    }
    if let Some(notes) = find(keys::NOTES)? {
        run.notes = run.notes.with_later(read_notes(&notes)?);
    }
    let samples = match find(keys::SAMPLES)? {
        Some(item) => read_samples(&item)?,
        None => Vec::new(),
    };
    let waits = items.iter().filter(|item| Key::of(item).is_some_and(|key| key.sk.starts_with(keys::WAIT)));
    let waits = waits.map(|item| read_wait(&Reader::new(item, table)?));
    let waits = waits.collect::<Result<_, _>>()?;
    Ok(Some(StoredRun { run, samples, waits }))
}

/// What the operator wants, from the control item.
pub(super) fn read_control(item: &Reader<'_>) -> Result<RunControl, StoreError> {
    let name = item.text("state")?;
    let state =
        RunState::from_name(name).ok_or_else(|| item.invalid(&format!("a run cannot be {name:?}")))?;
    Ok(RunControl { state, desired_workers: item.number("desired")? })
}

pub(super) fn read_notes(item: &Reader<'_>) -> Result<Notes, StoreError> {
    unpack(&item.name(), item.bytes("notes")?)
}

fn read_samples(item: &Reader<'_>) -> Result<Vec<Sample>, StoreError> {
    let points = item.texts("samples")?;
    let surplus = points.len().saturating_sub(SAMPLES);
    let parse = |point: &String| {
        let mut numbers = point.split(' ').map(str::parse);
        let (first, second, third) = (numbers.next(), numbers.next(), numbers.next());
        // Earlier versions did not write the last one.
        match (first, second, third, numbers.next().or(Some(Ok(0)))) {
            (Some(Ok(at)), Some(Ok(documents)), Some(Ok(stored_bytes)), Some(Ok(missing))) => {
                Ok(Sample { at, documents, stored_bytes, missing })
            }
            _ => Err(item.invalid(&format!("{point:?} is not a point of progress"))),
        }
    };
    let mut samples: Vec<Sample> = points.iter().skip(surplus).map(parse).collect::<Result<_, _>>()?;
    samples.sort_by_key(|sample| sample.at);
    Ok(samples)
}

fn read_wait(item: &Reader<'_>) -> Result<(Wait, Millis), StoreError> {
    let wait = serde_json::from_str(item.text("record")?)
        .map_err(|e| item.invalid(&format!("what is waited for cannot be understood: {e}")))?;
    Ok((wait, item.number("until")?))
}

pub(super) fn read_planning(item: &Reader<'_>) -> Result<Planning, StoreError> {
    let text = item.text("planning")?;
    serde_json::from_str(text).map_err(|_| item.invalid(&format!("{text:?} is no state of planning")))
}

pub(super) fn planning_text(planning: Planning) -> Result<String, StoreError> {
    serde_json::to_string(&planning)
        .map_err(|e| StoreError::Invalid { what: "a state of planning".to_owned(), reason: e.to_string() })
}

/// The item of a shard.
pub(super) fn shard_item(run: &RunId, shard: &Shard, ttl: u64) -> Result<Item, StoreError> {
    let what = format!("shard {}", shard.id);
    let record = serde_json::to_string(shard)
        .map_err(|e| StoreError::Invalid { what: what.clone(), reason: e.to_string() })?;
    let mut item = new_item(&keys::shard(run, &shard.id), ttl);
    item.insert("record".to_owned(), text(record));
    check_size(&what, &item, "its damage is told at too great length")?;
    Ok(item)
}

/// The shard that an item holds.
pub(super) fn read_shard(item: &Reader<'_>) -> Result<Shard, StoreError> {
    let record = item.text("record")?;
    serde_json::from_str(record).map_err(|e| item.invalid(&format!("its record cannot be understood ({e})")))
}
