//! Every query is answered in time, also where the database is silent: then with 503.

use std::time::Duration;

use poem::{Endpoint, Request, Response, http::header::HeaderName};
use service::http::{self, Problem};
use tokio::time::timeout;

use crate::waiters::PATIENCE;

/// How long the database may take for all that one query asks of it.
const READING: Duration = Duration::from_millis(4500);

/// Answers as `endpoint` does, or with 503 when it takes longer than it may. What an answer streams is not meant.
pub async fn keep<E: Endpoint>(endpoint: impl AsRef<E>, request: Request) -> poem::Result<Response> {
    let within = allowed(&request);
    match timeout(within, endpoint.as_ref().call(request)).await {
        Ok(answer) => answer.map(poem::IntoResponse::into_response),
        Err(_) => Err(Problem::down("the read models do not answer in time, try again").into()),
    }
}

/// The time to read in, and what the request itself wants to wait.
fn allowed(request: &Request) -> Duration {
    let prefer = request.header(HeaderName::from_static("prefer"));
    let waits = http::prefer_wait(prefer).unwrap_or_default();
    let query = request.uri().query().unwrap_or_default();
    let floor = query.split('&').any(|pair| pair.starts_with("min_position="));
    let floor = floor || request.uri().path().ends_with("/receipt");
    READING + waits + if floor { PATIENCE } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_to_wait_may_wait_longer() {
        let allowed = |uri: &str, prefer: Option<&str>| {
            let mut request = Request::builder().uri_str(uri);
            if let Some(prefer) = prefer {
                request = request.header("prefer", prefer);
            }
            allowed(&request.finish())
        };
        assert_eq!(allowed("/x?limit=1", None), READING);
        assert_eq!(allowed("/x?limit=1&min_position=7", None), READING + PATIENCE);
        assert_eq!(allowed("/executions/7/receipt", None), READING + PATIENCE);
        assert_eq!(allowed("/x", Some("wait=10")), READING + Duration::from_secs(10));
    }
}
