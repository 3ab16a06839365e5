//! Connections that do nothing are closed: those that send a head byte by byte, those that take no answer, and idle ones,
//! also while stopping.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use poem::{
    Addr, Endpoint, Request, Response, Result,
    http::uri::Scheme,
    listener::Acceptor,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::frames::Frames;

/// After a failed accept (no file descriptors left, mostly) the next try waits a little, or it would be a busy loop.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// While stopping, a connection has this long to get its last answer out, or to say nothing at all.
const WHILE_STOPPING: Duration = Duration::from_secs(1);

/// After the last answer on a connection, what the client still sends is read (and dropped) for so long, so that it gets to
/// read the answer: a connection that is closed over unread bytes is reset.
const LINGER: Duration = Duration::from_secs(1);

/// The open connections, by the client's address.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<HashMap<SocketAddr, Arc<Mutex<Use>>>>>);

/// What a connection is in use for.
struct Use {
    requests: usize,
    last: Instant,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections and closes those on which, for `patience`, no request was in work and nothing was answered.
pub struct Guard {
    listener: TcpListener,
    local: LocalAddr,
    patience: Duration,
    stop: CancellationToken,
    book: Book,
}

impl Guard {
    /// Guards a listener; from `stop` on, one second is enough.
    pub fn new(listener: TcpListener, patience: Duration, stop: CancellationToken) -> io::Result<Self> {
        let local = LocalAddr(listener.local_addr()?.into());
        Ok(Self { listener, local, patience, stop, book: Book::default() })
    }

    /// `app`, watched: while it works on a request the request's connection is in use.
    pub fn watch<E: Endpoint<Output = Response>>(&self, app: E) -> Watched<E> {
        Watched { app, book: self.book.clone() }
    }
}

impl Acceptor for Guard {
    type Io = Guarded;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![self.local.clone()]
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, remote) = match self.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                return Err(error);
            }
        };
        stream.set_nodelay(true)?;
        let used = Arc::new(Mutex::new(Use { requests: 0, last: Instant::now() }));
        locked(&self.book.0).insert(remote, Arc::clone(&used));
        let io = Guarded {
            stream,
            remote,
            used,
            book: self.book.clone(),
            patience: self.patience,
            idle: Box::pin(tokio::time::sleep(self.patience)),
            stalled: None,
            lingering: None,
            frames: Frames::new(),
            stop: Box::pin(self.stop.clone().cancelled_owned()),
            stopping: None,
        };
        Ok((io, self.local.clone(), RemoteAddr(remote.into()), Scheme::HTTP))
    }
}

/// A connection under guard.
pub struct Guarded {
    stream: TcpStream,
    remote: SocketAddr,
    used: Arc<Mutex<Use>>,
    book: Book,
    patience: Duration,
    idle: Pin<Box<Sleep>>,
    stalled: Option<Pin<Box<Sleep>>>,
    lingering: Option<Pin<Box<Sleep>>>,
    frames: Frames,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Since when.
    stopping: Option<Instant>,
}

impl Guarded {
    fn is_stopping(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stopping.is_none() && self.stop.as_mut().poll(cx).is_ready() {
            self.stopping = Some(Instant::now());
        }
        self.stopping.is_some()
    }

    /// Ready when the client has nothing more to say, or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut dropped);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if self.is_stopping(cx) {
            return Poll::Ready(());
        }
        self.lingering.as_mut().map_or(Poll::Ready(()), |until| until.as_mut().poll(cx))
    }

    /// Ready when nothing has happened here for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = if self.is_stopping(cx) { self.patience.min(WHILE_STOPPING) } else { self.patience };
        loop {
            let now = Instant::now();
            let until = match &*locked(&self.used) {
                // An event stream that was silent says goodbye.
                Use { requests: 0, last } => self.stopping.map_or(*last, |since| since.max(*last)) + patience,
                _ => self.idle.deadline().max(now + patience / 2),
            };
            if until <= now {
                return Poll::Ready(());
            }
            if self.idle.deadline() != until {
                self.idle.as_mut().reset(until);
            }
            ready!(self.idle.as_mut().poll(cx));
        }
    }

    /// After a write: moved on, or waits for a client that does not read.
    fn written<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stalled = None;
            locked(&self.used).last = Instant::now();
            return write;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let mut book = locked(&self.book.0);
        // A new connection from the same address may have taken the place already.
        if book.get(&self.remote).is_some_and(|used| Arc::ptr_eq(used, &self.used)) {
            book.remove(&self.remote);
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if Pin::new(&mut this.stream).poll_read(cx, buf)?.is_ready() {
            return Poll::Ready(this.frames.read(&buf.filled()[before..]));
        }
        ready!(this.poll_idle(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.written(cx, write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.written(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.lingering = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        ready!(this.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}

/// An application whose connections count as in use while it works.
pub struct Watched<E> {
    app: E,
    book: Book,
}

impl<E: Endpoint<Output = Response>> Endpoint for Watched<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let _working = match &request.remote_addr().0 {
            Addr::SocketAddr(remote) => locked(&self.book.0).get(remote).cloned().map(Working::on),
            _ => None,
        };
        self.app.call(request).await
    }
}

/// One request in work; also ends when the client goes away and the request is dropped.
struct Working(Arc<Mutex<Use>>);

impl Working {
    fn on(used: Arc<Mutex<Use>>) -> Self {
        locked(&used).requests += 1;
        Self(used)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut used = locked(&self.0);
        used.requests -= 1;
        used.last = Instant::now();
    }
}
