//! The fleet: a function that a queue invokes, scaled by reserved concurrency and by the most that the queue invokes at
//! once.
//!
//! Lambda's pollers do not know of reserved concurrency: what they take beyond it is refused, comes back later, and counts
//! as received. So both limits are always set together.

use crate::error::{AwsError, Fault, explain};
use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::types::ScalingConfig;
use backfill::ports::{Fleet, FleetState, StoreError};
use std::time::Duration;

/// The least and the most that a queue can be told to invoke at once.
const MIN_MAPPING: u32 = 2;
/// See [`MIN_MAPPING`].
const MAX_MAPPING: u32 = 1000;

/// What AWS keeps of an account's concurrency for functions that have none reserved.
const KEPT: u32 = 100;

/// How often a change is tried while an earlier one is still being made, and how long is waited in between.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// The workers as a function of Lambda.
#[derive(Clone, Debug)]
pub struct LambdaFleet {
    client: Client,
    function: String,
    mapping: String,
}

/// How function and mapping are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    /// Reserved concurrency, if any.
    reserved: Option<u32>,
    /// Whether the queue invokes the function, or is about to.
    enabled: bool,
    /// The most that the queue invokes at once, if it is limited.
    most: Option<u32>,
}

impl LambdaFleet {
    /// The workers as this function, which the queue invokes by the event source mapping of this UUID.
    pub fn new(
        client: Client,
        worker_function: impl Into<String>,
        mapping_uuid: impl Into<String>,
    ) -> LambdaFleet {
        LambdaFleet { client, function: worker_function.into(), mapping: mapping_uuid.into() }
    }

    fn what(&self, doing: &str) -> String {
        format!("cannot {doing} the worker function {}", self.function)
    }

    async fn settings(&self) -> Result<Settings, AwsError> {
        let reserved = self.reserved().await?;
        let mapping = self.client.get_event_source_mapping().uuid(&self.mapping).send().await;
        let mapping = mapping.map_err(|e| explain(self.what("look at the event source of"), &e))?;
        let most = mapping.scaling_config().and_then(|scaling| scaling.maximum_concurrency());
        let enabled = !matches!(mapping.state(), Some("Disabled" | "Disabling" | "Deleting"));
        Ok(Settings { reserved, enabled, most: most.and_then(|most| u32::try_from(most).ok()) })
    }

    async fn reserved(&self) -> Result<Option<u32>, AwsError> {
        let answer = self.client.get_function_concurrency().function_name(&self.function).send().await;
        let answer = answer.map_err(|e| explain(self.what("look at"), &e))?;
        Ok(answer.reserved_concurrent_executions().and_then(|n| u32::try_from(n).ok()))
    }

    async fn reserve(&self, workers: u32) -> Result<(), AwsError> {
        let workers = i32::try_from(workers).unwrap_or(i32::MAX);
        for _ in 0..TRIES {
            let request = self.client.put_function_concurrency().function_name(&self.function);
            match request.reserved_concurrent_executions(workers).send().await {
                Ok(_) => return Ok(()),
                Err(error) if is_in_use(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(explain(self.what("scale"), &error)),
            }
        }
        Err(self.in_use())
    }

    async fn set_mapping(&self, enabled: bool, most: Option<u32>) -> Result<(), AwsError> {
        for _ in 0..TRIES {
            let mut request = self.client.update_event_source_mapping().uuid(&self.mapping).enabled(enabled);
            if let Some(most) = most {
                let most = i32::try_from(most).unwrap_or(i32::MAX);
                request = request.scaling_config(ScalingConfig::builder().maximum_concurrency(most).build());
            }
            match request.send().await {
                Ok(_) => return Ok(()),
                Err(error) if is_in_use(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(explain(self.what("set the event source of"), &error)),
            }
        }
        Err(self.in_use())
    }

    fn in_use(&self) -> AwsError {
        let reason = "AWS still makes an earlier change to it; try again in a minute";
        AwsError::new(Fault::Other, self.what("scale"), reason)
    }

    /// Refuses more workers than the account can have, and changes nothing.
    ///
    /// # Errors
    /// That they are too many, or that AWS does not tell how the function is set.
    pub async fn check(&self, workers: u32) -> Result<(), AwsError> {
        if workers == 0 {
            return Ok(());
        }
        self.check_account(workers, self.reserved().await?).await
    }

    /// Refuses more workers than the account can have.
    async fn check_account(&self, workers: u32, reserved: Option<u32>) -> Result<(), AwsError> {
        let settings = match self.client.get_account_settings().send().await {
            Ok(settings) => settings,
            Err(error) => {
                // Whoever may scale need not be allowed to see this: AWS itself refuses what is too much.
                tracing::debug!(error = %explain("cannot see the account's concurrency", &error));
                return Ok(());
            }
        };
        let Some(limit) = settings.account_limit() else { return Ok(()) };
        let positive = |n: i32| u32::try_from(n).unwrap_or_default();
        let Some(unreserved) = limit.unreserved_concurrent_executions().map(positive) else { return Ok(()) };
        let total = positive(limit.concurrent_executions());
        match excess(workers, reserved, unreserved, total) {
            Some(reason) => Err(AwsError::new(
                Fault::Invalid,
                format!("cannot scale the worker function {} to {workers}", self.function),
                reason,
            )),
            None => Ok(()),
        }
    }
}

/// Why an account cannot have so many workers, if it cannot.
fn excess(workers: u32, reserved: Option<u32>, unreserved: u32, total: u32) -> Option<String> {
    if workers > MAX_MAPPING {
        return Some(format!(
            "a queue invokes no more than {MAX_MAPPING} at once; choose 0 to {MAX_MAPPING}"
        ));
    }
    // What is reserved for it now is given back first.
    let most = unreserved.saturating_add(reserved.unwrap_or(0)).saturating_sub(KEPT);
    (workers > most && workers > reserved.unwrap_or(0)).then(|| {
        format!(
            "of the {total} concurrent executions that this account has in this region, other functions leave {}, of \
             which AWS keeps {KEPT}: choose at most {most}, or ask AWS for a higher quota",
            unreserved.saturating_add(reserved.unwrap_or(0))
        )
    })
}

/// The most that the queue is told to invoke at once for so many workers.
fn mapping_of(workers: u32) -> u32 {
    workers.clamp(MIN_MAPPING, MAX_MAPPING)
}

fn is_in_use<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    matches!(code, Some("ResourceInUseException" | "ResourceConflictException"))
}

impl Settings {
    fn state(&self) -> FleetState {
        let workers = match (self.reserved, self.most) {
            (Some(reserved), Some(most)) if self.enabled => reserved.min(most),
            (Some(reserved), _) => reserved,
            (None, most) => most.unwrap_or(MAX_MAPPING),
        };
        // That a stack is there is enough: a run that is scaled to nothing still runs.
        FleetState { active: true, desired: workers, stopped: !self.enabled, warnings: self.warnings() }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        match (self.enabled, self.reserved) {
            (false, None | Some(1..)) => warnings.push(
                "the queue's event source is disabled, so no worker starts; `backfill scale N` or `backfill start` \
                 enables it"
                    .to_owned(),
            ),
            (true, Some(0)) => warnings.push(
                "the reserved concurrency is 0 but the queue's event source is enabled: messages are received and \
                 refused again and again; `backfill scale N` or `backfill stop` sets both"
                    .to_owned(),
            ),
            (true, None) => warnings.push(
                "the worker function has no reserved concurrency, so that other functions may starve it or starve of \
                 it; `backfill scale N` reserves some"
                    .to_owned(),
            ),
            _ => {}
        }
        if let (true, Some(reserved @ 1..)) = (self.enabled, self.reserved) {
            let expected = mapping_of(reserved);
            let most = self.most.map_or("any number".to_owned(), |most| most.to_string());
            if self.most.is_none_or(|most| most > expected) {
                warnings.push(format!(
                    "the reserved concurrency is {reserved} but the queue invokes {most} at once: some are refused and \
                     come back late; `backfill scale {reserved}` sets both"
                ));
            } else if self.most.is_some_and(|most| most < expected) {
                warnings.push(format!(
                    "the reserved concurrency is {reserved} but the queue invokes only {most} at once; \
                     `backfill scale {reserved}` sets both"
                ));
            }
        }
        warnings
    }
}

#[async_trait]
impl Fleet for LambdaFleet {
    async fn state(&self) -> Result<FleetState, StoreError> {
        Ok(self.settings().await?.state())
    }

