//! A PostgreSQL server of our own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use tokio::time::{Instant, sleep};

use super::binaries::{self, PostgresPrograms};
use super::child::{self, Child};
use super::port::{GLANCE, Reserved, claim, outlive, survivor};
use super::roles::{self, Passwords};
use super::{Error, cluster, log_tail};

/// The superuser of a cluster of ours, which only sets it up, and the name of the database.
pub(super) const NAME: &str = "daybook";

/// What a crash of the machine may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was committed: PostgreSQL's defaults.
    Full,
    /// Anything: for tests. (A kill of the server alone still costs nothing.)
    Off,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Where the server lives: its data under `postgres/`, and, where it has to be installed, its programs under
    /// `servers/`. Root's must be enterable by others.
    pub home: PathBuf,
    /// Where programs are installed if not in `home`.
    pub wheels: Option<PathBuf>,
    /// Where the superuser's password is kept, and beside it those of the other roles; made where they are missing.
    pub password_file: PathBuf,
    /// Where to listen, loopback only; port 0 means any free one.
    pub addr: SocketAddr,
    /// Whether it may lose what was committed.
    pub durability: Durability,
}

/// A PostgreSQL server that ends with this process.
#[derive(Debug)]
pub struct Postgres {
    programs: PostgresPrograms,
    home: PathBuf,
    addr: SocketAddr,
    /// Keeps the port ours while the server is down, too.
    port: Reserved,
    passwords: Passwords,
    durability: Durability,
    child: Mutex<Child>,
}

impl Postgres {
    /// Starts a server, making its cluster and its database `daybook` where they are missing. Returns when it takes
    /// connections.
    pub async fn start(options: PostgresOptions) -> Result<Self, Error> {
        let PostgresOptions { home, wheels, password_file, addr, durability } = options;
        let wheels = wheels.unwrap_or_else(|| home.join("servers"));
        let home = home.join("postgres");
        let programs = binaries::postgres(&home.join("data"), &wheels).await?;
        let passwords = Passwords::kept(&password_file)?;
        let home = cluster::prepare(&programs, &home, &passwords.superuser, durability).await?;
        let pid_file = home.join("data/postmaster.pid");
        outlive("PostgreSQL", &pid_file, &home).await?;
        drop_strange_pid(&pid_file, &home);
        let port = claim(addr, "PostgreSQL", "POSTGRES_ADDR").await?;
        let addr = port.addr();
        let child = launch(&programs, &home, addr, &passwords.superuser, durability).await?;
        let server = Self { programs, home, addr, port, passwords, durability, child: Mutex::new(child) };
        roles::set_up(&login(addr, &server.passwords.superuser), &server.passwords).await?;
        tracing::info!(%addr, version = server.major(), pid = server.pid(), "PostgreSQL is running");
        Ok(server)
    }

    /// The URL of its database for the application, which may append to the log and read it, and not change what is there.
    pub fn application_url(&self) -> String {
        self.application_url_of(NAME)
    }

    /// The same for another database on it.
    pub fn application_url_of(&self, database: &str) -> String {
        self.login_url(roles::APPLICATION, &self.passwords.application, database)
    }

    /// The role of that.
    pub fn application(&self) -> &'static str {
        roles::APPLICATION
    }

    /// The URL of its database for its owner, who runs migrations.
    pub fn owner_url(&self) -> String {
        self.owner_url_of(NAME)
    }

    /// The same for another database on it.
    pub fn owner_url_of(&self, database: &str) -> String {
        self.login_url(roles::OWNER, &self.passwords.owner, database)
    }

    /// The role of that.
    pub fn owner(&self) -> &'static str {
        roles::OWNER
    }

    /// The URL of its database for the superuser, as whom nothing of ours runs: for what is done to a server from outside.
    pub fn url(&self) -> String {
        self.url_of(NAME)
    }

    /// The same for another database on it.
    pub fn url_of(&self, database: &str) -> String {
        self.login_url(NAME, &self.passwords.superuser, database)
    }

    /// The passwords are hex, and need no escapes.
    fn login_url(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@{}/{database}?sslmode=disable", self.addr)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id, the last one where it does not run.
    pub fn pid(&self) -> i32 {
        self.child().pid()
    }

    /// The major version that runs.
    pub fn major(&self) -> u32 {
        self.programs.major
    }

    /// Returns when the server that runs now has ended.
    pub async fn ended(&self) {
        self.child().wait().await;
    }

    /// Stops it in order, cutting off its clients ("fast"), within three seconds.
    pub async fn stop(&self) {
        self.child().stop(Signal::INT, Duration::from_secs(3)).await;
    }

    /// Kills it as a power failure would.
    pub async fn kill9(&self) {
        let child = self.child();
        child.signal(Signal::KILL);
        child.wait().await;
    }

    /// Starts it again on the same port and data, stopping it first where it runs.
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await;
        self.port.vacant("PostgreSQL", "POSTGRES_ADDR").await?;
        let child = launch(&self.programs, &self.home, self.addr, &self.passwords.superuser, self.durability).await?;
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = child;
        Ok(())
    }

    /// Makes it hang (SIGSTOP), the postmaster and every backend, as an overloaded machine would.
    pub fn freeze(&self) {
        self.child().freeze();
        self.signal_backends(Signal::STOP);
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal_backends(Signal::CONT);
        self.child().signal(Signal::CONT);
    }

    fn signal_backends(&self, signal: Signal) {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for backend in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(backend, signal);
            if signal == Signal::STOP {
                child::until_stopped(backend);
            }
        }
    }

    fn child(&self) -> Child {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How to reach the maintenance database, whatever `PG…` variables say.
fn login(addr: SocketAddr, password: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&addr.ip().to_string())
        .port(addr.port())
        .username(NAME)
        .password(password)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable)
        .application_name("daybook setup")
}

