//! Executions: a caller's own; an admin's are all.

mod attempts;
mod awaited;
mod gathered;
mod history;
mod live;
mod receipt;
mod row;
mod stream;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use nats::Bus;
use poem_openapi::{
    OpenApi,
    param::{Header, Path, Query},
    payload::Response,
};
use service::http::{self, Caller, Page, Problem, Read};
use uuid::Uuid;

use crate::{
    Context, as_of, deadline, events,
    reading::{Reading, more_than, one},
    sse,
    time::Time,
};
use attempts::Attempt;
pub use awaited::{Awaited, End};
use gathered::Gathered;
use history::{Answer, History};
use receipt::Receipt;
use row::{Execution, Failure, Status, execution};
pub use stream::Streaming;
use stream::Streams;

/// The projection that writes these tables.
pub const PROJECTION: &str = "execution";

/// The queries about executions.
pub struct Executions {
    reading: Reading,
    gathered: Arc<Gathered>,
    streams: Streams,
}

impl Executions {
    /// What they are answered from, and where texts in the making are heard.
    pub fn new(reading: Reading, bus: Bus, streaming: &Streaming) -> Self {
        let gathered = Arc::new(Gathered::new(reading.pool.clone()));
        Self { gathered, reading, streams: Streams::new(bus, streaming) }
    }
}

#[OpenApi(tag = "Context::Execution")]
impl Executions {
    /// The caller's executions
    ///
    /// Newest first.
    #[oai(path = "/api/v1/executions", method = "get", operation_id = "executions")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    async fn executions(
        &self,
        caller: Caller,
        /// Only those that are so far.
        status: Query<Option<Status>>,
        /// Only those of this prompt.
        prompt_id: Query<Option<Uuid>>,
        /// `true`: only dead letters, which are neither redriven nor discarded; `false`: only others.
        dead: Query<Option<bool>>,
        /// Only those whose answer ended for this reason, in the provider's word.
        #[oai(validator(max_length = 300))]
        finish_reason: Query<Option<String>>,
        /// Only those of this model, by the name that its prompt gives.
        #[oai(validator(max_length = 1000))]
        model: Query<Option<String>>,
        /// Only those of this provider.
        #[oai(validator(max_length = 50))]
        llm_provider: Query<Option<String>>,
        /// Only those that were requested after this time (RFC 3339).
        created_after: Query<Option<DateTime<Utc>>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Execution>>, Problem> {
        let (limit, below) = (http::limit(limit.0)?, http::place::<Uuid>(cursor.as_deref())?);
        let (below, status) = (below.unwrap_or(Uuid::max()), status.0.map(Status::name));
        let floor = self.reading.reach(&caller, PROJECTION, min_position.0).await?;
        let page = self.reading.page(
            PROJECTION,
            floor,
            limit,
            |row: &Execution| row.id,
            if_none_match.as_deref(),
            || async {
                if caller.is_admin() {
                    return execution!(
                        "id < $1 and ($2::text is null or status = $2) and ($3::uuid is null or prompt_id = $3)
                     and ($5::boolean is null or $5 = (dead and discarded_at is null and not exists
                         (select from execution r where r.is_redrive and r.retry_of = execution.id)))
                     and ($6::text is null or finish_reason = $6) and ($7::text is null or model = $7)
                     and ($8::text is null or llm_provider = $8) and ($9::timestamptz is null or created_at > $9)
                     order by id desc limit $4",
                        below,
                        status,
                        prompt_id.0,
                        more_than(limit),
                        dead.0,
                        finish_reason.0,
                        model.0,
                        llm_provider.0,
                        created_after.0
                    )
                    .fetch_all(&self.reading.pool)
                    .await;
                }
                execution!(
                "user_id = $5 and id < $1 and ($2::text is null or status = $2) and ($3::uuid is null or prompt_id = $3)
                 and ($6::boolean is null or $6 = (dead and discarded_at is null and not exists
                     (select from execution r where r.is_redrive and r.retry_of = execution.id)))
                 and ($7::text is null or finish_reason = $7) and ($8::text is null or model = $8)
                 and ($9::text is null or llm_provider = $9) and ($10::timestamptz is null or created_at > $10)
                 order by id desc limit $4",
                below,
                status,
                prompt_id.0,
                more_than(limit),
                caller.id,
                dead.0,
                finish_reason.0,
                model.0,
                llm_provider.0,
                created_after.0
            )
                .fetch_all(&self.reading.pool)
                .await
            },
        );
        page.await
    }

