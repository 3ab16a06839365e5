//! The servers that `daybook up` works on: those it was given, else its own, which it keeps running until it stops.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nats::server::{Config, User, Users, move_streams};
use service::config::{Database, Up};
use service::embedded::{Durability, Error, Folder, Nats, NatsOptions, Postgres, PostgresOptions, binaries};
use service::lifecycle::Lifecycle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Before a server that has died is started again, and between tries.
const PAUSE: Duration = Duration::from_secs(1);

/// The most that the events may take on the disk of `daybook up`, in bytes. (The log has them all anyway.)
const MAX_FILE_STORE: u64 = 20 << 30;

/// URLs of NATS, one for each user.
#[derive(Clone, Debug)]
pub struct NatsUrls {
    /// May publish events.
    pub relay: String,
    /// May work off jobs.
    pub worker: String,
    /// May read, and ask workers for texts in the making.
    pub query: String,
    /// May only read.
    pub reader: String,
}

/// Where the servers are, and those of them that are ours.
#[derive(Debug)]
pub struct Servers {
    /// The database.
    pub database: Database,
    /// The bus.
    pub nats: NatsUrls,
    own: Vec<Arc<Server>>,
}

#[derive(Debug)]
enum Server {
    Postgres(Postgres),
    Nats(Nats),
}

impl Servers {
    /// Starts what was not given. If one of them does not start, none is left running.
    pub async fn start(config: &Up, folder: &Folder) -> anyhow::Result<Self> {
        match tokio::join!(postgres(config, folder), bus(config, folder)) {
            (Ok((database, postgres)), Ok((nats, server))) => {
                let own = [postgres.map(Server::Postgres), server.map(Server::Nats)];
                Ok(Self { database, nats, own: own.into_iter().flatten().map(Arc::new).collect() })
            }
            (Ok((_, Some(server))), Err(error)) => {
                server.stop().await;
                Err(error)
            }
            (Err(error), Ok((_, Some(server)))) => {
                server.stop().await;
                Err(error)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Starts a server of ours again whenever it ends, until the process begins to stop.
    pub fn keep(&self, lifecycle: &Lifecycle) {
        for server in &self.own {
            lifecycle.spawn(server.name(), keep(Arc::clone(server), lifecycle.soft()));
        }
    }

    /// Stops those that are ours.
    pub async fn stop(&self) {
        let mut stops = JoinSet::new();
        for server in &self.own {
            let server = Arc::clone(server);
            stops.spawn(async move { server.stop().await });
        }
        stops.join_all().await;
    }
}

impl Server {
    fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "PostgreSQL",
            Self::Nats(_) => "nats-server",
        }
    }

    async fn ended(&self) {
        match self {
            Self::Postgres(server) => server.ended().await,
            Self::Nats(server) => server.ended().await,
        }
    }

    async fn stop(&self) {
        match self {
            Self::Postgres(server) => server.stop().await,
            Self::Nats(server) => server.stop().await,
        }
    }

    async fn restart(&self) -> Result<(), Error> {
        match self {
            Self::Postgres(server) => server.restart().await,
            Self::Nats(server) => server.restart().await,
        }
    }
}

async fn keep(server: Arc<Server>, stopping: CancellationToken) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = server.ended() => tracing::error!(server = server.name(), "it has ended, and is started again"),
            () = stopping.cancelled() => return Ok(()),
        }
        while tokio::time::timeout(PAUSE, stopping.cancelled()).await.is_err() {
            match server.restart().await {
                Ok(()) => break,
                Err(error) => tracing::error!(server = server.name(), %error, "it does not start again"),
            }
        }
    }
}

async fn postgres(config: &Up, folder: &Folder) -> anyhow::Result<(Database, Option<Postgres>)> {
    if let Some(url) = &config.database_url {
        let database_owner_url = config.database_owner_url.clone();
        return Ok((Database { database_url: url.clone(), database_owner_url }, None));
    }
    let options = PostgresOptions {
        home: folder.servers_home().to_owned(),
        wheels: None,
        password_file: folder.path().join("postgres-password"),
        addr: config.postgres_addr,
        durability: Durability::Full,
    };
    let server = Postgres::start(options).await?;
    let database =
        Database { database_url: server.application_url().into(), database_owner_url: Some(server.owner_url().into()) };
    Ok((database, Some(server)))
}

async fn bus(config: &Up, folder: &Folder) -> anyhow::Result<(NatsUrls, Option<Nats>)> {
    if let Some(url) = &config.nats_url {
        let url = url.expose().to_owned();
        return Ok((NatsUrls { relay: url.clone(), worker: url.clone(), query: url.clone(), reader: url }, None));
    }
    let program = binaries::nats_server(&folder.servers_home().join("servers")).await?;
    let options = NatsOptions { program, home: folder.servers_home().join("nats"), addr: config.nats_addr };
    let users = Users {
        relay: folder.secret("nats-relay")?,
        worker: folder.secret("nats-worker")?,
        query: folder.secret("nats-query")?,
        reader: folder.secret("nats-reader")?,
    };
    let text = |addr, store_dir: &Path| {
        if let Err(error) = move_streams(store_dir) {
            tracing::warn!(%error, "the streams of an earlier version stay where they are; the relay makes new ones");
        }
        Config { addr, store_dir, max_file_store: MAX_FILE_STORE, users: &users, durables: workers::DURABLES }.text()
    };
    let server = Nats::start(options, text).await?;
    let url = |user| users.url(server.addr(), user);
    let urls = NatsUrls {
        relay: url(User::Relay),
        worker: url(User::Worker),
        query: url(User::Query),
        reader: url(User::Reader),
    };
    Ok((urls, Some(server)))
}
