//! The two forms of an answer with events: a page, or a stream.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use poem::IntoResponse;
use poem_openapi::{
    ApiResponse,
    registry::{MetaResponses, Registry},
};
use service::http::{Page, Read};

use super::Event;
use crate::sse;

/// A list, or a stream that goes on.
pub enum Answer {
    /// JSON.
    List(Read<Page<Event>>),
    /// Server-sent events.
    Live(BoxStream<'static, Bytes>),
}

impl Answer {
    /// The stream of these messages.
    pub fn live(messages: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::Live(messages.boxed())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> poem::Response {
        match self {
            Self::List(list) => list.into_response(),
            Self::Live(messages) => sse::answer(messages),
        }
    }
}

impl ApiResponse for Answer {
    fn meta() -> MetaResponses {
        let mut meta = <Read<Page<Event>> as ApiResponse>::meta();
        if let Some(ok) = meta.responses.iter_mut().find(|response| response.status == Some(200)) {
            ok.content.push(sse::media("JSON: an event of the log, as one of the `items` of the list."));
        }
        meta
    }

    fn register(registry: &mut Registry) {
        <Read<Page<Event>> as ApiResponse>::register(registry);
    }
}
