//! The lines of an export as they follow each other: each is checked before anything is made of it, and the first that is not
//! what was exported is named.

use anyhow::{Context as _, bail};
use events::seal::{Frontier, Keys, PublicKey, SignedHead, table::KeySince, tree::Kept};
use events::store::{Batch, Row};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::log::format::{End, FORMAT, Head, Header, Sum, begins, hex};

/// What a batch weighs, in bytes, and how many events it has at most.
const BATCH_BYTES: usize = 4 << 20;
const BATCH: usize = 5_000;

/// Where the reading is.
pub struct Course {
    /// The keys that the heads must be signed with; without them those of the export itself.
    trusted: Option<Keys>,
    /// The keys of the export so far.
    keys: Vec<KeySince>,
    /// The part that is being read.
    part: Option<Part>,
    tree: Frontier,
    epoch: i32,
    /// The size of the last head.
    sealed: i64,
    /// Subtrees that no head covers yet.
    kept: Vec<Kept>,
    batch: Batch,
    weight: usize,
}

/// One export; several may follow each other.
struct Part {
    to: i64,
    epoch: i32,
    digest: Sha256,
}

/// What the lines came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The position of the last event.
    pub events: i64,
    /// The keys that have signed the heads.
    pub keys: Vec<KeySince>,
    /// The epoch that the log was in.
    pub epoch: i32,
}

impl Course {
    /// Nothing read yet.
    pub fn new(trusted: Option<Keys>) -> Self {
        let tree = Frontier::default();
        let (keys, kept, batch) = (Vec::new(), Vec::new(), Batch::default());
        Self { trusted, keys, part: None, tree, epoch: 1, sealed: 0, kept, batch, weight: 0 }
    }

    /// Where the export that is being read ends.
    pub fn end(&self) -> i64 {
        self.part.as_ref().map_or(self.tree.size(), |part| part.to)
    }

    /// Takes the next line. Returns what has gathered, once that is enough.
    pub fn take(&mut self, line: &[u8]) -> anyhow::Result<Option<Batch>> {
        let Some(part) = &mut self.part else {
            self.part = Some(self.begin(line)?);
            return Ok(None);
        };
        if line.starts_with(begins::END) {
            let digest = hex(&part.digest.clone().finalize());
            self.finish(&parse::<End>(line)?.end, &digest)?;
            self.part = None;
            return Ok(None);
        }
        part.digest.update(line);
        if line.starts_with(begins::EVENT) {
            let next = self.tree.size() + 1;
            let row = parse::<Row>(line).with_context(|| format!("position {next} is next, and this is no event"))?;
            self.event(row)?;
        } else if line.starts_with(begins::HEAD) {
            self.head(parse::<Head>(line)?.head)?;
        } else {
            bail!("position {} is next, and this is no line of an export", self.tree.size() + 1);
        }
        let is_enough = self.batch.rows.len() >= BATCH || self.weight >= BATCH_BYTES;
        Ok(is_enough.then(|| self.rest()))
    }

    /// What has gathered since.
    pub fn rest(&mut self) -> Batch {
        self.weight = 0;
        std::mem::take(&mut self.batch)
    }

    /// After the last line: whether it is an end.
    pub fn over(&self) -> anyhow::Result<Read> {
        if let Some(part) = &self.part {
            bail!("it ends after position {}, and should go to {}: it was cut short", self.tree.size(), part.to);
        }
        if self.tree.size() == 0 {
            bail!("there is no event in it");
        }
        if self.trusted.is_some() && self.sealed == 0 {
            bail!("there is no head in it that a key could have signed");
        }
        Ok(Read { events: self.tree.size(), keys: self.keys.clone(), epoch: self.epoch })
    }

