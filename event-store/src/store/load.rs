//! Loads of single things, gathered: one statement reads for all callers that wait at the time.
//!
//! Whoever comes when a turn is free reads for everybody who waits by then, itself included, and hands the others
//! theirs. A caller alone reads at once, by itself; the busier the log, the fewer statements a load costs. Nobody joins a
//! statement that was sent already, so that everyone sees all that was committed before it asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{PgConnection, PgPool, Row as _, postgres::PgRow};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};
use uuid::Uuid;

use super::{Connections, StoreError};

/// Statements at a time.
const TURNS: usize = 2;
/// The most things that one statement reads: histories are short, but one may weigh megabytes.
const TOGETHER: usize = 64;
/// How long a load may take in all: a connection that hangs must not keep its turn.
const PATIENCE: Duration = Duration::from_secs(4);

/// An event as far as an aggregate needs it.
pub(super) struct Past {
    pub(super) position: i64,
    pub(super) version: i32,
    pub(super) kind: String,
    pub(super) data: String,
}

/// The callers who want to load something through one pool.
#[derive(Clone)]
pub(super) struct Loads {
    connections: Connections,
    waiting: Arc<Mutex<VecDeque<Wanted>>>,
    turns: Arc<Semaphore>,
}

struct Wanted {
    stream: &'static str,
    id: Uuid,
    answer: oneshot::Sender<Result<Vec<Past>, StoreError>>,
}

impl Loads {
    pub(super) fn through(pool: PgPool) -> Self {
        Self { connections: Connections::like(pool), waiting: Arc::default(), turns: Arc::new(Semaphore::new(TURNS)) }
    }

    /// All events of one thing, oldest first.
    pub(super) async fn load(&self, stream: &'static str, id: Uuid) -> Result<Vec<Past>, StoreError> {
        timeout(PATIENCE, self.answered(stream, id)).await.unwrap_or(Err(StoreError::Unavailable(None)))
    }

    async fn answered(&self, stream: &'static str, id: Uuid) -> Result<Vec<Past>, StoreError> {
        let (answer, mut past) = oneshot::channel();
        self.queue().push_back(Wanted { stream, id, answer });
        let answered = loop {
            let turn = tokio::select! {
                biased;
                answered = &mut past => break answered,
                turn = self.turns.acquire() => turn,
            };
            let group = self.take();
            // Somebody else reads for us at this moment.
            if group.is_empty() {
                drop(turn);
                break past.await;
            }
            self.read_for(group).await;
        };
        match answered {
            Ok(past) => past,
            // Whoever read for us has gone, or met an error that need not be about us: by itself, then.
            Err(_) => Ok(self.read(&[(stream, id)]).await?.pop().unwrap_or_default()),
        }
    }

    async fn read_for(&self, group: Vec<Wanted>) {
        let things: Vec<_> = group.iter().map(|wanted| (wanted.stream, wanted.id)).collect();
        let answers: Vec<_> = match self.read(&things).await {
            Ok(found) => found.into_iter().map(Ok).collect(),
            // Nobody has to find that out again; one of them is told why.
            Err(StoreError::Unavailable(mut why)) => {
                group.iter().map(|_| Err(StoreError::Unavailable(why.take()))).collect()
            }
            Err(_) => Vec::new(),
        };
        for (wanted, answer) in group.into_iter().zip(answers) {
            let _ = wanted.answer.send(answer);
        }
    }

    async fn read(&self, things: &[(&'static str, Uuid)]) -> Result<Vec<Vec<Past>>, StoreError> {
        let mut connection = self.connections.lend().await?;
        let found = read(&mut connection, things).await?;
        connection.give_back();
        Ok(found)
    }

    fn take(&self) -> Vec<Wanted> {
        let mut waiting = self.queue();
        let mut group = Vec::new();
        while group.len() < TOGETHER
            && let Some(wanted) = waiting.pop_front()
        {
            if !wanted.answer.is_closed() {
                group.push(wanted);
            }
        }
        group
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Wanted>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of each of `things`, oldest first, in one statement.
async fn read(connection: &mut PgConnection, things: &[(&'static str, Uuid)]) -> Result<Vec<Vec<Past>>, StoreError> {
    if let [(stream, id)] = things {
        let rows = sqlx::query(
            "select position, version, kind, data::text from event where stream = $1 and id = $2 order by version",
        )
        .bind(stream)
        .bind(id)
        .fetch_all(connection)
        .await?;
        return Ok(vec![rows.iter().map(past).collect::<Result<_, _>>()?]);
    }
    let (streams, ids): (Vec<_>, Vec<_>) = things.iter().copied().unzip();
    // The order by keeps the inner select one of its own: an index probe a thing, whatever the planner knows of the table.
    let rows = sqlx::query(
        "select e.position, e.version, e.kind, e.data, w.n
         from unnest($1::text[], $2::uuid[]) with ordinality as w (stream, id, n)
         cross join lateral (select position, version, kind, data::text from event
                             where stream = w.stream and id = w.id order by version) e",
    )
    .bind(streams)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let mut found: Vec<Vec<Past>> = std::iter::repeat_with(Vec::new).take(things.len()).collect();
    for row in &rows {
        let n: i64 = row.try_get(4)?;
        if let Some(thing) = usize::try_from(n - 1).ok().and_then(|n| found.get_mut(n)) {
            thing.push(past(row)?);
        }
    }
    for thing in &mut found {
        thing.sort_unstable_by_key(|past| past.version);
    }
    Ok(found)
}

fn past(row: &PgRow) -> Result<Past, sqlx::Error> {
    Ok(Past { position: row.try_get(0)?, version: row.try_get(1)?, kind: row.try_get(2)?, data: row.try_get(3)? })
}
