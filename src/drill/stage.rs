//! The system that is crashed: servers behind proxies, several processes of each role that runs in several, a provider.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use service::embedded::{Durability, Folder};
use tokio::sync::Mutex;

use super::course::Course;
use super::proxy::Proxy;
use super::record::{Secret, Target};
use crate::system::provider::Provider;
use crate::system::{At, Launch, Process, Role, Servers, Urls, this_program};

/// How long all of it may take to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the provider is to be asked with; it must not get out.
const PROVIDER_KEY: &str = "sk-drill-planted-provider-key-7c1f5d90";

/// Times as short as a drill needs them.
const ENVIRONMENT: [(&str, &str); 10] = [
    ("DAYBOOK_ACK_WAIT", "2s"),
    ("DAYBOOK_LEASE", "2s"),
    ("DAYBOOK_LEASE_GRACE", "2s"),
    ("DAYBOOK_CALL_TIMEOUT", "3s"),
    ("DAYBOOK_RELAY_LEASE", "2s"),
    ("DAYBOOK_SCRUB", "1"),
    ("DAYBOOK_SEAL_EVENTS", "200"),
    ("DAYBOOK_SEAL_INTERVAL", "500ms"),
    ("OPENAI_API_KEY", PROVIDER_KEY),
    ("RUST_BACKTRACE", "1"),
];

/// What signs the log's heads, in the system's folder.
const SEAL_KEY: &str = "seal-key.pem";
/// What they are added to.
const SEAL_FILE: &str = "seal-heads.jsonl";

/// A process, and what is being done to it.
#[derive(Debug)]
pub struct Actor {
    /// The process.
    pub process: Process,
    /// Held by what is being done to it, so that two faults do not undo each other.
    pub busy: Mutex<()>,
    killed: AtomicBool,
}

impl Actor {
    /// Kills it on purpose: nobody is to start it but [`Self::revive`].
    pub async fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        self.process.kill9().await;
    }

    /// Starts it again after [`Self::kill`].
    pub fn revive(&self) -> anyhow::Result<()> {
        self.process.start()?;
        self.killed.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Whether it is down on purpose.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }
}

/// Everything that runs.
#[derive(Debug)]
pub struct Stage {
    /// PostgreSQL and nats-server themselves.
    pub servers: Servers,
    /// The way from the roles to PostgreSQL.
    pub postgres: Proxy,
    /// The way from roles and subscribers to NATS.
    pub nats: Proxy,
    /// The provider that the workers call.
    pub provider: Provider,
    /// All processes, in the order of [`Course::processes`].
    pub actors: Vec<Actor>,
    /// How to log in through the proxies.
    pub proxied: Urls,
    /// How to log in past them.
    pub direct: Urls,
    jwt_secret: String,
    folder: Folder,
}

impl Stage {
    /// Starts everything in `folder` and returns when all of it is ready.
    pub async fn start(folder: &Path, course: Course, plant: Option<&str>) -> anyhow::Result<Self> {
        let folder = Folder::open(folder)?;
        let servers = Servers::start(&folder, Durability::Full).await?;
        let postgres = Proxy::start(servers.at().postgres).await?;
        let nats = Proxy::start(servers.at().nats).await?;
        let provider = Provider::start_with_ledger().await?;
        let proxied = servers.urls(At { postgres: postgres.addr(), nats: nats.addr() });
        let direct = servers.urls(servers.at());
        let jwt_secret = folder.secret("jwt-secret")?;
        let mut environment: Vec<(String, String)> =
            ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment.push(("OPENAI_BASE_URL".to_owned(), provider.url()));
        for (name, file) in [("DAYBOOK_SEAL_KEY", SEAL_KEY), ("DAYBOOK_SEAL_FILE", SEAL_FILE)] {
            environment.push((name.to_owned(), folder.path().join(file).display().to_string()));
        }
        environment.extend(plant.map(|plant| ("DAYBOOK_PLANT".to_owned(), plant.to_owned())));
        let launch = Launch {
            program: this_program()?,
            logs: folder.path().to_owned(),
            urls: proxied.clone(),
            jwt_secret: jwt_secret.clone(),
            environment,
        };
        let mut actors = Vec::new();
        for (role, count) in course.processes() {
            for n in 1..=count {
                let name = if count == 1 { role.name().to_owned() } else { format!("{}-{n}", role.name()) };
                let process = Process::named(role, name, launch.clone())?;
                actors.push(Actor { process, busy: Mutex::new(()), killed: AtomicBool::new(false) });
            }
        }
        let stage = Self { servers, postgres, nats, provider, actors, proxied, direct, jwt_secret, folder };
        for actor in &stage.actors {
            actor.process.start()?;
        }
        for actor in &stage.actors {
            actor.process.ready(PATIENCE).await.with_context(|| actor.process.name().to_owned())?;
        }
        Ok(stage)
    }

