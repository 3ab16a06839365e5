//! Prompts and their versions: a caller's own and the public ones; an admin's are all.

use events::prompt::row;
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::http::{self, Caller, Page, Problem, Read};
use sqlx::{Database, Decode, Postgres, Type, error::BoxDynError, types::Json};
use uuid::Uuid;

use crate::{
    Context, as_of,
    reading::{Placed, Reading, more_than, one},
    time::Time,
};

/// The projection that writes these tables.
pub const PROJECTION: &str = "prompt";

/// The queries about prompts.
pub struct Prompts(pub Reading);

/// A prompt as it is now.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Prompt {
    #[oai(skip)]
    #[serde(skip)]
    at: i64,
    /// The prompt.
    id: Uuid,
    /// Its owner.
    user_id: Uuid,
    /// Where it stands in the catalogue.
    sub_specialty_id: Uuid,
    /// For people.
    title: String,
    /// The template (Jinja syntax).
    content: String,
    /// JSON Schema of the template's variables.
    variables: Value,
    /// The provider that it is for.
    llm_provider: String,
    /// The model's name, as the provider knows it.
    model: String,
    /// How the model is to be called.
    parameters: Value,
    /// Whether others may see and run it.
    is_public: bool,
    /// How hard its executions are tried.
    policy: Policy,
    /// When it was made.
    created_at: Time,
    /// When it was last revised.
    updated_at: Time,
    /// Which version this is, from 1.
    version: i32,
    /// The place of its last event in the log.
    position: i64,
    /// Whether it is archived, and so not executed any more.
    archived: bool,
}

impl Placed for Prompt {
    fn at(&self) -> i64 {
        self.at
    }

    fn version(&self) -> Option<i32> {
        Some(self.version)
    }
}

/// A version of a prompt, which never changes.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct PromptVersion {
    #[oai(skip)]
    #[serde(skip)]
    at: i64,
    /// The prompt.
    id: Uuid,
    /// Which version this is, from 1.
    version: i32,
    /// The prompt's owner.
    user_id: Uuid,
    /// Where it stood in the catalogue.
    sub_specialty_id: Uuid,
    /// For people.
    title: String,
    /// The template (Jinja syntax).
    content: String,
    /// JSON Schema of the template's variables.
    variables: Value,
    /// The provider that it is for.
    llm_provider: String,
    /// The model's name, as the provider knows it.
    model: String,
    /// How the model is to be called.
    parameters: Value,
    /// Whether others could see and run it.
    is_public: bool,
    /// How hard its executions are tried.
    policy: Policy,
    /// When this version was made.
    created_at: Time,
    /// The place of its event in the log.
    position: i64,
}

impl Placed for PromptVersion {
    fn at(&self) -> i64 {
        self.at
    }

    fn version(&self) -> Option<i32> {
        Some(self.version)
    }
}

/// How hard executions are tried.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(rename = "ExecutionPolicy")]
pub struct Policy {
    /// The most attempts.
    max_attempts: u32,
    /// How long all of it may take, waiting included, in seconds.
    deadline_seconds: u32,
    /// What becomes of an execution whose worker was lost after the provider had been called, so that nobody knows whether
    /// it was billed: `retry_once`, `hold` or `fail`.
    outcome_unknown: String,
}

impl From<events::policy::Policy> for Policy {
    fn from(policy: events::policy::Policy) -> Self {
        let events::policy::Policy { max_attempts, deadline_seconds, outcome_unknown } = policy;
        Self { max_attempts, deadline_seconds, outcome_unknown: outcome_unknown.name().to_owned() }
    }
}

impl Type<Postgres> for Policy {
    fn type_info() -> <Postgres as Database>::TypeInfo {
        <Json<Self> as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &<Postgres as Database>::TypeInfo) -> bool {
        <Json<Self> as Type<Postgres>>::compatible(ty)
    }
}

/// What is not said has its default.
impl<'r> Decode<'r, Postgres> for Policy {
    fn decode(value: <Postgres as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(<Json<events::policy::Policy> as Decode<Postgres>>::decode(value)?.0.into())
    }
}

/// The columns of a prompt, where `$1` is the caller. Written once; each use is checked as a whole.
macro_rules! prompt {
    ($tail:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Prompt,
            r#"select (select c.position from checkpoint c where c.name = 'prompt') as "at!",
                      id, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters,
                      is_public, coalesce(policy, '{}') as "policy!: Policy", created_at as "created_at: Time", updated_at as "updated_at: Time", version, position,
                      archived
               from prompt where "# + $tail,
            $($argument),+
        )
    };
}

