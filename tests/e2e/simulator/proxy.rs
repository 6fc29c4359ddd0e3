//! A proxy on loopback that passes requests on, and answers some of them itself: wrongly, late, or not at all.
//!
//! It is the only one that the tests have. Each test decides with a function what becomes of a request; the simulator
//! takes its decisions from a catalogue of [wrong answers](super::answers).

use socket2::SockRef;
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What becomes of a request.
pub(crate) enum Fate {
    /// It is passed on.
    Pass,
    /// It is passed on twice, and the second answer is given.
    Twice,
    /// It is answered with this status, content type and body.
    Answer(u16, &'static str, String),
    /// The connection is closed without an answer.
    Drop,
    /// The connection is reset after the head of the request, before its body has been read.
    Reset,
    /// These bytes are sent before the body of the request has been read. Then the connection is closed.
    Early(Vec<u8>),
    /// This function answers. It returns whether the connection can be used again.
    Other(Box<Reply>),
}

/// Answers a request, and returns whether the connection can be used again.
type Reply = dyn FnOnce(&mut Exchange<'_>) -> Result<bool> + Send;

/// The first lines of a request.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in small letters, and values.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// An answer of the server behind the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in small letters, and values, without those that say how the body is framed.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Answer { status, headers, body: body.into() }
    }

    /// With one more header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The status line and the headers of an answer in this version of HTTP, with `framing` as its last headers.
    pub(crate) fn head(&self, version: &str, framing: &str) -> Vec<u8> {
        let mut head = format!("HTTP/{version} {} From the proxy\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(framing);
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The bytes of an answer that says how long it is.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head("1.1", &format!("content-length: {}\r\n", self.body.len()));
        bytes.extend(&self.body);
        bytes
    }
}

/// A request that has been read, and the connection on which it is answered.
pub(crate) struct Exchange<'a> {
    pub(crate) head: &'a Head,
    pub(crate) body: &'a [u8],
    upstream: &'a str,
    client: &'a mut TcpStream,
}

impl Exchange<'_> {
    /// Passes the request on, and returns the whole answer.
    pub(crate) fn ask(&self) -> Result<Answer> {
        self.ask_with(self.body)
    }

    /// The same with another body.
    pub(crate) fn ask_with(&self, body: &[u8]) -> Result<Answer> {
        let mut server = TcpStream::connect(self.upstream)?;
        server.set_nodelay(true)?;
        let mut text = format!("{} {} HTTP/1.1\r\n", self.head.method, self.head.path);
        // An answer that is not compressed can be changed.
        let own = ["connection", "expect", "transfer-encoding", "content-length", "accept-encoding"];
        for (name, value) in &self.head.headers {
            if !own.contains(&name.as_str()) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        text.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
        server.write_all(text.as_bytes())?;
        server.write_all(body)?;
        let mut reader = BufReader::new(server);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let broken = || std::io::Error::other("the server behind the proxy broke off");
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
        let mut headers = read_headers(&mut reader)?;
        let mut body = Vec::new();
        if self.head.method == "HEAD" {
            return Ok(Answer { status, headers, body });
        }
        if header(&headers, "transfer-encoding").is_some() {
            body = read_chunks(&mut reader)?;
        } else if let Some(length) = header(&headers, "content-length").and_then(|l| l.parse().ok()) {
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
        } else {
            reader.read_to_end(&mut body)?;
        }
        headers.retain(|(name, _)| !["transfer-encoding", "content-length", "connection"].contains(&&**name));
        Ok(Answer { status, headers, body })
    }

    /// Answers, and lets the connection be used again.
    pub(crate) fn answer(&mut self, answer: &Answer) -> Result<bool> {
        // An answer to HEAD has the length of a body that does not come.
        let bytes = if self.head.method == "HEAD" { answer.head("1.1", "") } else { answer.bytes() };
        self.write(&bytes)?;
        Ok(true)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.client.write_all(bytes)
    }

    /// Makes the end of the connection a reset.
    pub(crate) fn reset(&self) -> Result<bool> {
        reset(self.client)?;
        Ok(false)
    }
}

fn reset(stream: &TcpStream) -> Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
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
    /// Requests that were not simply passed on.
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
                // Whichever side breaks off, the client sees the end of its connection.
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
    /// Serves one request after the other on a connection.
    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut client = stream;
        while let Some(head) = read_head(&mut reader)? {
            if !self.exchange(&head, &mut reader, &mut client)? {
                break;
            }
        }
        Ok(())
    }

    /// Serves one request, and returns whether the connection can be used again.
    fn exchange(&self, head: &Head, reader: &mut impl BufRead, client: &mut TcpStream) -> Result<bool> {
        let latency = self.latency_ms.load(Ordering::Relaxed);
        if latency > 0 {
            thread::sleep(Duration::from_millis(latency));
        }
        let fate = (self.judge)(head);
        if !matches!(fate, Fate::Pass) {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        match &fate {
            Fate::Reset => {
                reset(client)?;
                return Ok(false);
            }
            Fate::Early(bytes) => {
                client.write_all(bytes)?;
                return Ok(false);
            }
            _ => {}
        }
        if head.header("expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = read_body(reader, head)?;
        let mut exchange = Exchange { head, body: &body, upstream: &self.upstream, client };
        let last = head.header("connection") == Some("close");
        let open = match fate {
            Fate::Pass => exchange.ask().and_then(|answer| exchange.answer(&answer))?,
            Fate::Twice => {
                exchange.ask()?;
                exchange.ask().and_then(|answer| exchange.answer(&answer))?
            }
            Fate::Answer(status, kind, text) => {
                let answer = Answer::new(status, kind, text).with("connection", "close");
                exchange.answer(&answer)?;
                false
            }
            Fate::Other(function) => function(&mut exchange)?,
            Fate::Drop | Fate::Reset | Fate::Early(_) => false,
        };
        Ok(open && !last)
    }
}

fn read_head(reader: &mut impl BufRead) -> Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    Ok(Some(Head { method, path, headers: read_headers(reader)? }))
}

fn read_headers(reader: &mut impl BufRead) -> Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_body(reader: &mut impl BufRead, head: &Head) -> Result<Vec<u8>> {
    if head.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        return read_chunks(reader);
    }
    let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok(body)
}

fn read_chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
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
