//! A plain download: the very ranges that the pipeline fetches, read from sockets and dropped.

use crate::blobs::{Counts, Pace};
use crate::measure::{Measured, Stopwatch, peak};
use crate::pipeline::{Job, Manner, runtime};
use crate::target::Memory;
use crate::{Result, http, s3};
use backfill::ports::Target;
use clap::Args;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Args, Clone)]
pub(crate) struct Arguments {
    /// S3 address
    #[arg(long)]
    repo: String,
    #[arg(long)]
    index: String,
    /// As many at once as the pipeline has under way
    #[arg(long, default_value_t = 3)]
    concurrency: u32,
    #[command(flatten)]
    pace: Pace,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let job = Job::prepare(&arguments.repo, &arguments.index, 256 << 20, dir.path(), Arc::default())?;
    let counts = Arc::new(Counts::noting());
    let piped =
        job.work(&Manner::default(), counts.clone(), &(Arc::new(Memory::default()) as Arc<dyn Target>))?;
    let (paths, ranges): (Vec<String>, Vec<Range<u64>>) = counts.ranges().into_iter().unzip();
    let endpoint = std::env::var("AWS_ENDPOINT_URL_S3")?;
    let urls = runtime()?.block_on(s3::sign(&endpoint, &arguments.repo, &paths))?;
    let wanted: Vec<(String, Range<u64>)> = urls.into_iter().zip(ranges).collect();

    let watch = Stopwatch::start();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.concurrency)
            .map(|_| scope.spawn(|| download(&endpoint, &wanted, &next, arguments.pace)))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a download broke off")?)
    })?;
    let (wall, cpu) = watch.read();
    let bytes = wanted.iter().map(|(_, range)| range.end - range.start).sum();
    Ok(Measured { bytes, wall, cpu, peak: peak()?, requests: wanted.len() as u64, fetched: bytes, ..piped })
}

/// Reads one range after the other over one connection, until none is left.
fn download(endpoint: &str, wanted: &[(String, Range<u64>)], next: &AtomicUsize, pace: Pace) -> Result<()> {
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = BufReader::with_capacity(256 << 10, TcpStream::connect(host)?);
    let mut bytes = vec![0; 256 << 10];
    while let Some((url, range)) = wanted.get(next.fetch_add(1, Relaxed)) {
        let path = url.strip_prefix(endpoint.trim_end_matches('/')).ok_or("signed for another server")?;
        let last = range.end - 1;
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={}-{last}\r\n\r\n", range.start);
        stream.get_mut().write_all(head.as_bytes())?;
        let head = http::head(&mut stream)?.ok_or_else(|| {
            format!("the server closed the connection instead of answering to a range of {path}")
        })?;
        if head.status != 206 || head.length != range.end - range.start {
            return Err(format!("the server answered {} to a range of {path}", head.status).into());
        }
        let mut left = head.length;
        while left > 0 {
            let room = bytes.len().min(usize::try_from(left)?);
            let read = stream.read(&mut bytes[..room])?;
            if read == 0 {
                return Err("the server closed the connection".into());
            }
            left -= read as u64;
        }
        std::thread::sleep(pace.longer(head.length));
    }
    Ok(())
}
