//! That it behaves as told.

use tokio::time::timeout;

use super::*;

const ASKED: &str = r#"{"model": "gpt-4o-mini", "stream": true, "messages": []}"#;

fn asking() -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nAuthorization: Bearer sk-1\r\nContent-Length: {}\r\n\r\n{ASKED}",
        ASKED.len()
    )
}

/// The whole of what comes back over a connection that the provider closes.
async fn until_closed(provider: &Provider) -> String {
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    stream.write_all(asking().as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Head and body of the next answer.
async fn one(stream: &mut TcpStream) -> (String, String) {
    stream.write_all(asking().as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        stream.read_buf(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.ends_with("0\r\n\r\n") || length.is_some_and(|length| body.len() == length.parse::<usize>().unwrap()) {
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// The text of an answer, and the tokens that it says it used.
fn text(body: &str) -> (String, u64) {
    let chunks = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let chunks: Vec<serde_json::Value> = chunks.map(|data| serde_json::from_str(data).unwrap()).collect();
    let text = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    (text, chunks.iter().find_map(|chunk| chunk["usage"]["total_tokens"].as_u64()).unwrap())
}

#[tokio::test]
async fn answers_go_over_one_connection_and_are_counted() {
    let provider = Provider::start().await.unwrap();
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    for _ in 0..3 {
        let (head, body) = one(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert_eq!(text(&body), (ANSWER.to_owned(), 32));
    }
    assert_eq!((provider.calls(), provider.counts()[0]), (3, ("answer", 3)));
}

#[tokio::test]
async fn refusals_quote_the_key_and_say_when_to_come_back() {
    let provider = Provider::start().await.unwrap();
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    provider.set(Behaviour::TooMany);
    let (head, body) = one(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 429") && head.contains("retry-after: 1"), "{head}");
    assert!(body.contains("error") && body.contains("sk-1"), "{body}");
    provider.set(Behaviour::Broken);
    assert!(one(&mut stream).await.0.starts_with("HTTP/1.1 500"));
}

#[tokio::test]
async fn a_cut_answer_has_no_end() {
    let provider = Provider::start().await.unwrap();
    provider.set(Behaviour::Cut);
    let answer = until_closed(&provider).await;
    assert!(answer.contains("data: ") && !answer.contains("[DONE]") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn what_drips_comes_whole_in_the_end() {
    let provider = Provider::start().await.unwrap();
    provider.set(Behaviour::Drip(Duration::from_millis(1)));
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    assert_eq!(text(&one(&mut stream).await.1).0, ANSWER);
}

#[tokio::test]
async fn one_that_hangs_is_in_flight_until_the_client_goes() {
    let provider = Provider::start().await.unwrap();
    provider.set(Behaviour::Hang);
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    stream.write_all(asking().as_bytes()).await.unwrap();
    let hung = async {
        while provider.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        drop(stream);
        while provider.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), hung).await.unwrap();
}

#[tokio::test]
async fn a_mix_has_some_of_each() {
    let provider = Provider::start().await.unwrap();
    provider.mix(7, &[Behaviour::Cut, Behaviour::Garbage, Behaviour::TooMany]);
    for _ in 0..40 {
        let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
        stream.write_all(asking().as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
    }
    let counts = provider.counts();
    for name in ["429", "cut", "garbage"] {
        assert!(counts.iter().any(|(counted, n)| *counted == name && *n > 5), "{counts:?}");
    }
    assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), 40);
}

#[tokio::test]
async fn what_would_be_billed_is_in_the_ledger_under_what_was_asked() {
    let provider = Provider::start_with_ledger().await.unwrap();
    let body = r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "mark1"}]}"#;
    for behaviour in [Behaviour::Cut, Behaviour::TooMany, Behaviour::Broken, Behaviour::Answer(Duration::ZERO)] {
        provider.set(behaviour);
        let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
        let length = body.len();
        let asking = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(asking.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
    }
    assert_eq!(provider.ledger(), HashMap::from([("mark1".to_owned(), Calls { made: 4, billed: 2 })]));
}
