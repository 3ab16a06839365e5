//! A provider of chat models in OpenAI's wire form, streamed, that is none: as fast as a socket for measurements, and as bad as real
//! ones can be for drills. Written on the bare socket, because no HTTP library would misbehave like this.

mod ledger;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::ledger::Calls;
use self::ledger::Ledger;

/// What every good answer says.
pub const ANSWER: &str = "Take two of these and call me in the morning.";

/// What a good answer is billed with, in dollars: 20 tokens in and 12 out, at the prices of `gpt-4o-mini`.
pub const PRICE: &str = "0.0000102";

/// The most bytes of a request that are read.
const MAX_REQUEST: usize = 4 << 20;
/// How much of an answer drips at a time.
const DROP_BYTES: usize = 64;

/// What is done about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// A good answer, after this long.
    Answer(Duration),
    /// 429 with `Retry-After: 1`, and a text that quotes the key it was given.
    TooMany,
    /// 500, with a text that quotes the key it was given.
    Broken,
    /// Nothing, for as long as the client waits.
    Hang,
    /// A good answer in small pieces, with this much time between two.
    Drip(Duration),
    /// Half of a good answer, then the end of the connection.
    Cut,
    /// 200 with a body that is not what it says it is, or something that is no HTTP at all.
    Garbage,
}

impl Behaviour {
    fn index(self) -> usize {
        match self {
            Self::Answer(_) => 0,
            Self::TooMany => 1,
            Self::Broken => 2,
            Self::Hang => 3,
            Self::Drip(_) => 4,
            Self::Cut => 5,
            Self::Garbage => 6,
        }
    }
}

const NAMES: [&str; 7] = ["answer", "429", "500", "hang", "drip", "cut", "garbage"];

/// A provider on a port of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Provider {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _end: DropGuard,
}

#[derive(Debug)]
struct Shared {
    plan: Mutex<Plan>,
    calls: [AtomicU64; NAMES.len()],
    open: AtomicU64,
    ledger: Option<Ledger>,
}

#[derive(Debug)]
struct Plan {
    behaviours: Vec<Behaviour>,
    rng: StdRng,
}

impl Provider {
    /// Starts one that answers well and at once.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(None).await
    }

    /// Starts one that keeps a ledger as well.
    pub async fn start_with_ledger() -> anyhow::Result<Self> {
        Self::start_with(Some(Ledger::default())).await
    }

    async fn start_with(ledger: Option<Ledger>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a port for the provider")?;
        let addr = listener.local_addr()?;
        let plan = Plan { behaviours: vec![Behaviour::Answer(Duration::ZERO)], rng: StdRng::seed_from_u64(0) };
        let (calls, open) = (Default::default(), AtomicU64::default());
        let shared = Arc::new(Shared { plan: Mutex::new(plan), calls, open, ledger });
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(accept(listener, Arc::clone(&shared), end.clone())));
        Ok(Self { addr, shared, _end: end.drop_guard() })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What `OPENAI_BASE_URL` is to be.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// From now on it does this about every request.
    pub fn set(&self, behaviour: Behaviour) {
        self.mix(0, &[behaviour]);
    }

    /// From now on it does any of these about a request, chosen by a generator with this seed. None of them is no choice:
    /// then everything stays as it is.
    pub fn mix(&self, seed: u64, behaviours: &[Behaviour]) {
        if !behaviours.is_empty() {
            *self.shared.plan() = Plan { behaviours: behaviours.to_vec(), rng: StdRng::seed_from_u64(seed) };
        }
    }

    /// How many requests it has got.
    pub fn calls(&self) -> u64 {
        self.shared.calls.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How often it did what.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        NAMES.into_iter().zip(&self.shared.calls).map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }

    /// How often it did this.
    pub fn count(&self, behaviour: Behaviour) -> u64 {
        self.shared.calls[behaviour.index()].load(Ordering::Relaxed)
    }

    /// The calls by the text of their last message, if it keeps a ledger.
    pub fn ledger(&self) -> HashMap<String, Calls> {
        self.shared.ledger.as_ref().map(Ledger::all).unwrap_or_default()
    }

    /// How many requests wait for an answer, or for the rest of it.
    pub fn in_flight(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do about the next request, and a random number for it.
    fn next(&self) -> (Behaviour, u64) {
        let mut plan = self.plan();
        let Plan { behaviours, rng } = &mut *plan;
        let behaviour = match behaviours.as_slice() {
            [only] => *only,
            many => many[rng.random_range(0..many.len())],
        };
        self.calls[behaviour.index()].fetch_add(1, Ordering::Relaxed);
        (behaviour, if matches!(behaviour, Behaviour::Garbage) { rng.random() } else { 0 })
    }
}

