//! Writing prompts. What a prompt may be is decided by its context, so that it is told all at once; the schemas here only
//! say what is of which type, and bound what is stored.

mod parameters;

use std::sync::Arc;

use events::{
    Requirement,
    catalog::SubSpecialty,
    clock, execute, execute_requiring, policy,
    prompt::{Changes, Command, Error, Prompt, Revision},
};
use poem_openapi::{Enum, Object, OpenApi, param::Path};
use serde_json::Value;
use service::http::{Body, Caller, Check, Faults, Problem, pointer};
use tokio::runtime::Handle;
use uuid::Uuid;

use parameters::Parameters;

use crate::{
    answer::{Changed, Context, Created},
    dispatch::Dispatcher,
    envelope::Envelope,
    execution::Again,
    prompts::Kept,
};

const PATH: &str = "/api/v1/expert-prompts";

/// How hard executions are tried; what is left out has its default.
#[derive(Debug, Clone, Object)]
#[oai(deny_unknown_fields, rename = "NewExecutionPolicy")]
pub struct Policy {
    /// The most attempts, 1 to 20; 5 if left out.
    max_attempts: Option<u32>,
    /// How long all of it may take, waiting included, in seconds, 1 to 86400. Left out it is 600, or for a new prompt its
    /// `parameters.limits.total_seconds`, if that is longer.
    deadline_seconds: Option<u32>,
    /// What becomes of an execution whose worker was lost after the provider had been called, so that nobody knows whether
    /// it was billed: `retry_once` (as if left out), `hold` for somebody to decide, or `fail`.
    outcome_unknown: Option<Unknown>,
}

/// What to do when nobody knows whether a call was billed.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case", rename = "OutcomeUnknownPolicy")]
pub enum Unknown {
    /// Call once more.
    RetryOnce,
    /// Wait for somebody.
    Hold,
    /// Fail.
    Fail,
}

impl Policy {
    /// With this deadline, if it says none.
    fn or_deadline(self, deadline_seconds: u32) -> policy::Policy {
        let default = policy::Policy { deadline_seconds, ..policy::Policy::default() };
        policy::Policy {
            max_attempts: self.max_attempts.unwrap_or(default.max_attempts),
            deadline_seconds: self.deadline_seconds.unwrap_or(default.deadline_seconds),
            outcome_unknown: self.outcome_unknown.map_or(default.outcome_unknown, |unknown| match unknown {
                Unknown::RetryOnce => policy::OnUnknown::RetryOnce,
                Unknown::Hold => policy::OnUnknown::Hold,
                Unknown::Fail => policy::OnUnknown::Fail,
            }),
        }
    }
}

impl From<Policy> for policy::Policy {
    fn from(said: Policy) -> Self {
        said.or_deadline(Self::default().deadline_seconds)
    }
}

/// A new prompt.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct NewPrompt {
    /// Where it stands in the catalogue.
    sub_specialty_id: Uuid,
    /// For people; not blank.
    #[oai(validator(max_length = 200))]
    title: String,
    /// The template, in Jinja syntax.
    #[oai(validator(max_length = 131_072))]
    content: String,
    /// JSON Schema, of type object, of the template's variables.
    variables: Value,
    /// `openai`, `anthropic`, `groq`, `deepseek`, `openrouter`, `ollama`, or `echo`, which needs no key and no model.
    #[oai(validator(max_length = 50))]
    llm_provider: String,
    /// The model's name, as the provider knows it: 1 to 100 printable characters; any for `echo`.
    #[oai(validator(max_length = 1000))]
    model: String,
    /// How the model is to be called.
    parameters: Option<Parameters>,
    /// Whether others may see and run it.
    is_public: bool,
    /// How hard its executions are tried.
    policy: Option<Policy>,
}

impl Check for NewPrompt {}

/// What is to be different; what is left out stays.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct Revised {
    /// Where it stands in the catalogue.
    sub_specialty_id: Option<Uuid>,
    /// For people; not blank.
    #[oai(validator(max_length = 200))]
    title: Option<String>,
    /// The template, in Jinja syntax.
    #[oai(validator(max_length = 131_072))]
    content: Option<String>,
    /// JSON Schema, of type object, of the template's variables.
    variables: Option<Value>,
    /// `openai`, `anthropic`, `groq`, `deepseek`, `openrouter`, `ollama`, or `echo`, which needs no key and no model.
    #[oai(validator(max_length = 50))]
    llm_provider: Option<String>,
    /// The model's name, as the provider knows it: 1 to 100 printable characters; any for `echo`.
    #[oai(validator(max_length = 1000))]
    model: Option<String>,
    /// How the model is to be called: all of it, not only what changes.
    parameters: Option<Parameters>,
    /// Whether others may see and run it.
    is_public: Option<bool>,
    /// How hard its executions are tried: all of it, not only what changes.
    policy: Option<Policy>,
}

impl Check for Revised {
    fn check_json(body: &Value, faults: &mut Faults) {
        let nothing = body.as_object().is_some_and(|fields| fields.values().all(Value::is_null));
        faults.check(!nothing, "", "names nothing to be changed");
        let nulls = body.as_object().into_iter().flatten().filter(|(_, value)| value.is_null() && !nothing);
        for (name, _) in nulls {
            faults.push(pointer("", name), "cannot be taken away: leave it out, or give another");
        }
    }
}

impl From<Revised> for Changes {
    fn from(revised: Revised) -> Self {
        Self {
            sub_specialty_id: revised.sub_specialty_id,
            title: revised.title.map(|title| title.trim().to_owned()),
            content: revised.content,
            variables: revised.variables,
            llm_provider: revised.llm_provider,
            model: revised.model,
            parameters: revised.parameters.map(Into::into),
            is_public: revised.is_public,
            policy: revised.policy.map(Into::into),
        }
    }
}

