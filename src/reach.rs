//! How commands find the servers of a system: those that they are given, else those of a running `daybook up`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use service::config::{Data, Database, Secret};
use service::embedded::Folder;
use service::schema;
use tokio::time::timeout;

/// How long the database may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the database of a system is.
#[derive(Args, Clone, Debug)]
pub struct Reach {
    /// PostgreSQL, as postgres://user:password@host:port/database [default: that of the running `daybook up`].
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<Secret>,
    /// The same database as its owner, for what the role of `DATABASE_URL` may not do: migrations, imports, restores.
    #[arg(long, env = "DATABASE_OWNER_URL", hide_env_values = true, value_name = "URL", requires = "database_url")]
    database_owner_url: Option<Secret>,
    #[command(flatten)]
    data: Data,
}

/// What is wanted of `endpoints.json`.
#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the keys of endpoints.json")]
struct Endpoints {
    database_url: String,
    database_owner_url: Option<String>,
    nats_url: String,
}

impl Reach {
    /// The database's URL.
    pub fn database_url(&self) -> anyhow::Result<String> {
        Ok(self.database()?.database_url.expose().to_owned())
    }

    /// How to log in to the database, also as its owner.
    pub fn database(&self) -> anyhow::Result<Database> {
        if let Some(given) = self.given() {
            return Ok(given);
        }
        let Endpoints { database_url, database_owner_url, .. } = self.endpoints()?;
        Ok(Database { database_url: database_url.into(), database_owner_url: database_owner_url.map(Secret::from) })
    }

    /// The same, with the schema up to date.
    pub async fn prepared(&self) -> anyhow::Result<Database> {
        let database = self.database()?;
        let (application, owner) = (database.options()?, database.owner_options()?);
        let prepared = timeout(PATIENCE, schema::prepare(&application, owner.as_ref())).await;
        prepared.context("the database does not answer")?.context("the database cannot be worked with")?;
        Ok(database)
    }

    /// The URL of NATS: `given`, else that of the running `daybook up`; none where only a database is given.
    pub fn nats_url(&self, given: Option<&Secret>) -> anyhow::Result<Option<String>> {
        match given {
            Some(url) => Ok(Some(url.expose().to_owned())),
            None if self.database_url.is_some() => Ok(None),
            None => Ok(Some(self.endpoints()?.nats_url)),
        }
    }

    /// How to log in to the database, where that was given.
    pub fn given(&self) -> Option<Database> {
        let database_url = self.database_url.clone()?;
        Some(Database { database_url, database_owner_url: self.database_owner_url.clone() })
    }

    /// Where the data folder of `daybook up` is, or would be.
    pub fn folder(&self) -> anyhow::Result<PathBuf> {
        Ok(Folder::locate(self.data.folder.as_deref())?)
    }

    /// A file in the data folder of `daybook up`, if it is there.
    pub fn kept(&self, name: &str) -> Option<PathBuf> {
        let file = Folder::locate(self.data.folder.as_deref()).ok()?.join(name);
        file.exists().then_some(file)
    }

    fn endpoints(&self) -> anyhow::Result<Endpoints> {
        let file = Folder::locate(self.data.folder.as_deref())?.join("endpoints.json");
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!(
                "no `daybook up` is running here ({} cannot be read): start it, or give DATABASE_URL, or its data folder as \
                 DAYBOOK_DATA",
                file.display()
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))
    }
}
