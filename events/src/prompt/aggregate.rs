//! A prompt: its commands, events, refusals and state.

use cqrs_es::{Aggregate, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::template;
use crate::{
    Claim, Class, Fact, Refusal, Requirement, Stream,
    model::{self, Parameters},
    policy::Policy,
    refusal::Fault,
};

/// The most versions of one prompt: all of them are read whenever it is run.
pub const MAX_VERSIONS: usize = 500;

/// One version of a prompt, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// Where it stands in the catalogue.
    pub sub_specialty_id: Uuid,
    /// For people.
    pub title: String,
    /// The template (Jinja syntax).
    pub content: String,
    /// JSON Schema, of type object, of the template's variables.
    pub variables: Value,
    /// One of [`model::PROVIDERS`].
    pub llm_provider: String,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// How the model is to be called.
    #[serde(default)]
    pub parameters: Parameters,
    /// Whether others may see and run it.
    pub is_public: bool,
    /// How hard its executions are tried.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
}

/// What a revision changes; what is none stays as it was.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields of Revision")]
pub struct Changes {
    pub sub_specialty_id: Option<Uuid>,
    pub title: Option<String>,
    pub content: Option<String>,
    pub variables: Option<Value>,
    pub llm_provider: Option<String>,
    pub model: Option<String>,
    pub parameters: Option<Parameters>,
    pub is_public: Option<bool>,
    pub policy: Option<Policy>,
}

/// What can be asked of a prompt.
#[derive(Debug, Clone)]
pub enum Command {
    /// Makes it.
    Create {
        /// Its owner.
        user_id: Uuid,
        /// Its first version.
        revision: Box<Revision>,
    },
    /// Makes a new version of it.
    Revise {
        /// Who asks: only the owner may.
        user_id: Uuid,
        /// What is to be different.
        changes: Box<Changes>,
    },
    /// Archives it: it is not executed any more, and stays as it is. Once more changes nothing.
    Archive {
        /// Who asks: only the owner may.
        user_id: Uuid,
    },
}

/// What happened to a prompt. Each that makes a version carries the whole of it, so that one event is enough to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// It exists from now on.
    PromptCreated {
        /// Its owner.
        user_id: Uuid,
        /// Its first version.
        #[serde(flatten)]
        revision: Box<Revision>,
    },
    /// It has a new version.
    PromptRevised {
        /// Its owner.
        user_id: Uuid,
        /// The new version.
        #[serde(flatten)]
        revision: Box<Revision>,
    },
    /// It is archived.
    PromptArchived {},
}

/// The scope of the claim that a prompt has once it is archived.
fn archived_scope(prompt: Uuid) -> String {
    format!("prompt:{prompt}:archived")
}

/// What a command needs that is to run `prompt`: it is not archived, else `refusal`. The condition is on the claim of an
/// archived prompt, so that nothing is read of a prompt with many long versions, and its revisions do not matter.
pub fn unless_archived<E: Clone + Send + Sync + 'static>(prompt: Uuid, refusal: E) -> Requirement<E> {
    Requirement::unclaimed(archived_scope(prompt), refusal)
}

impl Fact for Event {
    fn claims(&self, id: Uuid) -> Vec<Claim> {
        if matches!(self, Self::PromptArchived {}) {
            vec![Claim::exact(archived_scope(id), id.to_string())]
        } else {
            Vec::new()
        }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such prompt, or not for this caller.
    #[error("there is no such prompt")]
    NotFound,
    /// It exists already.
    #[error("the prompt exists already")]
    Exists,
    /// Public, and not the caller's own.
    #[error("only its owner may change a prompt")]
    NotOwner,
    /// It has no such version.
    #[error("the prompt has no such version")]
    NoSuchVersion,
    /// It has as many versions as a prompt may have.
    #[error("a prompt has at most {MAX_VERSIONS} versions: make a new one")]
    TooManyVersions,
    /// It is archived, and is to be run.
    #[error("the prompt is archived: it is not executed any more")]
    Archived,
    /// It is archived, and is to be changed.
    #[error("the prompt is archived, which allows nothing any more")]
    IllegalTransition,
    /// It cannot be as it was given.
    #[error("the prompt is not valid")]
    Invalid(Vec<Fault>),
    /// The variables do not fit its schema, or it cannot be rendered with them.
    #[error("the variables do not fit the prompt")]
    Variables(Vec<Fault>),
}

impl Refusal for Error {
    fn class(&self) -> Class {
        match self {
            Self::NotFound => Class::NotFound,
            Self::Exists | Self::TooManyVersions | Self::Archived | Self::IllegalTransition => Class::Conflict,
            Self::NotOwner => Class::Forbidden,
            Self::NoSuchVersion | Self::Invalid(_) | Self::Variables(_) => Class::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "prompt_exists",
            Self::NotOwner => "not_owner",
            Self::NoSuchVersion => "no_such_version",
            Self::TooManyVersions => "too_many_versions",
            Self::Archived => "archived",
            Self::IllegalTransition => "illegal_transition",
            Self::Invalid(_) => "invalid_prompt",
            Self::Variables(_) => "invalid_variables",
        }
    }

    fn faults(&self) -> Vec<Fault> {
        match self {
            Self::NoSuchVersion => vec![Fault::new("/version", "the prompt has no such version")],
            Self::Invalid(faults) | Self::Variables(faults) => faults.clone(),
            Self::NotFound
            | Self::Exists
            | Self::NotOwner
            | Self::TooManyVersions
            | Self::Archived
            | Self::IllegalTransition => Vec::new(),
        }
    }

