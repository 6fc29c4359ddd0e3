//! The function that tells where a run stands, concludes it, and replaces messages that were lost.

use serverless::{Environment, StatusFunction, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), serverless::Error> {
    runtime::begin();
    let function = StatusFunction::new(Environment::load().await?);
    runtime::serve(|event, until| function.handle(event, until)).await
}
