//! Reading the log, and what was written beside it.

use futures_util::TryStreamExt as _;
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{Key, Meta, Recorded, Store, StoreError, append::Appended, recorded::decode};
use crate::{Claim, Condition, Stream};

/// An aggregate as it stands in the log.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// The aggregate after all its events.
    pub aggregate: A,
    /// How many those are; 0 for a thing that does not exist.
    pub version: i32,
    /// The position of the last of them; 0 likewise.
    pub position: i64,
    /// What the data of its events weighs, in bytes.
    pub weight: usize,
}

impl<A: Default> Loaded<A> {
    /// A thing of which nothing has happened.
    pub(crate) fn nothing() -> Self {
        Self { aggregate: A::default(), version: 0, position: 0, weight: 0 }
    }
}

impl<A: Stream> Loaded<A> {
    /// A thing as its first event leaves it, which came by the bus as `recorded` and is decoded already.
    pub fn begun(recorded: &Recorded, event: A::Event) -> Self {
        let mut aggregate = A::default();
        aggregate.apply(event);
        Self { aggregate, version: recorded.version, position: recorded.position, weight: recorded.data.len() }
    }
}

impl<A> Loaded<A> {
    /// The aggregate, if the thing exists.
    pub fn existing(self) -> Option<Self> {
        (self.version > 0).then_some(self)
    }
}

/// What is known of an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It was used for this very request, on the thing `id`.
    Same {
        /// The thing that the first command was for.
        id: Uuid,
        /// Where it put its last event.
        at: Appended,
    },
    /// It was used for another request.
    Other,
}

/// The most bytes of events that one read of the log hands out, or little more.
pub const READ_BYTES: usize = 32 << 20;

pub(super) const COLUMNS: &str =
    "position, epoch, event_id, stream, id, version, kind, schema, scope, data::text, meta::text, recorded_at";

impl Store {
    /// The aggregate `id`, folded from its events.
    pub async fn load<A: Stream>(&self, id: Uuid) -> Result<Loaded<A>, StoreError> {
        let mut loaded = Loaded::<A>::nothing();
        for past in self.loads.load(A::TYPE, id).await? {
            loaded.aggregate.apply(decode(past.position, &past.kind, &past.data)?);
            loaded.version = past.version;
            loaded.position = past.position;
            loaded.weight += past.data.len();
        }
        Ok(loaded)
    }

    /// The aggregate `id` as a command of this process has left it lately, and not here any more. It may be old.
    pub(crate) fn recent<A: Stream>(&self, id: Uuid) -> Option<Loaded<A>> {
        self.recent.take(id)
    }

    /// Keeps the aggregate `id` for the next command on it.
    pub(crate) fn keep<A: Stream>(&self, id: Uuid, loaded: Loaded<A>) {
        self.recent.put(id, loaded);
    }

    /// All events of one thing, oldest first.
    pub async fn stream(&self, stream: &str, id: Uuid) -> Result<Vec<Recorded>, StoreError> {
        let sql = format!("select {COLUMNS} from event where stream = $1 and id = $2 order by version");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(stream).bind(id).fetch_all(&self.reads).await?;
        rows.iter().map(recorded).collect()
    }

    /// Up to `limit` events after `position`, in order, without gaps; fewer once they weigh [`READ_BYTES`] together.
    pub async fn after(&self, position: i64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let sql = format!("select {COLUMNS} from event where position > $1 and position <= $2 order by position");
        let last = position.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut connection = self.pages.lend().await?;
        let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(position).bind(last).fetch(&mut *connection);
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < READ_BYTES {
            let Some(row) = rows.try_next().await? else {
                drop(rows);
                connection.give_back();
                break;
            };
            let event = recorded(&row)?;
            bytes += event.weight();
            events.push(event);
        }
        Ok(events)
    }

