//! `daybook log export`: the log as lines of JSON, with all that shows later that nothing in it was changed.
//!
//! It is read by pages of positions, and written by a thread of its own: memory is bounded whatever the log.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use events::seal::{SignedHead, table};
use events::store::RowPages;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::format::{self, End, Head, Header, Sum};
use super::progress::Progress;
use super::{credentials, passphrase};
use crate::out::Out;
use crate::reach::Reach;

/// About how much is handed to the writing thread at a time, in bytes.
const CHUNK: usize = 256 << 10;
/// How many heads are read at a time.
const HEADS: i64 = 1_000;
/// zstd's own default.
const LEVEL: i32 = 3;

/// What is exported, and where to.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The first position [default: 1].
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// The last position [default: that of the last event there is].
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
    /// Compresses it.
    #[arg(long)]
    zstd: bool,
    /// The file to write, which must not be there yet and is there only when it is whole [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also writes what is not in the log, passwords' hashes, to this file, encrypted under a passphrase.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Prints one JSON object of what was written, instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    from: i64,
    to: i64,
    heads: u64,
    sealed: i64,
    secrets: Option<u64>,
}

/// Exports it.
pub async fn run(settings: Settings) -> anyhow::Result<bool> {
    let secret = settings.credentials.as_ref().map(|_| passphrase::new()).transpose()?;
    let mut database =
        PgConnection::connect(&settings.reach.database_url()?).await.context("the database cannot be reached")?;
    let (epoch, end) = end(&mut database).await?;
    let (from, to) = range(settings.from, settings.to, end)?;
    let keys = if to >= from { table::keys_since(&mut database).await? } else { Vec::new() };
    let keys = keys.into_iter().filter(|key| key.since < to).collect();
    let header = Header { format: format::FORMAT.to_owned(), from, to, epoch, keys };
    // Before anything is written, all that is to be is begun: a name that is taken is told at once.
    let out = Out::create(settings.out.as_deref())?;
    let beside = settings.credentials.as_deref().map(|path| Out::create(Some(path))).transpose()?;

    let progress = Progress::default();
    progress.between(from - 1, to);
    let mut writer = Writer::start(out, settings.zstd);
    let (heads, sealed) = progress.shown(write(&mut database, &header, &mut writer, &progress)).await?;
    let out = writer.finish(to).await?;
    let mut written = Written { from, to, heads, sealed, secrets: None };
    if let (Some(mut beside), Some(secret)) = (beside, secret) {
        written.secrets = Some(credentials::write(&mut database, to, &secret, &mut beside).await?);
        beside.commit()?;
    }
    out.commit()?;
    tell(&written, &settings);
    Ok(true)
}

