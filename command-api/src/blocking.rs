//! Work that would hold up the runtime's threads: done on threads of its own, a little at a time, with a bounded queue.
//!
//! The threads stay the same: memory that such work takes for a moment (19 MiB for a password) stays with the allocator's
//! arena of its thread, and a pool that grows and shrinks would keep that of every thread it ever had.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use service::http::Problem;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};
use tracing::Span;

/// How long work waits for a place, so that a client hears within 5 s that there is none.
const PATIENCE: Duration = Duration::from_secs(3);

type Work = Box<dyn FnOnce() + Send>;

/// A few threads to work on, and a bounded queue before them. The threads end when this is dropped.
pub struct Blocking {
    threads: mpsc::Sender<Work>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
}

/// The work panicked; the panic itself was logged.
#[derive(Debug, thiserror::Error)]
#[error("work on a thread of its own panicked")]
struct Panicked;

impl Blocking {
    /// `places` at a time, `queue` waiting. Like any start of a thread it panics where the system has none left.
    pub fn new(places: usize, queue: usize) -> Self {
        let (threads, work) = mpsc::channel::<Work>();
        let work = Arc::new(Mutex::new(work));
        for _ in 0..places {
            let work = Arc::clone(&work);
            thread::spawn(move || {
                loop {
                    let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(next) = next else { return };
                    // Who waits for it hears that nothing came of it.
                    let _ = catch_unwind(AssertUnwindSafe(next));
                }
            });
        }
        Self { threads, places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0), queue }
    }

    /// Does `work` on one of the threads; 503 with `Retry-After` when too much waits already.
    ///
    /// The place is taken until the work is done, also when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let place = self.place().await?;
        let span = Span::current();
        let (done, answer) = oneshot::channel();
        let work = move || {
            let _place = place;
            // Nobody may wait for it any more.
            let _ = done.send(span.in_scope(work));
        };
        // Where the threads are gone, the answer is, too.
        let _ = self.threads.send(Box::new(work));
        answer.await.map_err(|_| Problem::internal(Panicked))
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
        assert_eq!(blocking.run(|| panic!("as a defect would")).await.map(|()| 0).expect_err("nothing").status(), 500);
        assert_eq!(blocking.run(|| 5).await.expect("the thread is still there"), 5);
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
