//! A plain upload: bulk bodies that lie in memory, written to sockets by threads that do nothing else.

use crate::Result;
use crate::bodies::Source;
use crate::gzip::encode;
use crate::http;
use crate::measure::{Measured, Stopwatch, peak};
use bytes::Bytes;
use clap::Args;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Args, Clone)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// `http://host:port`
    #[arg(long)]
    target: String,
    /// Index to write to
    #[arg(long)]
    into: String,
    /// Whether the bodies are compressed, beforehand
    #[arg(long)]
    gzip: bool,
    #[arg(long, default_value_t = 1)]
    concurrency: u32,
    /// What of its answers is asked for (`filter_path`)
    #[arg(long, default_value = "errors")]
    answer: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Measured> {
    let bodies = arguments.source.bodies()?;
    let mut wire: Vec<Bytes> = Vec::with_capacity(bodies.len());
    for body in &bodies {
        wire.push(if arguments.gzip { encode(&body.bytes, Vec::new())?.into() } else { body.bytes.clone() });
    }
    let watch = Stopwatch::start();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..arguments.concurrency).map(|_| scope.spawn(|| upload(arguments, &wire, &next))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "an upload broke off")?)
    })?;
    let (wall, cpu) = watch.read();
    Ok(Measured {
        documents: bodies.iter().map(|b| b.documents).sum(),
        bytes: bodies.iter().map(|b| b.source).sum(),
        wall,
        cpu,
        peak: peak()?,
        ..Measured::default()
    })
}

/// Sends one body after the other over one connection, until none is left.
fn upload(arguments: &Arguments, bodies: &[Bytes], next: &AtomicUsize) -> Result<()> {
    let host = arguments.target.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = BufReader::new(TcpStream::connect(host)?);
    stream.get_ref().set_nodelay(true)?;
    let encoding = if arguments.gzip { "Content-Encoding: gzip\r\n" } else { "" };
    while let Some(body) = bodies.get(next.fetch_add(1, Relaxed)) {
        let head = format!(
            "POST /{}/_bulk?filter_path={} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n{encoding}Content-Length: {}\r\n\r\n",
            arguments.into,
            arguments.answer,
            body.len()
        );
        let socket = stream.get_mut();
        socket.write_all(head.as_bytes())?;
        socket.write_all(body)?;
        let head = http::head(&mut stream)?.ok_or("the target closed the connection")?;
        let mut answer = vec![0; usize::try_from(head.length)?];
        stream.read_exact(&mut answer)?;
        let status = head.status;
        if status != 200 || !answer.windows(14).any(|w| w == b"\"errors\":false") {
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
            return Err(format!("the target answered {status} {shown}").into());
        }
    }
    Ok(())
}
