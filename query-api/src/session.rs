//! The caller's sessions.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Query},
};
use serde::{Deserialize, Serialize};
use service::http::{self, Caller, Page, Problem, Read};
use sqlx::{FromRow, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Context,
    reading::{Placed, Reading, more_than},
    time::Time,
};

/// The projection that writes the table.
const PROJECTION: &str = "session";

/// `$1` the user, `$2` the id below which to begin, `$3` how many, `$4` the time.
const LIST: &str = "select (select c.position from checkpoint c where c.name = 'session') as at,
            s.id, s.created_at, s.last_used_at, s.expires_at, k.value
     from session s
     left join public.secret k on k.stream = 'session' and k.id = s.id and k.kind = 'client'
     where s.user_id = $1 and not s.closed and s.expires_at > $4 and s.id < $2
     order by s.id desc limit $3";

/// The queries about sessions.
pub struct Sessions(pub Reading);

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct Session {
    #[oai(skip)]
    #[serde(skip)]
    at: i64,
    /// The session.
    id: Uuid,
    /// When it was opened.
    created_at: Time,
    /// When it was opened or last refreshed.
    last_used_at: Time,
    /// When it ends unless it is refreshed.
    expires_at: Time,
    /// The address from which it was opened.
    ip: Option<String>,
    /// What the client called itself that opened it.
    user_agent: Option<String>,
    /// Whether it is the one of the access token.
    current: bool,
}

impl Placed for Session {
    fn at(&self) -> i64 {
        self.at
    }
}

/// From where a session was opened, as the log's private table has it.
#[derive(Deserialize, Default)]
struct Client {
    ip: Option<String>,
    user_agent: Option<String>,
}

impl<'r> FromRow<'r, PgRow> for Session {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let client: Option<&[u8]> = row.try_get("value")?;
        let Client { ip, user_agent } =
            client.and_then(|client| serde_json::from_slice(client).ok()).unwrap_or_default();
        Ok(Self {
            at: row.try_get("at")?,
            id: row.try_get("id")?,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("last_used_at")?,
            expires_at: row.try_get("expires_at")?,
            ip,
            user_agent,
            current: false,
        })
    }
}

#[OpenApi(tag = "Context::Identity")]
impl Sessions {
    /// The caller's open sessions
    ///
    /// Newest first.
    #[oai(path = "/api/v1/auth/sessions", method = "get", operation_id = "sessions")]
    async fn sessions(
        &self,
        caller: Caller,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Session>>, Problem> {
        let (limit, below) = (http::limit(limit.0)?, http::place::<Uuid>(cursor.as_deref())?);
        let below = below.unwrap_or(Uuid::max());
        let floor = self.0.reach(&caller, PROJECTION, min_position.0).await?;
        let fetch = || async {
            let rows = sqlx::query_as::<_, Session>(LIST).bind(caller.id).bind(below).bind(more_than(limit));
            let rows = rows.bind(events::clock::now());
            let mut sessions = rows.fetch_all(&self.0.pool).await?;
            for session in &mut sessions {
                session.current = caller.session == Some(session.id);
            }
            Ok(sessions)
        };
        self.0.page(PROJECTION, floor, limit, |row: &Session| row.id, if_none_match.as_deref(), fetch).await
    }
}
