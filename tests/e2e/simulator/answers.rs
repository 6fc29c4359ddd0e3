//! The wrong answers of a target, and of whatever stands between a client and its target.
//!
//! Each of them was seen in the wild or can be made by a proxy, a load balancer or a firewall that follows its own rules.
//! None may make a client lose a document or report something untrue. Some kinds claim success for documents that were
//! never written, in a way that a careful client can notice. No kind lies perfectly: an answer with the mark of the
//! request and the names of all its documents is true.

use super::proxy::{Answer, Exchange, Fate, Head};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const JSON: &str = "application/json";
const HTML: &str = "text/html";
const PAGE: &str = "<html><head><title>Error</title></head><body>Something went wrong</body></html>";
/// So often a request with a single document must be refused until the document may count as failed.
const LONE_REFUSALS: u32 = 4;
/// How long an answer without an end is continued for a client that goes on reading.
const ENDLESS: Duration = Duration::from_secs(30);
/// Pieces of a slow answer, and the pause after each.
const SLOW: (usize, Duration) = (20, Duration::from_millis(50));

/// A kind of wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    // Refusals of whole requests.
    TooMany,
    TooManyAfter,
    TooManyEarly,
    TooLarge,
    BadGateway,
    Unavailable,
    UnavailablePage,
    GatewayTimeout,
    NoContent,
    NotFound,
    Blocked,
    Redirect,
    // Answers of status 200 that make no sense.
    Page,
    Empty,
    NoItems,
    NullItems,
    StatusZero,
    FewerItems,
    MoreItems,
    OtherId,
    OtherIndex,
    Previous,
    PreviousWithoutMark,
    // Answers that make sense only for some documents.
    SomeRejected,
    SomeUnavailable,
    SomeRefused,
    Reversed,
    LongReasons,
    // Transport.
    Reset,
    ResetAfterBody,
    AppliedReset,
    AppliedClosed,
    AppliedCutOff,
    BrokenChunk,
    OldProtocol,
    Slow,
    Endless,
    Twice,
}

/// Kinds that any request can meet.
const GENERAL: &[Wrong] = &[
    Wrong::TooMany,
    Wrong::TooManyAfter,
    Wrong::BadGateway,
    Wrong::Unavailable,
    Wrong::UnavailablePage,
    Wrong::GatewayTimeout,
    Wrong::NoContent,
    Wrong::NotFound,
    Wrong::Redirect,
    Wrong::Page,
    Wrong::Empty,
    Wrong::Reset,
    Wrong::ResetAfterBody,
    Wrong::AppliedReset,
    Wrong::AppliedClosed,
    Wrong::AppliedCutOff,
    Wrong::BrokenChunk,
    Wrong::OldProtocol,
    Wrong::Slow,
    Wrong::Endless,
    Wrong::Twice,
];

/// Kinds that only bulk requests can meet.
const BULK: &[Wrong] = &[
    Wrong::TooManyEarly,
    Wrong::TooLarge,
    Wrong::Blocked,
    Wrong::NoItems,
    Wrong::NullItems,
    Wrong::StatusZero,
    Wrong::FewerItems,
    Wrong::MoreItems,
    Wrong::OtherId,
    Wrong::OtherIndex,
    Wrong::Previous,
    Wrong::PreviousWithoutMark,
    Wrong::SomeRejected,
    Wrong::SomeUnavailable,
    Wrong::SomeRefused,
    Wrong::Reversed,
    Wrong::LongReasons,
];

/// Index and ID of a document.
pub(crate) type Name = (String, String);

/// What a lying target remembers of its answers.
#[derive(Default)]
pub(crate) struct Memory {
    /// The last true answer to a bulk request.
    previous: Mutex<Option<Answer>>,
    /// Documents that were reported as failed, with how many such reports are still to come before each may become a failed
    /// document.
    refused: Mutex<BTreeMap<Name, u32>>,
    /// How often each kind of wrong answer was given.
    given: Mutex<BTreeMap<Wrong, u64>>,
}

