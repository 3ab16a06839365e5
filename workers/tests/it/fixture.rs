//! Requests, providers that answer from this machine, and logs.

use chrono::{DateTime, Utc};
use events::{
    Meta, Recorded, Store, clock,
    execution::{Calling, Command, Execution, Holder, Request, Status},
    model::{Message, Parameters, Role},
    policy::Policy,
    store::{Options, Writer},
};
use serde_json::{Value, json};
use service::testkit::{self, Database};
use sqlx::Row as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;
use wiremock::{MockServer, Request as Received};
use workers::config::{Limits, Providers};

/// The key of every stand-in, which must never be seen anywhere but in a header.
pub const KEY: &str = "sk-of-the-stand-in";

/// A request to `provider` with one message.
pub fn request(provider: &str, model: &str, text: &str) -> Request {
    Request {
        user_id: Uuid::from_u128(1),
        prompt_id: Uuid::from_u128(2),
        prompt_version: 1,
        variables: json!({}),
        messages: vec![Message { role: Role::User, content: text.to_owned() }],
        llm_provider: provider.to_owned(),
        model: model.to_owned(),
        parameters: Parameters::default(),
        retry_of: None,
        policy: Some(Policy::default()),
        redrive: None,
    }
}

/// All providers at the same address, with keys.
pub fn all_at(url: &str) -> Providers {
    let (url, key) = (Some(url.to_owned()), || Some(KEY.to_owned().into()));
    Providers {
        openai_api_key: key(),
        openai_base_url: url.clone(),
        openai_key_header: None,
        anthropic_api_key: key(),
        anthropic_base_url: url.clone(),
        groq_api_key: key(),
        groq_base_url: url.clone(),
        deepseek_api_key: key(),
        deepseek_base_url: url.clone(),
        openrouter_api_key: key(),
        openrouter_base_url: url.clone(),
        ollama_base_url: url,
        limits: Limits::default(),
    }
}

/// What a stand-in was asked last.
pub async fn last(server: &MockServer) -> (Received, Value) {
    let received = server.received_requests().await.unwrap().pop().expect("it was asked");
    let body = serde_json::from_slice(&received.body).unwrap();
    (received, body)
}

/// An answer in OpenAI's wire form, with `text`.
pub fn openai_answer(text: &str) -> Value {
    json!({
        "id": "chatcmpl-B9MBs8Cjcvo",
        "object": "chat.completion",
        "created": 1_741_569_952,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": "stop"
        }],
        "usage": {
            "prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500,
            "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
        },
        "service_tier": "default",
        "system_fingerprint": "fp_1"
    })
}

/// An answer in Anthropic's wire form, with `text`.
pub fn anthropic_answer(text: &str) -> Value {
    json!({
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 50, "output_tokens": 20}
    })
}

/// The same answer, OpenAI's or Anthropic's, as these stream it.
pub fn streamed(answer: &Value) -> String {
    let event = |name: &str, data: Value| match name {
        "" => format!("data: {data}\n\n"),
        name => format!("event: {name}\ndata: {data}\n\n"),
    };
    if answer["type"] == "message" {
        let mut start = answer.clone();
        (start["content"], start["stop_reason"]) = (json!([]), Value::Null);
        start["usage"]["output_tokens"] = json!(1);
        let mut text = event("message_start", json!({"type": "message_start", "message": start}));
        for (index, block) in answer["content"].as_array().unwrap().iter().enumerate() {
            let begun = json!({"type": "text", "text": ""});
            text += &event(
                "content_block_start",
                json!({"type": "content_block_start", "index": index, "content_block": begun}),
            );
            text += &event("ping", json!({"type": "ping"}));
            for piece in pieces(block["text"].as_str().unwrap()) {
                let delta = json!({"type": "text_delta", "text": piece});
                let data = json!({"type": "content_block_delta", "index": index, "delta": delta});
                text += &event("content_block_delta", data);
            }
            text += &event("content_block_stop", json!({"type": "content_block_stop", "index": index}));
        }
        let delta = json!({"stop_reason": answer["stop_reason"], "stop_sequence": null});
        let usage = json!({"output_tokens": answer["usage"]["output_tokens"]});
        text += &event("message_delta", json!({"type": "message_delta", "delta": delta, "usage": usage}));
        return text + &event("message_stop", json!({"type": "message_stop"}));
    }
    let chunk = |delta: Value, finish_reason: &Value, usage: &Value| {
        let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        json!({"id": answer["id"], "object": "chat.completion.chunk", "created": answer["created"],
               "model": answer["model"], "choices": choices, "usage": usage})
    };
    let (choice, null) = (&answer["choices"][0], &Value::Null);
    let mut text = event("", chunk(json!({"role": "assistant", "content": "", "refusal": null}), null, null));
    for part in ["content", "refusal"] {
        for piece in pieces(choice["message"][part].as_str().unwrap_or_default()) {
            text += &event("", chunk(json!({part: piece}), null, null));
        }
    }
    text += &event("", chunk(json!({}), &choice["finish_reason"], null));
    let mut usage = chunk(json!({}), null, &answer["usage"]);
    usage["choices"] = json!([]);
    text + &event("", usage) + "data: [DONE]\n\n"
}

