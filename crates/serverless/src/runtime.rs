//! What the binaries share: logs, and the loop of invocations.

use crate::Error;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use std::time::{Duration, Instant, SystemTime};
use tracing_subscriber::EnvFilter;

/// One invocation, as the runtime tells of it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// When the function is ended, done or not.
    pub deadline: Instant,
    /// Names the invocation.
    pub request: String,
}

impl Invocation {
    /// The time until so long before the deadline.
    pub(crate) fn time_left(&self, margin: Duration) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).saturating_sub(margin)
    }
}

/// Begins to log: JSON, one object a line, of the level that `RUST_LOG` names.
pub fn begin() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Fails only where logs are set up already.
    let _ =
        tracing_subscriber::fmt().json().with_ansi(false).with_env_filter(filter).without_time().try_init();
}

/// Serves invocations until the environment is ended.
///
/// # Errors
/// When the runtime cannot be reached.
pub async fn serve<E, A, F, W>(handler: F) -> Result<(), Error>
where
    E: DeserializeOwned + Send,
    A: Serialize,
    F: Fn(E, Invocation) -> W,
    W: Future<Output = Result<A, Error>>,
{
    lambda_runtime::run(service_fn(|event: LambdaEvent<E>| {
        let (payload, context) = event.into_parts();
        // Taken over to a clock that nobody sets while the function works.
        let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let invocation = Invocation { deadline: Instant::now() + left, request: context.request_id };
        handler(payload, invocation)
    }))
    .await
}
