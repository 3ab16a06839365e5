//! Bodies that are counted as they pass, and the rest of a request's body that nobody has read.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use metrics::Histogram;
use poem::{
    Body, Request, Response,
    http::{Version, header},
};

use super::MAX_BODY;

type Inner = BoxBody<Bytes, io::Error>;

/// How long the rest of a body may take to come. A client that sends it more slowly is told that the connection ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// The body of a request, which its endpoint reads, or does not.
pub struct Intake {
    state: Arc<Mutex<Reading>>,
    /// Whether the client waits for leave to send it.
    expects: bool,
    /// Before HTTP/2 the next request on a connection comes after all of this body.
    in_turn: bool,
}

struct Reading {
    inner: Inner,
    read: usize,
    ended: bool,
}

impl Intake {
    /// Puts itself between the request and its body. None where there is no body.
    pub fn of(request: &mut Request) -> Option<Self> {
        let inner: Inner = request.take_body().into();
        if inner.is_end_stream() {
            return None;
        }
        let state = Arc::new(Mutex::new(Reading { inner, read: 0, ended: false }));
        request.set_body(Body::from(Inner::new(Shared(Arc::clone(&state)))));
        let expects = request.headers().contains_key(header::EXPECT);
        Some(Self { state, expects, in_turn: request.version() < Version::HTTP_2 })
    }

    /// How many bytes of it were read.
    pub fn read(&self) -> usize {
        locked(&self.state).read
    }

    /// After the answer: reads what is left up to the limit of a body. False where more is left, or does not come: then the
    /// next request on this connection could not be found.
    pub async fn settle(&self) -> bool {
        let (ended, begun, least) = {
            let reading = locked(&self.state);
            (reading.ended || reading.inner.is_end_stream(), reading.read > 0, reading.inner.size_hint().lower())
        };
        if ended || !self.in_turn {
            return true;
        }
        if least > MAX_BODY as u64 || self.expects && !begun {
            return false;
        }
        let rest = async {
            let mut left = MAX_BODY;
            loop {
                match std::future::poll_fn(|cx| locked(&self.state).poll(cx)).await {
                    None => return true,
                    Some(Ok(frame)) => {
                        let length = frame.data_ref().map_or(0, Bytes::len);
                        let Some(less) = left.checked_sub(length) else { return false };
                        left = less;
                    }
                    Some(Err(_)) => return false,
                }
            }
        };
        tokio::time::timeout(PATIENCE, rest).await.unwrap_or(false)
    }
}

fn locked(state: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.read += frame.data_ref().map_or(0, Bytes::len),
            Poll::Ready(None | Some(Err(_))) => self.ended = true,
            Poll::Pending => {}
        }
        polled
    }
}

/// What the endpoint has of the body.
struct Shared(Arc<Mutex<Reading>>);

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        locked(&self.0).poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        let reading = locked(&self.0);
        reading.ended || reading.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        locked(&self.0).inner.size_hint()
    }
}

/// `answer`, whose bytes are recorded when the last of them is gone, or the client is.
pub fn measured(mut answer: Response, size: Histogram) -> Response {
    let inner: Inner = answer.take_body().into();
    answer.set_body(Body::from(Inner::new(Sent { inner, bytes: 0, size })));
    answer
}

struct Sent {
    inner: Inner,
    bytes: u64,
    size: Histogram,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Sent {
    #[expect(clippy::cast_precision_loss, reason = "no answer has 2^53 bytes")]
    fn drop(&mut self) {
        self.size.record(self.bytes as f64);
    }
}
