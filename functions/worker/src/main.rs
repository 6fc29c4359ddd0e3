//! The function that moves documents: one chunk an invocation.

use serverless::{Environment, WorkerFunction, runtime};

/// Buffers of megabytes come and go: the system's allocator gives their pages back each time, which costs a fifth of the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// A second thread lets requests proceed while a block is decoded.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), serverless::Error> {
    runtime::begin();
    let function = WorkerFunction::new(Environment::load().await?)?;
    runtime::serve(|event, until| function.handle(event, until)).await
}
