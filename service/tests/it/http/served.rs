//! The frame behind a real socket: limits, a taken port, an orderly end.

use super::*;

/// A served app, and what it takes to stop it.
struct Served {
    addr: std::net::SocketAddr,
    soft: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn served() -> Served {
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let task = tokio::spawn(http::serve(listener, app(), soft.clone(), hard, Duration::from_secs(5)));
    Served { addr, soft, task }
}

async fn exchange(addr: std::net::SocketAddr, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_also_chunked() {
    let served = served().await;
    let head = "POST /api/v1/things HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let declared =
        exchange(served.addr, &format!("{head}content-length: 3000000\r\n\r\n"), &vec![b' '; 3_000_000]).await;
    assert!(declared.starts_with("HTTP/1.1 413 "), "{declared}");
    assert!(declared.contains(r#""code":"body_too_large""#), "{declared}");
    let mut chunks = Vec::new();
    for _ in 0..300 {
        chunks.extend_from_slice(b"2710\r\n");
        chunks.extend_from_slice(&[b' '; 10_000]);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let chunked = exchange(served.addr, &format!("{head}transfer-encoding: chunked\r\n\r\n"), &chunks).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    let expecting =
        exchange(served.addr, &format!("{head}expect: 100-continue\r\ncontent-length: 300000000\r\n\r\n"), b"").await;
    assert!(expecting.starts_with("HTTP/1.1 413 "), "{expecting}");
}

#[tokio::test]
async fn a_taken_port_is_a_clear_message() {
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let error = http::bind(addr).await.unwrap_err().to_string();
    assert_eq!(error, format!("{addr} is taken by another process: set HTTP_ADDR to a free address (port 0 for any)"));
}

#[tokio::test]
async fn stopping_closes_the_door_and_idle_connections() {
    let served = served().await;
    let mut idle = TcpStream::connect(served.addr).await.unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    served.soft.cancel();
    served.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.addr).await.is_err());
}

/// One answer off a connection that stays: its head, and its body by its length.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head
}

/// An early answer must not cost the client its next request: that is answered on the same connection, or the client knew
/// that it would not be.
#[tokio::test]
async fn a_connection_goes_on_after_a_refusal_of_a_body_that_nobody_read() {
    let served = served().await;
    let head = |path: &str, kind: &str, framing: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n{framing}\r\n")
    };
    let json = "application/json";
    for (status, path, kind) in [
        (401, "/api/v1/mine", json),
        (404, "/api/v1/nothing", json),
        (405, "/api/v1/me", json),
        (415, "/api/v1/things", "text/plain"),
        (422, "/api/v1/things?nothing_of_ours=1", json),
        (422, "/api/v1/things", json),
        (429, "/api/v1/often", json),
    ] {
        for chunked in [false, true] {
            let mut stream = TcpStream::connect(served.addr).await.unwrap();
            // More than one read of the socket, and it comes after the head.
            let body = format!("{{{}}}", " ".repeat(300_000));
            let framing = if chunked {
                "transfer-encoding: chunked\r\n".to_owned()
            } else {
                format!("content-length: {}\r\n", body.len())
            };
            let body = if chunked { format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()) } else { body };
            for _ in 0..2 {
                stream.write_all(head(path, kind, &framing).as_bytes()).await.unwrap();
                stream.write_all(body.as_bytes()).await.unwrap();
                let told = answer(&mut stream).await;
                assert!(
                    told.starts_with(&format!("HTTP/1.1 {status} ")) && !told.contains("connection: close"),
                    "{told}"
                );
            }
            stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 "), "{status}");
        }
    }
    // What is not read to its end is told, and the answer arrives while the client still writes.
    for path in ["/api/v1/things", "/api/v1/nothing"] {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(head(path, json, "content-length: 3000000\r\n").as_bytes()).await.unwrap();
        let told = answer(&mut stream).await;
        assert!(told.contains("connection: close"), "{told}");
        stream.write_all(&vec![b' '; 3_000_000]).await.expect("is read, and dropped");
        assert_eq!(stream.read(&mut [0; 1]).await.expect("an orderly end"), 0);
    }
    // Nobody waits for a body that the client holds back.
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let expecting = head("/api/v1/nothing", json, "expect: 100-continue\r\ncontent-length: 10\r\n");
    stream.write_all(expecting.as_bytes()).await.unwrap();
    let told = answer(&mut stream).await;
    assert!(told.starts_with("HTTP/1.1 404 ") && told.contains("connection: close"), "{told}");
}

#[tokio::test]
async fn a_request_says_once_whom_it_is_for() {
    let served = served().await;
    let ask = async |version: &str, hosts: &str| {
        let head = format!("GET /health/live HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        exchange(served.addr, &head, b"").await
    };
    for good in ["host: x\r\n", "Host: [::1]:8080\r\n", "host:\r\n"] {
        assert!(ask("1.1", good).await.starts_with("HTTP/1.1 200 "), "{good}");
    }
    assert!(ask("1.0", "").await.starts_with("HTTP/1.0 200 "));
    for bad in
        ["", "host: x\r\nhost: x\r\n", "host: x\r\nHOST: y\r\n", "host: a b\r\n", "host: x, y\r\n", "host: u@x\r\n"]
    {
        let told = ask("1.1", bad).await;
        assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("malformed_host"), "{bad}: {told}");
    }
}

#[tokio::test]
async fn metrics_are_open_on_loopback_and_need_the_token_elsewhere() {
    let ask = async |addr: &str, token: Option<&str>, given: &str| {
        let listener = http::bind(addr.parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let app = app().with_metrics_token(token.map(|token| token.to_owned().into()));
        let task = tokio::spawn(http::serve(listener, app, soft.clone(), hard, Duration::from_secs(5)));
        let head = format!("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{given}\r\n");
        let told = exchange(([127, 0, 0, 1], port).into(), &head, b"").await;
        soft.cancel();
        task.await.unwrap().unwrap();
        told[9..12].to_owned()
    };
    let bearer = "authorization: Bearer a token\r\n";
    assert_eq!(ask("127.0.0.1:0", None, "").await, "200");
    assert_eq!(ask("127.0.0.1:0", Some("a token"), "").await, "200");
    assert_eq!(ask("0.0.0.0:0", None, bearer).await, "403");
    assert_eq!(ask("0.0.0.0:0", Some("a token"), "").await, "401");
    assert_eq!(ask("0.0.0.0:0", Some("another"), bearer).await, "401");
    assert_eq!(ask("0.0.0.0:0", Some("a token"), bearer).await, "200");
}

#[tokio::test]
async fn a_flood_of_pings_ends_its_connection() {
    let served = served().await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for _ in 0..1_000 {
        sent.extend([0, 0, 8, 6, 0, 0, 0, 0, 0]);
        sent.extend([7; 8]);
    }
    // It may be closed before all of it is written.
    let _ = stream.write_all(&sent).await;
    let mut answered = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answered)).await;
    assert!(ended.is_ok(), "still open");
    // SETTINGS_MAX_CONCURRENT_STREAMS (3) = 100 is among the server's settings.
    assert!(
        answered.windows(6).any(|setting| setting == [0, 3, 0, 0, 0, 100]),
        "{:?}",
        &answered[..answered.len().min(60)]
    );
}
