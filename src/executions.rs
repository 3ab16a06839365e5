//! `daybook executions`: what an operator does about dead letters. It appends to the log itself, so it works while nothing else
//! does.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use events::execution::dead::{self, Filter, Found};
use events::execution::{self, Command as Ask, Execution, Redrive};
use events::prompt::unless_archived;
use events::{Call, Error, Meta, Store, clock, execute};
use service::db::{self, Kind};
use service::lifecycle::Lifecycle;
use service::process;
use uuid::Uuid;

use crate::reach::Reach;

/// How many dead letters are looked for at a time.
const BATCH: i64 = 1_000;

/// What is done with executions.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Sends dead letters again: for each that the filter matches a new execution is requested, once.
    #[command(after_help = "Examples:
  daybook executions redrive --id 0197… --reason 'the provider is back'
  daybook executions redrive --prompt-id 0197… --dry-run     how many it would be
  daybook executions redrive --all-dead --reason 'outage of 20 November'")]
    Redrive(RedriveSettings),
    /// Marks a dead letter as one about which nothing more is to be done.
    #[command(after_help = "Example:\n  daybook executions discard --id 0197… --reason 'nobody needs it any more'")]
    Discard(DiscardSettings),
}

/// See [`Command::Redrive`].
#[derive(Args, Debug)]
pub struct RedriveSettings {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    which: Which,
    /// Only those of this user.
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    user_id: Option<Uuid>,
    /// Why, for the log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only counts them.
    #[arg(long)]
    dry_run: bool,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Which dead letters: everything is not sent again by leaving something out.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// This one.
    #[arg(long, value_name = "ID")]
    id: Option<Uuid>,
    /// Those of this prompt.
    #[arg(long, value_name = "ID")]
    prompt_id: Option<Uuid>,
    /// All.
    #[arg(long)]
    all_dead: bool,
}

/// See [`Command::Discard`].
#[derive(Args, Debug)]
pub struct DiscardSettings {
    #[command(flatten)]
    reach: Reach,
    /// The dead letter.
    #[arg(long, value_name = "ID")]
    id: Uuid,
    /// Why, for the log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Runs one of them. The exit code is success only when all is well.
pub fn main(command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("daybook: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = async {
                match command {
                    Command::Redrive(settings) => redrive(settings).await,
                    Command::Discard(settings) => discard(settings).await,
                }
            } => done,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted: what was not reached can be done again")),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("daybook executions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn redrive(settings: RedriveSettings) -> anyhow::Result<()> {
    let RedriveSettings { reach, which, user_id, reason, dry_run, json } = settings;
    let store = open(&reach).await?;
    let redrive = Redrive { by: None, reason };
    if let Some(id) = which.id {
        let execution = store.load::<Execution>(id).await?.aggregate;
        let request = execution.redrive(id, redrive)?;
        if dead::is_redriven(&store, id).await? {
            return Err(execution::Error::Redriven.into());
        }
        if dry_run {
            counted(1, json);
            return Ok(());
        }
        let needs = [unless_archived(request.prompt_id, execution::Error::PromptArchived)];
        let receipt = dead::send(&store, request, call(), &needs).await?;
        sent(receipt.id, id, json);
        return Ok(());
    }
    let filter = Filter { user_id, prompt_id: which.prompt_id, until: None };
    let mut found = dead::find(&store, &filter, BATCH).await?;
    anyhow::ensure!(found.count > 0, "no dead letter matches");
    if dry_run {
        counted(found.count, json);
        return Ok(());
    }
    let mut left = found.count;
    while left > 0 && !found.ids.is_empty() {
        let Found { ids, .. } = found;
        for id in ids {
            left -= 1;
            let execution = store.load::<Execution>(id).await?.aggregate;
            let Ok(request) = execution.redrive(id, redrive.clone()) else { continue };
            let needs = [unless_archived(request.prompt_id, execution::Error::PromptArchived)];
            match dead::send(&store, request, call(), &needs).await {
                Ok(receipt) => sent(receipt.id, id, json),
                // Somebody else did it meanwhile.
                Err(Error::Refused(execution::Error::Redriven)) => {}
                Err(Error::Refused(error @ execution::Error::PromptArchived)) => eprintln!("{id} is left: {error}"),
                Err(error) => return Err(error).context(format!("{id} could not be sent again; the others can be")),
            }
        }
        found = dead::find(&store, &filter, BATCH.min(left)).await?;
    }
    Ok(())
}

async fn discard(settings: DiscardSettings) -> anyhow::Result<()> {
    let DiscardSettings { reach, id, reason, json } = settings;
    anyhow::ensure!(!reason.trim().is_empty(), "--reason is blank: say why");
    let store = open(&reach).await?;
    execute::<Execution>(&store, id, Ask::Discard { by: None, reason }, call()).await?;
    if json {
        println!("{}", serde_json::json!({ "discarded": id }));
    } else {
        println!("discarded {id}");
    }
    Ok(())
}

fn call() -> Call {
    Call::from(Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None })
}

fn sent(id: Uuid, retry_of: Uuid, json: bool) {
    if json {
        println!("{}", serde_json::json!({ "id": id, "retry_of": retry_of }));
    } else {
        println!("{retry_of} is sent again as {id}");
    }
}

fn counted(count: i64, json: bool) {
    if json {
        println!("{}", serde_json::json!({ "matched": count }));
    } else {
        println!("{count} would be sent again");
    }
}

/// The log, with the schema up to date.
async fn open(reach: &Reach) -> anyhow::Result<Store> {
    let database = reach.prepared().await?;
    let pool = db::pool(database.database_url.expose(), Kind::Commands).context("DATABASE_URL")?;
    Ok(process::open_store_on(&pool, &Lifecycle::new()))
}
