//! Running prompts, and steering what runs.

mod batch;
mod dead;

use std::sync::Arc;

use events::{
    Call, Receipt, execute,
    execution::{self, Command, Execution, Request, Resolution, dead::send},
    model::Parameters,
    policy::{Policy, check_deadline},
    prompt::{self, Prompt, unless_archived},
};
use poem_openapi::{Enum, Object, OpenApi, param::Path};
use rust_decimal::Decimal;
use serde_json::{Map, Value};
use service::http::{Body, Caller, Check, Faults, Problem, pointer};
use uuid::Uuid;

use crate::{
    answer::{Accepted, Context},
    dispatch::Dispatcher,
    envelope::Envelope,
};

pub use dead::DeadLetters;

const PATH: &str = "/api/v1/executions";

/// What a prompt is run with.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct Run {
    /// What its template is rendered with: an object that fits the prompt's schema.
    variables: Option<Value>,
    /// Which version of the prompt; the newest if left out.
    version: Option<i32>,
    /// How long all of it may take, waiting included, in seconds, 1 to 86400; as the prompt's policy has it if left out.
    deadline_seconds: Option<u32>,
}

impl Check for Run {
    fn check(&self, faults: &mut Faults) {
        if let Some(fault) = self.deadline_seconds.and_then(|seconds| check_deadline(seconds, "/deadline_seconds")) {
            faults.push(fault.pointer, fault.detail);
        }
    }
}

/// Why an execution is cancelled.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct Cancellation {
    /// For people.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

impl Check for Cancellation {}

/// What becomes of an execution whose outcome is unknown.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case", rename = "ExecutionResolution")]
pub enum Decision {
    /// It is called once more.
    Retry,
    /// It has failed.
    Fail,
}

/// What somebody decides on an execution whose outcome is unknown.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct Resolve {
    /// What becomes of it.
    resolution: Decision,
    /// For people.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
    /// USD, as a decimal: what the provider says that the call has cost. Left out, the most that it can have cost stays booked. Less
    /// than that only an admin may say; an owner gets 403 `cost_below_booked`. Not counted where its late answer has said it
    /// meanwhile.
    #[oai(validator(max_length = 30))]
    cost: Option<String>,
}

impl Check for Resolve {
    fn check(&self, faults: &mut Faults) {
        let good = self.cost.as_deref().is_none_or(|cost| amount(cost).is_some());
        faults.check(good, "/cost", "is not an amount such as 0.000315");
    }
}

/// An amount of money that is none below zero.
fn amount(text: &str) -> Option<Decimal> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse().ok().filter(|_| digits)
}

/// Nothing more is to be said.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct Again {}

// A schema of no fields is one of any.
impl Check for Again {
    fn check_json(body: &Value, faults: &mut Faults) {
        for field in body.as_object().into_iter().flat_map(Map::keys) {
            faults.push(pointer("", field), "is not a field of this");
        }
    }
}

/// The commands of this context.
pub struct Executions(pub Arc<Dispatcher>);

