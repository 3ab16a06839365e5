//! A log that was kept elsewhere comes into a database that has none: in one transaction, so that all of it is there or
//! nothing, whatever is killed when.
//!
//! What can be derived from events is derived again: claims and timers. What cannot (passwords' hashes) comes beside them, or not at all.

mod claims;
mod timers;

use std::collections::HashMap;

use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, Row as _, postgres::PgConnectOptions};
use uuid::Uuid;

use self::{claims::Claims, timers::Timers};
use super::{KeptSecret, Row};
use crate::{
    Registry,
    seal::{KeyId, SignedHead, table, table::KeySince, tree::Kept},
};

/// Why a log was not taken in. The database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The database is not empty.
    #[error("the database is not empty, it has {0}: a log is imported only where there is none; nothing was changed")]
    NotEmpty(&'static str),
    /// Somebody holds the ledger.
    #[error("something works on the database without a pause: stop it, and try again")]
    Busy,
    /// The log cannot have this event.
    #[error("position {position}: {why}")]
    At {
        /// Where it stands.
        position: i64,
        /// What is wrong with it.
        why: String,
    },
    /// A secret of a thing that is not in the log.
    #[error("there are credentials of {stream} {id}, which is not in the log: they belong to another one")]
    Stranger {
        /// Its stream.
        stream: String,
        /// The thing.
        id: Uuid,
    },
    /// The connection was lost at the very end.
    #[error("the database did not say whether it was done ({0}): if it was, a second import is refused")]
    Unanswered(#[source] sqlx::Error),
    /// The database cannot be reached, or refused a statement.
    #[error("the database did not do it: {0}")]
    Database(#[from] sqlx::Error),
}

/// Some rows of the log, in order, with what vouches for them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events.
    pub rows: Vec<Row>,
    /// The heads that end among them, each with the size of the one before.
    pub heads: Vec<(SignedHead, i64)>,
    /// The subtrees that are complete under those heads.
    pub kept: Vec<Kept>,
}

/// What has come in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// The position of the last event.
    pub events: i64,
    /// The size of the last head.
    pub sealed: i64,
    /// How many heads.
    pub heads: u64,
    /// How many claims were derived.
    pub claims: u64,
    /// How many secrets.
    pub secrets: u64,
    /// The epoch that the log is in from here on.
    pub epoch: i32,
    /// The key that signs from here on, where one is known.
    pub key: Option<KeyId>,
}

/// An import under way. Dropped, it leaves nothing behind.
pub struct Import {
    connection: PgConnection,
    registry: Registry,
    claims: Claims,
    timers: Timers,
    done: Imported,
}

impl Import {
    /// Refuses a database that has a log, whatever the version of its schema.
    pub async fn refuse(pool: &PgPool) -> Result<(), ImportError> {
        let mut connection = pool.acquire().await?;
        let has_table: bool =
            sqlx::query_scalar("select to_regclass('public.event') is not null").fetch_one(&mut *connection).await?;
        let has_log = has_table
            && sqlx::query_scalar("select exists (select from public.event)").fetch_one(&mut *connection).await?;
        if has_log { Err(ImportError::NotEmpty("events")) } else { Ok(()) }
    }

    /// Begins in the database of `options`, which must be migrated and empty. Until the end nobody can append there.
    /// `registry` has the contexts whose events the log may have.
    pub async fn begin(options: PgConnectOptions, registry: Registry) -> Result<Self, ImportError> {
        let options = options.application_name("daybook import").options([
            ("search_path", "public"),
            // It waits for whoever hands the log in.
            ("idle_in_transaction_session_timeout", "0"),
            ("statement_timeout", "0"),
            ("lock_timeout", "5s"),
            // Statistics are those of empty tables.
            ("enable_seqscan", "off"),
            ("jit", "off"),
        ]);
        let mut connection = PgConnection::connect_with(&options).await?;
        connection.execute("begin").await?;
        let epoch = sqlx::query_scalar("select epoch from ledger for update").fetch_one(&mut connection).await;
        let epoch = epoch.map_err(|error| match &error {
            // lock_not_available
            sqlx::Error::Database(database) if database.code().as_deref() == Some("55P03") => ImportError::Busy,
            _ => error.into(),
        })?;
        if let Some(what) = content(&mut connection).await? {
            return Err(ImportError::NotEmpty(what));
        }
        Ok(Self {
            connection,
            registry,
            claims: Claims::default(),
            timers: Timers::default(),
            done: Imported { epoch, ..Imported::default() },
        })
    }

