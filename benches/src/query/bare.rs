//! The reference: a handler that does nothing but run the statement and answer with its rows.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use daybook::system::{scratch, this_program};
use poem::error::{InternalServerError, NotFoundError};
use poem::listener::TcpListener as Listener;
use poem::web::{Data, Json, Path};
use poem::{EndpointExt as _, Result, Route, Server, get, handler};
use rustix::process::Signal;
use serde::Serialize;
use serde_json::Value;
use service::db::{self, Kind};
use service::embedded::{Child, Reserved, command};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;
use sqlx::types::Json as Column;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::load::Stage;

/// The argument by which the bench's program becomes this.
pub(super) const NAME: &str = "bare-handler";

/// The statement of the query API, up to its condition.
const SELECT: &str = "select (select c.position from checkpoint c where c.name = 'execution') as at,
           id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, result,
           finish_reason, input_tokens, output_tokens,
           case when input_tokens is not null or output_tokens is not null
                then coalesce(input_tokens, 0) + coalesce(output_tokens, 0) end as tokens_used,
           cost::text,
           case when coalesce(cost, cost_ceiling, cost_unknown) is not null
                then (coalesce(cost, 0) + coalesce(cost_ceiling, 0) + coalesce(cost_unknown, 0))::text end as cost_booked,
           duration_ms::float8 / 1000 as execution_time, attempts,
           case when error_code is not null
                then json_build_object('code', error_code, 'detail', coalesce(error_detail, '')) end as error,
           next_attempt_at, deadline_at, dead, discarded_at, retry_of, created_at, started_at, finished_at, version, position
    from execution where ";

/// The process of the bare handler.
pub(super) struct Bare {
    /// Where it answers.
    pub(super) addr: SocketAddr,
    /// It is nobody else's.
    _port: Reserved,
    child: Child,
}

impl Bare {
    /// Starts it on the system's database.
    pub(super) async fn start(stage: &Stage) -> anyhow::Result<Self> {
        let port = Reserved::take(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let addr = port.addr();
        let mut command = command(&this_program()?, false);
        command.arg(NAME).env("HTTP_ADDR", addr.to_string()).env("DATABASE_URL", stage.database_url());
        command.env("BARE_USER", stage.caller.user.to_string());
        let child = Child::spawn(command, &scratch("bare").join("log"))?;
        for _ in 0..500 {
            if TcpStream::connect(addr).await.is_ok() {
                return Ok(Self { addr, _port: port, child });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("the bare handler does not listen")
    }

    pub(super) async fn stop(self) {
        self.child.stop(Signal::TERM, Duration::from_secs(1)).await;
    }
}

/// The program.
pub(super) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(serve())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NAME}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whose executions are answered; the bare handler reads no token.
#[derive(Clone, Copy)]
struct Owner(Uuid);

async fn serve() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| name.to_owned());
    let pool = db::pool(&variable("DATABASE_URL")?, Kind::Reads)?;
    let owner = Owner(variable("BARE_USER")?.parse()?);
    let route = Route::new().at("/api/v1/executions", get(page)).at("/api/v1/executions/:id", get(one));
    Ok(Server::new(Listener::bind(variable("HTTP_ADDR")?)).run(route.data(pool).data(owner)).await?)
}

#[derive(Serialize, sqlx::FromRow)]
#[expect(clippy::struct_field_names, reason = "the words of the contract")]
struct Execution {
    #[serde(skip)]
    #[expect(dead_code, reason = "read as the query API reads it, and not used")]
    at: i64,
    id: Uuid,
    prompt_id: Uuid,
    prompt_version: i32,
    user_id: Uuid,
    variables: Value,
    llm_provider: String,
    model: String,
    status: String,
    result: Option<String>,
    finish_reason: Option<String>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    tokens_used: Option<i64>,
    cost: Option<String>,
    cost_booked: Option<String>,
    execution_time: Option<f64>,
    attempts: i32,
    error: Option<Column<Value>>,
    next_attempt_at: Option<DateTime<Utc>>,
    deadline_at: Option<DateTime<Utc>>,
    dead: bool,
    discarded_at: Option<DateTime<Utc>>,
    retry_of: Option<Uuid>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    version: i32,
    position: i64,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Execution>,
    next_cursor: Option<Uuid>,
}

#[handler]
async fn one(pool: Data<&PgPool>, owner: Data<&Owner>, Path(id): Path<Uuid>) -> Result<Json<Execution>> {
    let row = sqlx::query_as(AssertSqlSafe(format!("{SELECT} id = $1 and ($3 or user_id = $2)")))
        .bind(id)
        .bind(owner.0.0)
        .bind(false)
        .fetch_optional(*pool)
        .await
        .map_err(InternalServerError)?;
    row.map(Json).ok_or_else(|| NotFoundError.into())
}

#[handler]
async fn page(pool: Data<&PgPool>, owner: Data<&Owner>) -> Result<Json<Page>> {
    let statement = format!(
        "{SELECT} user_id = $5 and id < $1 and ($2::text is null or status = $2)
         and ($3::uuid is null or prompt_id = $3)
         and ($6::boolean is null or $6 = (dead and discarded_at is null and not exists
             (select from execution r where r.is_redrive and r.retry_of = execution.id)))
         order by id desc limit $4"
    );
    let mut items: Vec<Execution> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(Uuid::max())
        .bind(None::<String>)
        .bind(None::<Uuid>)
        .bind(21_i64)
        .bind(owner.0.0)
        .bind(None::<bool>)
        .fetch_all(*pool)
        .await
        .map_err(InternalServerError)?;
    items.truncate(20);
    let next_cursor = items.last().map(|last| last.id);
    Ok(Json(Page { items, next_cursor }))
}
