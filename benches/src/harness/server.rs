//! A PostgreSQL that loses nothing, with migrated and empty databases.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use service::db::{self, Kind};
use service::embedded::{Durability, Postgres, PostgresOptions};
use service::{schema, testkit};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// The database that is copied for each round: migrated, and empty.
const TEMPLATE: &str = "template_daybook";

/// A PostgreSQL with its own settings, as in production. It ends with this process.
#[derive(Clone, Debug)]
pub struct Server {
    postgres: Arc<Postgres>,
    folder: PathBuf,
    next: Arc<AtomicU32>,
}

/// A database on a [`Server`].
#[derive(Clone, Debug)]
pub struct Database {
    /// How to log in, for other processes.
    pub url: String,
    /// Its name.
    pub name: String,
}

impl Server {
    /// Starts one, in a folder of its own.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = testkit::folder("postgres");
        let postgres = Postgres::start(PostgresOptions {
            password_file: folder.join("password"),
            home: folder.clone(),
            wheels: Some(testkit::wheels()),
            addr: ([127, 0, 0, 1], 0).into(),
            durability: Durability::Full,
        })
        .await?;
        let server = Self { postgres: Arc::new(postgres), folder, next: Arc::default() };
        server.admin(format!("create database {TEMPLATE} owner {}", server.postgres.owner())).await?;
        let application = server.postgres.application_url_of(TEMPLATE).parse()?;
        let owner = server.postgres.owner_url_of(TEMPLATE).parse()?;
        schema::prepare(&application, Some(&owner)).await?;
        Ok(server)
    }

    /// The server itself.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// A new database, migrated and empty.
    pub async fn database(&self) -> anyhow::Result<Database> {
        let name = format!("bench_{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.admin(format!("create database {name} template {TEMPLATE}")).await?;
        // What making it has dirtied is not to be written during the measurement.
        self.admin("checkpoint".to_owned()).await?;
        Ok(Database { url: self.postgres.url_of(&name), name })
    }

    /// Removes a database, cutting off who is still connected.
    pub async fn drop(&self, database: Database) -> anyhow::Result<()> {
        self.admin(format!("drop database {} with (force)", database.name)).await
    }

    /// Stops the server and removes its data.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await;
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("removing {}", self.folder.display()))
    }

    async fn admin(&self, statement: String) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.postgres.url()).await?;
        connection.execute(AssertSqlSafe(statement.clone())).await.context(statement)?;
        Ok(connection.close().await?)
    }
}

impl Database {
    /// A pool of the product's kind.
    pub fn pool(&self, kind: Kind) -> anyhow::Result<PgPool> {
        Ok(db::pool(&self.url, kind)?)
    }
}
