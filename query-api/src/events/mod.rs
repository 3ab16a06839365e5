//! The events of the log, from any position on: as a list, and as they happen.
//!
//! The log is read once for all who listen ([`tail`]); who is behind reads the table ([`subscriber`]). Both go by position,
//! which has no gaps and is in the order of the commits, so that one number says all that a client has.

mod answer;
mod event;
mod filter;
mod page;
mod room;
#[cfg(test)]
mod seam;
mod subscriber;
mod tail;

use futures_util::StreamExt as _;
use poem_openapi::{
    OpenApi,
    param::{Header, Query},
};
use service::http::{self, Caller, Problem, Read};
use uuid::Uuid;

use crate::{
    Context,
    contexts::company::MEMBERS,
    deadline, membership,
    reading::Reading,
    sse,
    waiters::{self, PATIENCE},
};

pub use answer::Answer;
pub use event::Event;
pub use filter::Filter;
pub use tail::Tail;

/// The queries about events.
pub struct Events(pub Reading);

#[OpenApi(tag = "Context::Log")]
impl Events {
    /// The events of the log
    ///
    /// In the order of the log: a user's own and those of the shared catalogue, an admin's are all. As `text/event-stream`
    /// the list goes on with what happens, until the token expires; each message's `id` is the event's position, its `event`
    /// the kind, its `data` the event, and `Last-Event-ID` resumes. A message with an `id` alone says how far the log was
    /// looked through.
    #[oai(path = "/api/v1/events", method = "get", operation_id = "events")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    async fn events(
        &self,
        caller: Caller,
        /// Only those of this stream: `user`, `specialty`, `sub_specialty`, `prompt`, `execution`, or `ops` (for admins).
        stream: Query<Option<String>>,
        /// Only those of this tenant (a user's personal tenant has the user's id, a company's that of the company, for its
        /// members: a stream ends for who is one no more), or of the `public` scope, which has the shared catalogue.
        /// Another's needs the role `admin`.
        scope: Query<Option<String>>,
        /// Only those of this kind, as `execution_succeeded`.
        kind: Query<Option<String>>,
        /// Only those after this position, 0 by default; `Daybook-Position` of a page is the position of the last event.
        after: Query<Option<i64>>,
        /// For a stream: the position of the last event that the client has. It takes the place of `after`.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
        #[oai(name = "Accept")] accept: Header<Option<String>>,
        /// How many at most, in a page.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before. A page may have fewer events than `limit`, or none, and the list go on.
        cursor: Query<Option<String>>,
        /// Waits until the log that is read here has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Answer, Problem> {
        let filter = Filter::parse(&caller, stream.as_deref(), scope.as_deref(), kind.as_deref())?;
        let (limit, place) = (http::limit(limit.0)?, http::place::<i64>(cursor.as_deref())?);
        let (live, tail) = (sse::wanted(accept.as_deref()), &self.0.tail);
        let last = if live { last_event_id_of(last_event_id.as_deref())? } else { None };
        if let Some(position) = http::min_position(min_position.0)? {
            let _place = self.0.waiters.place(caller.id)?;
            deadline::allow(PATIENCE);
            if !tail.reached(position, PATIENCE).await {
                return Err(waiters::late(position));
            }
        }
        let member_of = filter.foreign(&caller);
        if let Some(tenant) = member_of {
            self.0.reach(&caller, MEMBERS, min_position.0).await?;
            self.may_hear(&caller, tenant).await?;
        }
        let (parameter, after) = match (last, place, after.0) {
            (Some(last), ..) => (LAST_EVENT_ID, last),
            (None, Some(place), _) => ("cursor", place),
            (None, None, after) => ("after", after.unwrap_or(0)),
        };
        if live {
            let subscriber = tail.subscribe(filter, after, &caller)?;
            tail.knows(parameter, after).await?;
            let messages = subscriber.messages();
            return Ok(match member_of {
                None => Answer::live(messages),
                Some(tenant) => Answer::live(messages.take_until(membership::lost(self.0.clone(), caller.id, tenant))),
            });
        }
        tail.knows(parameter, after).await?;
        let (page, head) = page::page(tail, caller.id, &filter, after, limit).await?;
        Ok(Answer::List(Read::new(&page, head, if_none_match.as_deref())))
    }
}

impl Events {
    /// 403 for who is no member of the tenant.
    async fn may_hear(&self, caller: &Caller, tenant: Uuid) -> Result<(), Problem> {
        if membership::may_read(&self.0, Some(caller.id), tenant).await? {
            Ok(())
        } else {
            Err(Problem::forbidden("the events of another's scope need the role admin"))
        }
    }
}

/// The header by which a client resumes a stream.
pub const LAST_EVENT_ID: &str = "Last-Event-ID";

/// The position in [`LAST_EVENT_ID`]; an empty one is none, as the standard has it.
pub fn last_event_id_of(header: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some(id) = header.map(str::trim).filter(|id| !id.is_empty()) else { return Ok(None) };
    let position = id.parse::<i64>().ok().filter(|position| *position >= 0);
    let wrong = || Problem::invalid_parameter(LAST_EVENT_ID, "must be the position of an event, or 0");
    position.map(Some).ok_or_else(wrong)
}