    async fn scale(&self, workers: u32) -> Result<(), StoreError> {
        if workers == 0 {
            return self.stop().await;
        }
        let reserved = self.reserved().await?;
        self.check_account(workers, reserved).await?;
        // At no time may the queue invoke more than is reserved.
        if reserved.is_some_and(|reserved| reserved > 0 && workers < reserved) {
            self.set_mapping(true, Some(mapping_of(workers))).await?;
            self.reserve(workers).await?;
        } else {
            self.reserve(workers).await?;
            self.set_mapping(true, Some(mapping_of(workers))).await?;
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), StoreError> {
        self.set_mapping(false, None).await?;
        self.reserve(0).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(reserved: Option<u32>, enabled: bool, most: Option<u32>) -> FleetState {
        Settings { reserved, enabled, most }.state()
    }

    #[test]
    fn settings_that_fit_together_are_no_reason_to_warn() {
        for (reserved, enabled, most) in
            [(1, true, 2), (2, true, 2), (70, true, 70), (1000, true, 1000), (0, false, 5)]
        {
            let state = settings(Some(reserved), enabled, Some(most));
            assert_eq!((state.desired, state.stopped, state.warnings), (reserved, reserved == 0, vec![]));
        }
    }

    #[test]
    fn what_was_changed_by_hand_is_shown_as_it_is_with_a_warning() {
        for (reserved, enabled, most, desired, words) in [
            (Some(3), true, Some(10), 3, "invokes 10 at once"),
            (Some(20), true, Some(10), 10, "invokes only 10 at once"),
            (Some(3), true, None, 3, "invokes any number at once"),
            (Some(0), true, Some(5), 0, "received and refused"),
            (None, true, Some(5), 5, "no reserved concurrency"),
            (Some(5), false, Some(5), 5, "is disabled"),
            (None, false, None, 1000, "is disabled"),
        ] {
            let state = settings(reserved, enabled, most);
            assert!(state.active);
            assert_eq!((state.desired, state.warnings.len()), (desired, 1), "{state:?}");
            assert!(state.warnings[0].contains(words), "{state:?}");
            assert_eq!(
                state.stopped,
                words == "is disabled",
                "as a stop or a scale leaves it that broke off half-way"
            );
        }
    }

    #[test]
    fn more_workers_than_the_account_has_are_refused() {
        assert_eq!(excess(900, Some(5), 995, 1000), None);
        assert_eq!(excess(900, None, 1000, 1000), None);
        let told = excess(901, Some(5), 995, 1000).unwrap();
        assert!(told.contains("choose at most 900"), "{told}");
        assert!(excess(5, None, 10, 10).unwrap().contains("choose at most 0"));
        assert_eq!(excess(5, Some(7), 3, 10), None, "fewer than now are always possible");
        assert!(excess(1001, None, 5000, 5000).unwrap().contains("no more than 1000"));
    }
}
