//! A whole system as it runs in production, as separate processes, on servers and in a folder of its own: for drills and
//! measurements. It shares nothing with what runs on the machine already.
//!
//! [`Servers`] are a PostgreSQL and a nats-server, [`Process`] is one role, [`System`] is all of it.

mod process;
pub mod provider;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use service::embedded::{Durability, Folder};

pub use process::{Launch, Process, Role, resident};
pub use servers::{At, Servers, Urls};

/// How long all roles together may take to be ready.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a [`System`] is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The program that has the roles as its commands, usually this one.
    pub program: PathBuf,
    /// Where everything is kept; root's must be enterable by others.
    pub folder: PathBuf,
    /// Whether PostgreSQL may lose what was committed.
    pub durability: Durability,
    /// What is added to the environment of all roles.
    pub environment: Vec<(String, String)>,
}

/// Servers and one process of each role.
#[derive(Debug)]
pub struct System {
    /// PostgreSQL and nats-server.
    pub servers: Servers,
    /// In the order of [`Role::ALL`].
    pub roles: [Process; 4],
    _folder: Folder,
}

impl System {
    /// Starts everything and returns when all of it is ready.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let folder = Folder::open(&setup.folder)?;
        let servers = Servers::start(&folder, setup.durability).await?;
        let urls = servers.urls(servers.at());
        let secret = folder.secret("jwt-secret")?;
        let logs = folder.path().to_owned();
        let process = |role| {
            let launch = Launch {
                program: setup.program.clone(),
                logs: logs.clone(),
                urls: urls.clone(),
                jwt_secret: secret.clone(),
                environment: setup.environment.clone(),
            };
            Process::new(role, launch)
        };
        let [commands, queries, workers, projectors] = Role::ALL.map(process);
        let roles = [commands?, queries?, workers?, projectors?];
        for role in &roles {
            role.start()?;
        }
        for role in &roles {
            role.ready(PATIENCE).await.with_context(|| format!("{} did not become ready", role.role().name()))?;
        }
        Ok(Self { servers, roles, _folder: folder })
    }

    /// The process of this role.
    pub fn role(&self, role: Role) -> &Process {
        let [commands, queries, workers, projectors] = &self.roles;
        match role {
            Role::CommandApi => commands,
            Role::QueryApi => queries,
            Role::Workers => workers,
            Role::Projectors => projectors,
        }
    }

    /// Drains all roles, then stops the servers.
    pub async fn stop(&self) {
        for role in &self.roles {
            role.stop().await;
        }
        self.servers.stop().await;
    }
}

/// A new folder for a system that is wanted for a while only, which PostgreSQL's user can enter.
pub fn scratch(purpose: &str) -> PathBuf {
    service::testkit::folder(purpose)
}

/// This very program.
pub fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the path of this program")
}

/// Where servers are found or installed, once for all runs.
fn wheels() -> PathBuf {
    service::testkit::wheels()
}

/// The log file of a role.
fn log_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}
