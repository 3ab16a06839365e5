//! Addresses that are free, and servers of an earlier run that are not gone yet.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::Error;

/// How often something that gives no notice is looked at.
pub(super) const GLANCE: Duration = Duration::from_millis(20);

/// The address to listen on: `asked`, or with port 0 one with a free port. A fixed port may still be held for a moment by
/// a server that is ending, so it is given two seconds.
pub(super) async fn claim(
    asked: SocketAddr,
    server: &'static str,
    variable: &'static str,
) -> Result<SocketAddr, Error> {
    if !asked.ip().is_loopback() {
        return Err(Error::NotLoopback { addr: asked, variable });
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match TcpListener::bind(asked).and_then(|listener| listener.local_addr()) {
            Ok(addr) => return Ok(addr),
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => sleep(GLANCE).await,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return Err(Error::PortTaken { server, addr: asked, variable });
            }
            Err(source) => return Err(Error::Io { what: format!("{variable}={asked}"), source }),
        }
    }
}

/// The process that a pid file in `home` names, if it is alive and one of ours: its command line names `home`.
pub(super) fn survivor(pid_file: &Path, home: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file).ok()?;
    let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let home = home.as_os_str().as_encoded_bytes();
    line.windows(home.len()).any(|part| part == home).then_some(pid)
}

/// Waits until the server of an earlier run has gone: by itself (it gets SIGKILL with its parent), else by our signal.
pub(super) async fn outlive(server: &'static str, pid_file: &Path, home: &Path) -> Result<(), Error> {
    for last_word in [None, Some(Signal::INT), Some(Signal::KILL)] {
        if let (Some(signal), Some(pid)) = (last_word, survivor(pid_file, home)) {
            tracing::warn!(server, pid = pid.as_raw_nonzero(), "ending a server that an earlier run has left");
            let _ = kill_process(pid, signal);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if survivor(pid_file, home).is_none() {
                return Ok(());
            }
            sleep(GLANCE).await;
        }
    }
    match survivor(pid_file, home) {
        Some(pid) => Err(Error::StillRunning { server, pid: pid.as_raw_nonzero().get(), home: home.to_owned() }),
        None => Ok(()),
    }
}
