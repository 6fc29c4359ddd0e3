//! A bulk API that does nothing: it reads every request whole and answers that all its documents were indexed.

use crate::{Result, http};
use flate2::read::MultiGzDecoder;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const BUFFER: usize = 256 << 10;

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
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // A client that breaks off is its own business.
                let _ = serve(stream);
            });
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let mut answer = Vec::new();
    while let Some(http::Head { length, gzip, .. }) = http::head(&mut stream)? {
        let mut body = (&mut stream).take(length);
        let documents = if gzip {
            lines(&mut BufReader::with_capacity(BUFFER, MultiGzDecoder::new(body)))?
        } else {
            let lines = lines(&mut body)?;
            std::io::copy(&mut body, &mut std::io::sink())?;
            lines
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
