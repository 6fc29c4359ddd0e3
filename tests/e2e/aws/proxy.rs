//! A proxy on loopback that answers for others now and then: with faults, late, or not at all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What becomes of a request.
pub(crate) enum Fate {
    /// It is passed on.
    Pass,
    /// It is passed on twice; the second answer is given.
    Twice,
    /// It is answered with this status, content type and body.
    Answer(u16, &'static str, String),
    /// The connection is closed without an answer.
    Drop,
}

/// The first lines of a request.
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Name in small letters, and value.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

type Judge = dyn Fn(&Head) -> Fate + Send + Sync;

/// A running proxy. It ends when this value is dropped.
pub(crate) struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    judge: Box<Judge>,
    latency_ms: AtomicU64,
    /// Faults that were answered.
    faults: AtomicU64,
    ended: AtomicBool,
}

impl Proxy {
    /// One that passes everything on after a tenth of a second: slow enough to be interrupted in the middle.
    pub(crate) fn slow(upstream: &str) -> Proxy {
        let proxy = Proxy::start(upstream, |_| Fate::Pass);
        proxy.set_latency(Duration::from_millis(100));
        proxy
    }

    /// One for the server at `upstream`, such as `http://127.0.0.1:9200`.
    pub(crate) fn start(upstream: &str, judge: impl Fn(&Head) -> Fate + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            judge: Box::new(judge),
            latency_ms: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let shared = accepting.clone();
                // Whoever breaks off is the one who knows of it.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Proxy { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Holds each request back for so long.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.shared.latency_ms.store(latency.as_millis() as u64, Ordering::Relaxed);
    }

    /// How many requests were not simply passed on.
    pub(crate) fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut client = stream;
        let Some(head) = read_head(&mut reader)? else { return Ok(()) };
        if head.header("expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = read_body(&mut reader, &head)?;
        let latency = self.latency_ms.load(Ordering::Relaxed);
        if latency > 0 {
            thread::sleep(Duration::from_millis(latency));
        }
        let fate = (self.judge)(&head);
        if !matches!(fate, Fate::Pass) {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        match fate {
            Fate::Pass => client.write_all(&self.ask(&head, &body)?)?,
            Fate::Twice => {
                self.ask(&head, &body)?;
                client.write_all(&self.ask(&head, &body)?)?;
            }
            Fate::Answer(status, kind, text) => {
                let length = text.len();
                write!(
                    client,
                    "HTTP/1.1 {status} Fault\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{text}"
                )?;
            }
            Fate::Drop => {}
        }
        client.shutdown(Shutdown::Both)
    }

    /// The whole answer to a request, in bytes as they came.
    fn ask(&self, head: &Head, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(&self.upstream)?;
        server.set_nodelay(true)?;
        let mut text = format!("{} {} HTTP/1.1\r\n", head.method, head.path);
        for (name, value) in &head.headers {
            if !["connection", "expect", "transfer-encoding", "content-length"].contains(&name.as_str()) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        text.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
        server.write_all(text.as_bytes())?;
        server.write_all(body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(Head { method, path, headers }))
}

fn read_body(reader: &mut impl BufRead, head: &Head) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if head.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or("0"), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut body)?;
    Ok(body)
}
