//! The log as it was sealed so far: compared with all heads that are known, and gone on from.

use events::{
    Store, failpoint,
    seal::{
        self, Error, File, Frontier, Hash, Head, Keys, PublicKey, SignedHead, SigningKey,
        proof::Wanted,
        table::{self, Sealed},
        tree::Kept,
    },
    store::StoreError,
};

use super::Options;

/// Where heads are, in messages.
pub(super) const PROCESS: &str = "this process";
const TABLE: &str = "the table seal_head";
/// How many heads are written to the file at a time.
const LINES: i64 = 1_000;

/// What is gone on from.
pub(super) struct Session {
    store: Store,
    file: Option<File>,
    key: SigningKey,
    keys: Keys,
    frontier: Frontier,
    /// The hash of the last event in it.
    last: Option<Hash>,
    /// The last head.
    head: Option<SignedHead>,
    /// Whether the file has it.
    filed: bool,
}

impl Session {
    /// Compares all heads that are known with the log. `seen` is the last that this process knows of.
    pub(super) async fn open(store: &Store, options: &Options, seen: Option<SignedHead>) -> Result<Self, Error> {
        let (key, keys) = key(store, options).await?;
        let (store, file) = (store.clone(), options.file.clone());
        let mut session =
            Self { store, file, key, keys, frontier: Frontier::default(), last: None, head: None, filed: false };
        let stored = table::last(&session.store).await?;
        let outside = match session.file.clone() {
            Some(file) => on_disk(move || file.last()).await?,
            None => None,
        };
        // The log after its heads: another process may have made some just now.
        let (end, _) = table::end(&session.store).await?;
        if let Some(stored) = stored {
            session.resume(stored, end).await?;
        }
        if let Some(file) = session.file.clone() {
            let place = file.path().display().to_string();
            match outside {
                Some(outside) => session.agree(&place, &outside, Some(file), end).await?,
                None if stored.is_some() => {
                    tracing::warn!(
                        file = place,
                        "there is no file of heads: it begins anew with those of the database"
                    );
                }
                None => {}
            }
        }
        if let Some(seen) = seen {
            session.agree(PROCESS, &seen, None, end).await?;
        }
        Ok(session)
    }

    /// How many events are sealed.
    pub(super) fn size(&self) -> i64 {
        self.head.map_or(0, |head| head.head.size)
    }

    /// The last head.
    pub(super) fn head(&self) -> Option<SignedHead> {
        self.head
    }

    /// The tree as it was under the last stored head.
    async fn resume(&mut self, stored: SignedHead, end: i64) -> Result<(), Error> {
        let Head { size, root, .. } = self.check(TABLE, &stored, end)?;
        self.frontier = table::subtrees(&self.store, &Wanted::root(size)).await?.frontier(size)?;
        if self.frontier.root() != Some(root) {
            return Err(Error::Diverged { place: TABLE.to_owned(), size });
        }
        let last = table::hashes(&self.store, size - 1, size).await?;
        self.last = table::each(&last).next().copied();
        self.head = Some(stored);
        Ok(())
    }

    /// What a signed head says, if it is ours and the log goes that far.
    fn check(&self, place: &str, signed: &SignedHead, end: i64) -> Result<Head, Error> {
        let (head, place) = (signed.head, place.to_owned());
        if !self.keys.verify(signed) {
            return Err(Error::Signature { place, size: head.size });
        }
        if head.size > end {
            return Err(Error::Shrunk { place, size: head.size, head: end });
        }
        Ok(head)
    }

    /// Sees to it that the log agrees with the last head that was given out somewhere, and that the database has it.
    async fn agree(&mut self, place: &str, outside: &SignedHead, file: Option<File>, end: i64) -> Result<(), Error> {
        let Head { size, root, .. } = self.check(place, outside, end)?;
        if size > self.size() {
            tracing::warn!(
                place,
                size,
                "it has heads that the database lacks: they are compared with the log, and stored"
            );
            let after = self.size();
            let heads = match file {
                Some(file) => on_disk(move || later(&file, after)).await?,
                None => vec![*outside],
            };
            for head in heads {
                self.adopt(place, head, end).await?;
            }
            return Ok(());
        }
        if table::of_size(&self.store, size).await?.as_ref() == Some(outside) {
            return Ok(());
        }
        if table::subtrees(&self.store, &Wanted::root(size)).await?.range(0, size)? != root {
            return Err(Error::Diverged { place: place.to_owned(), size });
        }
        tracing::warn!(place, size, "the database lacks a head of this size, with which the log agrees");
        Ok(())
    }

