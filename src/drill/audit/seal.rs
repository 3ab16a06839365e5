//! I11: the seal: the Merkle tree over the log once more, and every signed head against it.
//!
//! Written from docs/audit.md and RFC 6962 alone, by their definitions and not by the way in which heads are made.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, Row as _};

use super::{Finding, Promise, Scene};

pub(super) const PROMISE: Promise = (
    "I11",
    "every signed head, in the database and in the file outside of it, has the root of the log and its key's signature, and the \
     last of both covers all of it",
);

pub(super) type Hash = [u8; 32];

/// What is sealed.
#[derive(Debug)]
struct Log {
    /// `hash` of each event, in the order of positions.
    hashes: Vec<Hash>,
    /// Their tree.
    tree: Tree,
    /// The epoch of each.
    epochs: Vec<i32>,
    /// The epoch of the log.
    epoch: i32,
}

/// A head as the database or the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    size: u64,
    root: String,
    epoch: i32,
    time: String,
    key: String,
    signature: String,
}

/// Compares all heads, and all that is kept of the tree, with the log.
pub(super) async fn sealed(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let key = key(scene).await?;
    // The file first: what is in it must be in the database, too, and not the other way round while heads are made.
    let lines = lines(&scene.target.heads)?;
    compare(&mut *scene.snapshot().await?, &key, &lines).await
}

/// The same of a key and a file that are known.
pub(super) async fn compare(snapshot: &mut PgConnection, key: &Hash, lines: &[String]) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let keys: Vec<Vec<u8>> = sqlx::query_scalar("select public from seal_key").fetch_all(&mut *snapshot).await?;
    if keys != [key.to_vec()] {
        found.lasting(format!(
            "the database knows {} keys that sign heads, and not the one that is given out",
            keys.len()
        ));
    }
    let log = Log::read(&mut *snapshot).await?;
    let heads = heads(&mut *snapshot, &log, key, &mut found).await?;
    nodes(&mut *snapshot, &log.tree, heads.keys().next_back().copied().unwrap_or(0), &mut found).await?;
    let mut before = 0;
    for (number, line) in (1..).zip(lines) {
        let head: Head = match serde_json::from_str(line) {
            Ok(head) => head,
            Err(error) => {
                found.lasting(format!("line {number} of the file of heads is none: {error}"));
                continue;
            }
        };
        log.judge(&head, key, "the file", &mut found);
        if head.size <= before {
            found.lasting(format!("line {number} of the file is of {} events, after one of {before}", head.size));
        }
        before = head.size;
        found.check(heads.get(&head.size) == Some(&head), || {
            format!("the head of {} events in the file is not in the database", head.size)
        });
    }
    let size = log.hashes.len() as u64;
    for (place, last) in [("database", heads.keys().next_back().copied().unwrap_or(0)), ("file", before)] {
        found.check(last == size && size > 0, || format!("the last head in the {place} is of {last} of {size} events"));
    }
    found.check(lines.len() == heads.len(), || {
        format!("the file has {} heads, and the database {}", lines.len(), heads.len())
    });
    found.figure("signed heads", heads.len() as u64);
    found.figure("events that they cover", before);
    Ok(found)
}

/// The key as it is given out to everybody: the last 32 bytes of its PEM (RFC 8410).
async fn key(scene: &Scene<'_>) -> anyhow::Result<Hash> {
    let url = format!("{}/api/v1/log/key", scene.target.query_url);
    let pem = scene.http.get(url).send().await?.error_for_status()?.text().await?;
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64_STANDARD.decode(der).context("the key is no PEM")?;
    der.last_chunk().copied().context("the key is too short")
}

/// The lines of the file, without one at its end that was cut short.
pub(super) fn lines(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("reading the file of heads"),
    };
    Ok(text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect())
}

/// All heads of the database by their size, each judged.
async fn heads(
    snapshot: &mut PgConnection,
    log: &Log,
    key: &Hash,
    found: &mut Finding,
) -> anyhow::Result<BTreeMap<u64, Head>> {
    let mut rows = sqlx::query(
        r#"select size, previous, root, epoch, to_char(sealed_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                  signature, hashes from seal_head order by size"#,
    )
    .fetch(snapshot);
    let (mut heads, mut before) = (BTreeMap::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let (size, previous): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let (size, previous) = (u64::try_from(size)?, u64::try_from(previous)?);
        let encoded = |index: usize| row.try_get::<&[u8], _>(index).map(|bytes| BASE64_STANDARD.encode(bytes));
        let head = Head {
            size,
            root: encoded(2)?,
            epoch: row.try_get(3)?,
            time: row.try_get(4)?,
            key: key_id(key),
            signature: encoded(5)?,
        };
        log.judge(&head, key, "the database", found);
        if previous != before {
            found.lasting(format!(
                "the head of {size} events follows one of {previous}, and the one before is of {before}"
            ));
        }
        let covered = log.hashes.get(usize::try_from(previous)?..usize::try_from(size)?).map(<[Hash]>::concat);
        if covered.as_deref() != Some(row.try_get(6)?) {
            found.lasting(format!("beside the head of {size} events there are other hashes than the log has"));
        }
        before = size;
        heads.insert(size, head);
    }
    Ok(heads)
}

