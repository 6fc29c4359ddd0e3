//! A bulk API that does nothing: it reads every request whole and answers that all its documents were indexed.
//!
//! To count the documents of a compressed request it has to inflate it, which takes a quarter of what compressing it did, on
//! the processors that are shared with who is measured. So it does that once for each body, and remembers.

use crate::{Result, http};
use flate2::read::MultiGzDecoder;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

const BUFFER: usize = 256 << 10;
/// What a gzip member ends with: the CRC-32 and the length of what is in it, four bytes each (RFC 1952).
const TRAILER: usize = 8;

/// Documents of the compressed bodies that were seen, by their trailer and their length.
type Seen = Mutex<HashMap<([u8; TRAILER], usize), usize>>;

/// The sink as a process of its own; ends with its owner.
pub(crate) struct Sink {
    process: Child,
    url: String,
}

impl Sink {
    pub(crate) fn start() -> Result<Sink> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["part", "sink"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut url)?;
        }
        Ok(Sink { process, url: url.trim().to_owned() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Listens until its parent is gone.
pub(crate) fn run() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        let seen = Arc::new(Seen::default());
        for stream in listener.incoming().flatten() {
            let seen = seen.clone();
            std::thread::spawn(move || {
                // A client that breaks off is its own business.
                let _ = serve(stream, &seen);
            });
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn serve(stream: TcpStream, seen: &Seen) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let (mut answer, mut compressed) = (Vec::new(), Vec::new());
    while let Some(http::Head { length, gzip, .. }) = http::head(&mut stream)? {
        let mut body = (&mut stream).take(length);
        let documents = if gzip {
            compressed.clear();
            body.read_to_end(&mut compressed)?;
            lines_within(&compressed, seen)?
        } else {
            lines(&mut body)?
        } / 2;
        answer.clear();
        answer.extend_from_slice(b"{\"took\":1,\"errors\":false,\"items\":[");
        for n in 0..documents {
            answer.extend_from_slice(if n == 0 { b"" } else { b"," });
            answer.extend_from_slice(b"{\"index\":{\"status\":201}}");
        }
        answer.extend_from_slice(b"]}");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let socket = stream.get_mut();
        socket.write_all(head.as_bytes())?;
        socket.write_all(&answer)?;
    }
    Ok(())
}

/// Lines in a compressed body.
fn lines_within(body: &[u8], seen: &Seen) -> Result<usize> {
    let trailer = body.last_chunk().ok_or("a compressed body is shorter than what it ends with")?;
    let known = (*trailer, body.len());
    if let Some(lines) = seen.lock().unwrap_or_else(PoisonError::into_inner).get(&known) {
        return Ok(*lines);
    }
    let lines = lines(&mut BufReader::with_capacity(BUFFER, MultiGzDecoder::new(body)))?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(known, lines);
    Ok(lines)
}

/// Lines in what is read to its end.
fn lines(input: &mut impl BufRead) -> Result<usize> {
    let mut lines = 0;
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', bytes).count();
        let length = bytes.len();
        input.consume(length);
    }
}
