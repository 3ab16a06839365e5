//! Where commands are taken in: each runs to its end in a task of its own, whatever becomes of its client, and a repeated
//! one gets the first one's answer.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    thread::available_parallelism,
    time::Duration,
};

use events::{
    Call, Error, Key, Receipt, Store,
    identity::{self, User},
    session::OpenSessions,
    store::{Loaded, Replay},
};
use service::{
    http::{Caller, Problem, Tokens},
    lifecycle::Lifecycle,
    shares::Limits,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    blocking::Blocking,
    keys::{Attempt, Keys},
    passwords::Passwords,
    permission::Companies,
    prompts::Prompts,
    session::RefreshTokens,
};

/// How long a command waits for another with its key.
const IN_FLIGHT: Duration = Duration::from_secs(5);
/// How long a client waits for its answer; a command itself goes on.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many users are remembered to exist.
const KNOWN: usize = 65_536;

/// What all commands share.
pub struct Dispatcher {
    /// The log.
    pub store: Store,
    /// Makes tokens.
    pub tokens: Tokens,
    /// Makes refresh tokens.
    pub refresh: RefreshTokens,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// Renders prompts.
    pub rendering: Blocking,
    /// Compiles templates.
    pub compiling: Blocking,
    /// Reads prompts.
    pub prompts: Prompts,
    /// Whose registration was repeated last, with which fingerprint, and when its password was verified.
    pub repeated: Mutex<Option<(Uuid, [u8; 32], Instant)>>,
    /// Companies, to decide what their members may.
    pub companies: Companies,
    tasks: TaskTracker,
    keys: Keys,
    known: RwLock<HashSet<Uuid>>,
    sessions: OpenSessions,
}

impl Dispatcher {
    /// A dispatcher whose commands the process waits for when it stops.
    pub fn new(store: Store, secret: &[u8], lifecycle: &Lifecycle) -> Self {
        let cores = available_parallelism().map_or(2, usize::from);
        Self {
            sessions: OpenSessions::new(store.clone(), Duration::ZERO),
            store,
            tokens: Tokens::new(secret),
            refresh: RefreshTokens::new(secret),
            passwords: Passwords::default(),
            // No caller has all of the threads.
            rendering: Blocking::new(Limits {
                places: cores.max(2),
                each: (cores / 2).max(1),
                queue: 1_024,
                queue_each: 128,
            }),
            compiling: Blocking::new(Limits { places: 2, each: 1, queue: 256, queue_each: 32 }),
            prompts: Prompts::default(),
            repeated: Mutex::default(),
            companies: Companies::default(),
            tasks: lifecycle.tracker(),
            keys: Keys::default(),
            known: RwLock::default(),
        }
    }

    /// Runs a command: answers with the first receipt if its key was used already, before anything is checked that may have
    /// changed since; else does `work`, which nobody cancels. While another command with its key is in flight, waits for
    /// that one for at most 5 s.
    pub async fn run<F>(
        self: &Arc<Self>,
        call: Call,
        work: impl FnOnce(Arc<Self>, Call) -> F + Send + 'static,
    ) -> Result<Receipt, Problem>
    where
        F: Future<Output = Result<Receipt, Problem>> + Send + 'static,
    {
        self.once(call, |dispatcher, key| async move { dispatcher.replay(&key).await }, work).await
    }

    /// The same for a command whose answer is no receipt: `replay` finds what the first one with the key was told.
    pub async fn once<T, R, F>(
        self: &Arc<Self>,
        call: Call,
        replay: impl Fn(Arc<Self>, Key) -> R + Send + 'static,
        work: impl FnOnce(Arc<Self>, Call) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        R: Future<Output = Result<Option<T>, Problem>> + Send,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let until = Instant::now() + IN_FLIGHT;
        let turn = loop {
            let Some(key) = &call.key else { break None };
            match self.keys.attempt(key) {
                Attempt::Mine(turn) => break Some(turn),
                Attempt::Theirs(mut done) => {
                    if timeout_at(until, done.changed()).await.is_err() {
                        return Err(in_flight());
                    }
                    if let Some(first) = by(until, replay(Arc::clone(self), key.clone())).await? {
                        return Ok(first);
                    }
                }
            }
        };
        let dispatcher = Arc::clone(self);
        let work = async move {
            let _turn = turn;
            if let Some(key) = &call.key
                && let Some(first) = replay(Arc::clone(&dispatcher), key.clone()).await?
            {
                return Ok(first);
            }
            work(dispatcher, call).await
        };
        let work = self.tasks.spawn(work.in_current_span());
        // Who has waited for another first has that much less time left to hear.
        by(until.min(Instant::now() + PATIENCE), async move { work.await.map_err(Problem::internal)? }).await
    }

