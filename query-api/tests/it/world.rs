//! A query API on a database of its own, and people who ask it.

use std::{future::Future, time::Duration};

use chrono::TimeDelta;
use events::{Store, clock, store::Options};
use nats::{
    Bus,
    server::{Config, DURABLES, User, Users},
};
use poem::{Endpoint, Request, Response, http::Method};
use query_api::{Parts, Streaming};
use serde_json::Value;
use service::{
    embedded::Nats,
    http::{self, App, Chassis, Origins, TOKEN_SECONDS, Tokens},
    lifecycle::Lifecycle,
    testkit::{self, Database},
};
use sqlx::PgPool;
use uuid::Uuid;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A running query API.
pub struct World {
    pub app: App,
    pub store: Store,
    pub pool: PgPool,
    pub lifecycle: Lifecycle,
    pub spec: Value,
    pub database: Database,
}

/// Somebody with a token.
#[derive(Clone)]
pub struct Person {
    pub id: Uuid,
    token: String,
}

impl Person {
    pub fn new(number: u128, admin: bool) -> Self {
        let id = Uuid::from_u128(number);
        let roles = if admin { vec!["admin".to_owned()] } else { Vec::new() };
        Self { id, token: Tokens::new(SECRET).issue(id, &roles, None, clock::now()).unwrap() }
    }

    /// One whose token is good for so many seconds more.
    pub fn for_seconds(number: u128, seconds: i64) -> Self {
        let (id, past) = (Uuid::from_u128(number), TimeDelta::seconds(TOKEN_SECONDS - seconds));
        Self { id, token: Tokens::new(SECRET).issue(id, &[], None, clock::now() - past).unwrap() }
    }

    /// One whose token is of this session.
    pub fn in_session(number: u128, session: Uuid) -> Self {
        let id = Uuid::from_u128(number);
        Self { id, token: Tokens::new(SECRET).issue(id, &[], Some(session), clock::now()).unwrap() }
    }

    /// What it shows, for requests that are written by hand.
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub position: Option<i64>,
    pub etag: Option<String>,
    pub applied: Option<String>,
    pub retry_after: Option<String>,
    pub body: Value,
}

impl Answer {
    /// The ids of a list's items, and the cursor of the next page.
    pub fn page(&self) -> (Vec<u128>, Option<String>) {
        assert_eq!(self.status, 200, "{self:?}");
        let id = |item: &Value| item["id"].as_str().unwrap().parse::<Uuid>().unwrap().as_u128();
        let ids = self.body["items"].as_array().unwrap().iter().map(id).collect();
        (ids, self.body["next_cursor"].as_str().map(str::to_owned))
    }
}

impl World {
    /// One on whose bus nobody is: who waits is woken by the checkpoints alone.
    pub async fn new() -> Self {
        Self::on(Bus::connect("nats://127.0.0.1:1", "test").await.unwrap()).await
    }

    /// One on this bus.
    pub async fn on(bus: Bus) -> Self {
        Self::of(bus, testkit::database().await).await
    }

    /// One on this bus and this database.
    pub async fn of(bus: Bus, database: Database) -> Self {
        Self::with(bus, database, Streaming::default()).await
    }

    /// One that streams like this.
    pub async fn with(bus: Bus, database: Database, streaming: Streaming) -> Self {
        let pool = database.pool.clone();
        let connect = (*pool.connect_options()).clone();
        let (store, mut lanes) = Store::open(pool.clone(), connect, &Options::default());
        lanes.detach_all();
        let lifecycle = Lifecycle::new();
        let api = query_api::api(Parts { store: store.clone(), bus, pool: pool.clone(), streaming }, &lifecycle);
        let document = http::merge(&[api.spec]).unwrap();
        let chassis = Chassis {
            document: Some(document.clone()),
            secret: Some(SECRET.to_vec()),
            origins: Origins::default(),
            probe: api.probe,
            metrics: std::sync::Arc::new(String::new),
        };
        let app = http::app(chassis, api.routes).unwrap();
        let spec = serde_json::from_str(&document).unwrap();
        let world = Self { app, store, pool, lifecycle, spec, database };
        for name in ["identity", "session", "catalog", "prompt", "execution", "company", "item"] {
            let sql = "insert into checkpoint (name, version, position, epoch) values ($1, 1, 100, 1)";
            sqlx::query(sql).bind(name).execute(&world.pool).await.unwrap();
        }
        world
    }

    /// A writer of the same log in another process.
    pub fn other_writer(&self) -> Store {
        let connect = (*self.pool.connect_options()).clone();
        let (store, mut lanes) = Store::open(self.pool.clone(), connect, &Options::default());
        lanes.detach_all();
        store
    }

