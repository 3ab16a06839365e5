//! A nats-server of our own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::child::{self, Child};
use super::port::{GLANCE, Reserved, claim, outlive};
use super::{Error, folder, log_tail};

/// What to start.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// The program, from [`super::binaries::nats_server`].
    pub program: PathBuf,
    /// A folder of its own: configuration, log, pid file, and the store under `jetstream/`. Root's must be enterable by others,
    /// for the server does not run as root.
    pub home: PathBuf,
    /// Where to listen, loopback only; port 0 means any free one.
    pub addr: SocketAddr,
}

/// A nats-server that ends with this process.
#[derive(Debug)]
pub struct Nats {
    program: PathBuf,
    home: PathBuf,
    addr: SocketAddr,
    /// Keeps the port ours while the server is down, too.
    port: Reserved,
    child: Mutex<Child>,
}

impl Nats {
    /// Starts a server and returns when it takes connections. `config_text` writes its configuration from the address to
    /// listen on and the store's folder.
    pub async fn start(
        options: NatsOptions,
        config_text: impl FnOnce(SocketAddr, &Path) -> String,
    ) -> Result<Self, Error> {
        let NatsOptions { program, home, addr } = options;
        std::fs::create_dir_all(&home).map_err(Error::io("creating", &home))?;
        let home = home.canonicalize().map_err(Error::io("entering", &home))?;
        outlive("nats-server", &home.join("pid"), &home).await?;
        let port = claim(addr, "nats-server", "NATS_ADDR").await?;
        let addr = port.addr();
        folder::write_private(&home.join("nats.conf"), &config_text(addr, &home.join("jetstream")))?;
        let child = launch(&program, &home, addr).await?;
        tracing::info!(%addr, pid = child.pid(), "nats-server is running");
        let child = Mutex::new(child);
        Ok(Self { program, home, addr, port, child })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id, the last one where it does not run.
    pub fn pid(&self) -> i32 {
        self.child().pid()
    }

    /// Its folder, with its configuration and its log.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where its streams are stored.
    pub fn store_dir(&self) -> PathBuf {
        self.home.join("jetstream")
    }

    /// Returns when the server that runs now has ended.
    pub async fn ended(&self) {
        self.child().wait().await;
    }

    /// Stops it in order, within three seconds.
    pub async fn stop(&self) {
        self.child().stop(Signal::TERM, Duration::from_secs(3)).await;
    }

    /// Kills it as a power failure would.
    pub async fn kill9(&self) {
        let child = self.child();
        child.signal(Signal::KILL);
        child.wait().await;
    }

    /// Starts it again on the same port and store, stopping it first where it runs.
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await;
        self.port.vacant("nats-server", "NATS_ADDR").await?;
        let child = launch(&self.program, &self.home, self.addr).await?;
        *self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = child;
        Ok(())
    }

    /// Stops it, removes all that it has stored, and starts it again.
    pub async fn wipe_store(&self) -> Result<(), Error> {
        self.stop().await;
        let store = self.store_dir();
        match std::fs::remove_dir_all(&store) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", &store)(source)),
            _ => self.restart().await,
        }
    }

    /// Makes it hang (SIGSTOP), as an overloaded machine would.
    pub fn freeze(&self) {
        self.child().freeze();
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.child().signal(Signal::CONT);
    }

    fn child(&self) -> Child {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Starts the process and waits until it greets a client, which it does when JetStream is ready.
async fn launch(program: &Path, home: &Path, addr: SocketAddr) -> Result<Child, Error> {
    // Also what root wrote there, and what an earlier version's server did, which ran as root.
    folder::give_all(home)?;
    let log = home.join("server.log");
    let log_start = std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let mut command = child::command(program, true);
    command.arg("-c").arg(home.join("nats.conf")).current_dir(home);
    let child = Child::spawn(command, &log)?;
    let pid_file = home.join("pid");
    std::fs::write(&pid_file, child.pid().to_string()).map_err(Error::io("writing", &pid_file))?;
    let not_ready =
        |why: String| Error::NotReady { server: "nats-server", why, log: log.clone(), tail: log_tail(&log, log_start) };
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if greets(addr).await {
            return Ok(child);
        }
        if let Some(status) = child.ended() {
            return Err(not_ready(format!("it ended with {status}")));
        }
        sleep(GLANCE).await;
    }
    child.stop(Signal::KILL, Duration::from_secs(1)).await;
    Err(not_ready(format!("it did not answer on {addr} within 30 s")))
}

/// Whether something at `addr` says `INFO`, the first word of the NATS client protocol.
async fn greets(addr: SocketAddr) -> bool {
    let greeting = async {
        let mut line = String::new();
        BufReader::new(TcpStream::connect(addr).await?).read_line(&mut line).await?;
        std::io::Result::Ok(line.starts_with("INFO "))
    };
    matches!(timeout(Duration::from_secs(1), greeting).await, Ok(Ok(true)))
}
