//! `daybook log import`: a log that was exported elsewhere comes into a database that has none, all of it or nothing.
//!
//! A thread reads and checks the lines ([`course`]), and the log takes them in behind it in one transaction.

mod course;
mod lines;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use events::seal::Keys;
use events::store::{Batch, Import, Imported, KeptSecret};
use serde_json::json;
use service::config::{Database, Secret};
use service::db::{self, Kind};
use service::schema;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use self::course::{Course, Read};
use self::lines::Lines;
use super::progress::Progress;
use super::{credentials, passphrase};
use crate::reach::Reach;
use crate::receipt;

/// How long the database may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many credentials go into the database at a time.
const SECRETS: usize = 1_000;

/// What is imported.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The export; - for standard input. Compressed or not, and several that follow each other.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Credentials that were exported beside it.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// The key that its heads must be signed with, as PEM [default: the one that it names itself].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Imports it.
pub async fn run(settings: Settings) -> anyhow::Result<bool> {
    let trusted = settings.key.as_deref().map(receipt::keys).transpose()?;
    let lines = Lines::open(&settings.file)?;
    // The passphrase is tried before anything is begun.
    let secrets = settings.credentials.as_deref().map(secrets).transpose()?;
    let database = settings.reach.database()?;
    let progress = Progress::default();
    let (done, users) = progress.shown(import(&database, lines, trusted, secrets, &progress)).await?;
    tell(&done, users, &settings);
    Ok(true)
}

/// The credentials of a file, with the passphrase that was asked for.
fn secrets(path: &Path) -> anyhow::Result<Secrets> {
    let wrong = || path.display().to_string();
    let file = BufReader::new(File::open(path).with_context(wrong)?);
    let passphrase: Secret = passphrase::known()?;
    let all = credentials::read(file, &passphrase).with_context(wrong)?;
    Ok(Secrets { name: wrong(), all: Box::new(all) })
}

/// Credentials as they are read.
struct Secrets {
    name: String,
    all: Box<dyn Iterator<Item = anyhow::Result<KeptSecret>> + Send>,
}

/// Takes it all in. What came, and how many users cannot log in with a password.
async fn import(
    database: &Database,
    lines: Lines,
    trusted: Option<Keys>,
    secrets: Option<Secrets>,
    progress: &Progress,
) -> anyhow::Result<(Imported, i64)> {
    // What comes in did not happen here: that is more than the application may do.
    let owner = database.database_owner_url.as_ref().unwrap_or(&database.database_url);
    let pool = db::pool(owner.expose(), Kind::Rebuild).context("DATABASE_OWNER_URL")?;
    // Before its schema is brought up to date: what is refused stays as it is.
    let looked = timeout(PATIENCE, Import::refuse(&pool)).await.context("the database does not answer")?;
    looked?;
    let (application, owner) = (database.options()?, database.owner_options()?);
    let prepared = timeout(PATIENCE, schema::prepare(&application, owner.as_ref())).await;
    prepared.context("the database does not answer")?.context("the database cannot be worked with")?;
    let mut import = Import::begin((*pool.connect_options()).clone(), events::CONTEXTS).await?;

    let name = lines.name().to_owned();
    let (sender, mut batches) = mpsc::channel(2);
    let reading: JoinHandle<anyhow::Result<Read>> = spawn_blocking(move || read(lines, Course::new(trusted), &sender));
    while let Some(Step { batch, end }) = batches.recv().await {
        if let Some(last) = batch.rows.last() {
            progress.between(0, end);
            progress.at(last.position);
        }
        import.add(&batch).await.with_context(|| format!("{name}: nothing was imported"))?;
    }
    let read = reading.await?.with_context(|| format!("{name}: nothing was imported"))?;
    if let Some(Secrets { name, mut all }) = secrets {
        let wrong = || format!("{name}: nothing was imported");
        loop {
            let some: Vec<_> = all.by_ref().take(SECRETS).collect::<Result<_, _>>().with_context(wrong)?;
            if some.is_empty() {
                break;
            }
            import.add_secrets(&some).await.with_context(wrong)?;
        }
    }
    let done = import.finish(&read.keys, read.epoch).await?;
    let users = sqlx::query_scalar(
        "select count(*) from event e where e.stream = 'user' and e.version = 1
         and not exists (select from secret s where s.stream = e.stream and s.id = e.id)",
    );
    Ok((done, users.fetch_one(&pool).await.unwrap_or_default()))
}

/// Some of it, of an export that ends at `end`.
struct Step {
    batch: Batch,
    end: i64,
}

/// Reads and checks all lines, and hands on what they say.
fn read(mut lines: Lines, mut course: Course, to: &mpsc::Sender<Step>) -> anyhow::Result<Read> {
    let mut line = Vec::new();
    while lines.next(&mut line)? {
        let taken = course.take(&line).with_context(|| format!("line {}", lines.number))?;
        let Some(batch) = taken else { continue };
        if to.blocking_send(Step { batch, end: course.end() }).is_err() {
            // Whoever takes it has failed, and says why.
            break;
        }
    }
    let read = course.over()?;
    let _ = to.blocking_send(Step { batch: course.rest(), end: read.events });
    Ok(read)
}

fn tell(done: &Imported, users: i64, settings: &Settings) {
    let Imported { events, sealed, heads, claims, secrets, epoch, key } = *done;
    let key = key.map(|key| key.to_string());
    if settings.json {
        let told = json!({
            "events": events, "sealed": sealed, "heads": heads, "claims": claims, "secrets": secrets, "epoch": epoch,
            "key": key, "without_password": users,
        });
        println!("{told}");
        return;
    }
    println!("log     {events} events, positions 1 to {events}; epoch {epoch} from here on");
    match &key {
        Some(key) => println!("seal    {heads} heads, up to {sealed}; from here on the key {key} signs"),
        None => println!("seal    no signed head came with it"),
    }
    println!("beside  {claims} claims derived, {secrets} credentials");
    if settings.key.is_none() && heads > 0 {
        println!("note    the key is the export's own: whoever rewrites the one can rewrite the other; give --key");
    }
    if users > 0 {
        println!("note    {users} users have no password here, and cannot log in (--credentials)");
    }
    println!("\nThe read models follow by themselves as soon as projectors run.");
}