/// The ledger's epoch, and the position of the last event.
async fn end(database: &mut PgConnection) -> anyhow::Result<(i32, i64)> {
    let sql = "select epoch, coalesce((select position from event order by position desc limit 1), 0) from ledger";
    let row = sqlx::query(sql).fetch_one(database).await.context("there is no log in the database")?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// The positions that are meant, of a log that ends at `end`.
fn range(from: Option<i64>, to: Option<i64>, end: i64) -> anyhow::Result<(i64, i64)> {
    for position in [from, to].into_iter().flatten() {
        if position > end {
            bail!("position {position} is past the end of the log, which is at {end}");
        }
    }
    let range = (from.unwrap_or(1), to.unwrap_or(end));
    if range.0 > range.1 && end > 0 {
        bail!("--from {} is after --to {}", range.0, range.1);
    }
    Ok(range)
}

/// Hands everything but the end to `writer`. How many heads there were, and the size of the last.
async fn write(
    database: &mut PgConnection,
    header: &Header,
    writer: &mut Writer,
    progress: &Progress,
) -> anyhow::Result<(u64, i64)> {
    let mut chunk = Vec::new();
    format::line(header, &mut chunk)?;
    let mut heads = Heads { ahead: Vec::new().into_iter(), read_to: header.from - 1, until: header.to };
    let mut next = heads.next(database).await?;
    let (mut count, mut sealed) = (0, 0);
    let mut pages = RowPages::new(header.from, header.to);
    let mut expected = header.from;
    loop {
        let page = pages.next(database).await?;
        if page.is_empty() {
            break;
        }
        // The log may be sealed on meanwhile.
        if next.is_none() {
            heads.read_to = heads.read_to.max(expected - 1);
            next = heads.next(database).await?;
        }
        for row in page {
            if row.position != expected {
                bail!("the log lacks position {expected}: run daybook log verify");
            }
            if !row.is_whole() {
                bail!("position {expected}: what it says does not give the hash that it has: run daybook log verify");
            }
            format::line(&row, &mut chunk)?;
            if let Some(head) = next.filter(|head| head.head.size <= row.position) {
                format::line(&Head { head }, &mut chunk)?;
                (count, sealed) = (count + 1, head.head.size);
                next = heads.next(database).await?;
            }
            expected += 1;
            if chunk.len() >= CHUNK {
                writer.write(std::mem::take(&mut chunk)).await?;
            }
            progress.at(row.position);
        }
    }
    if expected <= header.to {
        bail!("the log lacks position {expected}: run daybook log verify");
    }
    writer.write(chunk).await?;
    Ok((count, sealed))
}

/// The heads of the log's part, in order.
struct Heads {
    ahead: std::vec::IntoIter<SignedHead>,
    read_to: i64,
    until: i64,
}

impl Heads {
    async fn next(&mut self, database: &mut PgConnection) -> anyhow::Result<Option<SignedHead>> {
        if self.ahead.len() == 0 {
            self.ahead = table::heads_between(database, self.read_to, self.until, HEADS).await?.into_iter();
        }
        let next = self.ahead.next();
        self.read_to = next.map_or(self.read_to, |head| head.head.size);
        Ok(next)
    }
}

/// What writes, on a thread of its own, because a disk or a pipe may take its time.
struct Writer {
    chunks: mpsc::Sender<Message>,
    work: JoinHandle<anyhow::Result<Out>>,
}

enum Message {
    Bytes(Vec<u8>),
    /// All is there, up to this position.
    End(i64),
}

impl Writer {
    fn start(out: Out, zstd: bool) -> Self {
        let (chunks, messages) = mpsc::channel(4);
        Self { chunks, work: spawn_blocking(move || take(out, zstd, messages)) }
    }

    async fn write(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        if self.chunks.send(Message::Bytes(bytes)).await.is_err() {
            // It has ended before its time, and says why.
            (&mut self.work).await??;
        }
        Ok(())
    }

    /// Waits until all of it is written.
    async fn finish(self, to: i64) -> anyhow::Result<Out> {
        // If it cannot be told it has ended, and says why.
        let _ = self.chunks.send(Message::End(to)).await;
        self.work.await?
    }
}

/// What is being written to, compressed or not.
enum Sink {
    Plain(BufWriter<Out>),
    Zstd(Box<zstd::Encoder<'static, BufWriter<Out>>>),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> std::io::Result<Out> {
        let out = match self {
            Self::Plain(out) => out,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        out.into_inner().map_err(std::io::IntoInnerError::into_error)
    }
}

/// Writes what comes, and at the end what shows that all came. Without an end nothing is committed.
fn take(out: Out, zstd: bool, mut messages: mpsc::Receiver<Message>) -> anyhow::Result<Out> {
    let name = out.name();
    let wrong = || format!("{name} cannot be written");
    let out = BufWriter::with_capacity(CHUNK, out);
    let mut sink = if zstd {
        let mut encoder = zstd::Encoder::new(out, LEVEL).with_context(wrong)?;
        encoder.include_checksum(true).with_context(wrong)?;
        Sink::Zstd(Box::new(encoder))
    } else {
        Sink::Plain(out)
    };
    let mut digest = Sha256::new();
    while let Some(message) = messages.blocking_recv() {
        match message {
            Message::Bytes(bytes) => {
                digest.update(&bytes);
                sink.write(&bytes).with_context(wrong)?;
            }
            Message::End(to) => {
                let mut line = Vec::new();
                let sha256 = format::hex(&digest.finalize());
                format::line(&End { end: Sum { to, sha256 } }, &mut line)?;
                sink.write(&line).with_context(wrong)?;
                return sink.finish().with_context(wrong);
            }
        }
    }
    bail!("the export did not come to its end")
}

/// Says what was written: on standard error where the log is on standard output.
fn tell(written: &Written, settings: &Settings) {
    let Written { from, to, heads, sealed, secrets } = *written;
    let events = to - from + 1;
    let file = |path: &Option<PathBuf>| path.as_deref().map(Path::display).map(|path| path.to_string());
    let text = if settings.json {
        let (out, credentials) = (file(&settings.out), file(&settings.credentials));
        json!({
            "events": events, "from": from, "to": to, "heads": heads, "sealed": sealed, "out": out,
            "credentials": credentials, "secrets": secrets,
        })
        .to_string()
    } else {
        let beside = match (secrets, file(&settings.credentials)) {
            (Some(secrets), Some(path)) => format!("\n{secrets} credentials in {path}"),
            _ => "\nwithout credentials (--credentials): from this alone nobody can log in".to_owned(),
        };
        let sealed = if heads > 0 { format!("signed heads up to {sealed}") } else { "no signed head".to_owned() };
        format!("{events} events, positions {from} to {to}, with {sealed}{beside}")
    };
    if settings.out.is_some() { println!("{text}") } else { eprintln!("{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_does_not_have_is_refused() {
        assert_eq!(range(None, None, 9).unwrap(), (1, 9));
        assert_eq!(range(Some(3), Some(3), 9).unwrap(), (3, 3));
        assert_eq!(range(None, None, 0).unwrap(), (1, 0));
        let refused = |from, to, end| range(from, to, end).unwrap_err().to_string();
        assert!(refused(Some(10), None, 9).contains("position 10 is past the end of the log, which is at 9"));
        assert!(refused(None, Some(10), 9).contains("position 10 is past"));
        assert!(refused(None, Some(1), 0).contains("position 1 is past"));
        assert!(refused(Some(5), Some(4), 9).contains("--from 5 is after --to 4"));
    }
}
