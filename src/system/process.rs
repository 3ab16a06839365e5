//! One role as a process of its own, which can be killed, frozen and started again on the same port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use service::embedded::{Child, Reserved, command};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Urls, log_of};

/// How often readiness is asked for.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a process may drain before it is killed.
const DRAIN: Duration = Duration::from_secs(30);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Takes commands and relays.
    CommandApi,
    /// Answers queries.
    QueryApi,
    /// Does jobs.
    Workers,
    /// Builds read models.
    Projectors,
}

impl Role {
    /// All of them, in the order in which they are best started.
    pub const ALL: [Self; 4] = [Self::CommandApi, Self::QueryApi, Self::Workers, Self::Projectors];

    /// Its command on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandApi => "command-api",
            Self::QueryApi => "query-api",
            Self::Workers => "workers",
            Self::Projectors => "projectors",
        }
    }
}

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program that has the roles as its commands.
    pub program: PathBuf,
    /// The folder of its log file.
    pub logs: PathBuf,
    /// Its servers.
    pub urls: Urls,
    /// The key of access tokens.
    pub jwt_secret: String,
    /// What else is in its environment, which is otherwise empty: no setting of the machine reaches it.
    pub environment: Vec<(String, String)>,
}

/// A process of one role. It ends with this process.
#[derive(Debug)]
pub struct Process {
    role: Role,
    name: String,
    launch: Launch,
    /// Its port is nobody else's, also while it is down.
    port: Reserved,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// A process that has not been started, with a port of its own.
    pub fn new(role: Role, launch: Launch) -> anyhow::Result<Self> {
        Self::named(role, role.name().to_owned(), launch)
    }

    /// The same under another name, where there are several of one role.
    pub fn named(role: Role, name: String, launch: Launch) -> anyhow::Result<Self> {
        let port = Reserved::take(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("a free port")?;
        Ok(Self { role, name, launch, port, child: Mutex::new(None) })
    }

    /// What it does.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The name of its log file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it answers HTTP, whenever it runs.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// What it logs, as JSON lines.
    pub fn log(&self) -> PathBuf {
        log_of(&self.launch.logs, &self.name)
    }

    /// Starts it, without waiting for it; one that runs already is left alone.
    pub fn start(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.as_ref().is_some_and(|child| child.ended().is_none()) {
            return Ok(());
        }
        let Launch { program, urls, jwt_secret, environment, .. } = &self.launch;
        let mut command = command(program, false);
        let nats = match self.role {
            Role::CommandApi => &urls.relay,
            Role::QueryApi => &urls.query,
            Role::Workers | Role::Projectors => &urls.worker,
        };
        command.arg(self.role.name()).current_dir(&self.launch.logs);
        command.env("DATABASE_URL", &urls.database).env("NATS_URL", nats).env("JWT_SECRET", jwt_secret);
        command.env("HTTP_ADDR", self.addr().to_string()).env("LOG_FORMAT", "json").env("RUST_LOG", "info");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        // The program reads the next .env on the way up from its folder: this one, and nobody's.
        let dotenv = self.launch.logs.join(".env");
        std::fs::write(&dotenv, "").with_context(|| format!("writing {}", dotenv.display()))?;
        *child = Some(Child::spawn(command, &self.log())?);
        Ok(())
    }

    /// Waits until it says that it can do its work.
    pub async fn ready(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if self.is_ready().await {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                anyhow::bail!("it ended with {status}; see {}", self.log().display());
            }
            if Instant::now() > deadline {
                anyhow::bail!("it was not ready within {} s; see {}", patience.as_secs(), self.log().display());
            }
            sleep(GLANCE).await;
        }
    }

    /// Whether `/health/ready` answers 200 at once.
    pub async fn is_ready(&self) -> bool {
        let asked = async {
            let mut stream = TcpStream::connect(self.addr()).await?;
            stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: drill\r\nconnection: close\r\n\r\n").await?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await?;
            std::io::Result::Ok(&answer == b"HTTP/1.1 200")
        };
        matches!(timeout(Duration::from_secs(3), asked).await, Ok(Ok(true)))
    }

    /// How it ended, if it was started and has ended.
    pub fn ended(&self) -> Option<std::process::ExitStatus> {
        self.child().and_then(|child| child.ended())
    }

    /// Its process id, if it was ever started.
    pub fn pid(&self) -> Option<i32> {
        self.child().map(|child| child.pid())
    }

    /// Its resident memory in bytes, if it runs.
    pub fn resident(&self) -> Option<u64> {
        resident(self.pid().filter(|_| self.ended().is_none())?)
    }

    /// Kills it as a power failure would, and waits until it is gone.
    pub async fn kill9(&self) {
        if let Some(child) = self.child() {
            child.signal(Signal::KILL);
            child.wait().await;
        }
    }

    /// Makes it hang (SIGSTOP).
    pub fn freeze(&self) {
        if let Some(child) = self.child() {
            child.freeze();
        }
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        if let Some(child) = self.child() {
            child.signal(Signal::CONT);
        }
    }

    /// Drains it (SIGTERM) and returns how it ended.
    pub async fn stop(&self) -> Option<std::process::ExitStatus> {
        let child = self.child()?;
        child.stop(Signal::TERM, DRAIN).await;
        child.ended()
    }

    fn child(&self) -> Option<Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The resident memory of a process in bytes, from `/proc`.
pub fn resident(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kilobytes.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