    /// Asks as `person`, with these headers.
    pub async fn ask(&self, person: &Person, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(Method::GET).uri_str(path);
        request = request.header("authorization", format!("Bearer {}", person.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Box::pin(self.app.get_response(request.finish())).await
    }

    /// The same, read whole.
    pub async fn get_with(&self, person: &Person, path: &str, headers: &[(&str, &str)]) -> Answer {
        let response = self.ask(person, path, headers).await;
        let header = |name: &str| response.header(name).map(str::to_owned);
        let mut answer = Answer {
            status: response.status().as_u16(),
            position: header("daybook-position").map(|position| position.parse().unwrap()),
            etag: header("etag"),
            applied: header("preference-applied"),
            retry_after: header("retry-after"),
            body: Value::Null,
        };
        // A stream that should not be one does not end.
        let text = within("the whole answer", response.into_body().into_string()).await.unwrap();
        if !text.is_empty() {
            answer.body = serde_json::from_str(&text).unwrap();
        }
        answer
    }

    /// The same without more headers.
    pub async fn get(&self, person: &Person, path: &str) -> Answer {
        self.get_with(person, path, &[]).await
    }

    /// Status, code and faults of what is refused.
    pub async fn refused(&self, person: &Person, path: &str) -> String {
        let Answer { status, body, .. } = self.get(person, path).await;
        let faults = body["errors"].as_array().into_iter().flatten();
        let faults = faults.map(|fault| format!(" {} {}", fault["pointer"], fault["detail"]));
        format!("{status} {}{}", body["code"], faults.collect::<String>())
    }

    /// What a projector does: rows and checkpoint in one transaction.
    pub async fn project(&self, projection: &str, position: i64, sql: &str) {
        let mut tx = self.pool.begin().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await.unwrap();
        sqlx::query("update checkpoint set position = $2 where name = $1")
            .bind(projection)
            .bind(position)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
}

/// A nats-server of a test's own.
pub struct Server {
    nats: Nats,
    users: Users,
}

impl Server {
    pub async fn start() -> Self {
        let [relay, worker, query, reader] = ["relay-pw", "worker-pw", "query-pw", "reader-pw"].map(str::to_owned);
        let users = Users { relay, worker, query, reader };
        let nats = testkit::nats(|addr, store_dir| {
            Config { addr, store_dir, max_file_store: 1 << 30, users: &users, durables: DURABLES }.text()
        })
        .await;
        Self { nats, users }
    }

    /// A connection that stands.
    pub async fn bus(&self, user: User) -> Bus {
        let bus = Bus::connect(&self.users.url(self.nats.addr(), user), "test").await.unwrap();
        within("a connection", async {
            while bus.healthy().await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        bus
    }
}

/// SQL that makes an execution of `user`, queued.
pub fn queued(id: u128, user: Uuid) -> String {
    let id = Uuid::from_u128(id);
    format!(
        "insert into execution (id, prompt_id, prompt_version, user_id, variables, llm_provider, model, status, attempts,
                                cancel_requested, created_at, version, position)
         values ('{id}', '{}', 3, '{user}', '{{\"name\": \"Ada\"}}', 'openai', 'gpt-4o', 'queued', 0, false,
                 '2026-11-20T18:23:00.000001Z', 1, 41);",
        Uuid::from_u128(9)
    )
}

/// SQL that ends an execution well.
pub fn succeeded(id: u128) -> String {
    let id = Uuid::from_u128(id);
    format!(
        "update execution set status = 'succeeded', result = 'Hello, Ada', finish_reason = 'stop', input_tokens = 12,
                output_tokens = 30, cost = 0.000315, price_table = '2026-11', duration_ms = 1234, attempts = 1,
                started_at = '2026-11-20T18:23:01Z', finished_at = '2026-11-20T18:23:02.5Z', version = 3, position = 43
         where id = '{id}';"
    )
}

/// SQL that makes a prompt of `user`.
pub fn prompt(id: u128, user: Uuid, public: bool, title: &str) -> String {
    let (id, nil) = (Uuid::from_u128(id), Uuid::nil());
    format!(
        "insert into prompt (id, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters,
                             is_public, created_at, updated_at, version, position)
         values ('{id}', '{user}', '{nil}', '{title}', 'Say {{{{ name }}}}', '{{}}', 'echo', '', '{{}}', {public}, now(),
                 now(), 1, 7);"
    )
}

/// Waits for what must come, and fails where it does not.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let within = tokio::time::timeout(Duration::from_secs(30), future).await;
    within.unwrap_or_else(|_| panic!("not within half a minute: {what}"))
}
