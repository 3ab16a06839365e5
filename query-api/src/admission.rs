//! Whose session was closed is told nothing more: queries are refused, and streams end, within 5 seconds in every process.

use std::{sync::Arc, time::Duration};

use events::{Store, session::OpenSessions};
use futures_util::{StreamExt as _, TryStreamExt as _};
use poem::{
    Body, Endpoint, IntoResponse as _, Request, RequestBody, Response,
    http::{HeaderMap, header},
};
use poem_openapi::{ApiExtractor as _, ExtractParamOptions};
use service::http::{Admission, Caller, Problem};
use tokio::time::sleep;

use crate::sse;

/// For so long what the log said of a session is believed.
const FRESH: Duration = Duration::from_secs(2);
/// How often whoever listens is looked for again.
const AGAIN: Duration = Duration::from_secs(2);

/// Who may come in, by the log that is read through `store`.
pub fn open_sessions(store: Store) -> OpenSessions {
    OpenSessions::new(store, FRESH)
}

/// Asks `sessions` for every caller.
pub fn admission(sessions: OpenSessions) -> Admission {
    let sessions = Arc::new(sessions);
    Admission::new(move |caller| {
        let sessions = Arc::clone(&sessions);
        async move {
            match caller.session {
                Some(session) if !sessions.is_open(session, caller.id).await? => Err(Problem::unauthorized()),
                _ => Ok(caller),
            }
        }
    })
}

/// Answers as `endpoint` does; a stream of events ends when its caller may not come in any more.
pub async fn keep<E: Endpoint>(admission: Admission, endpoint: Arc<E>, mut request: Request) -> poem::Result<Response> {
    let streams = takes_events(request.headers()) || request.uri().path().ends_with("/stream");
    request.set_data(admission.clone());
    // Without a caller the endpoint says so.
    let caller = if streams {
        Caller::from_request(&request, &mut RequestBody::default(), ExtractParamOptions::default()).await.ok()
    } else {
        None
    };
    let response = endpoint.call(request).await?.into_response();
    let Some(caller) =
        caller.filter(|_| response.content_type().is_some_and(|media| media.starts_with(sse::MEDIA_TYPE)))
    else {
        return Ok(response);
    };
    let (parts, body) = response.into_parts();
    let messages = body.into_bytes_stream().map_err(std::io::Error::other).take_until(ended(admission, caller));
    Ok(Response::from_parts(parts, Body::from_bytes_stream(messages)))
}

fn takes_events(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter();
    accepts.filter_map(|accept| accept.to_str().ok()).any(|accept| accept.contains(sse::MEDIA_TYPE))
}

/// Ends when `caller` may not come in any more. A log that cannot be read says nothing about that.
async fn ended(admission: Admission, caller: Caller) {
    loop {
        sleep(AGAIN).await;
        if admission.of(caller.clone()).await.is_err_and(|problem| problem.status() == 401) {
            return;
        }
    }
}