    fn taken(_claim: &Claim) -> Self {
        Self::Exists
    }
}

/// A prompt with all its versions; version `n` is the `n`-th.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Its owner.
    pub user_id: Uuid,
    /// Its versions, oldest first; none if it does not exist.
    pub revisions: Vec<Revision>,
    /// It is not run any more.
    #[serde(default)]
    pub archived: bool,
}

impl Error {
    /// The sub-specialty that it is to stand in is not there, or archived.
    pub fn no_such_sub_specialty() -> Self {
        Self::Invalid(vec![no_such_sub_specialty()])
    }

    /// This refusal, which also says that the sub-specialty is not there.
    #[must_use]
    pub fn and_no_such_sub_specialty(self) -> Self {
        match self {
            Self::Invalid(mut faults) if !faults.contains(&no_such_sub_specialty()) => {
                faults.insert(0, no_such_sub_specialty());
                Self::Invalid(faults)
            }
            other => other,
        }
    }
}

fn no_such_sub_specialty() -> Fault {
    Fault::new("/sub_specialty_id", "there is no such sub-specialty")
}

impl Prompt {
    /// Its version `version`, or the newest.
    pub fn revision(&self, version: Option<i32>) -> Result<(i32, &Revision), Error> {
        let newest = i32::try_from(self.revisions.len()).unwrap_or(i32::MAX);
        let version = version.unwrap_or(newest);
        let index = usize::try_from(version).ok().and_then(|v| v.checked_sub(1)).ok_or(Error::NoSuchVersion)?;
        self.revisions.get(index).map(|revision| (version, revision)).ok_or(Error::NoSuchVersion)
    }

    /// Whether `user` may see it.
    pub fn is_visible_to(&self, user: Uuid, is_admin: bool) -> bool {
        self.revisions.last().is_some_and(|newest| newest.is_public || self.user_id == user || is_admin)
    }

    /// Whether `user` may run its version `version` (or the newest): what was sent to the model tells what a version says, so
    /// of somebody else's prompt only those versions that were public. Of one that there is not, [`Self::revision`] tells.
    pub fn is_runnable_by(&self, user: Uuid, is_admin: bool, version: Option<i32>) -> bool {
        let shown =
            self.user_id == user || is_admin || self.revision(version).map_or(true, |(_, found)| found.is_public);
        shown && self.is_visible_to(user, is_admin)
    }

    /// Its newest version, for the owner alone.
    fn own(&self, user_id: Uuid) -> Result<&Revision, Error> {
        let newest = self.revisions.last().ok_or(Error::NotFound)?;
        match (user_id == self.user_id, newest.is_public) {
            (true, _) => Ok(newest),
            (false, true) => Err(Error::NotOwner),
            (false, false) => Err(Error::NotFound),
        }
    }

    fn decide(&self, command: Command) -> Result<Option<Event>, Error> {
        match command {
            Command::Create { .. } if !self.revisions.is_empty() => Err(Error::Exists),
            Command::Create { user_id, revision } => {
                check(&revision)?;
                Ok(Some(Event::PromptCreated { user_id, revision }))
            }
            Command::Archive { user_id } => {
                self.own(user_id)?;
                Ok((!self.archived).then_some(Event::PromptArchived {}))
            }
            Command::Revise { user_id, changes } => {
                let newest = self.own(user_id)?;
                if self.archived {
                    return Err(Error::IllegalTransition);
                }
                if self.revisions.len() >= MAX_VERSIONS {
                    return Err(Error::TooManyVersions);
                }
                let revision = Box::new(newest.clone().with(*changes));
                check(&revision)?;
                Ok(Some(Event::PromptRevised { user_id, revision }))
            }
        }
    }
}

impl Revision {
    fn with(self, changes: Changes) -> Self {
        Self {
            sub_specialty_id: changes.sub_specialty_id.unwrap_or(self.sub_specialty_id),
            title: changes.title.unwrap_or(self.title),
            content: changes.content.unwrap_or(self.content),
            variables: changes.variables.unwrap_or(self.variables),
            llm_provider: changes.llm_provider.unwrap_or(self.llm_provider),
            model: changes.model.unwrap_or(self.model),
            parameters: changes.parameters.unwrap_or(self.parameters),
            is_public: changes.is_public.unwrap_or(self.is_public),
            policy: changes.policy.unwrap_or(self.policy),
        }
    }
}

/// All that is wrong with a version in itself, at once.
fn check(revision: &Revision) -> Result<(), Error> {
    let mut faults = Vec::new();
    if revision.title.trim().is_empty() {
        faults.push(Fault::new("/title", "is blank"));
    }
    faults.extend(model::check(&revision.llm_provider, &revision.model, &revision.parameters));
    faults.extend(revision.policy.check("/policy"));
    faults.extend(revision.parameters.limits.check_deadline(revision.policy.deadline_seconds));
    faults.extend(template::check(&revision.content, &revision.variables));
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) }
}

impl Aggregate for Prompt {
    const TYPE: &'static str = "prompt";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::PromptCreated { user_id, revision } | Event::PromptRevised { user_id, revision } => {
                self.user_id = user_id;
                self.revisions.push(*revision);
            }
            Event::PromptArchived {} => self.archived = true,
        }
    }
}

impl Stream for Prompt {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        Some(self.user_id)
    }
}