    /// Whether all of these hold.
    pub(crate) async fn hold(&self, conditions: &[Condition]) -> Result<bool, StoreError> {
        for condition in conditions {
            let holds = match condition {
                Condition::Unchanged { stream, id, version } => {
                    let sql = "select max(version) from event where stream = $1 and id = $2";
                    let now = sqlx::query_scalar::<_, Option<i32>>(sql).bind(stream).bind(id);
                    now.fetch_one(&self.reads).await?.unwrap_or(0) == *version
                }
                Condition::Unclaimed { scope } => !self.is_claimed(scope).await?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether anything holds a claim of this scope.
    pub(crate) async fn is_claimed(&self, scope: &str) -> Result<bool, StoreError> {
        let row =
            sqlx::query("select 1 from claim where scope = $1 limit 1").bind(scope).fetch_optional(&self.reads).await?;
        Ok(row.is_some())
    }

    /// Which thing holds a claim.
    pub async fn holder(&self, claim: &Claim) -> Result<Option<Uuid>, StoreError> {
        let row = sqlx::query("select id from claim where scope = $1 and value = $2")
            .bind(&claim.scope)
            .bind(&claim.value)
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The things that hold a claim of this scope.
    pub async fn holders(&self, scope: &str) -> Result<Vec<Uuid>, StoreError> {
        let rows = sqlx::query("select id from claim where scope = $1 order by id").bind(scope);
        let rows = rows.fetch_all(&self.reads).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// The first of `claims` that something else than the aggregate's own slot holds.
    pub(crate) async fn taken<'a>(
        &self,
        stream: &str,
        id: Uuid,
        claims: &'a [Claim],
    ) -> Result<Option<&'a Claim>, StoreError> {
        for claim in claims {
            let row = sqlx::query(
                "select 1 from claim where scope = $1 and value = $2 and (stream, id, coalesce(slot, '')) <> ($3, $4, $5)",
            )
            .bind(&claim.scope)
            .bind(&claim.value)
            .bind(stream)
            .bind(id)
            // A claim for ever is not made twice, not even by its holder.
            .bind(claim.slot.unwrap_or("-"))
            .fetch_optional(&self.reads)
            .await?;
            if row.is_some() {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    }

    /// A secret of the thing `id`.
    pub async fn secret(&self, stream: &str, id: Uuid, kind: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("select value from secret where stream = $1 and id = $2 and kind = $3")
            .bind(stream)
            .bind(id)
            .bind(kind)
            .fetch_optional(&self.reads)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// What became of the command that used `key` in the last 24 hours, if one did.
    pub async fn replay(&self, key: &Key) -> Result<Option<Replay>, StoreError> {
        let row = sqlx::query(
            "select request, id, version, position from command
             where caller = $1 and key = $2 and recorded_at > now() - interval '24 hours'",
        )
        .bind(key.caller)
        .bind(&key.key)
        .fetch_optional(&self.reads)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let request: Vec<u8> = row.try_get(0)?;
        Ok(Some(if request == key.request {
            Replay::Same { id: row.try_get(1)?, at: Appended { version: row.try_get(2)?, position: row.try_get(3)? } }
        } else {
            Replay::Other
        }))
    }

    /// The commands that used keys of this one's caller and request that begin with it, in the last 24 hours: the rest of each
    /// key, the thing it was for, and its position, in the order of the log. None if one of them was another request.
    pub async fn replays(&self, key: &Key) -> Result<Option<Vec<(String, Uuid, i64)>>, StoreError> {
        let rows = sqlx::query(
            "select substr(key, length($2) + 1), request, id, position from command
             where caller = $1 and starts_with(key, $2) and recorded_at > now() - interval '24 hours' order by position",
        )
        .bind(key.caller)
        .bind(&key.key)
        .fetch_all(&self.reads)
        .await?;
        let same = |row: &PgRow| Ok::<_, StoreError>(row.try_get::<&[u8], _>(1)? == key.request);
        let mut replays = Vec::with_capacity(rows.len());
        for row in &rows {
            if !same(row)? {
                return Ok(None);
            }
            replays.push((row.try_get(0)?, row.try_get(2)?, row.try_get(3)?));
        }
        Ok(Some(replays))
    }
}

pub(super) fn recorded(row: &PgRow) -> Result<Recorded, StoreError> {
    let position = row.try_get(0)?;
    let meta: &str = row.try_get(10)?;
    let kind: String = row.try_get(6)?;
    let meta: Meta = serde_json::from_str(meta).map_err(|source| StoreError::Undecodable {
        position,
        kind: kind.clone(),
        source,
    })?;
    Ok(Recorded {
        position,
        epoch: row.try_get(1)?,
        event_id: row.try_get(2)?,
        stream: row.try_get(3)?,
        id: row.try_get(4)?,
        version: row.try_get(5)?,
        kind,
        schema: row.try_get(7)?,
        scope: row.try_get(8)?,
        data: row.try_get(9)?,
        meta,
        recorded_at: row.try_get(11)?,
    })
}
