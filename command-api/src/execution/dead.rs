//! Dead letters: what failed after all its attempts. They are sent again, one or many, or discarded; who did it and why is in
//! the log.

use std::sync::Arc;

use events::{
    Call, Error, Key, execute,
    execution::{
        self, Command, Execution, Redrive,
        dead::{self, Filter, Found},
    },
    prompt::unless_archived,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use poem::http::StatusCode;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde_json::Value;
use service::http::{Body, Caller, Check, Faults, Problem, pointer};
use uuid::Uuid;

use super::{
    PATH,
    batch::{self, Batch, Begun},
};
use crate::{
    answer::{Accepted, Changed, Context},
    dispatch::Dispatcher,
    envelope::Envelope,
};

/// The most dead letters that one request sends again.
const MOST: i64 = 1_000;
/// How many of them are sent beside each other.
const BESIDE: usize = 32;

/// Why a dead letter is sent again.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct Reason {
    /// For people.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

impl Check for Reason {}

/// Why nothing more is to be done about a dead letter.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct Discard {
    /// For people; not blank.
    #[oai(validator(max_length = 500))]
    reason: String,
}

impl Check for Discard {
    fn check_json(body: &Value, faults: &mut Faults) {
        let blank = body.get("reason").and_then(Value::as_str).is_some_and(|reason| reason.trim().is_empty());
        faults.check(!blank, pointer("", "reason"), "is blank");
    }
}

/// What was sent again.
#[derive(Debug, Object)]
pub struct Redriven {
    /// How many dead letters the filter matched.
    matched: i64,
    /// How many of them were sent again; 0 with `dry_run=true`. At most 1000 at a time: the rest by the same request again.
    count: i64,
    /// Each of them.
    items: Vec<Sent>,
}

/// A dead letter that was sent again.
#[derive(Debug, Object)]
pub struct Sent {
    /// The new execution.
    id: Uuid,
    /// The dead letter.
    retry_of: Uuid,
}

/// Redriving many.
#[derive(ApiResponse)]
pub enum Many {
    /// Nothing was done: this is what would be.
    #[oai(status = 200)]
    Counted(Json<Redriven>),
    /// They are recorded, and workers must still act.
    #[oai(status = 202)]
    Accepted(
        Json<Redriven>,
        /// `true` if this repeats the answer to the first request with this `Idempotency-Key`.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

/// The commands on dead letters.
pub struct DeadLetters(pub Arc<Dispatcher>);

#[OpenApi(tag = "Context::Execution")]
impl DeadLetters {
    /// Sends a dead letter again: requests a new execution, the same once more. Once: after that it is no dead letter any
    /// more, and what becomes of the new one is another story.
    #[oai(
        path = "/api/v1/executions/:id/redrive",
        method = "post",
        operation_id = "redrive_execution",
        request_header(
            name = "Idempotency-Key",
            ty = "Option<String>",
            description = "A repeated request with the same key gets the first answer."
        )
    )]
    async fn redrive(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        envelope: Envelope,
        body: Body<Reason>,
    ) -> Result<Accepted, Problem> {
        let id = id.0;
        let redrive = Redrive { by: Some(caller.id), reason: said(body.value.reason) };
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                let dead = dispatcher.visible(id, caller.id).await?;
                let request = dead.redrive(id, redrive).map_err(|error| Problem::refusal(&error))?;
                dispatcher.request(request, call).await
            })
            .await?;
        Ok(Accepted::within(PATH, receipt))
    }

    /// Sends all dead letters again that the filter matches, as `GET /api/v1/executions` lists them: the caller's own, an
    /// admin's are all. At least one of the filters must be given. Each is sent once, however often this is asked.
    #[oai(
        path = "/api/v1/executions/redrive",
        method = "post",
        operation_id = "redrive_executions",
        request_header(
            name = "Idempotency-Key",
            ty = "Option<String>",
            description = "A repeated request with the same key and filter gets the first answer; if that was cut short, it sends the rest of what it was for."
        )
    )]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    async fn redrive_many(
        &self,
        caller: Caller,
        /// `true`: all dead letters, as far as the other filters match them.
        dead: Query<Option<bool>>,
        /// Only `failed` ones; no others are dead letters.
        status: Query<Option<String>>,
        /// Only those of this prompt.
        prompt_id: Query<Option<Uuid>>,
        /// `true`: only counts them.
        dry_run: Query<Option<bool>>,
        envelope: Envelope,
        body: Body<Reason>,
    ) -> Result<Many, Problem> {
        if dead.0.is_none() && status.0.is_none() && prompt_id.0.is_none() {
            let detail =
                "say which: dead=true, status=failed or prompt_id; everything is not sent again without a filter";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "filter_required", detail));
        }
        if let Some(status) = status.0.as_deref().filter(|status| *status != "failed") {
            let detail = format!("no dead letter is {status}: it must be failed");
            return Err(Problem::invalid_parameter("status", detail));
        }
        if dead.0 == Some(false) {
            return Err(Problem::invalid_parameter("dead", "must be true: only dead letters are sent again"));
        }
        let (dry_run, prompt_id) = (dry_run.0.unwrap_or(false), prompt_id.0);
        let redrive = Redrive { by: Some(caller.id), reason: said(body.value.reason) };
        let mut call = envelope.call(caller.id, body.digest);
        if dry_run {
            // Nothing is done that a repetition could do again.
            call.key = None;
        }
        let work = async move |dispatcher: Arc<Dispatcher>, call: Call| {
            let dispatcher = &dispatcher;
            let begun = async || match &call.key {
                Some(key) => batch::begun(&dispatcher.store, key, prompt_id).await,
                None => Ok(None),
            };
            // Of a request that was cut short it is the rest.
            let before = begun().await?.map(|begun| begun.batch);
            let user_id = dispatcher.scope(caller.id).await?;
            let filter = Filter { user_id, prompt_id, until: before.map(|batch| batch.until) };
            let Found { count, ids, until } = dead::find(&dispatcher.store, &filter, MOST).await?;
            if count == 0 && before.is_none() {
                return Err(Problem::conflict("nothing_matches", "no dead letter matches the filter"));
            }
            if dry_run {
                return Ok(Many::Counted(Json(Redriven { matched: count, count: 0, items: Vec::new() })));
            }
            let batch = before.unwrap_or(Batch { matched: count, until, prompt_id });
            let mut sent: Vec<_> = stream::iter(ids)
                .map(|id| {
                    let (redrive, call) = (redrive.clone(), batch.part(&call, id));
                    async move { dispatcher.redrive(id, redrive, call).await }
                })
                .buffer_unordered(BESIDE)
                .try_filter_map(async |sent| Ok::<_, Problem>(sent))
                .try_collect()
                .await?;
            // Another process may have sent some of them for the same request.
            if let Some(all) = begun().await? {
                sent = all.sent;
            }
            sent.sort_unstable();
            Ok(Many::accepted(batch.matched, sent, None))
        };
        // Nobody cancels it in the middle.
        let replay = move |dispatcher: Arc<Dispatcher>, key| async move {
            dispatcher.redriven(caller.id, prompt_id, &key).await
        };
        self.0.once(call, replay, work).await
    }

    /// Marks a dead letter as one about which nothing more is to be done.
    #[oai(
        path = "/api/v1/executions/:id/discard",
        method = "post",
        operation_id = "discard_execution",
        request_header(
            name = "Idempotency-Key",
            ty = "Option<String>",
            description = "A repeated request with the same key gets the first answer."
        )
    )]
    async fn discard(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        envelope: Envelope,
        body: Body<Discard>,
    ) -> Result<Changed, Problem> {
        let id = id.0;
        let reason = body.value.reason.trim().to_owned();
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                dispatcher.visible(id, caller.id).await?;
                let command = Command::Discard { by: Some(caller.id), reason };
                Ok(execute::<Execution>(&dispatcher.store, id, command, call).await?)
            })
            .await?;
        Ok(Changed::within(PATH, receipt))
    }
}

