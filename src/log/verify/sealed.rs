//! The signed heads, walked along beside the log: those of the database with the hashes that they cover, and those of the
//! file outside.

use std::collections::VecDeque;
use std::iter::Peekable;

use events::seal::{File, Frontier, Hash, Head, Keys, PublicKey, SignedHead, table::each};
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::finding::{Findings, What};

/// Heads of the database after a size, with what they cover.
const HEADS: &str = "
    select h.size, h.previous, h.root, h.epoch, h.sealed_at, h.signature, h.hashes,
           (select k.public from seal_key k where k.since < h.size order by k.since desc limit 1)
    from seal_head h where h.size > $1 order by h.size limit 16";

type Lines = Peekable<Box<dyn Iterator<Item = (u64, Result<SignedHead, String>)> + Send>>;

/// A head of the database.
struct Stored {
    head: SignedHead,
    previous: i64,
    hashes: Vec<u8>,
}

/// The one within which the log is being read.
struct Within {
    head: SignedHead,
    previous: i64,
    hashes: Vec<u8>,
    signed: bool,
    /// Its hashes lead to a root that was signed: they are those that the events had.
    trusted: bool,
    /// The tree that its hashes make.
    tree: Frontier,
}

/// All heads.
pub struct Heads {
    database: PgConnection,
    file: Option<(String, Lines)>,
    keys: Keys,
    ahead: VecDeque<Stored>,
    read_to: i64,
    within: Option<Within>,
    /// The size of a head of the database before which others are missing, once that was told.
    missed: i64,
    /// The size up to which the log agrees with what was signed, as far as it did not have to be told.
    good: i64,
    /// The log's tree is not that which was signed, and cannot be mended: no more is to be said of roots.
    lost: bool,
    /// How many heads of the database were compared.
    pub stored: u64,
    /// How many of the file.
    pub filed: u64,
    /// The size of the last one that is signed.
    pub last: i64,
}

impl Heads {
    /// The heads of `database` and of `file`, by the keys that are trusted.
    pub fn new(database: PgConnection, file: Option<&File>, keys: Keys) -> anyhow::Result<Self> {
        let file = match file {
            None => None,
            Some(file) => {
                let lines: Box<dyn Iterator<Item = _> + Send> = Box::new(file.lines()?);
                Some((file.path().display().to_string(), lines.peekable()))
            }
        };
        Ok(Self {
            database,
            file,
            keys,
            ahead: VecDeque::new(),
            read_to: 0,
            within: None,
            missed: 0,
            good: 0,
            lost: false,
            stored: 0,
            filed: 0,
            last: 0,
        })
    }

    /// The hash that the event at `position` had when it was sealed, where that is certain. `log` is the tree before it.
    pub async fn sealed(
        &mut self,
        position: i64,
        log: &Frontier,
        found: &mut Findings,
    ) -> anyhow::Result<Option<Hash>> {
        if self.within.as_ref().is_none_or(|within| within.head.head.size < position) {
            self.enter(position, log, found).await?;
        }
        let covers = |within: &&Within| within.trusted && within.head.head.size >= position;
        let Some(within) = self.within.as_ref().filter(covers) else { return Ok(None) };
        let index = usize::try_from(position - within.previous - 1)?;
        Ok(each(&within.hashes).nth(index).copied())
    }

    /// Goes on to the head of the database that begins with `position`, if there is one.
    async fn enter(&mut self, position: i64, log: &Frontier, found: &mut Findings) -> anyhow::Result<()> {
        loop {
            if self.ahead.is_empty() {
                let rows = sqlx::query(HEADS).bind(self.read_to).fetch_all(&mut self.database).await?;
                self.ahead = rows.iter().map(Stored::read).collect::<Result<_, _>>()?;
                self.read_to = self.ahead.back().map_or(self.read_to, |last| last.head.head.size);
            }
            let Some(next) = self.ahead.pop_front() else { return Ok(()) };
            let size = next.head.head.size;
            if next.previous >= position {
                if self.missed < size {
                    let how = format!("the database lacks heads between {} and {} events", position - 1, next.previous);
                    found.about(What::Head, how);
                    self.missed = size;
                }
                self.ahead.push_front(next);
                return Ok(());
            }
            self.stored += 1;
            if next.previous == position - 1 {
                self.begin(next, log, found);
                return Ok(());
            }
            found.about(What::Head, format!("the head of {size} events in the database overlaps the one before"));
        }
    }

    fn begin(&mut self, Stored { head, previous, hashes }: Stored, log: &Frontier, found: &mut Findings) {
        let size = head.head.size;
        let before = self.within.take().map(|before| before.tree).filter(|tree| tree.size() == previous);
        let mut tree = before.unwrap_or_else(|| log.clone());
        for hash in each(&hashes) {
            tree.push(hash, |_| {});
        }
        let signed = self.keys.verify(&head);
        if !signed {
            found.about(What::Head, format!("the head of {size} events in the database is not signed by the key"));
        }
        // Where the database was rewritten the file may have the true one.
        let outside = self.outside(found).filter(|outside| outside.head.size == size);
        let outside = outside.filter(|outside| self.keys.verify(outside)).map(|outside| outside.head.root);
        let roots = [signed.then_some(head.head.root), outside];
        let trusted = roots.into_iter().flatten().any(|root| tree.root() == Some(root));
        self.within = Some(Within { head, previous, hashes, signed, trusted, tree });
    }

