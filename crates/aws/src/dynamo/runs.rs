//! Runs in the table: how they are created, changed and found again.

use super::item::{self, Reader, bytes, new_item, number, pack, text};
use super::keys;
use super::records::{
    self, RETENTION, SAMPLES, StoredRun, control_item, expiry, planning_text, read_control, read_notes,
    read_planning,
};
use super::table::{TRIES, Table, Written, defect, pause};
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValue, TransactWriteItem, Update,
};
use backfill::model::chunk::{LONGEST_LEASE, is_in_force};
use backfill::model::{Amendment, Millis, Notes, Planning, Run, RunId, RunState, Wait, clipped};
use backfill::ports::{Clock, Creation, RetryLease, RunControl, Sample, StoreError, SystemClock};

/// A run is not continued when its records are about to expire.
const SPARE: u64 = 30 * 86_400;

pub(super) fn no_run(id: &RunId, table: &Table) -> StoreError {
    StoreError::NotFound(format!("there is no run {id} in the checkpoint table {}", table.name))
}

/// The newest run and its place in the list.
struct Newest {
    id: RunId,
    place: u64,
    /// Whether its records have expired: DynamoDB deletes them one by one, within days.
    expired: bool,
}

pub(super) async fn create(table: &Table, run: &Run, newest: Option<&RunId>) -> Result<Creation, StoreError> {
    let mut parts = 0;
    for attempt in 0..TRIES {
        let found = find_newest(table).await?;
        match &found {
            Some(found) if found.id == run.id => return Ok(Creation::Created),
            // One that has expired is as good as gone, whatever of it is still there.
            Some(found) if !found.expired && newest != Some(&found.id) => {
                // The parts that were written for nothing.
                table.delete_all((0..parts).map(|part| keys::run_part(&run.id, part)).collect()).await?;
                return Ok(Creation::Superseded(found.id.clone()));
            }
            _ => {}
        }
        if parts == 0 {
            if table.get(&keys::control(&run.id)).await?.is_some() {
                return Err(StoreError::Invalid {
                    what: format!("run {}", run.id),
                    reason: "another run has this name".to_owned(),
                });
            }
            parts = write_parts(table, run).await?;
        }
        match table.transact(creation(table, run, parts, found.as_ref())?).await? {
            Written::Yes => return Ok(Creation::Created),
            Written::Refused(_) | Written::Conflict => pause(attempt).await,
        }
    }
    Err(table.busy())
}

async fn write_parts(table: &Table, run: &Run) -> Result<usize, StoreError> {
    let parts = records::parts(run)?;
    let count = parts.len();
    table.put_all(parts).await?;
    Ok(count)
}

/// The transaction that makes a run be there, and the newest: behind the one that was the newest, which must still be
/// there, at a place where there is none yet.
fn creation(
    table: &Table,
    run: &Run,
    parts: usize,
    newest: Option<&Newest>,
) -> Result<Vec<TransactWriteItem>, StoreError> {
    let place = newest.map_or(0, |newest| newest.place.saturating_add(1));
    let control = control_item(run, parts, place)?;
    let mut listed = new_item(&keys::listed(place), expiry(run.created));
    listed.insert("run".to_owned(), text(&run.id.0));
    let mut operations = Vec::new();
    for item in [control, listed] {
        let put = Put::builder().table_name(&table.name).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(pk)").build().map_err(|e| defect(&e))?;
        operations.push(TransactWriteItem::builder().put(put).build());
    }
    if let Some(newest) = newest {
        let check = ConditionCheck::builder()
            .table_name(&table.name)
            .set_key(Some(keys::listed(newest.place).attributes()))
            .condition_expression("#run = :run")
            .expression_attribute_names("#run", "run")
            .expression_attribute_values(":run", text(&newest.id.0))
            .build()
            .map_err(|e| defect(&e))?;
        operations.push(TransactWriteItem::builder().condition_check(check).build());
    }
    Ok(operations)
}

async fn find_newest(table: &Table) -> Result<Option<Newest>, StoreError> {
    let Some(item) = table.last(keys::LIST, keys::LISTED).await? else { return Ok(None) };
    let item = Reader::new(&item, &table.name)?;
    let place = item.sort_key()?.rsplit('#').next().and_then(|place| place.parse().ok());
    let place = place.ok_or_else(|| item.invalid("its key has no place in the list"))?;
    let expired = item.number::<u64>("ttl")? <= SystemClock.now() / 1000;
    Ok(Some(Newest { id: RunId(item.text("run")?.to_owned()), place, expired }))
}

/// The name of the newest run.
pub(super) async fn latest(table: &Table) -> Result<Option<RunId>, StoreError> {
    Ok(find_newest(table).await?.filter(|newest| !newest.expired).map(|newest| newest.id))
}