#[OpenApi(
    tag = "Context::Execution",
    request_header(
        name = "Idempotency-Key",
        ty = "Option<String>",
        description = "A repeated request with the same key gets the first answer."
    )
)]
impl Executions {
    /// Runs a prompt. The answer names the execution, in which a worker will write what the model said.
    #[oai(path = "/api/v1/execute-prompt/:prompt_id", method = "post", operation_id = "execute_prompt")]
    async fn run(
        &self,
        caller: Caller,
        prompt_id: Path<Uuid>,
        envelope: Envelope,
        body: Body<Run>,
    ) -> Result<Accepted, Problem> {
        let prompt_id = prompt_id.0;
        let Run { variables, version, deadline_seconds } = body.value;
        let variables = variables.unwrap_or_else(|| Value::Object(Map::new()));
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                dispatcher.known(caller.id).await?;
                let kept = dispatcher.prompts.load(&dispatcher.store, caller.id, prompt_id).await?;
                let prompt = &kept.prompt;
                let runnable = prompt.is_runnable_by(caller.id, false, version)
                    || prompt.is_runnable_by(caller.id, true, version) && dispatcher.user(caller.id).await?.is_admin();
                if !runnable {
                    return Err(Problem::refusal(&prompt::Error::NotFound));
                }
                let at_once = prompt.renders_at_once(version, &variables);
                let render = move || request(&kept.prompt, caller.id, prompt_id, version, variables, deadline_seconds);
                let request = if at_once { render() } else { dispatcher.rendering.run(caller.id, render).await? };
                let request = request.map_err(|error| Problem::refusal(&error))?;
                dispatcher.request(request, call).await
            })
            .await?;
        Ok(Accepted::within(PATH, receipt))
    }

    /// Cancels an execution that has not ended: at once while it is queued, else its worker is asked to stop.
    #[oai(
        path = "/api/v1/executions/:id/cancel",
        method = "post",
        operation_id = "cancel_execution",
        request_header(
            name = "If-Match",
            ty = "Option<String>",
            description = "The version that is to be cancelled, as `\"1\"`."
        )
    )]
    async fn cancel(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        envelope: Envelope,
        body: Body<Cancellation>,
    ) -> Result<Accepted, Problem> {
        let id = id.0;
        let reason = body.value.reason.filter(|reason| !reason.trim().is_empty());
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                dispatcher.visible(id, caller.id).await?;
                let command = Command::Cancel { by: caller.id, reason };
                Ok(execute::<Execution>(&dispatcher.store, id, command, call).await?)
            })
            .await?;
        Ok(Accepted::within(PATH, receipt))
    }

    /// Decides what becomes of an execution whose outcome is unknown, and whose policy is to hold it then.
    #[oai(
        path = "/api/v1/executions/:id/resolve",
        method = "post",
        operation_id = "resolve_execution",
        request_header(
            name = "If-Match",
            ty = "Option<String>",
            description = "The version that is to be resolved, as `\"1\"`."
        )
    )]
    async fn resolve(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        envelope: Envelope,
        body: Body<Resolve>,
    ) -> Result<Accepted, Problem> {
        let id = id.0;
        let Resolve { resolution, reason, cost } = body.value;
        let reason = reason.filter(|reason| !reason.trim().is_empty());
        let cost = cost.as_deref().and_then(amount);
        let resolution = match resolution {
            Decision::Retry => Resolution::Retry,
            Decision::Fail => Resolution::Fail,
        };
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                dispatcher.visible(id, caller.id).await?;
                let is_admin = cost.is_some() && dispatcher.user(caller.id).await?.is_admin();
                let command = Command::Resolve { by: caller.id, resolution, reason, cost, is_admin };
                Ok(execute::<Execution>(&dispatcher.store, id, command, call).await?)
            })
            .await?;
        Ok(Accepted::within(PATH, receipt))
    }

    /// Requests a new execution, the same once more, for one that failed, timed out or was cancelled.
    #[oai(path = "/api/v1/executions/:id/retry", method = "post", operation_id = "retry_execution")]
    async fn retry(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        envelope: Envelope,
        body: Body<Again>,
    ) -> Result<Accepted, Problem> {
        let id = id.0;
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                let ended = dispatcher.visible(id, caller.id).await?;
                let request = ended.retry(id).map_err(|error| Problem::refusal(&error))?;
                dispatcher.request(request, call).await
            })
            .await?;
        Ok(Accepted::within(PATH, receipt))
    }
}

/// All that a worker needs. Up to some milliseconds of work.
fn request(
    prompt: &Prompt,
    user_id: Uuid,
    prompt_id: Uuid,
    version: Option<i32>,
    variables: Value,
    deadline_seconds: Option<u32>,
) -> Result<Request, prompt::Error> {
    let rendered = prompt.render(version, &variables)?;
    let policy = rendered.revision.policy;
    let policy = Policy { deadline_seconds: deadline_seconds.unwrap_or(policy.deadline_seconds), ..policy };
    // They are among the messages: once is enough.
    let parameters = Parameters { messages: Vec::new(), ..rendered.revision.parameters.clone() };
    Ok(Request {
        user_id,
        prompt_id,
        prompt_version: rendered.version,
        messages: rendered.messages,
        llm_provider: rendered.revision.llm_provider.clone(),
        model: rendered.revision.model.clone(),
        parameters,
        retry_of: None,
        policy: Some(policy),
        redrive: None,
        variables,
    })
}

impl Dispatcher {
    /// Requests a new execution. What the client may have meant by If-Match is no version of what is new.
    async fn request(&self, request: Request, call: Call) -> Result<Receipt, Problem> {
        let needs = [unless_archived(request.prompt_id, execution::Error::PromptArchived)];
        Ok(send(&self.store, request, call, &needs).await?)
    }

    /// The execution `id`, if the caller may see it.
    async fn visible(&self, id: Uuid, caller: Uuid) -> Result<Execution, Problem> {
        self.known(caller).await?;
        let execution = self.store.load::<Execution>(id).await?.aggregate;
        let visible = execution.is_visible_to(caller, false)
            || execution.is_visible_to(caller, true) && self.user(caller).await?.is_admin();
        if visible { Ok(execution) } else { Err(Problem::refusal(&execution::Error::NotFound)) }
    }
}