impl Memory {
    /// Forgets what was answered in the run before.
    pub(crate) fn begin_run(&self) {
        self.refused.lock().unwrap().clear();
        *self.previous.lock().unwrap() = None;
    }

    /// Notes that a document was reported as failed. It takes so many reports in a row until it may be taken for failed.
    fn refuse(&self, index: &str, names: &Value, reports: u32) {
        let id = names["_id"].as_str().unwrap_or_default().to_owned();
        let mut refused = self.refused.lock().unwrap();
        let left = refused.entry((index.to_owned(), id)).or_insert(reports);
        *left = (*left).min(reports).saturating_sub(1);
    }

    /// Whether a document may be a failed document.
    pub(crate) fn may_have_failed(&self, name: &Name) -> bool {
        self.refused.lock().unwrap().get(name) == Some(&0)
    }

    pub(crate) fn given(&self) -> BTreeMap<Wrong, u64> {
        self.given.lock().unwrap().clone()
    }
}

pub(crate) fn is_bulk(path: &str) -> bool {
    path.contains("/_bulk")
}

/// The documents of a bulk request: their actions, in the order of the request.
fn actions(body: &[u8]) -> Vec<(String, Value)> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let action = |line| {
        let Ok(Value::Object(action)) = serde_json::from_slice(line) else { return None };
        action.into_iter().next()
    };
    lines.step_by(2).filter_map(action).collect()
}

