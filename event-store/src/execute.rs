//! The one way by which anything gets into the log: load, handle, append.

use std::{fmt, time::Duration};

use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    Condition, Refusal, Requirement, Stream, clock,
    store::{Append, Effects, Key, Loaded, Meta, New, Refused, Replay, Secret, Store, StoreError, decide, effects},
};

/// How often a command is decided again when the thing has changed between load and append.
const TRIES: usize = 5;
/// How long a command may take in all before its caller is told that the log is not there.
const PATIENCE: Duration = Duration::from_millis(4500);

/// What travels with a command besides itself.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who and why.
    pub meta: Meta,
    /// The version that the caller has seen and means (`If-Match`).
    pub expected: Option<i32>,
    /// The thing is new, its id just made: nothing needs to be loaded.
    pub fresh: bool,
    /// By which a repeated command is known.
    pub key: Option<Key>,
    /// What goes into the log's transaction and never into an event.
    pub secrets: Vec<Secret>,
    /// What its caller has seen of other aggregates and relies on, as that it may do this. Where it does not hold any more, the
    /// command comes to [`Error::Outdated`], whatever else would come of it.
    pub conditions: Vec<Condition>,
}

impl From<Meta> for Call {
    fn from(meta: Meta) -> Self {
        Self { meta, expected: None, fresh: false, key: None, secrets: Vec::new(), conditions: Vec::new() }
    }
}

/// Where a command's last event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The thing; for a repeated command the one that the first was for.
    pub id: Uuid,
    /// The thing's version after it.
    pub version: i32,
    /// The place of its last event in the log.
    pub position: i64,
    /// The command was known by its key, and nothing was appended now.
    pub replayed: bool,
}

/// Why a command appended nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error<R: fmt::Debug + fmt::Display> {
    /// Its context refused it.
    #[error("{0}")]
    Refused(R),
    /// The thing is not at the version that the caller means.
    #[error("the version is {actual}, not {expected}")]
    Stale {
        /// What the caller meant.
        expected: i32,
        /// What it is.
        actual: i32,
    },
    /// Its key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// What its caller relied on does not hold any more: to be looked at again.
    #[error("what the command relied on has changed")]
    Outdated,
    /// The thing changed under it as often as it was tried.
    #[error("the thing kept changing")]
    Contended,
    /// The log could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs `command` on the thing `id`: loads it, or takes it as this process has left it lately, decides, appends; decides again when it has changed meanwhile, at most
/// five times. A command that changes nothing answers with the thing's last event.
///
/// Answers within five seconds: [`StoreError::Unavailable`] when the log is not there. What was handed to the writer by
/// then may still be appended; a second try with the same key finds out.
pub async fn execute<A: Stream>(
    store: &Store,
    id: Uuid,
    command: A::Command,
    call: impl Into<Call>,
) -> Result<Receipt, Error<A::Error>> {
    execute_requiring::<A>(store, id, command, call, &[]).await
}

/// As [`execute`], where the command needs something of other aggregates: they are looked at first, and what was seen is a
/// condition of the append. The command is decided again when it does not hold any more.
pub async fn execute_requiring<A: Stream>(
    store: &Store,
    id: Uuid,
    command: A::Command,
    call: impl Into<Call>,
    requirements: &[Requirement<A::Error>],
) -> Result<Receipt, Error<A::Error>> {
    let late = |_| Err(StoreError::Unavailable(None).into());
    timeout(PATIENCE, attempt::<A>(store, id, command, call.into(), requirements)).await.unwrap_or_else(late)
}

/// As [`execute`], without a key, decided first on what the caller knows of the thing already: a state that its own last
/// command has left, or that was folded from an event that came by the bus. Nothing is loaded as long as the log has
/// nothing newer: then the append is refused and the command decided again on what the log has, and so it is before a
/// refusal or a command that changes nothing is believed. Returns also the state after the command.
pub async fn execute_on<A: Stream>(
    store: &Store,
    id: Uuid,
    known: Loaded<A>,
    command: A::Command,
    meta: Meta,
) -> Result<(Receipt, Loaded<A>), Error<A::Error>> {
    let late = |_| Err(StoreError::Unavailable(None).into());
    timeout(PATIENCE, decided::<A>(store, id, Some(known), command, &meta.into(), &[])).await.unwrap_or_else(late)
}