    /// One execution
    ///
    /// With `Prefer: wait=N` it is answered as soon as it has ended, or after N seconds (up to 60) as it then stands; one
    /// that no read model knows yet is waited for too.
    #[oai(path = "/api/v1/executions/:id", method = "get", operation_id = "execution")]
    async fn execution(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        /// `wait=N`
        #[oai(name = "Prefer")]
        prefer: Header<Option<String>>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        /// How it was at this position of the log, or at this time (RFC 3339): folded from the log at once. Nothing is waited
        /// for then.
        as_of: Query<Option<String>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Response<Read<Execution>>, Problem> {
        if let Some(as_of) = &as_of.0 {
            let position = as_of::position(&self.reading, as_of).await?;
            let row = as_of::row::<::events::execution::row::Execution>(&self.reading, id.0, position).await?;
            let row = row.filter(|row| caller.is_admin() || row.user_id == caller.id);
            let row = row.map(|row| Execution::of(row, position)).transpose()?;
            return Ok(Response::new(one(row, 0, if_none_match.as_deref())?));
        }
        let wait = http::prefer_wait(prefer.as_deref());
        let floor = self.reading.reach(&caller, PROJECTION, min_position.0).await?;
        let row = match wait {
            Some(wait) => self.when_ended(id.0, &caller, wait).await?,
            None => self.find(id.0, &caller).await?,
        };
        let answer = Response::new(one(row, floor, if_none_match.as_deref())?);
        Ok(if wait.is_some() { answer.header("Preference-Applied", "wait") } else { answer })
    }

    /// What happened to an execution
    ///
    /// In order, with positions. As `text/event-stream` it goes on until the execution has ended; `Last-Event-ID` (a
    /// position) resumes.
    #[oai(path = "/api/v1/executions/:id/events", method = "get", operation_id = "execution_events")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    async fn events(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        #[oai(name = "Accept")] accept: Header<Option<String>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
        /// How many at most, by default 100.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Answer, Problem> {
        self.reading.reach(&caller, PROJECTION, min_position.0).await?;
        if sse::wanted(accept.as_deref()) {
            return live::stream(&self.reading, id.0, &caller, last_event_id.as_deref()).await;
        }
        let limit = http::limit(limit.0.or(Some(100)))?;
        let after = http::place::<i32>(cursor.as_deref())?.unwrap_or(0);
        let History { events, position } = history::of(&self.reading, id.0, &caller).await?;
        let rows = events.into_iter().filter(|event| event.version > after).take(limit + 1).collect();
        let page = Page::of(rows, limit, |event| event.version)?;
        let list = Read::new(&page, position, if_none_match.as_deref());
        Ok(Answer::Events(events::Answer::List(list)))
    }

    /// The text of an execution while it is made
    ///
    /// Server-sent events. `chunk` (`{"index", "text"}`): a piece of the text. `attempt` (`{"attempt"}`): another attempt
    /// begins, and with it the text: discard the pieces so far. At the end `succeeded`, `failed`, `timed_out` or `cancelled`
    /// with the execution, as `GET /executions/{id}` answers it. The pieces since the beginning, or the last `attempt`,
    /// are then the `result`, character for character, whenever the client came. `dropped`: it has not taken events in
    /// time, or its token has expired. `Last-Event-ID` resumes; after the outcome it is 204. At most 1,000 streams at a time in a process, by default,
    /// then 503 with `Retry-After`; half of them of one caller, then 429.
    #[oai(path = "/api/v1/executions/:id/stream", method = "get", operation_id = "execution_stream")]
    async fn stream(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Result<stream::Answer, Problem> {
        stream::stream(self, id.0, &caller, last_event_id.as_deref()).await
    }

    /// The attempts of an execution
    ///
    /// Oldest first, with what went wrong, how long each took, and what it cost.
    #[oai(path = "/api/v1/executions/:id/attempts", method = "get", operation_id = "execution_attempts")]
    async fn attempts(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Attempt>>, Problem> {
        self.reading.reach(&caller, PROJECTION, min_position.0).await?;
        let (items, position) = attempts::of(&self.reading, id.0, &caller).await?;
        Ok(Read::new(&Page { items, next_cursor: None }, position, if_none_match.as_deref()))
    }

    /// The receipt of an execution
    ///
    /// Its events as they are stored, with proofs (RFC 6962) that they are in the log, and the signed head that these lead
    /// to: `daybook receipt verify` checks it on any machine. What no head covers yet is waited for, at most 5 seconds, then
    /// 503 with `Retry-After`.
    #[oai(path = "/api/v1/executions/:id/receipt", method = "get", operation_id = "execution_receipt")]
    async fn receipt(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Receipt>, Problem> {
        receipt::of(&self.reading, id.0, &caller, if_none_match.as_deref()).await
    }
}

impl Executions {
    /// The execution, if the caller may see it.
    async fn find(&self, id: Uuid, caller: &Caller) -> Result<Option<Execution>, Problem> {
        let found = self.gathered.find(id).await?;
        Ok(found.filter(|row| caller.is_admin() || row.user_id == caller.id))
    }

    /// The execution when it has ended, or as it is when the time is over.
    async fn when_ended(&self, id: Uuid, caller: &Caller, wait: Duration) -> Result<Option<Execution>, Problem> {
        // First a place in the room, then the look: what happens between the two is not missed.
        let mut watch = self.reading.waiters.watch(id, caller.id)?;
        let row = self.find(id, caller).await?;
        if row.as_ref().is_some_and(|row| row.finished_at.is_some()) {
            return Ok(row);
        }
        let owner = (!caller.is_admin()).then_some(caller.id);
        deadline::allow(wait);
        match watch.ended(owner, wait).await {
            Some(ended) => Ok(Some(Arc::unwrap_or_clone(ended))),
            None => self.find(id, caller).await,
        }
    }
}
