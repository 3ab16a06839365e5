//! What is asked of companies beside what they are, and whether a caller may do something.

use events::{
    CONTEXTS,
    permission::{Standing, decide},
};
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use service::http::{self, Caller, Page, Problem, Read};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    Context,
    contexts::company::MEMBERS,
    membership,
    reading::{Placed, Reading, more_than, one},
    time::Time,
};

/// The queries about companies and what may be done.
pub struct Companies(pub Reading);

/// A member of a company.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, sqlx::FromRow)]
pub struct Member {
    #[oai(skip)]
    #[serde(skip)]
    at: i64,
    /// The user.
    user_id: Uuid,
    /// `viewer`, `editor`, `admin` or `owner`.
    role: String,
    /// Since when.
    joined_at: Time,
    /// When the role last changed.
    updated_at: Time,
}

impl Placed for Member {
    fn at(&self) -> i64 {
        self.at
    }
}

/// The settings of a company; null is not settled.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct CompanySettings {
    #[oai(skip)]
    #[serde(skip)]
    at: i64,
    #[oai(skip)]
    #[serde(skip)]
    version: i32,
    /// The language and region for people, as BCP 47 has it.
    locale: Option<String>,
    /// The currency of prices, as ISO 4217 has it.
    currency: Option<String>,
    /// The time zone, as the IANA data base has it.
    timezone: Option<String>,
    /// For how many days things are kept that need not be kept longer.
    retention_days: Option<i32>,
    /// The provider that prompts are for which name none.
    default_provider: Option<String>,
    /// The model that prompts are for which name none.
    default_model: Option<String>,
}

impl Placed for CompanySettings {
    fn at(&self) -> i64 {
        self.at
    }

    fn version(&self) -> Option<i32> {
        Some(self.version)
    }
}

/// Whether the caller may do something.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct Permission {
    /// Whether.
    allowed: bool,
    /// Why, or why not.
    because: String,
}

#[OpenApi(tag = "Context::Company")]
impl Companies {
    /// The members of a company
    ///
    /// For its members. The newest users first.
    #[oai(path = "/api/v1/companies/:id/members", method = "get", operation_id = "company_members")]
    async fn members(
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
    ) -> Result<Read<Page<Member>>, Problem> {
        let (limit, below) = (http::limit(limit.0)?, http::place::<Uuid>(cursor.as_deref())?);
        let floor = self.0.reach(&caller, MEMBERS, min_position.0).await?;
        self.see(&caller, id.0).await?;
        let below = below.unwrap_or(Uuid::max());
        let fetch = || async {
            let sql = "select (select c.position from checkpoint c where c.name = 'company') as at, m.user_id, m.role,
                              m.joined_at, m.updated_at
                       from company_member m
                       where m.id = $1 and m.role is not null and m.user_id < $2 order by m.user_id desc limit $3";
            let rows = sqlx::query_as::<_, Member>(sql).bind(id.0).bind(below).bind(more_than(limit));
            rows.fetch_all(&self.0.pool).await
        };
        self.0.page(MEMBERS, floor, limit, |member| member.user_id, if_none_match.as_deref(), fetch).await
    }

    /// The settings of a company
    ///
    /// For its members. The `ETag` names the company's version, for `If-Match`.
    #[oai(path = "/api/v1/companies/:id/settings", method = "get", operation_id = "company_settings")]
    async fn settings(
        &self,
        caller: Caller,
        id: Path<Uuid>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<CompanySettings>, Problem> {
        let floor = self.0.reach(&caller, MEMBERS, min_position.0).await?;
        self.see(&caller, id.0).await?;
        let sql = "select (select c.position from checkpoint c where c.name = 'company'), t.version, t.settings
                   from company t where t.id = $1";
        let row: Option<(i64, i32, Json<CompanySettings>)> =
            sqlx::query_as(sql).bind(id.0).fetch_optional(&self.0.pool).await?;
        let row = row.map(|(at, version, settings)| CompanySettings { at, version, ..settings.0 });
        one(row, floor, if_none_match.as_deref())
    }

    /// Whether the caller may do something
    ///
    /// By the members as they are at the position that answers. The commands themselves decide by the log as it is then.
    #[oai(path = "/api/v1/permissions/check", method = "get", operation_id = "check_permission")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    async fn check(
        &self,
        caller: Caller,
        /// What, as `items:write`.
        action: Query<String>,
        /// To things of which tenant; the caller's own if left out.
        tenant_id: Query<Option<Uuid>>,
        /// To a thing of this kind: a stream, as `item`.
        #[oai(name = "type")]
        kind: Query<Option<String>>,
        /// To this thing: then its tenant is what counts. Needs `type`.
        id: Query<Option<Uuid>>,
        /// Waits until the read model of members has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Permission>, Problem> {
        let known = CONTEXTS.action(&action.0).ok_or_else(|| {
            let mut names: Vec<_> = CONTEXTS.actions().map(|action| action.name).collect();
            names.sort_unstable();
            Problem::invalid_parameter("action", format!("must be one of {}", names.join(", ")))
        })?;
        if let Some(kind) = kind.as_deref() {
            CONTEXTS.stream(kind).ok_or_else(|| Problem::invalid_parameter("type", "is no kind of thing here"))?;
        }
        let floor = self.0.reach(&caller, MEMBERS, min_position.0).await?;
        let position = self.0.stands(MEMBERS).await?.unwrap_or(0);
        let tenant = match (kind.as_deref(), id.0) {
            (_, None) => Some(tenant_id.0.unwrap_or(caller.id)),
            (Some(kind), Some(id)) => self.tenant_of(kind, id).await?,
            (None, Some(_)) => return Err(Problem::invalid_parameter("type", "is needed where there is an id")),
        };
        // A thing that is elsewhere, or nowhere, is as one whose tenant the caller does not know.
        let tenant = tenant.filter(|tenant| id.0.is_none() || tenant_id.0.is_none_or(|named| named == *tenant));
        let standing = match tenant {
            Some(tenant) => membership::standing(&self.0, caller.id, tenant).await?,
            None => Standing::default(),
        };
        let decided = decide(known, Standing { is_admin: caller.is_admin(), ..standing });
        let (allowed, because) = match decided {
            Ok(because) => (true, because),
            Err(because) => (false, because),
        };
        if position < floor {
            return Err(crate::waiters::late(floor));
        }
        let answer = Permission { allowed, because: because.to_string() };
        Ok(Read::new(&answer, position, if_none_match.as_deref()))
    }
}

impl Companies {
    /// 404 for who is no member.
    async fn see(&self, caller: &Caller, company: Uuid) -> Result<(), Problem> {
        let reader = (!caller.is_admin()).then_some(caller.id);
        if membership::may_read(&self.0, reader, company).await? { Ok(()) } else { Err(Problem::not_found()) }
    }

    /// The tenant of a thing, by the log.
    async fn tenant_of(&self, kind: &str, id: Uuid) -> Result<Option<Uuid>, Problem> {
        let sql = "select scope from event where stream = $1 and id = $2 and version = 1";
        let scope = sqlx::query_scalar::<_, Option<Uuid>>(sql).bind(kind).bind(id);
        Ok(scope.fetch_optional(self.0.store.reads()).await?.flatten())
    }
}