#[OpenApi(tag = "Context::Prompt")]
impl Prompts {
    /// The caller's prompts and the public ones
    ///
    /// Newest first.
    #[oai(path = "/api/v1/expert-prompts", method = "get", operation_id = "prompts")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    async fn prompts(
        &self,
        caller: Caller,
        /// Only those of this sub-specialty.
        sub_specialty_id: Query<Option<Uuid>>,
        /// Only those whose title or content has this text in it, without regard to case.
        #[oai(validator(max_length = 200))]
        q: Query<Option<String>>,
        /// Those that are archived; without it, those that are not.
        archived: Query<Option<bool>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Prompt>>, Problem> {
        let (limit, below) = (http::limit(limit.0)?, http::place::<Uuid>(cursor.as_deref())?);
        let below = below.unwrap_or(Uuid::max());
        let archived = archived.0.unwrap_or(false);
        let containing = q.0.filter(|text| !text.is_empty()).map(|text| containing(&text));
        let floor = self.0.reach(&caller, PROJECTION, min_position.0).await?;
        // A page of templates can weigh many megabytes.
        let _turn = self.0.turn(&caller).await?;
        let page = self.0.page(
            PROJECTION,
            floor,
            limit,
            |row: &Prompt| row.id,
            if_none_match.as_deref(),
            || async {
                if caller.is_admin() {
                    return prompt!(
                        "id < $1 and archived = $5 and ($2::uuid is null or sub_specialty_id = $2)
                       and ($3::text is null or title ilike $3 or content ilike $3)
                     order by id desc limit $4",
                        below,
                        sub_specialty_id.0,
                        containing,
                        more_than(limit),
                        archived
                    )
                    .fetch_all(&self.0.pool)
                    .await;
                }
                prompt!(
                    "(user_id = $5 or is_public) and archived = $6 and id < $1 and ($2::uuid is null or sub_specialty_id = $2)
                   and ($3::text is null or title ilike $3 or content ilike $3)
                 order by id desc limit $4",
                    below,
                    sub_specialty_id.0,
                    containing,
                    more_than(limit),
                    caller.id,
                    archived
                )
                .fetch_all(&self.0.pool)
                .await
            },
        );
        page.await
    }

    /// One prompt
    #[oai(path = "/api/v1/expert-prompts/:id", method = "get", operation_id = "prompt")]
    async fn prompt(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        /// How it was at this position of the log, or at this time (RFC 3339): folded from the log at once. Nothing is waited
        /// for then.
        as_of: Query<Option<String>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Prompt>, Problem> {
        if let Some(as_of) = &as_of.0 {
            let position = as_of::position(&self.0, as_of).await?;
            // All of its versions are gone through.
            let _turn = self.0.turn(&caller).await?;
            let row = self.past(id.0, position, &caller).await?;
            return one(row, 0, if_none_match.as_deref());
        }
        let floor = self.0.reach(&caller, PROJECTION, min_position.0).await?;
        let row = prompt!("id = $1 and ($3 or user_id = $2 or is_public)", id.0, caller.id, caller.is_admin());
        one(row.fetch_optional(&self.0.pool).await?, floor, if_none_match.as_deref())
    }

    /// The versions of a prompt
    ///
    /// Newest first. Of somebody else's prompt only those that were public.
    #[oai(path = "/api/v1/expert-prompts/:id/versions", method = "get", operation_id = "prompt_versions")]
    async fn versions(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<PromptVersion>>, Problem> {
        let (limit, below) = (http::limit(limit.0)?, http::place::<i32>(cursor.as_deref())?);
        let floor = self.0.reach(&caller, PROJECTION, min_position.0).await?;
        let _turn = self.0.turn(&caller).await?;
        let visible = sqlx::query_scalar!(
            "select id from prompt where id = $1 and ($3 or user_id = $2 or is_public)",
            id.0,
            caller.id,
            caller.is_admin()
        );
        visible.fetch_optional(&self.0.pool).await?.ok_or_else(Problem::not_found)?;
        let place = |row: &PromptVersion| row.version;
        let page = self.0.page(PROJECTION, floor, limit, place, if_none_match.as_deref(), || async {
            sqlx::query_as!(
                PromptVersion,
                r#"select (select c.position from checkpoint c where c.name = 'prompt') as "at!",
                          id, version, user_id, sub_specialty_id, title, content, variables, llm_provider, model,
                          parameters, is_public, coalesce(policy, '{}') as "policy!: Policy",
                          created_at as "created_at: Time", position
                   from prompt_version
                   where id = $1 and version < $2 and ($5 or user_id = $4 or is_public)
                   order by version desc
                   limit $3"#,
                id.0,
                below.unwrap_or(i32::MAX),
                more_than(limit),
                caller.id,
                caller.is_admin()
            )
            .fetch_all(&self.0.pool)
            .await
        });
        page.await
    }
}

/// A pattern for `ilike` that finds `text` as it is, wherever it stands.
fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

impl Prompts {
    /// A prompt as it was, if the caller may see that: somebody else's must be public now, and have been public then.
    async fn past(&self, id: Uuid, position: i64, caller: &Caller) -> Result<Option<Prompt>, Problem> {
        let Some(row) = as_of::row::<row::Prompt>(&self.0, id, position).await? else { return Ok(None) };
        if !caller.is_admin() && row.user_id != caller.id {
            let now = as_of::row::<row::Prompt>(&self.0, id, i64::MAX).await?;
            if !row.is_public || !now.is_some_and(|now| now.is_public) {
                return Ok(None);
            }
        }
        Prompt::of(row, position).map(Some)
    }
}

impl Prompt {
    /// As the row of the read model would be answered at `position`.
    fn of(row: row::Prompt, position: i64) -> Result<Self, Problem> {
        let json = |text: &str| serde_json::from_str(text).map_err(Problem::internal);
        Ok(Self {
            at: position,
            id: row.id,
            user_id: row.user_id,
            sub_specialty_id: row.sub_specialty_id,
            title: row.title,
            content: row.content,
            variables: json(&row.variables)?,
            llm_provider: row.llm_provider,
            model: row.model,
            policy: match &row.policy {
                Some(policy) => serde_json::from_str::<events::policy::Policy>(policy).map_err(Problem::internal)?,
                None => events::policy::Policy::default(),
            }
            .into(),
            parameters: json(&row.parameters)?,
            is_public: row.is_public,
            created_at: Time(row.created_at),
            updated_at: Time(row.updated_at),
            version: row.version,
            position: row.position,
            archived: row.archived,
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn wildcards_in_a_search_are_characters_like_others() {
        assert_eq!(super::containing(r"50%_\x"), r"%50\%\_\\x%");
    }
}
