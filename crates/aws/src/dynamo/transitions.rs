//! Transitions of a chunk: read it, apply the pure state machine, and write what came of it together with the sums of
//! its shard, unless somebody else has written it meanwhile.

use super::chunks::{self, Stored, error_item, error_key, state_item};
use super::item::{Reader, number};
use super::keys;
use super::records::read_control;
use super::sums::{Share, lease_attribute, lease_end};
use super::table::{TRIES, Table, Written, defect, pause};
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use backfill::model::{Chunk, ChunkId, RunId};
use backfill::ports::{RunControl, StoreError};

/// What came of a transition.
pub(super) struct Outcome<T> {
    /// What the change returned.
    pub(super) value: T,
    /// The chunk as it is now.
    pub(super) chunk: Chunk,
    /// What the operator wants, as it was when the chunk was read.
    pub(super) control: RunControl,
}

fn no_chunk(run: &RunId, chunk: &ChunkId) -> StoreError {
    StoreError::NotFound(format!("run {run} has no chunk {chunk}"))
}

/// Reads a chunk, and what the operator wants of its run. Nothing of a run without a control item is there.
async fn load(table: &Table, run: &RunId, id: &ChunkId) -> Result<(Stored, RunControl), StoreError> {
    let (range, state, control) = (keys::range(run, id), keys::chunk(run, id), keys::control(run));
    let found = table.get_all(&[range.clone(), state.clone(), control.clone()]).await?;
    let control = found.get(&control).ok_or_else(|| super::runs::no_run(run, table))?;
    let control = read_control(&Reader::new(control, &table.name)?)?;
    let range = found.get(&range).ok_or_else(|| no_chunk(run, id))?;
    Ok((chunks::read(&table.name, id, range, found.get(&state))?, control))
}

/// Changes a chunk. `change` may be called several times, each time with the chunk as it is; `true` from the second on.
pub(super) async fn transition<T, F>(
    table: &Table,
    run: &RunId,
    id: &ChunkId,
    mut change: F,
) -> Result<Outcome<T>, StoreError>
where
    F: FnMut(&mut Chunk, bool) -> Result<T, StoreError> + Send,
    T: Send,
{
    for attempt in 0..TRIES {
        let (before, control) = load(table, run, id).await?;
        let mut after = before.clone();
        let value = change(&mut after.chunk, attempt > 0)?;
        if after.chunk == before.chunk {
            return Ok(Outcome { value, chunk: after.chunk, control });
        }
        after.revision += 1;
        match table.transact(operations(table, run, &before, &after)?).await? {
            Written::Yes => return Ok(Outcome { value, chunk: after.chunk, control }),
            Written::Refused(_) | Written::Conflict => pause(attempt).await,
        }
    }
    Err(table.busy())
}

/// The transaction that turns one record of a chunk into the other.
fn operations(
    table: &Table,
    run: &RunId,
    before: &Stored,
    after: &Stored,
) -> Result<Vec<TransactWriteItem>, StoreError> {
    let chunk = Put::builder().table_name(&table.name).set_item(Some(state_item(run, after)?));
    let chunk = match before.revision {
        0 => chunk.condition_expression("attribute_not_exists(pk)"),
        revision => {
            chunk.condition_expression("rev = :rev").expression_attribute_values(":rev", number(revision))
        }
    };
    let mut operations =
        vec![TransactWriteItem::builder().put(chunk.build().map_err(|e| defect(&e))?).build()];
    operations.extend(sums(table, run, before, after)?);
    let (old, new) = (error_item(run, before), error_item(run, after));
    if old != new {
        let (old, new_key) = (error_key(run, before), error_key(run, after));
        if let Some(key) = old.filter(|key| Some(key) != new_key.as_ref()) {
            let delete = Delete::builder().table_name(&table.name).set_key(Some(key.attributes()));
            let delete = delete.build().map_err(|e| defect(&e))?;
            operations.push(TransactWriteItem::builder().delete(delete).build());
        }
        if new.is_some() {
            let put = Put::builder().table_name(&table.name).set_item(new).build().map_err(|e| defect(&e))?;
            operations.push(TransactWriteItem::builder().put(put).build());
        }
    }
    Ok(operations)
}

/// The update of the sums that the chunk counts in; nothing if they stay as they are.
fn sums(
    table: &Table,
    run: &RunId,
    before: &Stored,
    after: &Stored,
) -> Result<Option<TransactWriteItem>, StoreError> {
    let changes = Share::of(&after.chunk).since(&Share::of(&before.chunk));
    let (was, is) = (lease_end(&before.chunk), lease_end(&after.chunk));
    if changes.is_empty() && was == is {
        return Ok(None);
    }
    let id = &after.chunk.id;
    let mut update = Update::builder()
        .table_name(&table.name)
        .set_key(Some(keys::sums(run, &id.shard, after.stripe).attributes()))
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":v", number(1))
        .expression_attribute_values(":ttl", number(after.ttl));
    let mut set = "SET v = :v, #ttl = :ttl".to_owned();
    let mut remove = String::new();
    if was != is {
        update = update.expression_attribute_names("#lease", lease_attribute(id.number));
        match is {
            Some(until) => {
                set.push_str(", #lease = :until");
                update = update.expression_attribute_values(":until", number(until));
            }
            None => remove.push_str(" REMOVE #lease"),
        }
    }
    let mut add = Vec::new();
    for (name, delta) in changes {
        let (placeholder, value) = (format!("#{name}"), format!(":{name}"));
        add.push(format!("{placeholder} {value}"));
        update = update
            .expression_attribute_names(placeholder, name)
            .expression_attribute_values(value, number(delta));
    }
    let add = if add.is_empty() { String::new() } else { format!(" ADD {}", add.join(", ")) };
    let update = update.update_expression(format!("{set}{add}{remove}")).build().map_err(|e| defect(&e))?;
    Ok(Some(TransactWriteItem::builder().update(update).build()))
}