    /// The receipt of the command that used `key` first.
    async fn replay(&self, key: &Key) -> Result<Option<Receipt>, Problem> {
        match self.store.replay(key).await? {
            None => Ok(None),
            Some(Replay::Other) => Err(Error::<identity::Error>::KeyReused.into()),
            Some(Replay::Same { id, at }) => {
                Ok(Some(Receipt { id, version: at.version, position: at.position, replayed: true }))
            }
        }
    }

    /// The caller as the log knows them, whatever their token says; 401 for one who is not in this log.
    pub async fn user(&self, id: Uuid) -> Result<User, Problem> {
        let Loaded { aggregate, .. } = self.store.load::<User>(id).await?;
        if aggregate.registered { Ok(aggregate) } else { Err(Problem::unauthorized()) }
    }

    /// 401 for a caller whose session is closed, by what the log says at this moment.
    pub async fn admitted(&self, caller: &Caller) -> Result<(), Problem> {
        match caller.session {
            Some(session) if !self.sessions.is_open(session, caller.id).await? => Err(Problem::unauthorized()),
            _ => Ok(()),
        }
    }

    /// 401 for a caller who is not in this log. Who is stays in it, so it is remembered.
    pub async fn known(&self, id: Uuid) -> Result<(), Problem> {
        if self.known.read().unwrap_or_else(PoisonError::into_inner).contains(&id) {
            return Ok(());
        }
        self.user(id).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(id);
        Ok(())
    }

    /// 403 unless the caller is an admin.
    pub async fn need_admin(&self, id: Uuid) -> Result<(), Problem> {
        if self.user(id).await?.is_admin() { Ok(()) } else { Err(Problem::forbidden("this needs the role admin")) }
    }
}

/// What `work` comes to, or 503: a database that hangs must not hang its callers.
pub async fn within<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    by(Instant::now() + PATIENCE, work).await
}

async fn by<T>(until: Instant, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = || Problem::down("this takes longer than it should; a command may yet be recorded, try again");
    timeout_at(until, work).await.unwrap_or_else(|_| Err(late()))
}

fn in_flight() -> Problem {
    Problem::conflict("in_flight", "the first request with this Idempotency-Key is still in flight")
        .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use events::{Meta, clock, store::Options};
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use super::*;

    /// Takes the five seconds that it is about.
    #[tokio::test]
    async fn who_waits_too_long_for_another_is_told_that_it_is_in_flight() {
        // No database is asked before the wait is over.
        let nowhere = PgConnectOptions::new().host("127.0.0.1").port(1);
        let pool = PgPoolOptions::new().connect_lazy_with(nowhere.clone());
        let (store, _writer) = Store::open(pool, nowhere, &Options::default());
        let dispatcher = Arc::new(Dispatcher::new(store, &[7; 32], &Lifecycle::new()));
        let key = Key { caller: Uuid::nil(), key: "POST /\nkey".into(), request: [0; 32] };
        let Attempt::Mine(_turn) = dispatcher.keys.attempt(&key) else { panic!("nobody has it") };
        let meta = Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None };
        let call = Call { key: Some(key), ..Call::from(meta) };
        let started = Instant::now();
        let refused =
            dispatcher.run(call, |_, _| async { unreachable!("it is another's turn") }).await.expect_err("refused");
        assert_eq!((refused.status().as_u16(), refused.code()), (409, "in_flight"));
        assert!(started.elapsed() >= IN_FLIGHT);
    }
}
