//! Invoking functions.

use crate::error::{AwsError, Fault, explain};
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use serde::Serialize;
use serde_json::Value;

/// Invokes the functions of a stack.
#[derive(Clone, Debug)]
pub struct Functions {
    client: Client,
}

impl Functions {
    /// By this client.
    pub fn new(client: Client) -> Functions {
        Functions { client }
    }

    /// Invokes a function and waits for its answer.
    ///
    /// # Errors
    /// When it cannot be invoked, breaks off, or answers anything but JSON.
    pub async fn invoke(&self, function: &str, request: &(impl Serialize + Sync)) -> Result<Value, AwsError> {
        let what = format!("cannot invoke the function {function}");
        let wrong = |reason: String| AwsError::new(Fault::Other, what.clone(), reason);
        let payload = serde_json::to_vec(request).map_err(|e| wrong(e.to_string()))?;
        let answer = self.client.invoke().function_name(function).payload(Blob::new(payload)).send().await;
        let answer = answer.map_err(|error| explain(&what, &error))?;
        let payload = answer.payload().map(AsRef::as_ref).unwrap_or_default();
        let value = serde_json::from_slice::<Value>(payload);
        if answer.function_error().is_some() {
            let value = value.unwrap_or_default();
            let told = value.get("errorMessage").and_then(Value::as_str).unwrap_or("it said nothing");
            return Err(wrong(format!(
                "it broke off: {told}; see the stack's log groups, /aws/lambda/STACK/start and so on; planning goes on by itself"
            )));
        }
        value.map_err(|error| {
            wrong(format!("its answer is not JSON ({error}); deploy this version's template"))
        })
    }
}
