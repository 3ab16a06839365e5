//! The writer: gathers what many callers want to append into groups, one transaction each.
//!
//! Callers hand their append over a channel and wait for the answer; the append no longer depends on them. A few lanes
//! (connections) take turns at the queue: while one waits for its commit, the next fills its group. The ledger's row lock
//! orders them, as it orders the writers of other processes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use uuid::Uuid;

use super::{
    Options, StoreError,
    append::{Append, Appended, Refused},
    flights::{Flights, HOLD},
    group::Group,
    lines::{Answer, Lines},
    recent::Recent,
};
use crate::{clock, failpoint};

type Outcome = Result<Result<Appended, Refused>, StoreError>;

/// The callers' end of the channel.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Job>,
    patience: Duration,
}

pub(super) struct Job {
    pub(super) append: Append,
    deadline: Instant,
    answer: oneshot::Sender<Outcome>,
}

impl Queue {
    pub(super) async fn append(&self, append: Append) -> Outcome {
        let deadline = Instant::now() + self.patience;
        let (answer, outcome) = oneshot::channel();
        match timeout_at(deadline, self.sender.send(Job { append, deadline, answer })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(StoreError::Unavailable(None)),
        }
        // A lane that is in the middle of a send answers only when that is over: its caller need not wait so long.
        match timeout_at(deadline + self.patience / 8, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable(None)),
        }
    }
}

/// The lanes' end: shared, held by the lane that is filling its group.
struct Intake {
    receiver: mpsc::Receiver<Job>,
    /// Taken from the channel already, and not fit for the group that was being filled then.
    deferred: VecDeque<Job>,
}

struct Lane {
    intake: Arc<Mutex<Intake>>,
    flights: Arc<Flights>,
    connect: PgConnectOptions,
    connection: Option<PgConnection>,
    options: Options,
    head: Arc<watch::Sender<i64>>,
    recent: Recent,
    /// How many came last time: as many are waited for, for at most the linger.
    company: usize,
}