    /// Takes in what follows.
    pub async fn add(&mut self, batch: &Batch) -> Result<(), ImportError> {
        if !batch.rows.is_empty() {
            self.follow(&batch.rows).await?;
            self.insert(&batch.rows).await?;
            for row in &batch.rows {
                let effects = self
                    .registry
                    .effects(row.position, &row.stream, row.id, &row.kind, &row.data)
                    .map_err(|unknown| ImportError::At { position: row.position, why: unknown.to_string() })?;
                self.claims.turn(row, &effects)?;
                for (name, timer) in effects.timers {
                    self.timers.turn(row, name, timer);
                }
            }
        }
        table::adopt(&mut self.connection, &batch.heads, &batch.kept).await?;
        self.done.heads += batch.heads.len() as u64;
        if let Some((last, _)) = batch.heads.last() {
            self.done.sealed = last.head.size;
        }
        Ok(())
    }

    /// Positions and versions must go on from those that are there.
    async fn follow(&mut self, rows: &[Row]) -> Result<(), ImportError> {
        let mut last: HashMap<(&str, Uuid), i32> = HashMap::with_capacity(rows.len());
        let (mut streams, mut ids) = (Vec::new(), Vec::new());
        for row in rows {
            last.entry((&row.stream, row.id)).or_insert_with(|| {
                streams.push(row.stream.as_str());
                ids.push(row.id);
                0
            });
        }
        let versions: Vec<i32> = sqlx::query_scalar(
            "select coalesce((select e.version from event e where e.stream = t.stream and e.id = t.id
                              order by e.version desc limit 1), 0)
             from unnest($1::text[], $2::uuid[]) with ordinality as t (stream, id, n) order by t.n",
        )
        .bind(&streams)
        .bind(&ids)
        .fetch_all(&mut self.connection)
        .await?;
        for ((stream, id), version) in streams.into_iter().zip(ids).zip(versions) {
            last.insert((stream, id), version);
        }
        for (expected, row) in (self.done.events + 1..).zip(rows) {
            let at = |why| Err(ImportError::At { position: row.position, why });
            if row.position != expected {
                return at(format!("{expected} is next"));
            }
            let version = last.entry((&row.stream, row.id)).or_default();
            if row.version != *version + 1 {
                let (found, stream, id) = (row.version, &row.stream, row.id);
                return at(format!("it is version {found} of {stream} {id}, and {} is next", *version + 1));
            }
            *version = row.version;
        }
        Ok(())
    }

    async fn insert(&mut self, rows: &[Row]) -> Result<(), ImportError> {
        macro_rules! column {
            ($row:ident => $value:expr) => {
                rows.iter().map(|$row| $value).collect::<Vec<_>>()
            };
        }
        let insert = sqlx::query(
            "insert into event (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
             select position, epoch, event_id, stream, id, version, kind, schema, scope, data::json, meta::json, recorded_at, hash
             from unnest($1::bigint[], $2::integer[], $3::uuid[], $4::text[], $5::uuid[], $6::integer[], $7::text[],
                         $8::smallint[], $9::uuid[], $10::text[], $11::text[], $12::timestamptz[], $13::bytea[])
                 as e (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)",
        )
        .bind(column!(row => row.position))
        .bind(column!(row => row.epoch))
        .bind(column!(row => row.event_id))
        .bind(column!(row => row.stream.as_str()))
        .bind(column!(row => row.id))
        .bind(column!(row => row.version))
        .bind(column!(row => row.kind.as_str()))
        .bind(column!(row => row.schema))
        .bind(column!(row => row.scope))
        .bind(column!(row => row.data.as_str()))
        .bind(column!(row => row.meta.as_str()))
        .bind(column!(row => row.recorded_at))
        .bind(column!(row => &row.hash[..]));
        insert.execute(&mut self.connection).await?;
        if let Some(last) = rows.last() {
            self.done.events = last.position;
            self.done.epoch = self.done.epoch.max(last.epoch);
        }
        Ok(())
    }

    /// Takes in secrets of things that are in the log.
    pub async fn add_secrets(&mut self, secrets: &[KeptSecret]) -> Result<(), ImportError> {
        let streams: Vec<&str> = secrets.iter().map(|secret| secret.stream.as_str()).collect();
        let ids: Vec<Uuid> = secrets.iter().map(|secret| secret.id).collect();
        let kinds: Vec<&str> = secrets.iter().map(|secret| secret.kind.as_str()).collect();
        let values: Vec<&[u8]> = secrets.iter().map(|secret| &secret.value[..]).collect();
        let stranger = sqlx::query(
            "select s.stream, s.id from unnest($1::text[], $2::uuid[]) as s (stream, id)
             where (select 1 from event e where e.stream = s.stream and e.id = s.id and e.version = 1) is null limit 1",
        )
        .bind(&streams)
        .bind(&ids)
        .fetch_optional(&mut self.connection)
        .await?;
        if let Some(stranger) = stranger {
            return Err(ImportError::Stranger { stream: stranger.try_get(0)?, id: stranger.try_get(1)? });
        }
        sqlx::query(
            "insert into secret (stream, id, kind, value) select * from unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[])",
        )
        .bind(&streams)
        .bind(&ids)
        .bind(&kinds)
        .bind(&values)
        .execute(&mut self.connection)
        .await?;
        self.done.secrets += secrets.len() as u64;
        Ok(())
    }

    /// Makes it all the log of this database, in an epoch of its own: whatever the bus has, or gets from where the log came
    /// from, is not taken for it. `keys` have signed the heads, `epoch` is the one that the log was in.
    pub async fn finish(mut self, keys: &[KeySince], epoch: i32) -> Result<Imported, ImportError> {
        self.done.epoch = self.done.epoch.max(epoch) + 1;
        let connection = &mut self.connection;
        sqlx::query("update ledger set epoch = $1").bind(self.done.epoch).execute(&mut *connection).await?;
        if self.done.sealed > 0 {
            let key = table::adopt_keys(connection, keys, self.done.sealed).await?;
            self.done.key = key.map(|key| key.id());
        }
        self.done.claims = self.claims.insert(connection).await?;
        self.timers.insert(connection).await?;
        let head = self.done.events.to_string();
        sqlx::query("select pg_notify('log', $1)").bind(head).execute(&mut *connection).await?;
        crate::failpoint::reach("import.commit");
        connection.execute("commit").await.map_err(ImportError::Unanswered)?;
        // Until the statistics are those of the new rows, plans are those of empty tables.
        // (It is in by now, whatever becomes of this.)
        let analyzed = connection.execute("analyze event, claim, secret, timer, seal_head, seal_node").await;
        if let Err(error) = analyzed {
            tracing::warn!(%error, "statistics could not be gathered");
        }
        Ok(self.done)
    }
}

/// What there is in a database that should be empty, in words.
async fn content(connection: &mut PgConnection) -> Result<Option<&'static str>, sqlx::Error> {
    let row = sqlx::query(
        "select exists (select from event), exists (select from seal_head), exists (select from claim),
                exists (select from secret), exists (select from read.checkpoint where position > 0)",
    )
    .fetch_one(connection)
    .await?;
    let found = ["events", "signed heads", "claims", "credentials", "read models of a log"].into_iter().enumerate();
    for (n, what) in found {
        if row.try_get(n)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}