/// What is kept of the tree, for proofs: all complete subtrees of 256, 256², … leaves under the last head, and no others.
async fn nodes(snapshot: &mut PgConnection, tree: &Tree, size: u64, found: &mut Finding) -> anyhow::Result<()> {
    let rows = sqlx::query("select level, index, hash from seal_node").fetch_all(snapshot).await?;
    for row in &rows {
        let (level, index): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
        let there = usize::try_from(level)? * 8;
        let expected = tree.levels.get(there).and_then(|level| level.get(usize::try_from(index).ok()?));
        found.check(expected.is_some(), || {
            format!("a subtree of level {level} is kept at {index}, which the log does not have")
        });
        if expected.is_some_and(|expected| row.try_get::<&[u8], _>(2).is_ok_and(|hash| hash != expected)) {
            found.lasting(format!("the subtree of level {level} that is kept at {index} is not the log's"));
        }
    }
    let complete: u64 = (1..8).map(|level| size >> (8 * level)).sum();
    found.check(rows.len() as u64 == complete, || format!("{} subtrees are kept, of {complete}", rows.len()));
    Ok(())
}

impl Log {
    async fn read(snapshot: &mut PgConnection) -> anyhow::Result<Self> {
        let epoch = sqlx::query_scalar("select epoch from ledger").fetch_one(&mut *snapshot).await?;
        let (mut hashes, mut epochs) = (Vec::<Hash>::new(), Vec::new());
        let mut rows = sqlx::query("select hash, epoch from event order by position").fetch(snapshot);
        while let Some(row) = rows.try_next().await? {
            hashes.push(row.try_get::<&[u8], _>(0)?.try_into().context("a hash has 32 bytes")?);
            epochs.push(row.try_get(1)?);
        }
        let leaves = (1_u64..).zip(&hashes).map(|(position, hash)| digest(&[&[0], &position.to_be_bytes(), hash]));
        let tree = Tree::over(leaves.collect());
        Ok(Self { hashes, tree, epochs, epoch })
    }

    /// Whether a head is one of this log. What was signed wrong, was signed: every breach is final.
    fn judge(&self, head: &Head, key: &Hash, place: &str, found: &mut Finding) {
        found.seen(1);
        let Head { size, root, epoch, time, key: id, signature } = head;
        let Ok(index) = usize::try_from(*size) else { return };
        let mut wrong = |what: &str| found.lasting(format!("the head of {size} events in {place} {what}"));
        if index == 0 || index > self.hashes.len() {
            return wrong("is of more events than there are");
        }
        if *root != BASE64_STANDARD.encode(self.tree.root(index)) {
            wrong("has another root than the log");
        }
        if !(self.epochs[index - 1]..=self.epoch).contains(epoch) {
            wrong(&format!("is of epoch {epoch}"));
        }
        let text = format!("daybook\n{size}\n{root}\nepoch {epoch}\ntime {time}\n");
        let signature = BASE64_STANDARD.decode(signature).unwrap_or_default();
        let is_signed = UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &signature).is_ok();
        if !is_signed || *id != key_id(key) {
            wrong("is not signed by the key");
        }
    }
}

/// The name of a key: the first four bytes of a digest, in hex.
fn key_id(key: &Hash) -> String {
    hex(&digest(&[b"daybook\n\x01", key])[..4])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn digest(parts: &[&[u8]]) -> Hash {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

/// `levels[l][i]` is the hash over the 2^l leaves that begin with the one of index i × 2^l, for all that are complete.
#[derive(Debug)]
struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    fn over(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.as_chunks().0.iter().map(|[left, right]| digest(&[&[1], left, right]));
            levels.push(above.collect());
        }
        Self { levels }
    }

    /// MTH(D[0:n]) of RFC 6962, 2.1, for 0 < n.
    fn root(&self, n: usize) -> Hash {
        self.range(0, n)
    }

    /// MTH(D[from:from + n]): of a power of two it is complete; else the largest one that is smaller than n divides it.
    fn range(&self, from: usize, n: usize) -> Hash {
        let level = n.ilog2();
        if n.is_power_of_two() {
            return self.levels[level as usize][from >> level];
        }
        let k = 1 << level;
        digest(&[&[1], &self.range(from, k), &self.range(from + k, n - k)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and the roots of all sizes of the test data that implementations of RFC 6962 share.
    #[test]
    fn the_tree_is_that_of_the_rfc() {
        let inputs: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let tree = Tree::over(inputs.iter().map(|input| digest(&[&[0], input])).collect());
        for (n, expected) in (1..).zip(roots) {
            assert_eq!(hex(&tree.root(n)), expected, "{n}");
        }
    }
}
