//! Executions of one user, written straight into the log and projected by the system.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use events::execution::{Answer, Bill, Calling, Command, Execution, Holder, Request, Usage};
use events::model::{Message, Parameters, Role};
use events::policy::Policy;
use events::store::Options;
use events::{Call, Meta, Store, clock, execute};
use service::db::{self, Kind};
use sqlx::postgres::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::load::Stage;

/// Callers that append at a time.
const CALLERS: usize = 250;

/// Appends so many executions that have succeeded, and waits until they can be read.
pub(super) async fn write(stage: &Stage, executions: usize) -> anyhow::Result<Vec<Uuid>> {
    let url = stage.database_url();
    let pool = db::pool(&url, Kind::Workers)?;
    let (store, _writer) = Store::open(pool.clone(), url.parse()?, &Options::default());
    let request = Arc::new(Request {
        user_id: stage.caller.user,
        prompt_id: stage.caller.prompt,
        prompt_version: 1,
        variables: serde_json::json!({ "age": 54, "question": "What may be the cause of palpitations at night?" }),
        messages: vec![Message { role: Role::User, content: "A patient of 54 years asks something.".to_owned() }],
        llm_provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        parameters: Parameters::default(),
        retry_of: None,
        policy: Some(Policy::default()),
        redrive: None,
    });
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, request) = (store.clone(), request.clone());
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..executions.div_ceil(CALLERS) {
                ids.push(one(&store, &request).await?);
            }
            anyhow::Ok(ids)
        });
    }
    let mut ids = Vec::with_capacity(executions);
    while let Some(done) = tasks.join_next().await {
        ids.extend(done??);
    }
    projected(&pool, store.head().await?).await?;
    sqlx::query("analyze").execute(&pool).await?;
    pool.close().await;
    Ok(ids)
}

async fn one(store: &Store, request: &Request) -> anyhow::Result<Uuid> {
    let id = clock::id();
    let meta = Meta { actor: Some(request.user_id), correlation_id: id, causation_id: None, traceparent: None };
    let answer = "Most often it is harmless: a few early beats that the quiet of the night makes felt. Should they come with \
                  dizziness or pain, have an electrocardiogram taken.";
    let bill = Bill {
        usage: Usage { input_tokens: Some(31), output_tokens: Some(38), ..Usage::default() },
        duration_ms: 812,
        first_chunk_ms: Some(300),
        response_id: Some(format!("chatcmpl-{}", id.simple())),
        ..Bill::default()
    };
    let answer = Answer { result: answer.to_owned(), finish_reason: Some("stop".to_owned()), ..Answer::default() };
    let call = Call { fresh: true, ..Call::from(meta.clone()) };
    execute::<Execution>(store, id, Command::Request(Box::new(request.clone())), call).await?;
    let holder = Holder { attempt: 1, token: clock::id() };
    let (worker, calling) = ("bench".to_owned(), Calling::default());
    let start = Command::Start { holder, worker, lease_ms: 15_000, calling };
    execute::<Execution>(store, id, start, meta.clone()).await?;
    execute::<Execution>(store, id, Command::Succeed { holder, answer, bill }, meta).await?;
    Ok(id)
}

/// Waits until the read model has come to `position`.
async fn projected(pool: &PgPool, position: i64) -> anyhow::Result<()> {
    let reached = async {
        loop {
            let at: Option<i64> = sqlx::query_scalar("select position from checkpoint where name = 'execution'")
                .fetch_optional(pool)
                .await?;
            if at >= Some(position) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), reached).await.context("the read model does not come on")?
}
