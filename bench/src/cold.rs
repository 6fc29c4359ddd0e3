//! Cold starts: what Lambda loads, and how long a function takes until it asks for its first event.

use crate::Result;
use flate2::write::DeflateEncoder;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often is looked whether it asks.
const LOOK: Duration = Duration::from_micros(200);

/// Starts of each.
pub(crate) const STARTS: usize = 15;

/// A function's program, measured.
pub(crate) struct Cold {
    /// Bytes of the program.
    pub(crate) size: usize,
    /// Bytes that are deployed.
    pub(crate) zipped: usize,
    /// Milliseconds from the start of the process until its first request for an event, of each run.
    pub(crate) starts: Vec<f64>,
    /// Largest resident set until then, in bytes.
    pub(crate) peak: u64,
}

/// Measures one; its runtime API is this process.
pub(crate) fn measure(program: &Path) -> Result<Cold> {
    let bytes = std::fs::read(program)?;
    let mut zip = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    zip.write_all(&bytes)?;
    let zipped = zip.finish()?.len();
    let (mut starts, mut peak) = (Vec::with_capacity(STARTS), 0);
    for _ in 0..STARTS {
        let (millis, resident) = start(program)?;
        starts.push(millis);
        peak = resident.max(peak);
    }
    Ok(Cold { size: bytes.len(), zipped, starts, peak })
}

fn start(program: &Path) -> Result<(f64, u64)> {
    let api = TcpListener::bind("127.0.0.1:0")?;
    let begun = Instant::now();
    let mut process = Command::new(program)
        .env_clear()
        // As the template and Lambda set them.
        .envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
            ("BACKFILL_TABLE", "bench"),
            ("BACKFILL_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/bench"),
            ("BACKFILL_FAILED_DOCUMENTS", "s3://bench/failed"),
            ("BACKFILL_REPOSITORY", "s3://bench/repo"),
            ("BACKFILL_TARGET", "https://127.0.0.1:9200"),
        ])
        .env("AWS_LAMBDA_RUNTIME_API", api.local_addr()?.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let asked = first_line(&api, &mut process);
    let millis = begun.elapsed().as_secs_f64() * 1e3;
    let peak = crate::measure::peak_of(&process.id().to_string());
    // It may have ended by itself.
    let _ = process.kill();
    process.wait()?;
    match asked? {
        line if line.contains("/invocation/next") => Ok((millis, peak?)),
        line => Err(format!("{} began with {line:?}", program.display()).into()),
    }
}

/// What the program asks its runtime API first.
fn first_line(api: &TcpListener, process: &mut Child) -> Result<String> {
    api.set_nonblocking(true)?;
    let stream = loop {
        match api.accept() {
            Ok((stream, _)) => break stream,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(status) = process.try_wait()? {
            return Err(format!("it ended with {status}").into());
        }
        std::thread::sleep(LOOK);
    };
    stream.set_nonblocking(false)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}
