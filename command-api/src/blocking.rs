//! Work that would hold up the runtime's threads: done on threads of its own, a little at a time, with a bounded queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use service::http::Problem;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};
use tracing::Span;

/// How long work waits for a place, so that a client hears within 5 s that there is none.
const PATIENCE: Duration = Duration::from_secs(3);

/// A few places to work at, and a bounded queue before them.
pub struct Blocking {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
}

impl Blocking {
    /// `places` at a time, `queue` waiting.
    pub fn new(places: usize, queue: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0), queue }
    }

    /// Does `work` on a blocking thread; 503 with `Retry-After` when too much waits already.
    ///
    /// The place is taken until the work is done, also when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let place = self.place().await?;
        let span = Span::current();
        let work = move || {
            let _place = place;
            span.in_scope(work)
        };
        spawn_blocking(work).await.map_err(Problem::internal)
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _queued = Queued::last(&self.waiting, self.queue).ok_or_else(busy)?;
        match timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

fn busy() -> Problem {
    Problem::down("too many requests of this kind are waiting, try again").retry_after(Duration::from_secs(2))
}

/// A place in the queue.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn last(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let queued = Self(waiting);
        (before < most).then_some(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn who_finds_the_queue_full_is_sent_away() {
        let blocking = Arc::new(Blocking::new(1, 1));
        let (finish, wait) = mpsc::channel::<()>();
        let (begun, at_work) = tokio::sync::oneshot::channel();
        let work = move || {
            begun.send(()).expect("the test waits");
            wait.recv()
        };
        let first = tokio::spawn({
            let blocking = Arc::clone(&blocking);
            async move { blocking.run(work).await }
        });
        at_work.await.expect("the first has the place");
        let mut second = std::pin::pin!(blocking.run(|| 2));
        assert!(futures_poll(second.as_mut()).await.is_none());
        assert_eq!(blocking.run(|| 3).await.expect_err("no room").status(), 503);
        finish.send(()).expect("the work goes on");
        assert_eq!(second.await.expect("a place"), 2);
        assert!(first.await.expect("no panic").is_ok());
        assert_eq!(blocking.run(|| 4).await.expect("room again"), 4);
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
