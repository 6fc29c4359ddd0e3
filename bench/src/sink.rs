//! A bulk API that does nothing: it reads every request whole and answers that all its documents were indexed.
//!
//! To name the documents of a compressed request it has to inflate it, which takes a quarter of what compressing it did, on
//! the processors that are shared with who is measured. So it does that once for each body, and remembers the answer.

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

/// Answers to the compressed bodies that were seen, by their trailer and their length.
type Seen = Mutex<HashMap<([u8; TRAILER], usize), Arc<Vec<u8>>>>;

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
    while let Some(http::Head { length, gzip, index, .. }) = http::head(&mut stream)? {
        let mut body = (&mut stream).take(length);
        let answer = if gzip {
            compressed.clear();
            body.read_to_end(&mut compressed)?;
            answer_within(&compressed, &index, seen)?
        } else {
            answer.clear();
            write_answer(&mut body, &index, &mut answer)?;
            Arc::new(std::mem::take(&mut answer))
        };
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

/// The answer to a compressed body.
fn answer_within(body: &[u8], index: &str, seen: &Seen) -> Result<Arc<Vec<u8>>> {
    let trailer = body.last_chunk().ok_or("a compressed body is shorter than what it ends with")?;
    let known = (*trailer, body.len());
    if let Some(answer) = seen.lock().unwrap_or_else(PoisonError::into_inner).get(&known) {
        return Ok(answer.clone());
    }
    let mut answer = Vec::new();
    write_answer(&mut BufReader::with_capacity(BUFFER, MultiGzDecoder::new(body)), index, &mut answer)?;
    let answer = Arc::new(answer);
    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(known, answer.clone());
    Ok(answer)
}

/// Writes the answer to a bulk request: an item with the name of each document.
fn write_answer(body: &mut impl BufRead, index: &str, answer: &mut Vec<u8>) -> Result<()> {
    const BEFORE_ID: &[u8] = b"{\"index\":{\"_id\":";
    answer.extend_from_slice(b"{\"took\":1,\"errors\":false,\"items\":[");
    let (mut action, mut first) = (Vec::new(), true);
    loop {
        action.clear();
        if body.read_until(b'\n', &mut action)? == 0 {
            break;
        }
        let rest = action.strip_prefix(BEFORE_ID).ok_or("an action line has another form")?;
        // Nothing that is measured has ids with quotes in them.
        let end = rest.iter().skip(1).position(|byte| *byte == b'"').ok_or("an id does not end")? + 2;
        answer.extend_from_slice(if std::mem::take(&mut first) { b"" } else { b"," });
        write!(answer, "{{\"index\":{{\"_index\":\"{index}\",\"_id\":")?;
        answer.extend_from_slice(&rest[..end]);
        answer.extend_from_slice(b",\"status\":201}}");
        skip_line(body)?;
    }
    answer.extend_from_slice(b"]}");
    Ok(())
}

fn skip_line(input: &mut impl BufRead) -> Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        let (length, ended) = match memchr::memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), bytes.is_empty()),
        };
        input.consume(length);
        if ended {
            return Ok(());
        }
    }
}