/// A few characters each.
fn pieces(text: &str) -> Vec<String> {
    let size = (text.len() / 50).max(3);
    text.chars().collect::<Vec<_>>().chunks(size).map(|piece| piece.iter().collect()).collect()
}

/// A provider that answers when the test says so.
pub struct Upstream(TcpListener);

/// One call that it was asked.
pub struct Call(TcpStream);

impl Upstream {
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// The next call, once all of its request is here.
    pub async fn call(&self) -> Call {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut received = Vec::new();
        loop {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "the request is whole");
            let text = String::from_utf8_lossy(&received).to_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            if body.len() >= length.parse().unwrap() {
                return Call(stream);
            }
        }
    }
}

impl Call {
    /// Streams a whole answer.
    pub async fn answer(mut self, body: &Value) {
        self.begin().await;
        self.send(&streamed(body)).await;
        self.end().await;
    }

    /// Begins to stream.
    pub async fn begin(&mut self) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_1\r\nconnection: close\r\n";
        self.0.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    }

    /// Sends these bytes of a body.
    pub async fn send(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.0.write_all(chunk.as_bytes()).await.unwrap();
    }

    /// Streams a piece of a text, as OpenAI does.
    pub async fn say(&mut self, text: &str) {
        let choices = json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]);
        self.send(&format!("data: {}\n\n", json!({"id": "chatcmpl-1", "choices": choices}))).await;
    }

    /// Ends an answer well.
    pub async fn finish(mut self) {
        let choices = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
        self.send(&format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": choices}))).await;
        self.end().await;
    }

    /// Ends the body.
    pub async fn end(mut self) {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// Sends bytes as they are, until who asked has closed the connection. Returns how many went out.
    pub async fn flood(mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while self.0.write_all(bytes).await.is_ok() {
            sent += bytes.len();
        }
        sent
    }

    /// Returns when who asked has closed the connection.
    pub async fn closed(mut self) {
        let read = self.0.read(&mut [0]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "nothing more is sent");
    }
}

/// A log of its own, and what stands in it.
pub struct Log {
    _database: Database,
    pub store: Store,
    _lanes: Writer,
}

impl Log {
    pub async fn new() -> Self {
        Self::on(testkit::database().await)
    }

    pub fn on(database: Database) -> Self {
        let connect = (*database.pool.connect_options()).clone();
        let (store, lanes) = Store::open(database.pool.clone(), connect, &Options::default());
        Self { _database: database, store, _lanes: lanes }
    }

    /// Appends a request and returns it as the bus would bring it.
    pub async fn request(&self, request: Request) -> Recorded {
        let id = clock::id();
        let meta = Meta {
            actor: Some(request.user_id),
            correlation_id: Uuid::from_u128(3),
            causation_id: None,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        };
        self.execute(id, Command::Request(Box::new(request)), meta).await;
        self.history(id).await.remove(0)
    }

    pub async fn execute(&self, id: Uuid, command: Command, meta: Meta) {
        events::execute::<Execution>(&self.store, id, command, meta).await.unwrap();
    }

    /// Somebody starts the first attempt, and is not heard of again.
    pub async fn start(&self, event: &Recorded) {
        let holder = Holder { attempt: 1, token: Uuid::from_u128(4) };
        let (worker, calling) = ("lost".to_owned(), Calling::default());
        let start = Command::Start { holder, worker, lease_ms: 15_000, calling };
        self.execute(event.id, start, Meta::following(event)).await;
    }

    pub async fn cancel(&self, event: &Recorded) {
        let cancel = Command::Cancel { by: Uuid::from_u128(1), reason: Some("enough".to_owned()) };
        self.execute(event.id, cancel, Meta::following(event)).await;
    }

    /// The lease of this attempt runs out. Returns the last event that follows.
    pub async fn lapse(&self, id: Uuid, attempt: u32) -> Recorded {
        self.due(id, attempt, true).await
    }

    /// A timer that was set at this attempt is due. Returns the last event that follows.
    pub async fn due(&self, id: Uuid, attempt: u32, held: bool) -> Recorded {
        let first = self.history(id).await.remove(0);
        self.execute(id, Command::Due { attempt, held, deadline: false }, Meta::following(&first)).await;
        self.history(id).await.pop().unwrap()
    }

    /// When its timer is due.
    pub async fn lease_end(&self, id: Uuid) -> DateTime<Utc> {
        let row = sqlx::query("select due_at from timer where id = $1").bind(id).fetch_one(self.store.reads()).await;
        row.unwrap().get(0)
    }

    pub async fn status(&self, id: Uuid) -> Status {
        self.store.load::<Execution>(id).await.unwrap().aggregate.status
    }

    pub async fn history(&self, id: Uuid) -> Vec<Recorded> {
        self.store.stream("execution", id).await.unwrap()
    }

    /// What happened to an execution, by kind, without the request.
    pub async fn kinds(&self, id: Uuid) -> Vec<String> {
        self.history(id).await.into_iter().skip(1).map(|event| event.kind).collect()
    }

    /// The data of the last event of an execution.
    pub async fn last(&self, id: Uuid) -> Value {
        serde_json::from_str(&self.history(id).await.pop().unwrap().data).unwrap()
    }
}
