//! An answer on its way from the provider's socket to those who stream it: over HTTP and over NATS.

use events::clock;
use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::testkit;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    story::reader,
    system::{PATIENCE, System},
};

/// What the model says, and where its bytes are cut on their way.
const TEXT: [&str; 4] = ["Grüß ", "Gott, ", "\u{1f980} &\n", "Ada\u{2028}!"];

/// A call of a provider that streams what the test wants.
struct Call(TcpStream);

impl Call {
    /// The next, once all of its request is here; the answer has begun.
    async fn next(provider: &TcpListener) -> Self {
        let (mut stream, _) = timeout(PATIENCE, provider.accept()).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut received = Vec::new();
        let is_whole = |received: &[u8]| {
            let text = String::from_utf8_lossy(received).to_lowercase();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            (body.len() >= length.parse().ok()?).then_some(())
        };
        while is_whole(&received).is_none() {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        Self(stream)
    }

    /// Sends bytes of the body, each by itself.
    async fn send(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0.write_all(b"1\r\n").await.unwrap();
            self.0.write_all(&[byte, b'\r', b'\n']).await.unwrap();
        }
    }

    async fn say(&mut self, piece: &str) {
        self.send(&format!("data: {}\r\n\r\n", json!({"choices": [{"delta": {"content": piece}}]}))).await;
    }

    async fn finish(mut self) {
        self.send("data: {\"choices\": [{\"delta\": {}, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n\n").await;
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// Returns when the worker has closed the connection.
    async fn closed(mut self) {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("it is closed");
    }
}

/// A client of a stream.
struct Client {
    response: reqwest::Response,
    bytes: Vec<u8>,
}

impl Client {
    async fn to(system: &System, token: &str, execution: &str, last: Option<&str>) -> Self {
        let url = format!("{}/api/v1/executions/{execution}/stream", system.http);
        let mut request = reqwest::Client::new().get(url).bearer_auth(token).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, bytes: Vec::new() }
    }

    /// Id, name and data of the next event; none at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            let Some(end) = self.bytes.windows(2).position(|bytes| bytes == b"\n\n") else {
                let more = timeout(PATIENCE, self.response.chunk()).await.unwrap().unwrap();
                self.bytes.extend_from_slice(&more?);
                continue;
            };
            let event = String::from_utf8(self.bytes.drain(..end + 2).collect()).unwrap();
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let Some(data) = field("data: ") {
                let data = serde_json::from_str(&data).unwrap();
                return Some((field("id: ").unwrap_or_default(), field("event: ").unwrap_or_default(), data));
            }
        }
    }

    /// The text until there are so many bytes of it; the last id.
    async fn text(&mut self, bytes: usize) -> (String, String) {
        let (mut text, mut last) = (String::new(), String::new());
        while text.len() < bytes {
            let (id, name, data) = self.next().await.unwrap();
            assert_eq!(name, "chunk", "{data}");
            text += data["text"].as_str().unwrap();
            last = id;
        }
        (text, last)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_streamed_to_whoever_comes_and_a_cancel_closes_its_source() {
    let home = testkit::folder("streams");
    let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let environment = [
        ("OPENAI_API_KEY", "sk-of-the-streams".to_owned()),
        ("OPENAI_BASE_URL", format!("http://{}/v1", provider.local_addr().unwrap())),
    ];
    let system = System::start(&home, &environment).await;
    let bus = reader(&system.nats_url).await;
    let mut told = bus.subscribe("live.>").await.unwrap();
    bus.flush().await.unwrap();
    let admin = system.user("ada").await;
    let other = system.user("bob").await;
    let sub = system.catalogue(&admin).await;
    let prompt = system.prompt(&admin, &sub, "openai", "gpt-4o-mini").await;

    let execution = system.execute(&admin, &prompt, "Ada").await;
    // At once, whatever the read models know.
    let mut early = Client::to(&system, &admin, &execution, None).await;
    let mut call = Call::next(&provider).await;
    let (whole, first) = (TEXT.concat(), TEXT[0].len());
    call.say(TEXT[0]).await;
    let (text, last) = early.text(first).await;
    assert_eq!((text.as_str(), last.as_str()), (TEXT[0], format!("1-{first}-1").as_str()));
    call.say(TEXT[1]).await;
    let mut late = Client::to(&system, &admin, &execution, None).await;
    let mut again = Client::to(&system, &admin, &execution, Some(&last)).await;
    let (so_far, _) = late.text(first + TEXT[1].len()).await;
    assert_eq!(so_far, TEXT[..2].concat());
    for piece in &TEXT[2..] {
        call.say(piece).await;
    }
    call.finish().await;
    let done = system.outcome(&admin, &execution).await;
    assert_eq!((&done["status"], done["result"].as_str()), (&json!("succeeded"), Some(whole.as_str())));
    for (client, before) in [(&mut early, TEXT[0]), (&mut late, &so_far), (&mut again, TEXT[0])] {
        let (rest, _) = client.text(whole.len() - before.len()).await;
        assert_eq!(format!("{before}{rest}"), whole);
        let (id, name, data) = client.next().await.unwrap();
        assert_eq!((name.as_str(), &data["result"], &data["id"]), ("succeeded", &done["result"], &json!(execution)));
        assert!(id.ends_with("-end"), "{id}");
        assert_eq!(client.next().await, None);
    }
    let path = format!("/api/v1/executions/{execution}/stream");
    assert_eq!(system.send(Method::GET, &path, Some(&other), None).await.status, StatusCode::NOT_FOUND);
    // Whoever listened to NATS has heard it too.
    let mut heard = String::new();
    while heard != whole {
        let message = timeout(PATIENCE, told.next()).await.unwrap().unwrap();
        let chunk: Value = serde_json::from_slice(&message.payload).unwrap();
        if message.subject.ends_with(&format!(".execution.{execution}.chunk")) {
            assert_eq!((&chunk["attempt"], &chunk["offset"]), (&json!(1), &json!(heard.len())));
            heard += chunk["text"].as_str().unwrap();
        }
    }
    let attempts = system.query(&format!("/api/v1/executions/{execution}/attempts"), &admin).await;
    assert!(attempts["items"][0]["time_to_first_chunk"].is_f64(), "{attempts}");

    let execution = system.execute(&admin, &prompt, "Bob").await;
    let mut call = Call::next(&provider).await;
    call.say("Never").await;
    let mut client = Client::to(&system, &admin, &execution, None).await;
    assert_eq!(client.text(5).await.0, "Never");
    let began = clock::now();
    system.command(Method::POST, &format!("/api/v1/executions/{execution}/cancel"), Some(&admin), json!({})).await;
    call.closed().await;
    println!(
        "from the cancel to the end of the provider's connection: {} ms",
        (clock::now() - began).num_milliseconds()
    );
    let (_, name, data) = client.next().await.unwrap();
    assert_eq!((name.as_str(), &data["status"], &data["result"]), ("cancelled", &json!("cancelled"), &Value::Null));
    assert_eq!(client.next().await, None);

    // echo streams as well, for a first try.
    let prompt = system.prompt(&admin, &sub, "echo", "echo").await;
    let execution = system.execute(&admin, &prompt, "Ada").await;
    let mut client = Client::to(&system, &admin, &execution, None).await;
    assert_eq!(client.text("Say hello to Ada.".len()).await.0, "Say hello to Ada.");
    assert_eq!(client.next().await.unwrap().1, "succeeded");
    assert_eq!(system.stop().await, Some(0));
}
