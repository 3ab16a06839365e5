//! From a submitted command to its outcome, through the whole system: API, log, relay, stream, worker, provider, log, relay,
//! stream, projector, waiting room, API.

mod cancel;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use daybook::system::provider::{Behaviour, Provider};
use events::execution::Request;
use events::model::{Message, Parameters, Role};
use events::policy::Policy;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinSet;
use uuid::Uuid;
use workers::config::Providers as Settings;
use workers::provider::{Draft, Providers};

use crate::harness::{Figure, Floor, Report, case, interleaved, median, run};
use crate::load::{Done, Stage};

/// Calls of providers at a time. The default of 64 would be the limit that is measured with 64 callers and more.
const CONCURRENCY: &str = "256";
/// Rounds of each case.
const ROUNDS: usize = 3;
/// Executions of one caller in a round.
const ONE_BY_ONE: usize = 60;
/// How long a round of many callers lasts.
const ROUND: Duration = Duration::from_secs(3);
/// How long the provider is called by itself in a round.
const ALONE: Duration = Duration::from_secs(2);
/// How long a model takes to answer, where it takes any time.
const DELAY: Duration = Duration::from_millis(50);
/// Callers of the case with a delay.
const CALLERS: u32 = 64;
/// Callers that are more than the system can serve at once.
const SATURATING: u32 = 256;

/// Runs the bench.
pub fn main() -> ExitCode {
    run("e2e", bench())
}

async fn bench() -> anyhow::Result<()> {
    let mut report = Report::new("e2e")?;
    let stage = Stage::set(&[("DAYBOOK_WORKER_CONCURRENCY", CONCURRENCY)]).await?;
    // Plans, pools and caches as they are after a while.
    stage.caller.throughput(CALLERS, Duration::from_secs(2)).await?;
    report.add(one_caller(&stage).await?)?;
    report.add(many_callers(&stage).await?)?;
    report.add(saturated(&stage).await?)?;
    report.add(cancel::cancel(&stage).await?)?;
    stage.clear().await;
    report.finish()
}

/// One execution after another, without a model's delay, beside the commits that it cannot do without.
async fn one_caller(stage: &Stage) -> anyhow::Result<Figure> {
    stage.provider.set(Behaviour::Answer(Duration::ZERO));
    let mut connection = PgConnection::connect(&stage.database_url()).await?;
    connection.execute("create table commits (id bigserial primary key, data text)").await?;
    connection.close().await?;
    let submit = stage.caller.submit();
    let [ours, theirs] = interleaved(
        ROUNDS,
        [
            case("submit to succeeded, ms", || async {
                let mut connections = stage.caller.connect().await?;
                let mut times = Vec::with_capacity(ONE_BY_ONE);
                for _ in 0..ONE_BY_ONE {
                    let start = Instant::now();
                    stage.caller.execute(&mut connections, &submit).await?;
                    times.push(milliseconds(start.elapsed()));
                }
                Ok(median(&mut times))
            }),
            case("four commits, ms", || async {
                let mut connection = PgConnection::connect(&stage.database_url()).await?;
                let data = "x".repeat(300);
                let mut times = Vec::with_capacity(ONE_BY_ONE);
                for _ in 0..ONE_BY_ONE {
                    let start = Instant::now();
                    for _ in 0..4 {
                        sqlx::query("insert into commits (data) values ($1)")
                            .bind(&data)
                            .execute(&mut connection)
                            .await?;
                    }
                    times.push(milliseconds(start.elapsed()));
                }
                connection.close().await?;
                Ok(median(&mut times))
            }),
        ],
    )
    .await?;
    Ok(Figure {
        case: "1 caller, 0 ms, p50".to_owned(),
        unit: "ms",
        ours,
        reference: "four single-row commits one after another".to_owned(),
        theirs: Some(theirs),
        n: ROUNDS * ONE_BY_ONE,
        floor: Some(Floor::Within { times: 2.0, plus: 2.0 }),
    })
}

/// As many callers as there is time in 50 ms for, each sending the next command when the last has succeeded.
async fn many_callers(stage: &Stage) -> anyhow::Result<Figure> {
    stage.provider.set(Behaviour::Answer(DELAY));
    let done = AtomicUsize::new(0);
    let [ours] = interleaved(
        ROUNDS,
        [case("64 callers, executions/s", || async {
            let Done { executions, rate } = stage.caller.throughput(CALLERS, ROUND).await?;
            done.fetch_add(executions, Ordering::Relaxed);
            Ok(rate)
        })],
    )
    .await?;
    Ok(Figure {
        case: "64 callers, 50 ms".to_owned(),
        unit: "executions/s",
        ours,
        reference: "64 / 50 ms".to_owned(),
        theirs: Some(f64::from(CALLERS) / DELAY.as_secs_f64()),
        n: done.into_inner(),
        floor: Some(Floor::AtLeast(0.8)),
    })
}

/// More callers than can be served, without a model's delay, beside what the provider serves to as many of the workers'
/// clients when nothing else is done.
async fn saturated(stage: &Stage) -> anyhow::Result<Figure> {
    stage.provider.set(Behaviour::Answer(Duration::ZERO));
    let done = AtomicUsize::new(0);
    let [ours, theirs] = interleaved(
        ROUNDS,
        [
            case("saturated, executions/s", || async {
                let Done { executions, rate } = stage.caller.throughput(SATURATING, ROUND).await?;
                done.fetch_add(executions, Ordering::Relaxed);
                Ok(rate)
            }),
            case("the provider alone, calls/s", || calls(&stage.provider)),
        ],
    )
    .await?;
    Ok(Figure {
        case: "saturated, 0 ms".to_owned(),
        unit: "executions/s",
        ours,
        reference: "the provider alone, through the workers' client".to_owned(),
        theirs: Some(theirs),
        n: done.into_inner(),
        floor: None,
    })
}

/// How many calls a second the provider answers to the client that workers have.
async fn calls(provider: &Provider) -> anyhow::Result<f64> {
    let providers = Arc::new(Providers::new(&Settings {
        openai_base_url: Some(provider.url()),
        openai_api_key: Some("sk-of-the-benches".to_owned().into()),
        ..Settings::default()
    })?);
    let request = Arc::new(Request {
        user_id: Uuid::nil(),
        prompt_id: Uuid::nil(),
        prompt_version: 1,
        variables: serde_json::Value::Null,
        messages: vec![Message { role: Role::User, content: "A patient of 54 years asks something.".to_owned() }],
        llm_provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        parameters: Parameters::default(),
        retry_of: None,
        policy: Some(Policy::default()),
        redrive: None,
    });
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..SATURATING {
        let (providers, request) = (providers.clone(), request.clone());
        tasks.spawn(async move {
            let mut calls = 0.0;
            while start.elapsed() < ALONE {
                let answer = providers.answer(&request, &Draft::default()).await;
                anyhow::ensure!(answer.is_ok(), "the provider did not answer well");
                calls += 1.0;
            }
            anyhow::Ok(calls)
        });
    }
    let mut calls = 0.0;
    while let Some(done) = tasks.join_next().await {
        calls += done??;
    }
    Ok(calls / start.elapsed().as_secs_f64())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
