//! The event of the start function. Pure: JSON in, a request out.

use aws::api::StartRequest;
use backfill::chunking::check_chunk_bytes;
use serde_json::Value;

/// What the function is asked.
#[derive(Debug, Default)]
pub struct StartEvent {
    /// What is to be started.
    pub request: StartRequest,
    /// Whether a schedule asks: then a run that is not through is left alone.
    pub scheduled: bool,
    /// Whether only the planning of the run under way is meant.
    pub resume_planning: bool,
}

impl StartEvent {
    /// From the JSON of an event: the members of a [`StartRequest`], and `scheduled` or `resume_planning`.
    ///
    /// # Errors
    /// When a member is unknown or of another kind, in words.
    pub fn parse(mut event: Value) -> Result<StartEvent, String> {
        let mut flag = |name: &str| match event.as_object_mut().and_then(|members| members.remove(name)) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| format!("{name} is true or false, not {value}")),
        };
        let (scheduled, resume_planning) = (flag("scheduled")?, flag("resume_planning")?);
        let request: StartRequest =
            serde_json::from_value(event).map_err(|error| format!("the event is not a request: {error}"))?;
        request.chunk_bytes.map(check_chunk_bytes).transpose()?;
        Ok(StartEvent { request, scheduled, resume_planning })
    }
}