impl Many {
    fn accepted(matched: i64, sent: Vec<(i64, Uuid, Uuid)>, replayed: Option<bool>) -> Self {
        let count = i64::try_from(sent.len()).unwrap_or(i64::MAX);
        let items = sent.into_iter().map(|(_, id, retry_of)| Sent { id, retry_of }).collect();
        Self::Accepted(Json(Redriven { matched, count, items }), replayed)
    }
}

impl Dispatcher {
    /// What was sent again under `key`, once all of that was.
    async fn redriven(&self, caller: Uuid, prompt_id: Option<Uuid>, key: &Key) -> Result<Option<Many>, Problem> {
        let Some(Begun { batch, sent }) = batch::begun(&self.store, key, prompt_id).await? else { return Ok(None) };
        let rest = Filter { user_id: self.scope(caller).await?, prompt_id, until: Some(batch.until) };
        let is_whole = dead::find(&self.store, &rest, 1).await?.count == 0;
        Ok(is_whole.then(|| Many::accepted(batch.matched, sent, Some(true))))
    }

    /// Whose dead letters `caller` sends again: none for an admin, who sends everybody's.
    async fn scope(&self, caller: Uuid) -> Result<Option<Uuid>, Problem> {
        Ok((!self.user(caller).await?.is_admin()).then_some(caller))
    }

    /// Sends the dead letter `id` again: where that is in the log, the new execution and `id`; nothing if it is none any more.
    async fn redrive(&self, id: Uuid, redrive: Redrive, call: Call) -> Result<Option<(i64, Uuid, Uuid)>, Problem> {
        let dead = self.store.load::<Execution>(id).await?.aggregate;
        let Ok(request) = dead.redrive(id, redrive) else { return Ok(None) };
        let needs = [unless_archived(request.prompt_id, execution::Error::PromptArchived)];
        match dead::send(&self.store, request, call, &needs).await {
            Ok(receipt) => Ok(Some((receipt.position, receipt.id, id))),
            // What others are about goes on.
            Err(Error::Refused(execution::Error::Redriven | execution::Error::PromptArchived)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A reason, unless it is blank.
fn said(reason: Option<String>) -> Option<String> {
    reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty())
}
