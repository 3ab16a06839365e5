//! Work that would hold up the runtime's threads: done on threads of its own, a little at a time, with a bounded queue for each
//! caller. Callers have the threads in turn.
//!
//! The threads stay the same: memory that such work takes for a moment (19 MiB for a password) stays with the allocator's
//! arena of its thread, and a pool that grows and shrinks would keep that of every thread it ever had. Their stacks are of
//! one known size, for what is parsed there.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use service::{
    http::Problem,
    shares::{Full, Limits, Share, Shares},
};
use tokio::{sync::oneshot, time::timeout};
use tracing::Span;
use uuid::Uuid;

/// How long work waits for a place, so that a client hears within 5 s that there is none.
const PATIENCE: Duration = Duration::from_secs(3);
/// When to come again.
const LATER: Duration = Duration::from_secs(2);
/// The stack of each thread, of which the system gives only what is used.
const STACK: usize = 16 << 20;

type Work = Box<dyn FnOnce() + Send>;

/// A few threads to work on, and a bounded queue before them. The threads end when this is dropped.
pub struct Blocking {
    threads: mpsc::Sender<Work>,
    shares: Shares,
}

/// The work panicked; the panic itself was logged.
#[derive(Debug, thiserror::Error)]
#[error("work on a thread of its own panicked")]
struct Panicked;

impl Blocking {
    /// As many threads as there are places. Like any start of a thread it panics where the system has none left.
    pub fn new(limits: Limits) -> Self {
        let (threads, work) = mpsc::channel::<Work>();
        let work = Arc::new(Mutex::new(work));
        for _ in 0..limits.places {
            let work = Arc::clone(&work);
            let loops = move || {
                loop {
                    let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(next) = next else { return };
                    // Who waits for it hears that nothing came of it.
                    let _ = catch_unwind(AssertUnwindSafe(next));
                }
            };
            if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(loops) {
                panic!("a thread could not be started: {error}");
            }
        }
        Self { threads, shares: Shares::new(limits) }
    }

    /// Does `work` on one of the threads when it is the turn of `caller`; 429 or 503 with `Retry-After` when too much of the
    /// caller, or of all, waits already.
    ///
    /// The place is taken until the work is done, also when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        caller: Uuid,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = turn(&self.shares, caller).await?;
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
}

/// A place of `shares`, as soon as it is the turn of `caller`, or soon a problem.
pub async fn turn(shares: &Shares, caller: Uuid) -> Result<Share, Problem> {
    let full = match timeout(PATIENCE, shares.take(caller)).await {
        Ok(Ok(place)) => return Ok(place),
        Ok(Err(full)) => full,
        Err(_) => Full::All,
    };
    Err(full.problem("requests of this kind waiting", LATER))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    #[tokio::test]
    async fn who_finds_the_queue_full_is_sent_away() {
        let blocking = Arc::new(Blocking::new(Limits { places: 1, each: 1, queue: 2, queue_each: 1 }));
        let (finish, wait) = mpsc::channel::<()>();
        let (begun, at_work) = tokio::sync::oneshot::channel();
        let work = move || {
            begun.send(()).expect("the test waits");
            wait.recv()
        };
        let first = tokio::spawn({
            let blocking = Arc::clone(&blocking);
            async move { blocking.run(ONE, work).await }
        });
        at_work.await.expect("the first has the place");
        let mut second = std::pin::pin!(blocking.run(ONE, || 2));
        assert!(futures_poll(second.as_mut()).await.is_none());
        // Its own queue is full; another has room, until that of all is.
        assert_eq!(blocking.run(ONE, || 3).await.expect_err("no room").status(), 429);
        let mut third = std::pin::pin!(blocking.run(OTHER, || 3));
        assert!(futures_poll(third.as_mut()).await.is_none());
        assert_eq!(blocking.run(Uuid::nil(), || 3).await.expect_err("no room").status(), 503);
        finish.send(()).expect("the work goes on");
        let (second, third) = tokio::join!(second, third);
        assert_eq!((second.expect("a place"), third.expect("a place")), (2, 3));
        assert!(first.await.expect("no panic").is_ok());
        assert_eq!(blocking.run(ONE, || 4).await.expect("room again"), 4);
        assert_eq!(
            blocking.run(ONE, || panic!("as a defect would")).await.map(|()| 0).expect_err("nothing").status(),
            500
        );
        assert_eq!(blocking.run(ONE, || 5).await.expect("the thread is still there"), 5);
    }

    #[tokio::test]
    async fn however_much_of_ones_waits_another_waits_for_no_more_than_the_work_that_is_done() {
        let blocking = Arc::new(Blocking::new(Limits { places: 1, each: 1, queue: 100, queue_each: 50 }));
        let (finish, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let (order, told) = mpsc::channel();
        let run = |caller: Uuid| {
            let (blocking, wait, order) = (Arc::clone(&blocking), Arc::clone(&wait), order.clone());
            let work = move || {
                let _ = wait.lock().unwrap_or_else(PoisonError::into_inner).recv();
                order.send(caller).expect("the test listens");
            };
            Box::pin(async move { blocking.run(caller, work).await })
        };
        let mut ones: Vec<_> = (0..50).map(|_| run(ONE)).collect();
        for one in &mut ones {
            assert!(futures_poll(one.as_mut()).await.is_none());
        }
        let mut other = run(OTHER);
        assert!(futures_poll(other.as_mut()).await.is_none());
        for _ in 0..51 {
            finish.send(()).expect("the work goes on");
        }
        let ones = tokio::spawn(futures_util::future::join_all(ones));
        other.await.expect("its turn");
        assert!(ones.await.expect("no panic").iter().all(Result::is_ok));
        let told: Vec<_> = told.try_iter().collect();
        let place = told.iter().position(|caller| *caller == OTHER);
        assert_eq!((told.len(), place), (51, Some(1)));
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
