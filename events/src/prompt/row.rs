//! A prompt, folded.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    Recorded,
    fold::{Error, Fold, out_of_place},
    prompt::{Event, Revision},
    store::StoreError,
};

/// A row of `prompt`; as made by one event alone, also a row of `prompt_version`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Prompt {
    pub id: Uuid,
    pub user_id: Uuid,
    pub sub_specialty_id: Uuid,
    pub title: String,
    pub content: String,
    /// JSON text, which stays byte for byte as it was first written.
    pub variables: String,
    pub llm_provider: String,
    pub model: String,
    /// JSON text.
    pub parameters: String,
    pub is_public: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub version: i32,
    pub position: i64,
    /// JSON text; none where nothing but what holds anyway was said.
    pub policy: Option<String>,
    /// It is not run any more.
    pub archived: bool,
}

impl Prompt {
    /// The version that `event` made, if it made one: such an event carries the whole of it.
    pub fn version_of(event: &Recorded) -> Result<Option<Self>, Error> {
        let (Event::PromptCreated { user_id, revision } | Event::PromptRevised { user_id, revision }) =
            event.decode()?
        else {
            return Ok(None);
        };
        let Revision {
            sub_specialty_id,
            title,
            content,
            variables,
            llm_provider,
            model,
            parameters,
            is_public,
            policy,
        } = *revision;
        let unwritten = |source| StoreError::Undecodable { position: event.position, kind: event.kind.clone(), source };
        let parameters = serde_json::to_string(&parameters).map_err(unwritten)?;
        let policy = (!policy.is_default()).then(|| serde_json::to_string(&policy)).transpose().map_err(unwritten)?;
        Ok(Some(Self {
            id: event.id,
            user_id,
            sub_specialty_id,
            title,
            content,
            variables: variables.to_string(),
            llm_provider,
            model,
            parameters,
            is_public,
            created_at: event.recorded_at,
            updated_at: event.recorded_at,
            version: event.version,
            position: event.position,
            policy,
            archived: false,
        }))
    }
}

impl Fold for Prompt {
    const STREAM: &'static str = "prompt";

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn next(row: Option<Self>, event: &Recorded) -> Result<Self, Error> {
        match (event.kind.as_str(), row, Self::version_of(event)?) {
            ("prompt_created", None, Some(newest)) => Ok(newest),
            ("prompt_revised", Some(row), Some(newest)) => {
                Ok(Self { created_at: row.created_at, archived: row.archived, ..newest })
            }
            ("prompt_archived", Some(row), None) => Ok(Self {
                archived: true,
                updated_at: event.recorded_at,
                version: event.version,
                position: event.position,
                ..row
            }),
            _ => Err(out_of_place(event)),
        }
    }
}
