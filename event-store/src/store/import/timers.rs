//! The timers of a log that comes in. They went on running while it was nowhere: times count from when each event was recorded,
//! so that leases that nobody can renew any more are over at once, and deadlines are where they were.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Row;
use crate::{Timer, store::lines::MAX_TIMER_MS};

/// What is waited for, as of the events so far. As large as what is open.
#[derive(Debug, Default)]
pub(super) struct Timers(HashMap<(String, Uuid, &'static str), Running>);

#[derive(Debug)]
struct Running {
    version: i32,
    mark: u32,
    holder: Option<Uuid>,
    due: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
}

impl Timers {
    /// What an event does to a timer of its aggregate: the same as `append` does.
    pub(super) fn turn(&mut self, row: &Row, name: &'static str, timer: Timer) {
        let from_now = |milliseconds: u64| {
            let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX).min(MAX_TIMER_MS);
            row.recorded_at + TimeDelta::milliseconds(milliseconds)
        };
        let key = (row.stream.clone(), row.id, name);
        match timer {
            Timer::Stop => drop(self.0.remove(&key)),
            Timer::Set { after, deadline, holder, mark } => {
                let before = self.0.get(&key).and_then(|running| running.deadline);
                let deadline = deadline.map(from_now).or(before);
                let due = [after.map(from_now), deadline].into_iter().flatten().min();
                let running = Running { version: row.version, mark, holder, due, deadline };
                self.0.insert(key, running);
            }
        }
    }

    /// Sets them in the transaction of the import.
    pub(super) async fn insert(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let all: Vec<(&(String, Uuid, &str), &Running)> = self.0.iter().collect();
        for some in all.chunks(10_000) {
            let column =
                |marks: fn(&Running) -> i32| some.iter().map(|(_, running)| marks(running)).collect::<Vec<_>>();
            sqlx::query(
                "insert into timer (id, stream, version, mark, holder, due_at, deadline_at, name)
                 select id, stream, version, mark, holder, coalesce(due_at, 'infinity'), deadline_at, name
                 from unnest($1::uuid[], $2::text[], $3::integer[], $4::integer[], $5::uuid[], $6::timestamptz[], $7::timestamptz[],
                             $8::text[])
                     as t (id, stream, version, mark, holder, due_at, deadline_at, name)",
            )
            .bind(some.iter().map(|((_, id, _), _)| *id).collect::<Vec<_>>())
            .bind(some.iter().map(|((stream, _, _), _)| stream.as_str()).collect::<Vec<_>>())
            .bind(column(|running| running.version))
            .bind(column(|running| i32::try_from(running.mark).unwrap_or(i32::MAX)))
            .bind(some.iter().map(|(_, running)| running.holder).collect::<Vec<_>>())
            .bind(some.iter().map(|(_, running)| running.due).collect::<Vec<_>>())
            .bind(some.iter().map(|(_, running)| running.deadline).collect::<Vec<_>>())
            .bind(some.iter().map(|((_, _, name), _)| *name).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
