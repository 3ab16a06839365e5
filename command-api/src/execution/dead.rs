//! Dead letters: what failed after all its attempts. They are sent again, one or many, or discarded; who did it and why is in
//! the log.

use std::sync::Arc;

use events::{
    Call, Error, Key, execute,
    execution::{
        self, Command, Execution, Redrive,
        dead::{self, Filter, Found},
    },
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

use super::PATH;
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
            description = "A repeated request with the same key gets what the first has sent again, and sends nothing."
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
        let work = async move |dispatcher: Arc<Dispatcher>, call| {
            let user_id = (!dispatcher.user(caller.id).await?.is_admin()).then_some(caller.id);
            let filter = Filter { user_id, prompt_id };
            let Found { count: matched, ids } = dead::find(&dispatcher.store, &filter, MOST).await?;
            if matched == 0 {
                return Err(Problem::conflict("nothing_matches", "no dead letter matches the filter"));
            }
            if dry_run {
                return Ok(Many::Counted(Json(Redriven { matched, count: 0, items: Vec::new() })));
            }
            let dispatcher = &dispatcher;
            let mut sent: Vec<_> = stream::iter(ids)
                .map(|id| {
                    let (redrive, call) = (redrive.clone(), part(&call, matched, id));
                    async move { dispatcher.redrive(id, redrive, call).await }
                })
                .buffer_unordered(BESIDE)
                .try_filter_map(async |sent| Ok::<_, Problem>(sent))
                .try_collect()
                .await?;
            // As a repetition finds them.
            sent.sort_unstable_by_key(|(position, _)| *position);
            Ok(Many::accepted(matched, sent.into_iter().map(|(_, sent)| sent).collect(), None))
        };
        // Nobody cancels it in the middle; what it has not reached by then is reached by another request.
        self.0.once(call, |dispatcher, key| async move { dispatcher.redriven(&key).await }, work).await
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
    fn accepted(matched: i64, items: Vec<Sent>, replayed: Option<bool>) -> Self {
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        Self::Accepted(Json(Redriven { matched, count, items }), replayed)
    }
}

/// What begins the part of a key that is one dead letter's.
const PART: char = '\n';

/// The part of `call` that sends `id` again, one of `matched` dead letters. Its key says so: there is no other record of the
/// request as a whole, and none that could be lost between two of its parts.
fn part(call: &Call, matched: i64, id: Uuid) -> Call {
    let key = call.key.as_ref().map(|key| Key { key: format!("{}{PART}{matched} {id}", key.key), ..key.clone() });
    Call { key, ..call.clone() }
}

impl Dispatcher {
    /// What the first request with `key` has sent again, if there was one.
    async fn redriven(&self, key: &Key) -> Result<Option<Many>, Problem> {
        let parts = Key { key: format!("{}{PART}", key.key), ..key.clone() };
        let parts = self.store.replays(&parts).await?.ok_or_else(|| Error::<execution::Error>::KeyReused)?;
        let mut matched = 0;
        let mut items = Vec::with_capacity(parts.len());
        for (part, id) in parts {
            let known =
                part.split_once(' ').and_then(|(of, retry_of)| Some((of.parse().ok()?, retry_of.parse().ok()?)));
            let (of, retry_of) = known
                .ok_or_else(|| Problem::internal(std::io::Error::other(format!("{part:?} is no part of a redrive"))))?;
            matched = of;
            items.push(Sent { id, retry_of });
        }
        Ok((!items.is_empty()).then(|| Many::accepted(matched, items, Some(true))))
    }

    /// Sends the dead letter `id` again, and where that is in the log; nothing if it is none any more.
    async fn redrive(&self, id: Uuid, redrive: Redrive, call: Call) -> Result<Option<(i64, Sent)>, Problem> {
        let dead = self.store.load::<Execution>(id).await?.aggregate;
        let Ok(request) = dead.redrive(id, redrive) else { return Ok(None) };
        match dead::send(&self.store, request, call).await {
            Ok(receipt) => Ok(Some((receipt.position, Sent { id: receipt.id, retry_of: id }))),
            Err(Error::Refused(execution::Error::Redriven)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A reason, unless it is blank.
fn said(reason: Option<String>) -> Option<String> {
    reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty())
}