    /// Stores a head that the database has lost, if it is one of this log.
    async fn adopt(&mut self, place: &str, head: SignedHead, end: i64) -> Result<(), Error> {
        let Head { size, root, .. } = self.check(place, &head, end)?;
        let (previous, (hashes, kept)) = (self.size(), self.extend(size).await?);
        if self.frontier.root() != Some(root) {
            return Err(Error::Diverged { place: place.to_owned(), size });
        }
        table::put(&self.store, &Sealed { head, previous, hashes, kept }).await?;
        self.head = Some(head);
        Ok(())
    }

    /// Makes and stores the head of the first `size` events. False when another process has made one meanwhile: then this
    /// session is of no more use, as after an error.
    pub(super) async fn seal(&mut self, size: i64, epoch: i32) -> Result<bool, Error> {
        let (previous, (hashes, kept)) = (self.size(), self.extend(size).await?);
        let Some(root) = self.frontier.root() else { return Ok(false) };
        let head = Head { size, root, epoch, time: events::clock::now() }.sign(&self.key);
        failpoint::reach("seal.signed");
        let made = table::put(&self.store, &Sealed { head, previous, hashes, kept }).await?;
        failpoint::reach("seal.stored");
        (self.head, self.filed) = (Some(head), false);
        Ok(made)
    }

    /// Brings the tree on to `to` events. Returns their hashes, and the subtrees that are complete with them.
    async fn extend(&mut self, to: i64) -> Result<(Vec<u8>, Vec<Kept>), Error> {
        let (mut hashes, mut kept) = (Vec::new(), Vec::new());
        while self.frontier.size() < to {
            let from = self.frontier.size();
            // With the last one that is known: the log could have been replaced since it was read.
            let known = i64::from(self.last.is_some());
            let page = table::hashes(&self.store, from - known, to.min(from + table::PAGE)).await?;
            let mut page = table::each(&page);
            if known == 1 && page.next() != self.last.as_ref() {
                return Err(Error::Diverged { place: PROCESS.to_owned(), size: from });
            }
            for hash in page {
                self.frontier.push(hash, |subtree| kept.push(subtree));
                self.last = Some(*hash);
                hashes.extend_from_slice(hash);
            }
        }
        Ok((hashes, kept))
    }

    /// Brings the file on to the last head. True if there was anything to do, so that others may be told, too.
    pub(super) async fn write_out(&mut self) -> Result<bool, Error> {
        if self.filed || self.head.is_none() {
            return Ok(false);
        }
        while let Some(file) = self.file.clone() {
            let read = file.clone();
            let filed = on_disk(move || read.last()).await?.map_or(0, |last| last.head.size);
            let heads = table::after(&self.store, filed, LINES).await?;
            if heads.is_empty() {
                break;
            }
            // What was forged in the database does not get out of it.
            if let Some(forged) = heads.iter().find(|head| !self.keys.verify(head)) {
                return Err(Error::Signature { place: TABLE.to_owned(), size: forged.head.size });
            }
            on_disk(move || file.append(&heads)).await?;
            failpoint::reach("seal.filed");
        }
        self.filed = true;
        Ok(true)
    }
}

/// The key that signs, and all that did.
async fn key(store: &Store, options: &Options) -> Result<(SigningKey, Keys), Error> {
    let mut keys = table::keys(store).await?;
    let file = options.key.clone();
    // A second key for a log that has one would be of no use, and hide that the first is gone.
    let first = keys.is_empty();
    let read = move || match SigningKey::read(&file)? {
        None if first => SigningKey::make(&file).map(Some),
        key => Ok(key),
    };
    let key = on_disk(read).await?;
    if let (Some(key), true) = (&key, first) {
        table::begin(store, &key.public()).await?;
        keys = table::keys(store).await?;
    }
    let file = options.key.display().to_string();
    let sealed = keys.first().map(PublicKey::id).unwrap_or_default().to_string();
    match key {
        None => Err(Error::Key { file, why: format!("it is gone, and the log is sealed with the key {sealed} of it") }),
        Some(key) if keys.first() != Some(&key.public()) => {
            Err(Error::OtherKey { sealed, file, ours: key.public().id().to_string() })
        }
        Some(key) => Ok((key, Keys(keys))),
    }
}

/// The heads of the file that go further than `after`.
fn later(file: &File, after: i64) -> Result<Vec<SignedHead>, Error> {
    let heads = file.lines()?.filter_map(|(_, line)| line.ok());
    Ok(heads.filter(|line| line.head.size > after).collect())
}

/// Work with files, which may block.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    // Only while the process stops.
    done.unwrap_or_else(|_| Err(seal::Error::Store(StoreError::Unavailable(None))))
}
