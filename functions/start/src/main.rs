//! The function that starts a run, plans it and fills the queue.

use serverless::{Environment, StartFunction, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), serverless::Error> {
    runtime::begin();
    let function = StartFunction::new(Environment::load().await?);
    runtime::serve(|event, until| function.handle(event, until)).await
}
