//! Every query is answered in time, also where the database is silent: then with 503. What a query waits for, and how long, is
//! said where it waits.

use std::{cell::Cell, pin::pin, time::Duration};

use poem::{Endpoint, Request, Response};
use service::http::Problem;
use tokio::time::{Instant, timeout_at};

/// How long the database may take for all that one query asks of it.
const READING: Duration = Duration::from_millis(4500);

tokio::task_local! {
    /// How long the query of this task may wait, beside what it may read.
    static WAITING: Cell<Duration>;
}

/// The query is about to wait for so long at most.
pub fn allow(wait: Duration) {
    // Outside of a query nobody has a deadline.
    let _ = WAITING.try_with(|waiting| waiting.set(waiting.get() + wait));
}

/// Answers as `endpoint` does, or with 503 when it takes longer than it may. What an answer streams is not meant.
pub async fn keep<E: Endpoint>(endpoint: impl AsRef<E>, request: Request) -> poem::Result<Response> {
    let began = Instant::now();
    let within = async {
        let mut answer = pin!(endpoint.as_ref().call(request));
        loop {
            let allowed = || began + READING + WAITING.with(Cell::get);
            let until = allowed();
            match timeout_at(until, answer.as_mut()).await {
                Ok(answer) => return answer.map(poem::IntoResponse::into_response),
                // It has begun to wait meanwhile.
                Err(_) if allowed() > until => {}
                Err(_) => return Err(Problem::down("the read models do not answer in time, try again").into()),
            }
        }
    };
    WAITING.scope(Cell::new(Duration::ZERO), within).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use poem::endpoint::make;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_may_take_longer() {
        let answered = async |waits: &'static [u64], takes: u64| {
            let endpoint = make(move |_| async move {
                for wait in waits {
                    allow(Duration::from_secs(*wait));
                }
                tokio::time::sleep(Duration::from_secs(takes)).await;
            });
            keep(Arc::new(endpoint), Request::default()).await.is_ok()
        };
        assert!(answered(&[], 4).await && !answered(&[], 5).await);
        assert!(answered(&[5], 9).await && !answered(&[5], 10).await);
        assert!(answered(&[5, 10], 19).await && !answered(&[5, 10], 20).await);
    }
}
