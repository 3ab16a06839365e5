//! Addresses that are free, and servers of an earlier run that are not gone yet.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep};

use super::Error;

/// How often something that gives no notice is looked at.
pub(super) const GLANCE: Duration = Duration::from_millis(20);

/// An address that is kept for a server of ours, from before it runs until this is dropped, also while it is down: nobody else
/// gets its port, neither who asks for any free one nor who connects to somewhere.
///
/// A socket that is bound to it, and never listens, keeps it. Linux lets another be bound beside it, and listen, where both were
/// marked as ready to share (`SO_REUSEADDR`), as those of PostgreSQL, nats-server and our own listeners are; and there is no
/// port for that other to be given by chance that is bound already.
#[derive(Debug)]
pub struct Reserved {
    _socket: TcpSocket,
    addr: SocketAddr,
}

impl Reserved {
    /// Keeps `asked`, or with port 0 an address with a free port.
    pub fn take(asked: SocketAddr) -> io::Result<Self> {
        let socket = bound(asked)?;
        let addr = socket.local_addr()?;
        Ok(Self { _socket: socket, addr })
    }

    /// The address, with its port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns when nobody listens there any more, within two seconds: a server that has just ended may hold it for a moment.
    pub(super) async fn vacant(&self, server: &'static str, variable: &'static str) -> Result<(), Error> {
        claim(self.addr, server, variable).await.map(drop)
    }
}

fn bound(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// The address to listen on: `asked`, or with port 0 one with a free port. A fixed port may still be held for a moment by
/// a server that is ending, so it is given two seconds.
pub(super) async fn claim(asked: SocketAddr, server: &'static str, variable: &'static str) -> Result<Reserved, Error> {
    if !asked.ip().is_loopback() {
        return Err(Error::NotLoopback { addr: asked, variable });
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match Reserved::take(asked) {
            Ok(reserved) => return Ok(reserved),
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn who_knows_of_a_reserved_port_can_listen_there_and_nobody_gets_it_by_chance() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let reserved = Reserved::take(any).expect("a port");
        let first = TcpListener::bind(reserved.addr()).expect("it is ours");
        assert!(TcpListener::bind(reserved.addr()).is_err(), "two cannot listen on it");
        drop(first);
        // As many as there may be without asking for more file descriptors, twice.
        for _ in 0..2 {
            let others: Vec<_> = (0..400).map_while(|_| TcpListener::bind(any).ok()).collect();
            let got = others.iter().filter_map(|other| other.local_addr().ok());
            assert!(!got.into_iter().any(|addr| addr == reserved.addr()));
        }
        drop(TcpListener::bind(reserved.addr()).expect("it is ours again"));
    }
}