/// After a machine came up again, the process id in `postmaster.pid` may belong to any program, and PostgreSQL would
/// refuse to start because of it. A server of this data folder it is not: that one we have outlived.
fn drop_strange_pid(pid_file: &Path, home: &Path) {
    let text = std::fs::read_to_string(pid_file).unwrap_or_default();
    let pid = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok());
    let Some(pid) = pid else { return };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if survivor(pid_file, home).is_none() && !name.is_empty() && name.trim() != "postgres" {
        // If it cannot be removed, PostgreSQL will say so.
        let _ = std::fs::remove_file(pid_file);
    }
}

/// Starts the process and waits until it takes a connection. Backends of a postmaster that was killed may need a moment
/// to notice, in which PostgreSQL refuses to start: that is tried again for ten seconds.
async fn launch(
    programs: &PostgresPrograms,
    home: &Path,
    addr: SocketAddr,
    password: &str,
    durability: Durability,
) -> Result<Child, Error> {
    let log = home.join("server.log");
    let begin = Instant::now();
    loop {
        let log_start = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        let child = Child::spawn(server_command(programs, home, addr, durability), &log)?;
        let why = match await_ready(&child, &login(addr, password)).await {
            Ok(()) => return Ok(child),
            Err(why) => why,
        };
        child.stop(Signal::INT, Duration::from_secs(3)).await;
        let tail = log_tail(&log, log_start);
        let others_remain = tail.contains("pre-existing shared memory block") || tail.contains("postmaster.pid");
        if !others_remain || begin.elapsed() > Duration::from_secs(10) {
            return Err(Error::NotReady { server: "PostgreSQL", why, log, tail });
        }
        sleep(GLANCE).await;
    }
}

fn server_command(
    programs: &PostgresPrograms,
    home: &Path,
    addr: SocketAddr,
    durability: Durability,
) -> std::process::Command {
    let mut command = child::command(&programs.bin.join("postgres"), true);
    command.current_dir(home).arg("-D").arg(home.join("data"));
    // No socket file: its path would be limited to about 107 bytes.
    command.args(["-k", "", "-h", &addr.ip().to_string(), "-p", &addr.port().to_string()]);
    let mut settings = vec!["max_connections=200", "shared_buffers=128MB", "timezone=UTC", "log_timezone=UTC"];
    if durability == Durability::Off {
        // synchronous_commit stays on: it costs little without fsync, and a killed server keeps what it confirmed.
        settings.extend(["fsync=off", "full_page_writes=off"]);
    }
    for setting in settings {
        command.args(["-c", setting]);
    }
    command
}

/// Returns when a login succeeds; else why it never will.
async fn await_ready(child: &Child, login: &PgConnectOptions) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut last = String::new();
    while Instant::now() < deadline {
        if let Some(status) = child.ended() {
            return Err(format!("it ended with {status}"));
        }
        match PgConnection::connect_with(login).await {
            Ok(connection) => return connection.close().await.map_err(|error| error.to_string()),
            // 28P01: the password is not the one that this cluster was made with.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("28P01") => {
                return Err(error.to_string());
            }
            Err(error) => last = error.to_string(),
        }
        sleep(GLANCE).await;
    }
    Err(format!("it takes no connections after two minutes: {last}"))
}
