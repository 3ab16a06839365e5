//! Listening, serving, and stopping with care.

use std::{io, net::SocketAddr, time::Duration};

use poem::{Endpoint, Response, Server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::guard::Guard;

/// A connection on which no request is in work and nothing is answered for this long is closed. An event stream must write
/// more often.
const PATIENCE: Duration = Duration::from_mins(1);

/// The most requests in work on one connection of HTTP/2.
const STREAMS: u32 = 100;

/// The HTTP address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error("{0} is taken by another process: set HTTP_ADDR to a free address (port 0 for any)")]
    Taken(SocketAddr),
    /// Anything else: no such address here, a port for root only.
    #[error("cannot listen on {0}, see HTTP_ADDR")]
    Address(SocketAddr, #[source] io::Error),
}

/// Listens on `HTTP_ADDR`.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(addr).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken(addr),
        _ => BindError::Address(addr, error),
    })
}

/// Serves until `soft` is cancelled, then takes no new connection and waits for the requests in flight, up to `grace`; gives
/// up at once when `hard` is cancelled.
pub async fn serve(
    listener: TcpListener,
    app: impl Endpoint<Output = Response> + 'static,
    soft: CancellationToken,
    hard: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    serve_guarded(Guard::new(listener, PATIENCE, soft.clone())?, app, soft, hard, grace).await
}

async fn serve_guarded(
    guard: Guard,
    app: impl Endpoint<Output = Response> + 'static,
    soft: CancellationToken,
    hard: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let app = guard.watch(app);
    let server = Server::new_with_acceptor(guard).http2_max_concurrent_streams(STREAMS);
    let run = server.run_with_graceful_shutdown(app, soft.cancelled_owned(), Some(grace));
    tokio::select! {
        ended = run => ended,
        () = hard.cancelled() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use poem::{
        Body,
        endpoint::{make, make_sync},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::Notify,
    };

    use super::*;

    #[tokio::test]
    async fn a_head_that_comes_byte_by_byte_is_cut_off() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let guard = Guard::new(listener, Duration::from_millis(200), soft.clone()).expect("a guard");
        let served =
            serve_guarded(guard, make_sync(|_| Response::default()), soft.clone(), hard, Duration::from_secs(5));
        let served = tokio::spawn(served);
        let (mut read, mut write) = TcpStream::connect(addr).await.expect("connected").into_split();
        let dribble = async {
            let mut every = tokio::time::interval(Duration::from_millis(20));
            loop {
                every.tick().await;
                if write.write_all(b"G").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            ended = tokio::time::timeout(Duration::from_secs(10), read.read_to_end(&mut answer)) => {
                assert!(ended.is_ok(), "still open");
            }
            () = dribble => {}
        }
        soft.cancel();
        served.await.expect("ended").expect("well");
    }

    #[tokio::test]
    async fn a_request_in_work_gets_its_answer_while_stopping() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let app = make({
            let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
            move |_| {
                let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
                async move {
                    entered.notify_one();
                    release.notified().await;
                    Ok::<_, poem::Error>(Response::from("done"))
                }
            }
        });
        let served = tokio::spawn(serve(listener, app, soft.clone(), hard, Duration::from_mins(1)));
        let mut client = TcpStream::connect(addr).await.expect("connected");
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
        entered.notified().await;
        soft.cancel();
        // Longer than an unused connection may live while stopping.
        assert!(tokio::time::timeout(Duration::from_millis(1_500), client.readable()).await.is_err());
        release.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
        served.await.expect("ended").expect("well");
    }

    #[tokio::test]
    async fn a_stream_that_was_silent_for_long_says_its_last_word_while_stopping() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let app = make_sync({
            let soft = soft.clone();
            move |_| {
                let word = soft.clone().cancelled_owned().map(|()| Ok::<_, io::Error>("goodbye"));
                Response::builder().body(Body::from_bytes_stream(word.into_stream()))
            }
        });
        let served = tokio::spawn(serve(listener, app, soft.clone(), hard, Duration::from_mins(1)));
        let mut client = TcpStream::connect(addr).await.expect("connected");
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
        let mut answer = vec![0; 1024];
        let head = client.read(&mut answer).await.expect("read");
        // Longer than a connection on which nothing happens may live while stopping.
        assert!(tokio::time::timeout(Duration::from_millis(1_500), client.readable()).await.is_err());
        soft.cancel();
        answer.truncate(head);
        client.read_to_end(&mut answer).await.expect("read");
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("goodbye"), "{answer}");
        served.await.expect("ended").expect("well");
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_does_not_hold_up_stopping() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let app = make_sync(|_| Response::default());
        let served = tokio::spawn(serve(listener, app, soft.clone(), hard, Duration::from_mins(1)));
        let mut silent = TcpStream::connect(addr).await.expect("connected");
        silent.write_all(b"GET / HT").await.expect("written");
        soft.cancel();
        tokio::time::timeout(Duration::from_secs(20), served).await.expect("in time").expect("ended").expect("well");
    }
}