/// The index that a bulk request is sent to.
fn index_of(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

impl Wrong {
    /// A kind of these that a request can meet, by `dice` from 0 to 1. There may be none.
    pub(crate) fn pick(kinds: &[Wrong], head: &Head, dice: f64) -> Option<Wrong> {
        let possible = |kind: &&Wrong| is_bulk(&head.path) || GENERAL.contains(kind);
        let kinds: Vec<&Wrong> = kinds.iter().filter(possible).collect();
        kinds.get((dice * kinds.len() as f64) as usize).copied().copied()
    }

    /// The kinds of these names; all kinds if there are none.
    pub(crate) fn named(names: &str) -> Vec<Wrong> {
        let all = || GENERAL.iter().chain(BULK).copied();
        let kind = |name| {
            all()
                .find(|kind| format!("{kind:?}") == name)
                .unwrap_or_else(|| panic!("no kind is called {name}"))
        };
        if names.is_empty() { all().collect() } else { names.split(',').map(kind).collect() }
    }

    /// What becomes of a request that meets this kind.
    pub(crate) fn fate(self, memory: &Arc<Memory>) -> Fate {
        *memory.given.lock().unwrap().entry(self).or_default() += 1;
        let memory = memory.clone();
        match self {
            Wrong::Reset => Fate::Reset,
            Wrong::Twice => Fate::Twice,
            Wrong::TooManyEarly => Fate::Early(too_many().bytes()),
            _ => Fate::Other(Box::new(move |exchange| self.answer(exchange, &memory))),
        }
    }

    /// Answers a request; returns whether the connection can be used again.
    fn answer(self, exchange: &mut Exchange<'_>, memory: &Memory) -> Result<bool> {
        let error = |status, kind: &str| {
            let error = json!({"type": kind, "reason": "made up by the simulator"});
            Answer::new(status, JSON, json!({"error": error, "status": status}).to_string())
        };
        let refusal = match self {
            Wrong::TooMany => too_many(),
            Wrong::TooManyAfter => too_many().with("retry-after", "1"),
            Wrong::TooLarge => {
                // A document that is refused again and again although it is alone in its request may fail.
                if let [(_, names)] = &actions(exchange.body)[..] {
                    memory.refuse(index_of(&exchange.head.path), names, LONE_REFUSALS);
                }
                Answer::new(413, HTML, PAGE)
            }
            Wrong::BadGateway => Answer::new(502, HTML, PAGE),
            Wrong::Unavailable => error(503, "cluster_manager_not_discovered_exception"),
            Wrong::UnavailablePage => Answer::new(503, HTML, PAGE),
            Wrong::GatewayTimeout => Answer::new(504, HTML, PAGE),
            Wrong::NoContent => Answer::new(204, HTML, ""),
            Wrong::NotFound => Answer::new(404, HTML, PAGE),
            Wrong::Blocked => error(403, "cluster_block_exception"),
            Wrong::Redirect => Answer::new(302, HTML, PAGE).with("location", "http://127.0.0.1:1/login"),
            Wrong::Page => Answer::new(200, HTML, PAGE),
            Wrong::Empty => Answer::new(200, JSON, ""),
            _ => return self.answer_in_part(exchange, memory),
        };
        exchange.answer(&refusal)
    }

    /// Answers for some of the documents, with items that are wrong, or not in the way that HTTP wants it.
    fn answer_in_part(self, exchange: &mut Exchange<'_>, memory: &Memory) -> Result<bool> {
        match self {
            Wrong::NoItems => exchange.answer(&bulk(exchange.head, None)),
            Wrong::NullItems => {
                let items = actions(exchange.body).iter().map(|_| Value::Null).collect();
                exchange.answer(&bulk(exchange.head, Some(items)))
            }
            Wrong::StatusZero | Wrong::FewerItems | Wrong::OtherId | Wrong::OtherIndex => {
                let items = self.forge(exchange);
                exchange.answer(&bulk(exchange.head, Some(items)))
            }
            Wrong::Previous | Wrong::PreviousWithoutMark => {
                let previous = memory.previous.lock().unwrap().clone();
                let Some(mut answer) = previous else { return true_answer(exchange, memory) };
                if self == Wrong::PreviousWithoutMark {
                    answer.headers.retain(|(name, _)| name != "x-opaque-id");
                }
                exchange.answer(&answer)
            }
            Wrong::MoreItems
            | Wrong::SomeRejected
            | Wrong::SomeUnavailable
            | Wrong::SomeRefused
            | Wrong::Reversed
            | Wrong::LongReasons => self.refuse_some(exchange, memory),
            Wrong::ResetAfterBody => exchange.reset(),
            Wrong::AppliedReset => {
                exchange.ask()?;
                exchange.reset()
            }
            Wrong::AppliedClosed => exchange.ask().map(|_| false),
            Wrong::AppliedCutOff => {
                let bytes = exchange.ask()?.bytes();
                exchange.write(&bytes[..bytes.len() - bytes.len() / 4])?;
                Ok(false)
            }
            Wrong::BrokenChunk => {
                let answer = exchange.ask()?;
                let (half, _) = answer.body.split_at(answer.body.len() / 2);
                let mut bytes = answer.head("1.1", "transfer-encoding: chunked\r\n");
                bytes.extend(format!("{:x}\r\n", half.len().max(1)).bytes());
                bytes.extend(half);
                bytes.extend(b"\r\nnot a length\r\n");
                exchange.write(&bytes)?;
                Ok(false)
            }
            Wrong::OldProtocol => {
                let answer = exchange.ask()?;
                exchange.write(&answer.head("1.0", ""))?;
                exchange.write(&answer.body)?;
                Ok(false)
            }
            Wrong::Slow => {
                let bytes = exchange.ask()?.bytes();
                for piece in bytes.chunks(bytes.len().div_ceil(SLOW.0).max(1)) {
                    exchange.write(piece)?;
                    std::thread::sleep(SLOW.1);
                }
                Ok(true)
            }
            Wrong::Endless => {
                let begun = Instant::now();
                exchange
                    .write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n{\"items\":[\r\n")?;
                let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
                while begun.elapsed() < ENDLESS {
                    exchange.write(chunk.as_bytes())?;
                }
                Ok(false)
            }
            other => Err(Error::other(format!("{other:?} is answered elsewhere"))),
        }
    }

    /// Items that claim success for documents that are not written, each kind with its own flaw.
    fn forge(self, exchange: &Exchange<'_>) -> Vec<Value> {
        let index = index_of(&exchange.head.path);
        let mut items: Vec<Value> = actions(exchange.body)
            .into_iter()
            .map(|(action, names)| {
                let mut item =
                    json!({"_index": index, "_id": names["_id"], "status": 201, "result": "created"});
                match self {
                    Wrong::StatusZero => item["status"] = json!(0),
                    Wrong::OtherId => item["_id"] = json!("another-document"),
                    Wrong::OtherIndex => item["_index"] = json!("another-index"),
                    _ => {}
                }
                json!({ action: item })
            })
            .collect();
        if self == Wrong::FewerItems {
            items.pop();
        }
        items
    }

    /// Takes some documents out of the request and passes on the others; the answer says that those failed. The order of the
    /// items may be reversed, and there may be one too many.
    fn refuse_some(self, exchange: &mut Exchange<'_>, memory: &Memory) -> Result<bool> {
        let (status, kind, reason) = match self {
            Wrong::SomeRejected => (429, "rejected_execution_exception", "queue is full".to_owned()),
            Wrong::SomeUnavailable => (503, "unavailable_shards_exception", "no primary".to_owned()),
            Wrong::LongReasons => (503, "unavailable_shards_exception", "x".repeat(15_000)),
            _ => (400, "mapper_parsing_exception", "made up by the simulator".to_owned()),
        };
        let lines: Vec<&[u8]> = exchange.body.split_inclusive(|byte| *byte == b'\n').collect();
        let refuses = |at: usize| match self {
            Wrong::MoreItems => false,
            Wrong::LongReasons => true,
            // Of several documents only the first fails before the order is reversed.
            Wrong::Reversed => at == 0 && lines.len() > 2,
            _ => at.is_multiple_of(3),
        };
        let passed = lines.chunks(2).enumerate().filter(|(at, _)| !refuses(*at));
        let passed: Vec<u8> = passed.flat_map(|(_, lines)| lines.concat()).collect();
        let mut answer = match passed.is_empty() {
            true => bulk(exchange.head, Some(Vec::new())),
            false => exchange.ask_with(&passed)?,
        };
        let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else {
            return exchange.answer(&answer);
        };
        let Some(Value::Array(taken)) = body.get_mut("items").map(Value::take) else {
            return exchange.answer(&answer);
        };
        let (index, mut taken) = (index_of(&exchange.head.path), taken.into_iter());
        let mut items = Vec::new();
        for (at, (action, names)) in actions(exchange.body).into_iter().enumerate() {
            if !refuses(at) {
                items.extend(taken.next());
                continue;
            }
            let error = json!({"type": kind, "reason": reason});
            let item = json!({"_index": index, "_id": names["_id"], "status": status, "error": error});
            items.push(json!({ action: item }));
            if status == 400 {
                memory.refuse(index, &names, 1);
            }
        }
        match self {
            Wrong::MoreItems => items.extend(items.last().cloned()),
            Wrong::Reversed => items.reverse(),
            _ => {}
        }
        body["items"] = items.into();
        body["errors"] = json!(true);
        answer.body = body.to_string().into_bytes();
        exchange.answer(&answer)
    }
}

/// Passes a request on, and remembers the answer if it is one to a bulk request.
fn true_answer(exchange: &mut Exchange<'_>, memory: &Memory) -> Result<bool> {
    let answer = exchange.ask()?;
    if is_bulk(&exchange.head.path) && answer.status == 200 {
        *memory.previous.lock().unwrap() = Some(answer.clone());
    }
    exchange.answer(&answer)
}

/// The fate of a request that is answered truly.
pub(crate) fn truth(memory: &Arc<Memory>) -> Fate {
    let memory = memory.clone();
    Fate::Other(Box::new(move |exchange| true_answer(exchange, &memory)))
}

fn too_many() -> Answer {
    Answer::new(429, JSON, json!({"error": "too many requests", "status": 429}).to_string())
}

/// A made-up answer to a bulk request. It carries the mark of the request.
fn bulk(head: &Head, items: Option<Vec<Value>>) -> Answer {
    let mut body = json!({"took": 1, "errors": false});
    if let Some(items) = items {
        body["items"] = json!(items);
    }
    let answer = Answer::new(200, JSON, body.to_string());
    match head.header("x-opaque-id") {
        Some(mark) => answer.with("x-opaque-id", mark),
        None => answer,
    }
}