/// The commands of this context.
pub struct Prompts(pub Arc<Dispatcher>);

#[OpenApi(
    tag = "Context::Prompt",
    request_header(
        name = "Idempotency-Key",
        ty = "Option<String>",
        description = "A repeated request with the same key gets the first answer."
    )
)]
impl Prompts {
    /// Makes a prompt, which is the caller's own.
    #[oai(path = "/api/v1/expert-prompts", method = "post", operation_id = "create_prompt")]
    async fn create(&self, caller: Caller, envelope: Envelope, body: Body<NewPrompt>) -> Result<Created, Problem> {
        let new = body.value;
        let usual = policy::Policy::default();
        let longest = new.parameters.as_ref().and_then(Parameters::deadline_seconds).unwrap_or_default();
        // What is beyond every deadline is a fault of the limit alone.
        let deadline = longest.clamp(usual.deadline_seconds, policy::MAX_DEADLINE_SECONDS);
        let usual = policy::Policy { deadline_seconds: deadline, ..usual };
        let revision = Box::new(Revision {
            sub_specialty_id: new.sub_specialty_id,
            title: new.title.trim().to_owned(),
            content: new.content,
            variables: new.variables,
            llm_provider: new.llm_provider,
            model: new.model,
            parameters: new.parameters.map(Into::into).unwrap_or_default(),
            is_public: new.is_public,
            policy: new.policy.map_or(usual, |said| said.or_deadline(deadline)),
        });
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, mut call| {
                dispatcher.known(caller.id).await?;
                let sub_specialty = Some(revision.sub_specialty_id);
                let command = Command::Create { user_id: caller.id, revision };
                call.fresh = true;
                dispatcher.compile(clock::id(), caller.id, command, sub_specialty, call).await
            })
            .await?;
        Ok(Created::within(PATH, receipt))
    }

    /// Makes a new version of a prompt, which only its owner may.
    #[oai(
        path = "/api/v1/expert-prompts/:id",
        method = "patch",
        operation_id = "revise_prompt",
        request_header(
            name = "If-Match",
            ty = "Option<String>",
            description = "The version that is to be changed, as `\"1\"`."
        )
    )]
    async fn revise(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        envelope: Envelope,
        body: Body<Revised>,
    ) -> Result<Changed, Problem> {
        let id = id.0;
        let changes: Box<Changes> = Box::new(body.value.into());
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                dispatcher.known(caller.id).await?;
                let _place = dispatcher.visible_prompt(id, caller.id).await?;
                let sub_specialty = changes.sub_specialty_id;
                let command = Command::Revise { user_id: caller.id, changes };
                dispatcher.compile(id, caller.id, command, sub_specialty, call).await
            })
            .await?;
        Ok(Changed::within(PATH, receipt))
    }

    /// Archives a prompt, which only its owner may: it is not executed any more.
    #[oai(
        path = "/api/v1/expert-prompts/:id/archive",
        method = "post",
        operation_id = "archive_prompt",
        request_header(
            name = "If-Match",
            ty = "Option<String>",
            description = "The version that is to be archived, as `\"1\"`."
        )
    )]
    async fn archive(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        envelope: Envelope,
        body: Body<Again>,
    ) -> Result<Changed, Problem> {
        let id = id.0;
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                dispatcher.known(caller.id).await?;
                let _place = dispatcher.visible_prompt(id, caller.id).await?;
                let command = Command::Archive { user_id: caller.id };
                Ok(execute::<Prompt>(&dispatcher.store, id, command, call).await?)
            })
            .await?;
        Ok(Changed::within(PATH, receipt))
    }
}

impl Dispatcher {
    /// The prompt `id`, if the caller may see it. Looked at before the version is compared: a stranger learns nothing of it.
    async fn visible_prompt(&self, id: Uuid, caller: Uuid) -> Result<Kept, Problem> {
        let kept = self.prompts.load(&self.store, caller, id).await?;
        if kept.prompt.is_visible_to(caller, false) { Ok(kept) } else { Err(Problem::refusal(&Error::NotFound)) }
    }

    /// Executes a command of a prompt, which is to stand in `sub_specialty` from then on, away from the runtime's threads: a
    /// large template takes its time to compile.
    async fn compile(
        self: &Arc<Self>,
        id: Uuid,
        caller: Uuid,
        command: Command,
        sub_specialty: Option<Uuid>,
        call: events::Call,
    ) -> Result<events::Receipt, Problem> {
        let is_live = |id| Requirement::of(id, SubSpecialty::is_live, Error::no_such_sub_specialty());
        let needs: Vec<_> = sub_specialty.into_iter().map(is_live).collect();
        let dispatcher = Arc::clone(self);
        let runtime = Handle::current();
        let execute =
            move || runtime.block_on(execute_requiring::<Prompt>(&dispatcher.store, id, command, call, &needs));
        match self.compiling.run(caller, execute).await? {
            // It was refused before its sub-specialty was looked at: all that is wrong is said at once.
            Err(events::Error::Refused(error @ Error::Invalid(_))) => {
                let is_missing = match sub_specialty {
                    Some(id) => !self.store.load::<SubSpecialty>(id).await?.aggregate.is_live(),
                    None => false,
                };
                Err(Problem::refusal(&if is_missing { error.and_no_such_sub_specialty() } else { error }))
            }
            done => Ok(done?),
        }
    }
}