/// Makes a run be gone for everyone; its other items are still there.
pub(super) async fn unlist(table: &Table, id: &RunId) -> Result<(), StoreError> {
    for attempt in 0..TRIES {
        let Some(item) = table.get(&keys::control(id)).await? else { return Ok(()) };
        let place = Reader::new(&item, &table.name)?.number("place")?;
        let mut operations = Vec::new();
        for key in [keys::control(id), keys::listed(place)] {
            let delete = Delete::builder().table_name(&table.name).set_key(Some(key.attributes()));
            let delete = delete.build().map_err(|e| defect(&e))?;
            operations.push(TransactWriteItem::builder().delete(delete).build());
        }
        match table.transact(operations).await? {
            Written::Yes => return Ok(()),
            Written::Refused(_) | Written::Conflict => pause(attempt).await,
        }
    }
    Err(table.busy())
}

pub(super) async fn read(table: &Table, id: &RunId) -> Result<StoredRun, StoreError> {
    let items = table.query(&keys::run_partition(id), keys::ALL, None).await?;
    records::run(id, &items, &table.name)?.ok_or_else(|| no_run(id, table))
}

pub(super) async fn control(table: &Table, id: &RunId) -> Result<RunControl, StoreError> {
    let item = table.get(&keys::control(id)).await?.ok_or_else(|| no_run(id, table))?;
    read_control(&Reader::new(&item, &table.name)?)
}

pub(super) async fn set_state(
    table: &Table,
    id: &RunId,
    state: RunState,
    now: Millis,
    damage: &[String],
) -> Result<(), StoreError> {
    let item = table.get(&keys::control(id)).await?.ok_or_else(|| no_run(id, table))?;
    let ttl: u64 = Reader::new(&item, &table.name)?.number("ttl")?;
    if state == RunState::Running && now / 1000 + SPARE > ttl {
        return Err(StoreError::Invalid {
            what: format!("run {id}"),
            reason: format!(
                "its records were made {} days ago and are about to expire; start again with --new",
                (now / 1000).saturating_sub(ttl.saturating_sub(RETENTION)) / 86_400
            ),
        });
    }
    let finished = state.is_finished();
    let mut update = Update::builder()
        .table_name(&table.name)
        .set_key(Some(keys::control(id).attributes()))
        .expression_attribute_names("#state", "state")
        .expression_attribute_names("#finished", "finished")
        .expression_attribute_values(":state", text(state.name()));
    update = if finished {
        update
            .update_expression("SET #state = :state, #finished = :now")
            .expression_attribute_values(":now", number(now))
    } else {
        update.update_expression("SET #state = :state REMOVE #finished")
    };
    update = if state == RunState::Stopped {
        update
            .condition_expression("#state = :running")
            .expression_attribute_values(":running", text(RunState::Running.name()))
    } else {
        update.condition_expression("attribute_exists(pk)")
    };
    let mut told = new_item(&keys::damage(id), ttl);
    let damage = damage.iter().map(|text| clipped(text));
    told.insert("damage".to_owned(), AttributeValue::L(damage.map(text).collect()));
    item::check_size(&format!("the damage of run {id}"), &told, "tell of less")?;
    let told = Put::builder().table_name(&table.name).set_item(Some(told));
    let operations = vec![
        TransactWriteItem::builder().update(update.build().map_err(|e| defect(&e))?).build(),
        TransactWriteItem::builder().put(told.build().map_err(|e| defect(&e))?).build(),
    ];
    for attempt in 0..TRIES {
        match table.transact(operations.clone()).await? {
            Written::Yes => return Ok(()),
            // It has ended, or is stopped already.
            Written::Refused(_) if state == RunState::Stopped => return control(table, id).await.map(drop),
            Written::Refused(_) => return Err(no_run(id, table)),
            Written::Conflict => pause(attempt).await,
        }
    }
    Err(table.busy())
}

/// Changes the notes on a run.
pub(super) async fn amend(table: &Table, id: &RunId, amendment: &Amendment) -> Result<(), StoreError> {
    for attempt in 0..TRIES {
        let (control, key) = (keys::control(id), keys::notes(id));
        let found = table.get_all(&[control.clone(), key.clone()]).await?;
        let control = found.get(&control).ok_or_else(|| no_run(id, table))?;
        let ttl = Reader::new(control, &table.name)?.number("ttl")?;
        let (mut notes, revision) = match found.get(&key) {
            Some(item) => {
                let item = Reader::new(item, &table.name)?;
                (read_notes(&item)?, item.number("rev")?)
            }
            None => (Notes::default(), 0u64),
        };
        notes.amend(amendment);
        let what = format!("the notes on run {id}");
        let mut item = new_item(&key, ttl);
        item.insert("rev".to_owned(), number(revision + 1));
        item.insert("notes".to_owned(), bytes(pack(&what, &notes)?));
        item::check_size(&what, &item, "start again with --new and fewer indices")?;
        let written = match revision {
            0 => table.put_new(item).await?,
            revision => table.put_over(item, revision).await?,
        };
        if written {
            return Ok(());
        }
        pause(attempt).await;
    }
    Err(table.busy())
}

