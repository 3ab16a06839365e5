//! `daybook restore`: the database becomes what it was at a backup.
//!
//! The backup is restored into a database beside, made good there ([`settle`]), and both change names in one transaction: what
//! fails or is killed before that leaves everything as it was. After it only the file of heads, where it contradicts the log that is
//! there now, is to be put aside: until that is done nothing is sealed, and it can be done again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use events::clock;
use events::seal::File;
use reqwest::Url;
use serde_json::json;
use service::config::{Database, Secret};
use service::embedded::{Durability, Folder, Postgres, PostgresOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::settle::{self, Known, Settled};
use super::tools::Tools;
use crate::projections::enter;
use crate::reach::Reach;
use crate::up;

/// What `pg_stat_activity` shows of this.
const NAME: &str = "daybook restore";

/// What is shown below `--help`.
pub const EXAMPLES: &str = "Examples:
  daybook restore monday.backup                            the database of daybook up, which was stopped
  DATABASE_URL=postgres://… daybook restore monday.backup  that one, after every process was stopped
  daybook restore --recovered                              PostgreSQL was recovered to an earlier point by other means";

/// What is restored.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// What daybook backup has written.
    #[arg(value_name = "FILE", required_unless_present = "recovered", conflicts_with = "recovered")]
    file: Option<PathBuf>,
    /// Restores nothing: the database was recovered already, by PostgreSQL's own means (a base backup and its WAL, a standby that
    /// lacked the end). Does what is to be done after that.
    #[arg(long)]
    recovered: bool,
    /// The file of heads outside the database; it is put aside where it contradicts the restored log [default: that of the
    /// data folder].
    #[arg(long, env = "DAYBOOK_SEAL_FILE", value_name = "FILE")]
    seal_file: Option<PathBuf>,
    /// Drops the database that is replaced, which is kept under another name otherwise.
    #[arg(long, conflicts_with = "recovered")]
    drop_replaced: bool,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Restores it.
pub fn main(settings: Settings) -> ExitCode {
    enter(async |stop| run(settings, stop).await)
}

/// What became of it.
struct Done {
    settled: Settled,
    /// The name that the former database has now.
    replaced: Option<String>,
    /// Where the file of heads is now.
    aside: Option<PathBuf>,
}

async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<bool> {
    if let Some(file) = &settings.file {
        std::fs::File::open(file).with_context(|| file.display().to_string())?;
    }
    let path = settings.reach.folder()?;
    let heads = settings.seal_file.clone().or_else(|| settings.reach.kept(up::SEAL_FILE));
    if let Some(database) = settings.reach.given() {
        tell(&restore(&settings, &database, &path, heads.as_deref(), &stop).await?, &settings);
        return Ok(true);
    }
    // Its lock shows that no `daybook up` is at work there.
    let folder = Folder::open(&path)?;
    let server = Postgres::start(PostgresOptions {
        home: folder.servers_home().to_owned(),
        wheels: None,
        password_file: folder.path().join("postgres-password"),
        addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        durability: Durability::Full,
    })
    .await?;
    let database =
        Database { database_url: server.application_url().into(), database_owner_url: Some(server.owner_url().into()) };
    let done = restore(&settings, &database, &path, heads.as_deref(), &stop).await;
    server.stop().await;
    tell(&done?, &settings);
    Ok(true)
}

/// On the server of the `database`.
async fn restore(
    settings: &Settings,
    database: &Database,
    folder: &Path,
    heads: Option<&Path>,
    stop: &CancellationToken,
) -> anyhow::Result<Done> {
    let head = heads.map(|path| File::at(path).last()).transpose()?.flatten().map(|last| last.head);
    let owner = database.database_owner_url.as_ref().unwrap_or(&database.database_url);
    let mut server = Server::connect(owner.expose()).await?;
    server.refuse_others().await?;
    let Some(file) = &settings.file else {
        let settled = settle::settle(database, Known { epoch: 0, head }, stop).await?;
        let aside = heads.filter(|_| settled.is_contradicted).map(put_aside).transpose()?;
        return Ok(Done { settled, replaced: None, aside });
    };
    let tools = Tools::find(&mut server.admin, folder).await?;
    tools.list(file).await?;
    let beside = server.create_beside().await?;
    let known = Known { epoch: server.before.epoch, head };
    let ready = async {
        tools.restore(file, &beside.url).await?;
        let settled = settle::settle(&elsewhere(database, &beside.name)?, known, stop).await?;
        events::failpoint::reach("restore.swap");
        Ok::<_, anyhow::Error>((settled, server.swap(&beside.name).await?))
    };
    let ready = ready.await;
    if ready.is_err() {
        server.drop(&beside.name).await?;
    }
    let (settled, mut replaced) = ready.context("nothing was restored, and nothing changed")?;
    events::failpoint::reach("restore.swapped");
    // Not before: without a file a sealer begins one anew, and the heads of a log that is still there would be missed by nobody.
    let aside = heads.filter(|_| settled.is_contradicted).map(put_aside).transpose().context(
        "the database was restored; the file of heads is to be put aside yet: `daybook restore --recovered` does that",
    )?;
    // A database without a log is nothing to keep.
    if let Some(replaced) = replaced.take_if(|_| settings.drop_replaced || server.before.end == 0) {
        server.drop(&replaced).await?;
    }
    Ok(Done { settled, replaced, aside })
}

/// Gives the file of heads another name, under which it is kept: it shows what was lost.
fn put_aside(file: &Path) -> anyhow::Result<PathBuf> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".before-{}", stamp()));
    let aside = PathBuf::from(name);
    std::fs::rename(file, &aside).with_context(|| file.display().to_string())?;
    Ok(aside)
}