async fn attempt<A: Stream>(
    store: &Store,
    id: Uuid,
    command: A::Command,
    call: Call,
    requirements: &[Requirement<A::Error>],
) -> Result<Receipt, Error<A::Error>> {
    if let Some(key) = &call.key
        && let Some(receipt) = replay(store, key).await?
    {
        return Ok(receipt);
    }
    let guess = if call.fresh { Some(Loaded::nothing()) } else { store.recent(id) };
    let done = decided::<A>(store, id, guess, command, &call, requirements).await;
    // What refuses it may be what its own first request, in another process, has done meanwhile.
    if let (Err(Error::Refused(_) | Error::Stale { .. }), Some(key)) = (&done, &call.key)
        && let Some(receipt) = replay(store, key).await?
    {
        return Ok(receipt);
    }
    let (receipt, state) = done?;
    // What a replayed command was about is another thing, or a state that nobody knows here.
    if !receipt.replayed {
        store.keep(id, state);
    }
    Ok(receipt)
}

/// The first try is on what is `known`, if anything is.
async fn decided<A: Stream>(
    store: &Store,
    id: Uuid,
    mut known: Option<Loaded<A>>,
    command: A::Command,
    call: &Call,
    requirements: &[Requirement<A::Error>],
) -> Result<(Receipt, Loaded<A>), Error<A::Error>> {
    let mut unmet = false;
    for _ in 0..TRIES {
        let guess = known.take();
        // Of what is new there is nothing to be read.
        let may_be_old = guess.as_ref().is_some_and(|guess| guess.version > 0);
        let Loaded { mut aggregate, version, position, weight } = match guess {
            Some(guess) => guess,
            None => store.load::<A>(id).await?,
        };
        if let Some(expected) = call.expected
            && expected != version
        {
            if may_be_old {
                continue;
            }
            // A thing that does not exist is for its context to refuse.
            if version > 0 {
                relied_on(store, call).await?;
                return Err(Error::Stale { expected, actual: version });
            }
        }
        let events = match decide(&mut aggregate, command.clone()).await {
            Ok(events) if events.is_empty() && may_be_old => continue,
            Ok(events) => events,
            Err(_) if may_be_old => continue,
            Err(refusal) => {
                relied_on(store, call).await?;
                return Err(Error::Refused(refusal));
            }
        };
        if events.is_empty() {
            relied_on(store, call).await?;
            let receipt = Receipt { id, version, position, replayed: false };
            return Ok((receipt, Loaded { aggregate, version, position, weight }));
        }
        let mut conditions = call.conditions.clone();
        for requirement in requirements {
            match requirement.look(store, unmet).await? {
                Ok(condition) => conditions.push(condition),
                Err(refusal) => {
                    relied_on(store, call).await?;
                    return Err(Error::Refused(refusal));
                }
            }
        }
        let Effects { releases, claims, timers } = effects(&events, id);
        let events: Vec<New> = events.iter().map(|event| New::of(event, clock::id())).collect::<Result<_, _>>()?;
        let weight = weight + events.iter().map(|event| event.data.len()).sum::<usize>();
        let append = Append {
            stream: A::TYPE,
            id,
            expected: version,
            scope: aggregate.scope(id),
            events,
            meta: call.meta.clone(),
            releases,
            claims: claims.clone(),
            conditions,
            secrets: call.secrets.clone(),
            timers,
            key: call.key.clone(),
        };
        match store.append(append).await? {
            Ok(at) => {
                let receipt = Receipt { id, version: at.version, position: at.position, replayed: false };
                return Ok((receipt, Loaded { aggregate, version: at.version, position: at.position, weight }));
            }
            Err(Refused::Version) => {}
            Err(Refused::Condition) => {
                relied_on(store, call).await?;
                unmet = true;
            }
            Err(Refused::Claim) => {
                relied_on(store, call).await?;
                if let Some(claim) = store.taken(A::TYPE, id, &claims).await? {
                    return Err(Error::Refused(A::Error::taken(claim)));
                }
            }
            Err(Refused::Key) => {
                if let Some(key) = &call.key
                    && let Some(receipt) = replay(store, key).await?
                {
                    let known = Loaded { aggregate, version: receipt.version, position: receipt.position, weight };
                    return Ok((receipt, known));
                }
            }
        }
    }
    Err(Error::Contended)
}

/// An error where what the caller relied on does not hold any more. What is appended is checked as it is.
async fn relied_on<R: Refusal>(store: &Store, call: &Call) -> Result<(), Error<R>> {
    if store.hold(&call.conditions).await? { Ok(()) } else { Err(Error::Outdated) }
}

/// The first receipt of a command that used `key`.
async fn replay<R: Refusal>(store: &Store, key: &Key) -> Result<Option<Receipt>, Error<R>> {
    match store.replay(key).await? {
        None => Ok(None),
        Some(Replay::Other) => Err(Error::KeyReused),
        Some(Replay::Same { id, at }) => {
            Ok(Some(Receipt { id, version: at.version, position: at.position, replayed: true }))
        }
    }
}