    fn begin(&mut self, line: &[u8]) -> anyhow::Result<Part> {
        if !line.starts_with(begins::HEADER) {
            bail!("this is no export of a log, which begins with {{\"format\":\"{FORMAT}\"");
        }
        let header: Header = parse(line)?;
        if header.format != FORMAT {
            bail!("this is {:?}, and this program reads {FORMAT:?}", header.format);
        }
        let next = self.tree.size() + 1;
        if header.from != next {
            let why = if next == 1 { "a log begins with 1" } else { "the part before it ends elsewhere" };
            bail!("it begins with position {}, and {next} is next: {why}", header.from);
        }
        let follow = header.keys.windows(2).all(|pair| pair[0].since < pair[1].since);
        if header.to < header.from - 1 || header.epoch < self.epoch || !follow || !header.keys.starts_with(&self.keys) {
            bail!("it contradicts itself, or the part before it");
        }
        let mut digest = Sha256::new();
        digest.update(line);
        self.keys = header.keys;
        Ok(Part { to: header.to, epoch: header.epoch, digest })
    }

    fn event(&mut self, row: Row) -> anyhow::Result<()> {
        let next = self.tree.size() + 1;
        let position = row.position;
        let Some(part) = &self.part else { return Ok(()) };
        if position > next {
            bail!("position {next} is missing, or stands elsewhere: {position} comes where {next} is next");
        }
        if position < next {
            bail!("position {position} comes where {next} is next: it was inserted, or stands elsewhere");
        }
        if position > part.to {
            bail!("position {position} was inserted: the export ends at {}", part.to);
        }
        if !row.is_whole() {
            bail!("position {position} was changed: what it says does not give the hash that it has");
        }
        if let Err(why) = row.check() {
            bail!("position {position}: {why}");
        }
        if row.epoch < self.epoch || row.epoch > part.epoch {
            bail!("position {position} was changed: the epoch {} cannot follow {}", row.epoch, self.epoch);
        }
        self.epoch = row.epoch;
        let kept = &mut self.kept;
        self.tree.push(&row.hash, |subtree| kept.push(subtree));
        self.weight += row.weight();
        self.batch.rows.push(row);
        Ok(())
    }

    fn head(&mut self, signed: SignedHead) -> anyhow::Result<()> {
        let (size, last) = (signed.head.size, self.tree.size());
        if size != last || size <= self.sealed {
            bail!("position {size}: its head comes after position {last}");
        }
        // As in the database: the newest that had signed nothing when there were so many events.
        let key = self.keys.iter().rev().find(|key| key.since < size).map(|key| PublicKey(key.public));
        let is_signed = key.is_some_and(|key| Keys::from(key).verify(&signed));
        if !is_signed || self.trusted.as_ref().is_some_and(|trusted| !trusted.verify(&signed)) {
            bail!("the head of {size} events is not signed by the key");
        }
        if self.tree.root() != Some(signed.head.root) {
            bail!(
                "positions {} to {size} are not those that were sealed: one was changed, taken out, put in or exchanged; the head \
                 of {size} events has another root",
                self.sealed + 1
            );
        }
        let (covered, later) = self.kept.iter().partition(|kept| (kept.index + 1) << (kept.level * 8) <= size);
        self.kept = later;
        self.batch.kept.extend::<Vec<Kept>>(covered);
        self.batch.heads.push((signed, self.sealed));
        self.sealed = size;
        Ok(())
    }

    fn finish(&mut self, end: &Sum, digest: &str) -> anyhow::Result<()> {
        let Some(part) = &self.part else { return Ok(()) };
        let last = self.tree.size();
        if end.to != part.to || last != part.to {
            bail!("position {} is missing: the export ends at {}", last + 1, part.to);
        }
        if end.sha256 != digest {
            bail!(
                "the lines up to here are not those that were exported; what was changed is no event up to {}, which are sealed, \
                 so it is among positions {} to {last}, or beside them",
                self.sealed,
                self.sealed + 1
            );
        }
        self.epoch = self.epoch.max(part.epoch);
        Ok(())
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> anyhow::Result<T> {
    Ok(serde_json::from_slice(line)?)
}