pub(super) fn start(
    connect: PgConnectOptions,
    options: &Options,
    head: &Arc<watch::Sender<i64>>,
    recent: &Recent,
) -> (Queue, JoinSet<()>) {
    let (sender, receiver) = mpsc::channel(options.batch.saturating_mul(8).max(1));
    let intake = Arc::new(Mutex::new(Intake { receiver, deferred: VecDeque::new() }));
    // A writer that the database has lost sight of must not hold the ledger, nor come back to it long after.
    let limit = format!("{}ms", options.patience.as_millis());
    let connect = connect.application_name("daybook writer").options([
        ("statement_timeout", limit.as_str()),
        ("idle_in_transaction_session_timeout", limit.as_str()),
        ("search_path", "public"),
        // To plan each statement anew for as many commands as there are took a fifth of append()'s time.
        ("plan_cache_mode", "force_generic_plan"),
        // What append() relies on, whatever the database's default is.
        ("default_transaction_isolation", "read committed"),
        // Timers go by their key: a plan that was made while there were none would read all of them for ever. What has to be
        // scanned all the same (the ledger's one row) is then said to be dear enough to be compiled, which takes far longer.
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
    let flights = Arc::new(Flights::default());
    let mut lanes = JoinSet::new();
    for _ in 0..options.lanes.max(1) {
        let lane = Lane {
            intake: intake.clone(),
            flights: flights.clone(),
            connect: connect.clone(),
            connection: None,
            options: options.clone(),
            head: head.clone(),
            recent: recent.clone(),
            company: 1,
        };
        lanes.spawn(lane.run());
    }
    (Queue { sender, patience: options.patience }, lanes)
}

impl Lane {
    async fn run(mut self) {
        while self.step().await {}
    }

    /// One group; false when there will be no more.
    async fn step(&mut self) -> bool {
        let Some(group) = self.gather().await else { return false };
        failpoint::reach("append.gathered");
        self.settle(group, false).await;
        self.flights.end();
        true
    }

    /// Waits for a command, then takes all that wait with it and can share a transaction.
    async fn gather(&mut self) -> Option<Vec<Job>> {
        let intake = self.intake.clone();
        let mut intake = intake.lock().await;
        let mut group = Group::new(self.options.batch);
        for job in std::mem::take(&mut intake.deferred) {
            group.take(job, &mut intake.deferred);
        }
        if group.jobs.is_empty() {
            let job = intake.receiver.recv().await?;
            group.take(job, &mut intake.deferred);
        }
        let (until, hold) = (Instant::now() + self.options.linger, Instant::now() + HOLD);
        loop {
            while !group.is_full()
                && let Ok(job) = intake.receiver.try_recv()
            {
                group.take(job, &mut intake.deferred);
            }
            if !group.is_full() && !self.flights.may_go(group.jobs.len()) && Instant::now() < hold {
                tokio::select! {
                    biased;
                    Some(job) = intake.receiver.recv() => group.take(job, &mut intake.deferred),
                    () = self.flights.landed() => {}
                    () = sleep_until(hold) => {}
                }
                continue;
            }
            // tokio's timer counts in milliseconds; a linger of a fraction of one gives way to the callers instead.
            if group.is_full() || group.jobs.len() >= self.company || Instant::now() >= until {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.company = group.jobs.len();
        self.flights.begin();
        Some(group.jobs)
    }

    /// Brings a group into the log and answers each of its callers.
    ///
    /// `uncertain`: it was sent before, on a connection that broke, so that some of it may be in the log already.
    async fn settle(&mut self, mut group: Vec<Job>, mut uncertain: bool) {
        let at = clock::now();
        loop {
            let now = Instant::now();
            for late in group.extract_if(.., |job| job.deadline <= now) {
                let _ = late.answer.send(Err(StoreError::Unavailable(None)));
            }
            if group.is_empty() {
                return;
            }
            let lines = Lines::of(group.iter().map(|job| &job.append), at);
            match self.send(&lines, at).await {
                Ok(answer) => {
                    failpoint::reach("append.committed");
                    return self.answer(group, &answer, uncertain).await;
                }
                Err(Failure::NotSent) => {}
                Err(Failure::Lost) => {
                    // Not the connection, then, but the database: a full disk, a shutdown.
                    if uncertain {
                        tokio::time::sleep(self.options.patience / 16).await;
                    }
                    uncertain = true;
                }
                Err(Failure::Refused(error)) => {
                    if group.len() == 1
                        && let Some(only) = group.pop()
                    {
                        let _ = only.answer.send(Err(StoreError::Database(error)));
                        return;
                    }
                    // One of them broke a constraint and took the others with it: each by itself, then.
                    for job in group {
                        Box::pin(self.settle(vec![job], uncertain)).await;
                    }
                    return;
                }
            }
        }
    }

    /// Sends a group once. The connection is out of the lane's hands meanwhile, and comes back only when it is whole.
    async fn send(&mut self, lines: &Lines<'_>, at: DateTime<Utc>) -> Result<Answer, Failure> {
        let patience = self.options.patience;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect().await.ok_or(Failure::NotSent)?,
        };
        let done = {
            let mut sending = std::pin::pin!(lines.send(at, &mut connection));
            // Far enough for the bytes to leave: the database works on it, and nobody waits for the answer yet.
            let early = timeout(Duration::ZERO, sending.as_mut()).await;
            failpoint::reach("append.sent");
            match early {
                Ok(done) => Ok(done),
                Err(_) => timeout(patience, sending).await,
            }
        };
        match done.map_err(|_| Failure::Lost)?.map_err(StoreError::from) {
            Ok(answer) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Err(StoreError::Database(error)) => {
                self.connection = Some(connection);
                Err(Failure::Refused(error))
            }
            Err(_) => Err(Failure::Lost),
        }
    }

    async fn reconnect(&self) -> Option<PgConnection> {
        let patience = self.options.patience;
        match timeout(patience / 2, self.connect.connect()).await {
            Ok(Ok(connection)) => {
                // It may be another server, to which the end of the log has not come.
                self.recent.clear();
                Some(connection)
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the log's database cannot be reached");
                tokio::time::sleep(patience / 16).await;
                None
            }
            Err(_) => None,
        }
    }

    async fn answer(&mut self, group: Vec<Job>, answer: &Answer, uncertain: bool) {
        let accepted = group.iter().zip(&answer.refused).filter(|(_, refused)| **refused == 0);
        let own = accepted.map(|(job, _)| job.append.events.len()).sum::<usize>();
        let before = answer.head - i64::try_from(own).unwrap_or(i64::MAX);
        // Before the callers: who waits for the head must not see them first and the head later.
        self.head.send_if_modified(|head| {
            self.flights.saw(before > *head);
            let ahead = answer.head > *head;
            *head = answer.head.max(*head);
            ahead
        });
        for (job, (refused, last)) in group.into_iter().zip(answer.refused.iter().zip(&answer.last)) {
            let refused = match refused {
                0 => None,
                1 => Some(Refused::Version),
                2 => Some(Refused::Claim),
                3 => Some(Refused::Key),
                _ => Some(Refused::Condition),
            };
            let outcome = match refused {
                None => Ok(Ok(Appended { version: job.append.version(), position: *last })),
                Some(refused) if uncertain => self.recognise(&job.append).await.map(|own| own.ok_or(refused)),
                Some(refused) => Ok(Err(refused)),
            };
            let _ = job.answer.send(outcome);
        }
        failpoint::reach("append.answered");
    }

    /// After a lost connection a refusal may come from our own first try: then its events are there.
    async fn recognise(&mut self, append: &Append) -> Result<Option<Appended>, StoreError> {
        let lost = || StoreError::Unavailable(None);
        // Out of the lane's hands, as in send().
        let mut connection = self.connection.take().ok_or_else(lost)?;
        let query = sqlx::query("select event_id, position from event where stream = $1 and id = $2 and version = $3")
            .bind(append.stream)
            .bind(append.id)
            .bind(append.version())
            .fetch_optional(&mut connection);
        let found = timeout(self.options.patience, query).await.map_err(|_| lost())??;
        self.connection = Some(connection);
        let Some(row) = found else { return Ok(None) };
        let ours = append.events.last().map(|event| event.event_id) == Some(row.try_get::<Uuid, _>(0)?);
        Ok(if ours { Some(Appended { version: append.version(), position: row.try_get(1)? }) } else { None })
    }
}

impl Append {
    /// The version after it.
    fn version(&self) -> i32 {
        self.expected.saturating_add(i32::try_from(self.events.len()).unwrap_or(i32::MAX))
    }
}

enum Failure {
    /// There was no connection to send it on.
    NotSent,
    /// It was sent, and the connection broke: it may be in the log or not.
    Lost,
    /// The database refused it whole.
    Refused(sqlx::Error),
}