pub(super) async fn set_desired_workers(table: &Table, id: &RunId, workers: u32) -> Result<(), StoreError> {
    let request = table
        .updating(&keys::control(id))
        .update_expression("SET desired = :workers")
        .condition_expression("attribute_exists(pk)")
        .expression_attribute_values(":workers", number(workers));
    table.update(request).await?.map(drop).ok_or_else(|| no_run(id, table))
}

pub(super) async fn hold_retry(
    table: &Table,
    id: &RunId,
    owner: &str,
    now: Millis,
    until: Millis,
) -> Result<RetryLease, StoreError> {
    for attempt in 0..TRIES {
        let request = table
            .updating(&keys::control(id))
            .update_expression("SET retry_owner = :owner, retry_until = :until")
            .condition_expression(
                "attribute_exists(pk) AND (attribute_not_exists(retry_owner) OR retry_owner = :owner \
                 OR retry_until <= :now OR retry_until > :longest)",
            )
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":until", number(until))
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":longest", number(now.saturating_add(LONGEST_LEASE)));
        if table.update(request).await?.is_some() {
            return Ok(RetryLease::Granted);
        }
        let item = table.get(&keys::control(id)).await?.ok_or_else(|| no_run(id, table))?;
        match Reader::new(&item, &table.name)?.optional_number("retry_until")? {
            Some(until) if is_in_force(until, now) => return Ok(RetryLease::Held { until }),
            // It was given back in between.
            _ => pause(attempt).await,
        }
    }
    Err(table.busy())
}

pub(super) async fn release_retry(table: &Table, id: &RunId, owner: &str) -> Result<(), StoreError> {
    let request = table
        .updating(&keys::control(id))
        .update_expression("REMOVE retry_owner, retry_until")
        .condition_expression("retry_owner = :owner")
        .expression_attribute_values(":owner", text(owner));
    table.update(request).await.map(drop)
}

pub(super) async fn advance_planning(
    table: &Table,
    id: &RunId,
    from: Planning,
    to: Planning,
) -> Result<Planning, StoreError> {
    let request = table
        .updating(&keys::control(id))
        .update_expression("SET planning = :to")
        .condition_expression("planning = :from")
        .expression_attribute_values(":from", text(planning_text(from)?))
        .expression_attribute_values(":to", text(planning_text(to)?));
    if table.update(request).await?.is_some() {
        return Ok(to);
    }
    let item = table.get(&keys::control(id)).await?.ok_or_else(|| no_run(id, table))?;
    read_planning(&Reader::new(&item, &table.name)?)
}

pub(super) async fn add_sample(table: &Table, id: &RunId, sample: &Sample) -> Result<(), StoreError> {
    let item = table.get(&keys::control(id)).await?.ok_or_else(|| no_run(id, table))?;
    let ttl: u64 = Reader::new(&item, &table.name)?.number("ttl")?;
    let Sample { at, documents, stored_bytes, missing } = sample;
    let point = AttributeValue::L(vec![text(format!("{at} {documents} {stored_bytes} {missing}"))]);
    let request = table
        .updating(&keys::samples(id))
        .update_expression("SET #s = list_append(if_not_exists(#s, :none), :point), v = :v, #ttl = :ttl")
        .expression_attribute_names("#s", "samples")
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
        .expression_attribute_values(":point", point)
        .expression_attribute_values(":v", number(1))
        .expression_attribute_values(":ttl", number(ttl))
        .return_values(ReturnValue::UpdatedNew);
    let written = table.update(request).await?.unwrap_or_default();
    let Some(AttributeValue::L(points)) = written.get("samples") else { return Ok(()) };
    // Some at a time, so that this is rare.
    let surplus = points.len().saturating_sub(SAMPLES);
    if surplus < 10 {
        return Ok(());
    }
    let places: Vec<String> = (0..surplus).map(|at| format!("#s[{at}]")).collect();
    let request = table
        .updating(&keys::samples(id))
        .update_expression(format!("REMOVE {}", places.join(", ")))
        .condition_expression("size(#s) = :len")
        .expression_attribute_names("#s", "samples")
        .expression_attribute_values(":len", number(points.len()));
    // Whoever was faster has removed them.
    table.update(request).await.map(drop)
}

/// How long after its end the record of a wait may be deleted, in seconds.
const WAIT_KEPT: u64 = 3600;

pub(super) async fn note_wait(
    table: &Table,
    id: &RunId,
    owner: &str,
    wait: Option<&Wait>,
    until: Millis,
) -> Result<(), StoreError> {
    let key = keys::wait(id, owner);
    let Some(wait) = wait else { return table.delete(&key).await };
    let record = serde_json::to_string(wait).map_err(|e| StoreError::Invalid {
        what: "a record of what is waited for".to_owned(),
        reason: e.to_string(),
    })?;
    let mut item = new_item(&key, until / 1000 + WAIT_KEPT);
    item.insert("record".to_owned(), text(record));
    item.insert("until".to_owned(), number(until));
    table.put(item).await
}
