//! One server process: started so that it ends with this process, watched, signalled.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::Error;

/// The user and group that servers run as when this process is root: `nobody` on Debian, and nobody's on any system.
pub(super) const UNPRIVILEGED: u32 = 65534;

/// Waits, for a second at most, until a process that was sent SIGSTOP has stopped, or is gone.
pub(super) fn until_stopped(pid: Pid) {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let runs = || {
        let states = std::fs::read_dir(&tasks).into_iter().flatten().flatten().filter_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            // The state follows the name, which is in parentheses and may hold anything.
            stat.rsplit(") ").next()?.chars().next()
        });
        states.into_iter().any(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
    };
    for _ in 0..1000 {
        if !runs() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether this process is root, so that servers need another user.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `program` as it must be started: it gets SIGKILL when this process ends, and runs as the unprivileged user if
/// `unprivileged` is asked for and we are root. Its environment is empty but for PATH.
///
/// `setpriv` sets the signal after the change of user, which would clear it.
pub fn command(program: &Path, unprivileged: bool) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig").arg("KILL");
    if unprivileged && is_root() {
        command.arg(format!("--reuid={UNPRIVILEGED}")).arg(format!("--regid={UNPRIVILEGED}")).arg("--clear-groups");
    }
    command.arg("--").arg(program);
    // Ctrl-C at the terminal goes to all processes of its group; the servers must outlive the draining.
    command.process_group(0);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
    command
}

/// A running process, or one that has ended. Clones are the same process.
#[derive(Clone, Debug)]
pub struct Child {
    pid: Pid,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts `command` with its output appended to the file `log` and no input.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self, Error> {
        let program = command.get_program().to_owned();
        let starting = || Error::io("starting", Path::new(&program));
        let output = open_log(log).map_err(Error::io("opening", log))?;
        let errors = output.try_clone().map_err(Error::io("opening", log))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut child = on_keeper(command).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                needed: "setpriv".to_owned(),
                why: "servers are started with it".to_owned(),
                remedy: "Install util-linux, which has it, or set DATABASE_URL and NATS_URL.".to_owned(),
            },
            _ => starting()(source),
        })?;
        let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = raw.ok_or_else(|| starting()(io::ErrorKind::InvalidData.into()))?;
        let (sender, status) = watch::channel(None);
        std::thread::spawn(move || {
            // An error means that nothing is left to wait for; the status then tells no more than that it ended.
            sender.send_replace(Some(child.wait().unwrap_or_default()));
        });
        Ok(Self { pid, status })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Waits until it has ended.
    pub async fn wait(&self) {
        let mut status = self.status.clone();
        // The sender goes away only after it has said the status.
        let _ = status.wait_for(Option::is_some).await;
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.ended().is_none() {
            // It may end at this very moment, which is as good.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Stops it as SIGSTOP does, and returns when it has stopped: each of its threads does so by itself.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        until_stopped(self.pid);
    }

    /// Asks it to end with `signal`, and kills it when it has not after `patience`.
    pub async fn stop(&self, signal: Signal, patience: Duration) {
        self.signal(signal);
        self.signal(Signal::CONT);
        if tokio::time::timeout(patience, self.wait()).await.is_err() {
            tracing::warn!(pid = self.pid(), "a server did not stop in time and is killed");
            self.signal(Signal::KILL);
            self.wait().await;
        }
    }
}

/// Appends to the log, and begins a new one where the old has grown past 10 MB.
fn open_log(log: &Path) -> io::Result<File> {
    if std::fs::metadata(log).is_ok_and(|meta| meta.len() > 10_000_000) {
        std::fs::rename(log, log.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).open(log)
}

/// Starts the command from a thread that lives as long as the process: the death signal is tied to the **thread** that
/// started the child, and the threads of an async runtime come and go.
fn on_keeper(command: Command) -> io::Result<std::process::Child> {
    type Request = (Command, Sender<io::Result<std::process::Child>>);
    static KEEPER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in requests {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = channel();
    let gone = || io::Error::other("the thread that starts servers has ended");
    keeper.lock().map_err(|_| gone())?.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