    /// The processes of one role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Actor> {
        self.actors.iter().filter(move |actor| actor.process.role() == role)
    }

    /// The base URLs of the processes of one role.
    pub fn urls(&self, role: Role) -> Vec<String> {
        self.of(role).map(|actor| actor.process.url()).collect()
    }

    /// Where the auditor finds everything.
    pub fn target(&self) -> anyhow::Result<Target> {
        let first = |role| self.urls(role).into_iter().next().context("a process of each role");
        Ok(Target {
            command_url: first(Role::CommandApi)?,
            query_url: first(Role::QueryApi)?,
            processes: self.actors.iter().map(|actor| (actor.process.name().to_owned(), actor.process.url())).collect(),
            // It reads everything, whoever owns it.
            database_url: self.servers.postgres.url(),
            nats_url: self.direct.reader.clone(),
            logs: self.logs(),
            folder: self.folder.path().to_owned(),
            heads: self.folder.path().join(SEAL_FILE),
        })
    }

    /// What the system knows and must keep to itself.
    pub fn secrets(&self) -> anyhow::Result<Vec<Secret>> {
        let pem = std::fs::read_to_string(self.folder.path().join(SEAL_KEY)).context("the key that signs heads")?;
        let mut secrets = vec![
            Secret {
                what: "the key that signs heads",
                text: pem.lines().filter(|line| !line.starts_with("-----")).collect(),
            },
            Secret { what: "the provider's key", text: PROVIDER_KEY.to_owned() },
            Secret { what: "the key of tokens", text: self.jwt_secret.clone() },
        ];
        let (owner, superuser) = (self.servers.postgres.owner_url(), self.servers.postgres.url());
        let urls = [
            ("the password of the database", &self.direct.database),
            ("the password of the database's owner", &owner),
            ("the password of PostgreSQL's superuser", &superuser),
            ("the password of the relay on NATS", &self.direct.relay),
            ("the password of the workers on NATS", &self.direct.worker),
            ("the password of queries on NATS", &self.direct.query),
            ("the password of readers on NATS", &self.direct.reader),
        ];
        secrets.extend(urls.into_iter().filter_map(|(what, url)| Some(Secret { what, text: password(url)? })));
        Ok(secrets)
    }

    /// Drains all processes, then stops the servers. Returns which of them did not end as told.
    pub async fn stop(&self) -> Vec<String> {
        let stopped =
            join_all(self.actors.iter().map(async |actor| (actor.process.name(), actor.process.stop().await)));
        let undrained = stopped.await.into_iter().filter_map(|(name, status)| match status {
            Some(status) if status.success() => None,
            Some(status) => Some(format!("{name}: {status}")),
            None => Some(format!("{name}: it did not end")),
        });
        let undrained = undrained.collect();
        self.servers.stop().await;
        undrained
    }

    fn logs(&self) -> Vec<PathBuf> {
        self.actors.iter().map(|actor| actor.process.log()).collect()
    }
}

/// The password in a URL.
fn password(url: &str) -> Option<String> {
    let (user, _) = url.split_once("://")?.1.split_once('@')?;
    Some(user.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_password_is_found_in_a_url() {
        assert_eq!(super::password("nats://relay:abc@127.0.0.1:1").as_deref(), Some("abc"));
        assert_eq!(super::password("nats://127.0.0.1:1"), None);
    }
}