fn stamp() -> String {
    clock::now().format("%Y%m%d_%H%M%S_%6f").to_string()
}

/// The server, and the database on it that is to be replaced.
struct Server {
    url: Url,
    admin: PgConnection,
    name: String,
    before: Before,
}

/// What is known of the database as it is.
#[derive(Default)]
struct Before {
    exists: bool,
    epoch: i32,
    end: i64,
}

/// A database that is not in use yet.
struct Beside {
    name: String,
    url: String,
}

impl Server {
    async fn connect(url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url).context("DATABASE_URL")?;
        let name = url.path().trim_start_matches('/').to_owned();
        if name.is_empty() {
            bail!("DATABASE_URL names no database");
        }
        let mut maintenance = url.clone();
        maintenance.set_path("postgres");
        let mut admin = connect(&maintenance).await.context("the database cannot be reached")?;
        let exists = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut admin)
            .await?;
        let mut server = Self { url, admin, name, before: Before { exists, ..Before::default() } };
        if exists {
            server.look().await?;
        }
        Ok(server)
    }

    /// The epoch of the log that is there, and its end.
    async fn look(&mut self) -> anyhow::Result<()> {
        let mut database = connect(&self.url).await?;
        let has_log: bool = sqlx::query_scalar(
            "select to_regclass('public.ledger') is not null and to_regclass('public.event') is not null",
        )
        .fetch_one(&mut database)
        .await?;
        if has_log {
            let sql = "select epoch, coalesce((select max(position) from event), 0) from ledger";
            (self.before.epoch, self.before.end) = sqlx::query_as(sql).fetch_one(&mut database).await?;
        }
        database.close().await?;
        Ok(())
    }

    /// Refuses while anybody works on the database.
    async fn refuse_others(&mut self) -> anyhow::Result<()> {
        let sql = "select distinct coalesce(nullif(application_name, ''), 'without a name') from pg_stat_activity
                   where datname = $1 and backend_type = 'client backend' and application_name <> $2 order by 1";
        let others = sqlx::query_scalar(sql).bind(&self.name).bind(NAME);
        let others: Vec<String> = others.fetch_all(&mut self.admin).await?;
        if !others.is_empty() {
            let (name, others) = (&self.name, others.join(", "));
            bail!("the database {name} is in use ({others}): stop every process first; nothing was changed");
        }
        Ok(())
    }

    /// An empty database beside; what killed restores have left of such is dropped.
    async fn create_beside(&mut self) -> anyhow::Result<Beside> {
        let prefix = format!("{}_restoring_", self.name);
        let sql = "select datname::text from pg_database d where starts_with(datname, $1)
                   and not exists (select from pg_stat_activity a where a.datid = d.oid)";
        let left: Vec<String> = sqlx::query_scalar(sql).bind(&prefix).fetch_all(&mut self.admin).await?;
        for name in left {
            self.drop(&name).await?;
        }
        let name = prefix + &stamp();
        let create = format!("create database {} template template0", quoted(&name));
        self.admin.execute(AssertSqlSafe(create)).await.context("a database beside it cannot be made")?;
        let mut url = self.url.clone();
        url.set_path(&name);
        Ok(Beside { name, url: url.into() })
    }

    /// The database of this name takes the place of the one that is there. The name that this one has then.
    async fn swap(&mut self, name: &str) -> anyhow::Result<Option<String>> {
        self.refuse_others().await?;
        // Connections that have just been closed here may not have ended there.
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        sqlx::query(end).bind(name).execute(&mut self.admin).await?;
        let own = self.name.clone();
        let replaced = self.before.exists.then(|| format!("{own}_replaced_{}", stamp()));
        let mut both = self.admin.begin().await?;
        if let Some(replaced) = &replaced {
            let away = format!("alter database {} rename to {}", quoted(&own), quoted(replaced));
            both.execute(AssertSqlSafe(away)).await?;
        }
        let here = format!("alter database {} rename to {}", quoted(name), quoted(&own));
        both.execute(AssertSqlSafe(here)).await?;
        both.commit().await?;
        Ok(replaced)
    }

    async fn drop(&mut self, name: &str) -> anyhow::Result<()> {
        self.admin.execute(AssertSqlSafe(format!("drop database {} with (force)", quoted(name)))).await?;
        Ok(())
    }
}

