//! Damage to what nats-server has stored, while it does not run.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use service::embedded::Nats;
use tokio::time::{Instant, sleep};

/// How often it is looked whether there is something.
const GLANCE: Duration = Duration::from_millis(100);
/// The most that is cut off the tail, in bytes.
const MOST_CUT: u64 = 256 << 10;

/// Waits until there is something to be damaged, for that long at most.
pub async fn filled(nats: &Nats, patience: Duration) {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && blocks(&nats.store_dir()).map_or(0, |blocks| blocks.len()) == 0 {
        sleep(GLANCE).await;
    }
}

/// Removes all of it.
pub fn wipe(nats: &Nats) -> anyhow::Result<()> {
    let store = nats.store_dir();
    fs::remove_dir_all(&store).with_context(|| store.display().to_string())
}

/// Cuts a part of the tail of the stream's last block off: what a machine loses that had not written it yet.
pub fn truncate(nats: &Nats, rng: &mut StdRng) -> anyhow::Result<()> {
    let blocks = blocks(&nats.store_dir())?;
    let block = blocks.last().context("the stream has no block")?;
    let file = OpenOptions::new().write(true).open(block)?;
    let length = file.metadata()?.len();
    Ok(file.set_len(length - rng.random_range(1..=length.min(MOST_CUT)))?)
}

/// Makes one byte of one block another.
pub fn flip(nats: &Nats, rng: &mut StdRng) -> anyhow::Result<()> {
    let blocks = blocks(&nats.store_dir())?;
    anyhow::ensure!(!blocks.is_empty(), "the stream has no block");
    let file = OpenOptions::new().read(true).write(true).open(&blocks[rng.random_range(0..blocks.len())])?;
    let place = rng.random_range(0..file.metadata()?.len());
    let mut byte = [0];
    file.read_exact_at(&mut byte, place)?;
    byte[0] ^= rng.random_range(1..=u8::MAX);
    Ok(file.write_all_at(&byte, place)?)
}

/// The blocks of the newest stream that are not empty, in order.
fn blocks(store: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut streams = Vec::new();
    find(store, &mut streams)?;
    let newest = streams.into_iter().max_by_key(|(epoch, _)| *epoch);
    let (_, messages) = newest.with_context(|| format!("no stream in {}", store.display()))?;
    let mut blocks: Vec<(u64, PathBuf)> = fs::read_dir(&messages)?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_suffix(".blk")?.parse().ok()?;
            let is_full = File::open(&path).ok()?.metadata().ok()?.len() > 0;
            is_full.then_some((number, path))
        })
        .collect();
    blocks.sort();
    Ok(blocks.into_iter().map(|(_, path)| path).collect())
}

/// The folders of messages of all streams `EVENTS_{epoch}` below `folder`, with their epochs.
fn find(folder: &Path, streams: &mut Vec<(u64, PathBuf)>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.strip_prefix("EVENTS_").and_then(|epoch| epoch.parse().ok()) {
            Some(epoch) if path.join("msgs").is_dir() => streams.push((epoch, path.join("msgs"))),
            _ if path.is_dir() => find(&path, streams)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_the_newest_stream_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (stream, block, bytes) in
            [("EVENTS_9", 1, 3), ("EVENTS_10", 10, 4), ("EVENTS_10", 9, 5), ("EVENTS_10", 11, 0), ("OTHER", 1, 1)]
        {
            let messages = folder.path().join("jetstream/DAYBOOK/streams").join(stream).join("msgs");
            fs::create_dir_all(&messages).unwrap();
            fs::write(messages.join(format!("{block}.blk")), vec![b'x'; bytes]).unwrap();
            fs::write(messages.join("index.db"), "x").unwrap();
        }
        let found = blocks(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(folder.path()).unwrap().to_owned()).collect();
        let expected = ["9.blk", "10.blk"].map(|name| Path::new("jetstream/DAYBOOK/streams/EVENTS_10/msgs").join(name));
        assert_eq!(names, expected);
    }
}
