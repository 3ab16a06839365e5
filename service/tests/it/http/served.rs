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