    /// The next head of the file. What cannot be read in between is told.
    fn outside(&mut self, found: &mut Findings) -> Option<SignedHead> {
        let (name, lines) = self.file.as_mut()?;
        while let Some((number, line)) = lines.peek() {
            match line {
                Ok(head) => return Some(*head),
                Err(why) => found.about(What::Head, format!("line {number} of {name}: {why}")),
            }
            lines.next();
        }
        None
    }

    /// Compares the heads of `position` events with the log, whose tree `log` has so many now. Where the log is wrong and what
    /// it was is known, the tree goes on from that, so that later changes are told for themselves.
    pub fn close(&mut self, position: i64, log: &mut Frontier, found: &mut Findings) {
        let within = self.within.take().filter(|within| within.head.head.size >= position);
        let stored = within.as_ref().filter(|within| within.head.head.size == position);
        let outside = self.beside(position, stored.map(|stored| stored.head), found);
        let signed = [stored.filter(|stored| stored.signed).map(|stored| stored.head), outside];
        let mut roots: Vec<Head> = signed.into_iter().flatten().map(|signed| signed.head).collect();
        roots.dedup_by_key(|head| head.root);
        if roots.len() > 1 {
            found.about(What::Head, format!("two heads of {position} events are signed, and have different roots"));
        }
        if let (Some(head), false) = (roots.last(), self.lost) {
            self.last = position;
            if log.root() == Some(head.root) {
                self.good = position;
                if stored.is_some_and(|stored| !stored.trusted) {
                    let how = format!("the hashes beside the head of {position} events are not those that it signs");
                    found.about(What::Head, how);
                }
            } else {
                let how = format!("the head of {position} events, signed {}, has another root than the log", head.time);
                found.among(What::Changed, self.good + 1, position, how);
                match stored.filter(|stored| stored.trusted) {
                    Some(stored) => (*log, self.good) = (stored.tree.clone(), position),
                    None => self.lost = true,
                }
            }
        }
        self.within = within;
    }

    /// The head of the file that has `position` events, if it is signed; compared with the one of the database.
    fn beside(&mut self, position: i64, stored: Option<SignedHead>, found: &mut Findings) -> Option<SignedHead> {
        loop {
            let outside = self.outside(found);
            let name = self.file.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
            let Some(outside) = outside.filter(|outside| outside.head.size <= position) else {
                if let (Some(_), Some(_)) = (stored, outside) {
                    found.about(What::Head, format!("{name} lacks the head of {position} events"));
                }
                return None;
            };
            if let Some((_, lines)) = &mut self.file {
                lines.next();
            }
            self.filed += 1;
            let size = outside.head.size;
            let signed = self.keys.verify(&outside);
            if !signed {
                found.about(What::Head, format!("the head of {size} events in {name} is not signed by the key"));
            }
            if size < position {
                found.about(What::Head, format!("the head of {size} events in {name} comes too late"));
                continue;
            }
            match stored {
                None => {
                    found.about(What::Head, format!("the database lacks the head of {size} events that is in {name}"));
                }
                Some(stored) if stored != outside => {
                    found.about(
                        What::Head,
                        format!("the head of {size} events in the database is another than in {name}"),
                    );
                }
                Some(_) => {}
            }
            return signed.then_some(outside);
        }
    }

    /// Looks at what goes further than the log that was read, which ended at `read` and ends at `end` now.
    pub async fn finish(&mut self, read: i64, end: i64, found: &mut Findings) -> anyhow::Result<()> {
        let mut furthest = None;
        while let Some(outside) = self.outside(found) {
            if let Some((name, lines)) = &mut self.file {
                lines.next();
                if outside.head.size > end && self.keys.verify(&outside) {
                    furthest = Some((outside.head.size, name.clone()));
                }
            }
        }
        let stored: i64 =
            sqlx::query_scalar("select coalesce(max(size), 0) from seal_head").fetch_one(&mut self.database).await?;
        if stored > end && furthest.is_none() {
            furthest = Some((stored, "the database".to_owned()));
        }
        if let Some((size, place)) = furthest {
            let how = format!("{place} has a signed head of {size} events, and the log ends at {end}");
            found.among(What::Removed, end + 1, size, how);
        }
        // A head that was made meanwhile covers what was read.
        self.last = if stored > read { read } else { self.last };
        Ok(())
    }
}

impl Stored {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let array = |column: usize| -> Result<[u8; 32], sqlx::Error> {
            Ok(row.try_get::<Option<Vec<u8>>, _>(column)?.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
        };
        let signature: Vec<u8> = row.try_get(5)?;
        let head = Head { size: row.try_get(0)?, root: array(2)?, epoch: row.try_get(3)?, time: row.try_get(4)? };
        let key = PublicKey(array(7)?).id();
        // What has another length is no signature of anything.
        let head = SignedHead { head, key, signature: signature.try_into().unwrap_or([0; 64]) };
        Ok(Self { head, previous: row.try_get(1)?, hashes: row.try_get(6)? })
    }
}
