//! A network that can be broken: forwards TCP to one server, and cuts, refuses, delays or withholds on demand.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How much is forwarded at a time, in bytes.
const PIECE: usize = 16 << 10;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    way: Way,
    /// How long each piece takes.
    delay: Duration,
    /// Connections of an earlier number are cut.
    cuts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// New connections are closed at once.
    Refused,
    /// Nothing is forwarded in either direction, and nothing is closed.
    Frozen,
}

/// A proxy on a port of its own, in front of one server. It ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    state: watch::Sender<State>,
    _end: DropGuard,
}

impl Proxy {
    /// Starts one that forwards everything to `server`.
    pub async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a port for the proxy")?;
        let addr = listener.local_addr()?;
        let (state, seen) = watch::channel(State { way: Way::Open, delay: Duration::ZERO, cuts: 0 });
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(accept(listener, server, seen, end.clone())));
        Ok(Self { addr, state, _end: end.drop_guard() })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts every connection. New ones are taken.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Cuts every connection and takes no new ones, until [`Self::heal`].
    pub fn refuse(&self) {
        self.state.send_modify(|state| {
            state.way = Way::Refused;
            state.cuts += 1;
        });
    }

    /// Forwards nothing any more and closes nothing, until [`Self::heal`]; then everything goes on where it was.
    pub fn freeze(&self) {
        self.state.send_modify(|state| state.way = Way::Frozen);
    }

    /// Whatever is sent takes this long from now on, until [`Self::heal`].
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Forwards everything at once.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            state.way = Way::Open;
            state.delay = Duration::ZERO;
        });
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: watch::Receiver<State>, end: CancellationToken) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let state = state.clone();
        let carry = async move { drop(carry(client, server, state).await) };
        tokio::spawn(end.clone().run_until_cancelled_owned(carry));
    }
}

/// One connection, until either end closes it or it is cut.
async fn carry(client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) -> std::io::Result<()> {
    let State { way, cuts, .. } = *state.borrow_and_update();
    if way == Way::Refused {
        return client.set_zero_linger();
    }
    let mut cut = state.clone();
    let forwarded = async {
        open(&mut state).await;
        let server = TcpStream::connect(server).await?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            // Dropped, it is reset: as when the machine between has gone.
            end.set_zero_linger()?;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let up = pump(from_client, to_server, state.clone());
        let down = pump(from_server, to_client, state.clone());
        // Who closes one direction has closed the connection, in the protocols that go through here.
        tokio::select! { ended = up => ended, ended = down => ended }
    };
    tokio::select! {
        ended = forwarded => ended,
        _ = cut.wait_for(|now| now.cuts > cuts) => Ok(()),
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        let delay = open(&mut state).await;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

/// Waits while nothing is forwarded. Returns how long a piece takes.
async fn open(state: &mut watch::Receiver<State>) -> Duration {
    // The sender goes only with the proxy, and with it this task.
    state.wait_for(|state| state.way != Way::Frozen).await.map_or(Duration::ZERO, |state| state.delay)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        addr
    }

    async fn said(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await?;
        Ok(String::from_utf8(back).unwrap())
    }

    #[tokio::test]
    async fn it_forwards_both_ways() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(said(&mut stream, "one").await.unwrap(), "one");
        assert_eq!(said(&mut stream, "two").await.unwrap(), "two");
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_there_and_a_refusal_what_comes() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(said(&mut stream, "one").await.unwrap(), "one");
        proxy.cut();
        assert!(!matches!(timeout(SOON, stream.read(&mut [0; 8])).await.unwrap(), Ok(1..)));
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(said(&mut stream, "two").await.unwrap(), "two");
        proxy.refuse();
        assert!(!matches!(timeout(SOON, stream.read(&mut [0; 8])).await.unwrap(), Ok(1..)));
        let mut refused = TcpStream::connect(proxy.addr()).await.unwrap();
        assert!(timeout(SOON, said(&mut refused, "three")).await.unwrap().is_err());
        proxy.heal();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(said(&mut stream, "four").await.unwrap(), "four");
    }

    #[tokio::test]
    async fn what_was_withheld_arrives_in_the_end() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(said(&mut stream, "one").await.unwrap(), "one");
        proxy.freeze();
        stream.write_all(b"two").await.unwrap();
        let mut back = [0; 3];
        // It answered at once before; now it does not.
        assert!(timeout(Duration::from_millis(100), stream.read_exact(&mut back)).await.is_err());
        proxy.heal();
        timeout(SOON, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"two");
    }
}