/// How to log in to the database of this name on the same server.
fn elsewhere(database: &Database, name: &str) -> anyhow::Result<Database> {
    let moved = |url: &Secret| {
        let mut url = Url::parse(url.expose())?;
        url.set_path(name);
        anyhow::Ok(Secret::from(String::from(url)))
    };
    Ok(Database {
        database_url: moved(&database.database_url).context("DATABASE_URL")?,
        database_owner_url: database
            .database_owner_url
            .as_ref()
            .map(moved)
            .transpose()
            .context("DATABASE_OWNER_URL")?,
    })
}

async fn connect(url: &Url) -> sqlx::Result<PgConnection> {
    let options: PgConnectOptions = url.as_str().parse()?;
    PgConnection::connect_with(&options.application_name(NAME)).await
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn tell(done: &Done, settings: &Settings) {
    let Done { settled: Settled { end, epoch, beyond, .. }, replaced, aside } = done;
    let aside = aside.as_deref().map(|path| path.display().to_string());
    if settings.json {
        let told =
            json!({ "position": end, "epoch": epoch, "made_anew": beyond, "replaced": replaced, "heads_aside": aside });
        println!("{told}");
        return;
    }
    println!("log         ends at position {end}; epoch {epoch} from here on");
    if !beyond.is_empty() {
        println!("read models {}, which were of another log, were made anew", beyond.join(", "));
    }
    if let Some(replaced) = replaced {
        println!("before      the database that was there is kept as {replaced}, until somebody drops it");
    }
    if let Some(aside) = aside {
        println!("heads       {aside} shows what was lost: keep it");
    }
    println!("\nStart the processes. The stream on NATS is made anew from the log by itself.");
}
