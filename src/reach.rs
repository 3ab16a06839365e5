//! How commands find the servers of a system: those that they are given, else those of a running `daybook up`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use service::config::{Data, Secret};
use service::embedded::Folder;

/// Where the database of a system is.
#[derive(Args, Clone, Debug)]
pub struct Reach {
    /// PostgreSQL, as postgres://user:password@host:port/database [default: that of the running `daybook up`].
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<Secret>,
    #[command(flatten)]
    data: Data,
}

/// What is wanted of `endpoints.json`.
#[derive(Deserialize)]
struct Endpoints {
    database_url: String,
    nats_url: String,
}

impl Reach {
    /// The database's URL.
    pub fn database_url(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.database_url {
            return Ok(url.expose().to_owned());
        }
        Ok(self.endpoints()?.database_url)
    }

    /// The URL of NATS: `given`, else that of the running `daybook up`; none where only a database is given.
    pub fn nats_url(&self, given: Option<&Secret>) -> anyhow::Result<Option<String>> {
        match given {
            Some(url) => Ok(Some(url.expose().to_owned())),
            None if self.database_url.is_some() => Ok(None),
            None => Ok(Some(self.endpoints()?.nats_url)),
        }
    }

    /// The database's URL, where one was given.
    pub fn given(&self) -> Option<&str> {
        self.database_url.as_ref().map(Secret::expose)
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