/// Counts a request for as long as it lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    let good = Arc::new(stream(&events(ANSWER)));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file handles, say: others may end meanwhile.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (shared, good) = (Arc::clone(&shared), Arc::clone(&good));
        // A client that goes away is no error here.
        let serve = async move { drop(serve(stream, &shared, &good).await) };
        tokio::spawn(end.clone().run_until_cancelled_owned(serve));
    }
}

/// One connection, kept alive for as long as the behaviour allows it.
async fn serve(mut stream: TcpStream, shared: &Shared, good: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 << 10);
    while let Some(Request { key, body }) = request(&mut stream, &mut buffer).await? {
        let (behaviour, random) = shared.next();
        if let Some(ledger) = &shared.ledger {
            ledger.note(&body, behaviour);
        }
        let _open = Open::begin(&shared.open);
        match behaviour {
            Behaviour::Answer(delay) => {
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                stream.write_all(good).await?;
            }
            Behaviour::TooMany => {
                let said = refusal(&format!("Rate limit reached for key {key}"));
                stream.write_all(&response("429 Too Many Requests", "retry-after: 1\r\n", &said)).await?;
            }
            Behaviour::Broken => {
                let said = refusal(&format!("The server had an error with key {key}"));
                stream.write_all(&response("500 Internal Server Error", "", &said)).await?;
            }
            Behaviour::Hang => {
                // Until the client has had enough.
                while stream.read_buf(&mut buffer).await? > 0 {
                    buffer.clear();
                }
                return Ok(());
            }
            Behaviour::Drip(pause) => {
                for piece in good.chunks(DROP_BYTES) {
                    stream.write_all(piece).await?;
                    sleep(pause).await;
                }
            }
            Behaviour::Cut => return stream.write_all(&good[..good.len() / 2]).await,
            Behaviour::Garbage => return stream.write_all(&garbage(random)).await,
        }
    }
    Ok(())
}

/// A request.
struct Request {
    /// The key in it.
    key: String,
    body: Vec<u8>,
}

/// Reads one request whole and takes it out of the buffer. Returns nothing at the end of the connection.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let header = |name: &str| {
                head.lines()
                    .filter_map(|line| line.split_once(':'))
                    .find_map(|(given, value)| given.eq_ignore_ascii_case(name).then(|| value.trim().to_owned()))
            };
            let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0usize);
            let whole = end.saturating_add(4).saturating_add(length).min(MAX_REQUEST);
            while buffer.len() < whole {
                if stream.read_buf(buffer).await? == 0 {
                    return Ok(None);
                }
            }
            let body = buffer.drain(..whole).skip(end + 4).collect();
            let key = header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
            return Ok(Some(Request { key, body }));
        }
        if buffer.len() > MAX_REQUEST || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The events of an answer, a word each.
fn events(answer: &str) -> Vec<String> {
    let chunk = |delta: serde_json::Value, finish_reason: Option<&str>| {
        serde_json::json!({
            "id": "chatcmpl-drill", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "gpt-4o-mini",
            "choices": [{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }], "usage": null
        })
    };
    let mut chunks = vec![chunk(serde_json::json!({ "role": "assistant", "content": "", "refusal": null }), None)];
    chunks.extend(answer.split_inclusive(' ').map(|word| chunk(serde_json::json!({ "content": word }), None)));
    chunks.push(chunk(serde_json::json!({}), Some("stop")));
    let mut usage = chunk(serde_json::json!({}), None);
    usage["choices"] = serde_json::json!([]);
    usage["usage"] = serde_json::json!({ "prompt_tokens": 20, "completion_tokens": 12, "total_tokens": 32 });
    chunks.push(usage);
    let events = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    events.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// A body of these events, a chunk each.
fn stream(events: &[String]) -> Vec<u8> {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for event in events {
        bytes.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn refusal(said: &str) -> String {
    serde_json::json!({ "error": { "message": said, "type": "requests", "param": null, "code": null } }).to_string()
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// One of several kinds of nonsense.
fn garbage(random: u64) -> Vec<u8> {
    let said = |event: &str| stream(&[format!("data: {event}\n\n")]);
    match random % 5 {
        0 => response("200 OK", "connection: close\r\n", "<html><body>Welcome to your new router</body></html>"),
        1 => said(r#"{"choices": [{"delta": {"content": "#),
        2 => said(r#"{"choices": "none", "usage": -1}"#),
        3 => stream(&events(&ANSWER.replace("morning", "mor\0ning"))),
        _ => {
            let mut bytes = vec![0; 512];
            StdRng::seed_from_u64(random).fill(bytes.as_mut_slice());
            bytes
        }
    }
}

#[cfg(test)]
mod tests;
