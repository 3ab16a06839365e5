//! The servers of a system of its own.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use nats::server::{Config, User, Users};
use service::embedded::{Durability, Folder, Nats, NatsOptions, Postgres, PostgresOptions, binaries};
use service::schema;

use super::wheels;

/// Any free port on loopback.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// The most that the bus may take on the disk, in bytes.
const MAX_FILE_STORE: u64 = 20 << 30;

/// Where the servers are reached: themselves, or something in front of them.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// PostgreSQL.
    pub postgres: SocketAddr,
    /// nats-server.
    pub nats: SocketAddr,
}

/// How roles and readers log in.
#[derive(Clone, Debug)]
pub struct Urls {
    /// The database, as the application.
    pub database: String,
    /// NATS for the command API, which may publish events.
    pub relay: String,
    /// NATS for workers and projectors.
    pub worker: String,
    /// NATS for the query API.
    pub query: String,
    /// NATS for subscribers.
    pub reader: String,
}

/// A PostgreSQL and a nats-server that end with this process.
#[derive(Debug)]
pub struct Servers {
    /// The database.
    pub postgres: Postgres,
    /// The bus.
    pub nats: Nats,
    users: Users,
}

impl Servers {
    /// Starts both in `folder`, on free ports, with the schema in the database: the roles have no login that could make it.
    pub async fn start(folder: &Folder, durability: Durability) -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            home: folder.servers_home().to_owned(),
            wheels: Some(wheels()),
            password_file: folder.path().join("postgres-password"),
            addr: ANY,
            durability,
        })
        .await?;
        let users = Users {
            relay: folder.secret("nats-relay")?,
            worker: folder.secret("nats-worker")?,
            query: folder.secret("nats-query")?,
            reader: folder.secret("nats-reader")?,
        };
        let text = |addr, store_dir: &Path| {
            Config { addr, store_dir, max_file_store: MAX_FILE_STORE, users: &users, durables: workers::DURABLES }
                .text()
        };
        let program = binaries::nats_server(&wheels()).await?;
        let nats =
            Nats::start(NatsOptions { program, home: folder.servers_home().join("nats"), addr: ANY }, text).await?;
        let (application, owner) = (postgres.application_url().parse()?, postgres.owner_url().parse()?);
        schema::prepare(&application, Some(&owner)).await.context("the schema")?;
        Ok(Self { postgres, nats, users })
    }

    /// Where they listen.
    pub fn at(&self) -> At {
        At { postgres: self.postgres.addr(), nats: self.nats.addr() }
    }

    /// How to log in to them where they are reached `at`.
    pub fn urls(&self, at: At) -> Urls {
        let database =
            self.postgres.application_url().replace(&self.postgres.addr().to_string(), &at.postgres.to_string());
        let url = |user| self.users.url(at.nats, user);
        Urls {
            database,
            relay: url(User::Relay),
            worker: url(User::Worker),
            query: url(User::Query),
            reader: url(User::Reader),
        }
    }

    /// Stops both.
    pub async fn stop(&self) {
        tokio::join!(self.postgres.stop(), self.nats.stop());
    }
}
