//! Listening, serving, and stopping with care.

use std::{io, net::SocketAddr, time::Duration};

use poem::{Endpoint, Response, Server, listener::TcpAcceptor};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A connection on which nothing moves for this long is closed. Longer than any `Prefer: wait`.
const IDLE: Duration = Duration::from_secs(75);

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
    let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(listener)?).idle_timeout(IDLE);
    let run = server.run_with_graceful_shutdown(app, soft.cancelled_owned(), Some(grace));
    tokio::select! {
        ended = run => ended,
        () = hard.cancelled() => Ok(()),
    }
}
