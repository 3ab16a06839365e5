//! An HTTP/1.1 client that costs next to nothing, so that what is measured is the server: one connection, kept alive,
//! requests as bytes made beforehand, answers read by their `Content-Length`.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most of an answer that is read at a time.
const CHUNK: usize = 16 * 1024;

/// A connection to one server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What was read of the current answer.
    read: Vec<u8>,
}

/// An answer, as long as the connection is not used again.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The whole body.
    pub body: &'a [u8],
}

impl Connection {
    /// Connects.
    pub async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await.with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(CHUNK) })
    }

    /// Sends a request and reads its answer.
    pub async fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let (head, length) = loop {
            self.more().await?;
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break (end + 4, content_length(&self.read[..end])?);
            }
        };
        while self.read.len() < head + length {
            self.more().await?;
        }
        // "HTTP/1.1 200 …"
        let status = std::str::from_utf8(&self.read[9..12])?.parse()?;
        Ok(Answer { status, body: &self.read[head..] })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        self.read.reserve(CHUNK);
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the server has closed the connection");
        }
        Ok(())
    }
}

impl Answer<'_> {
    /// The body, of an answer that is a success.
    pub fn good(&self) -> anyhow::Result<&[u8]> {
        if !(200..300).contains(&self.status) {
            bail!("{}: {}", self.status, String::from_utf8_lossy(self.body));
        }
        Ok(self.body)
    }
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.context("an answer without Content-Length")?;
    Ok(length.trim().parse()?)
}

/// A GET request with more header lines (each with its line end), or none.
pub fn get(path: &str, token: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: daybook\r\nauthorization: Bearer {token}\r\n{headers}\r\n").into_bytes()
}

/// A POST request with a JSON body.
pub fn post(path: &str, token: Option<&str>, body: &str) -> Vec<u8> {
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: daybook\r\n{token}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
