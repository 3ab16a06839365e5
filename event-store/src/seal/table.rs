//! The seal in the database: the keys that sign, the signed heads with the hashes that they cover, and the subtrees that are
//! kept. All of it is inserted, and nothing ever changed, but for a key that has signed nothing yet when a log comes in from
//! elsewhere.

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    error::Error,
    head::{Head, SignedHead},
    key::{KeyId, PublicKey},
    proof::{Run, Wanted},
    receipt::Proven,
    tree::{Hash, Kept, Subtrees},
    wire,
};
use crate::store::{Store, StoreError};

/// The most events whose hashes are asked for at a time.
pub const PAGE: i64 = 16_384;

/// A head, and what it adds to the one before.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The head.
    pub head: SignedHead,
    /// The size of the head before it; 0 for the first.
    pub previous: i64,
    /// The hashes of the events since then, one after the other.
    pub hashes: Vec<u8>,
    /// The subtrees that are complete since then.
    pub kept: Vec<Kept>,
}

/// A key, and from where on it signs: the heads of more than `since` events, up to the next key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySince {
    /// The size of the last head that it does not sign.
    pub since: i64,
    /// The key.
    #[serde(with = "wire::bytes")]
    pub public: [u8; 32],
}

const HEAD: &str = "h.size, h.root, h.epoch, h.sealed_at, h.signature,
    (select k.public from seal_key k where k.since < h.size order by k.since desc limit 1) as public";

/// How far the log goes, and its epoch.
pub async fn end(store: &Store) -> Result<(i64, i32), Error> {
    let sql = "select coalesce((select position from event order by position desc limit 1), 0), epoch from ledger";
    let row = sqlx::query(sql).fetch_one(store.reads()).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// The keys that sign, the present one first.
pub async fn keys(store: &Store) -> Result<Vec<PublicKey>, Error> {
    let rows = sqlx::query("select public from seal_key order by since desc").fetch_all(store.reads()).await?;
    rows.iter().map(|row| Ok(PublicKey(array(row, 0)?))).collect()
}

/// Makes `key` the first key of a log that has none. Where there is one already, nothing happens.
pub async fn begin(store: &Store, key: &PublicKey) -> Result<(), Error> {
    let sql = "insert into seal_key (since, public) values (0, $1) on conflict do nothing";
    sqlx::query(sql).bind(&key.0[..]).execute(store.reads()).await?;
    Ok(())
}

/// The last head.
pub async fn last(store: &Store) -> Result<Option<SignedHead>, Error> {
    let sql = format!("select {HEAD} from seal_head h order by h.size desc limit 1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_optional(store.reads()).await?;
    row.as_ref().map(head).transpose()
}

/// The head of this size.
pub async fn of_size(store: &Store, size: i64) -> Result<Option<SignedHead>, Error> {
    let sql = format!("select {HEAD} from seal_head h where h.size = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(size).fetch_optional(store.reads()).await?;
    row.as_ref().map(head).transpose()
}

/// Up to `limit` heads of more than `size` events, in order.
pub async fn after(store: &Store, size: i64, limit: i64) -> Result<Vec<SignedHead>, Error> {
    let sql = format!("select {HEAD} from seal_head h where h.size > $1 order by h.size limit $2");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(size).bind(limit).fetch_all(store.reads()).await?;
    rows.iter().map(head).collect()
}

/// The hashes of the events after `from` up to `to`, in order, one after the other; a hole is an error.
pub async fn hashes(store: &Store, from: i64, to: i64) -> Result<Vec<u8>, Error> {
    let sql = "select string_agg(hash, ''::bytea order by position) from event where position > $1 and position <= $2";
    let row = sqlx::query(sql).bind(from).bind(to).fetch_one(store.reads()).await?;
    let hashes: Vec<u8> = row.try_get::<Option<_>, _>(0)?.unwrap_or_default();
    if usize::try_from((to - from) * 32) == Ok(hashes.len()) { Ok(hashes) } else { Err(Error::Gap { from, to }) }
}

/// Writes a head with what it covers, in one statement. False when another head already follows on its previous one.
pub async fn put(store: &Store, sealed: &Sealed) -> Result<bool, Error> {
    let Sealed { head: SignedHead { head, signature, .. }, previous, hashes, kept } = sealed;
    let levels: Vec<i16> = kept.iter().filter_map(|kept| i16::try_from(kept.level).ok()).collect();
    let indexes: Vec<i64> = kept.iter().map(|kept| kept.index).collect();
    let subtrees: Vec<&[u8]> = kept.iter().map(|kept| &kept.hash[..]).collect();
    // Another that seals at the same time computes the same subtrees of the same log.
    let sql = "with kept as (
                   insert into seal_node (level, index, hash) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])
                   on conflict do nothing)
               insert into seal_head (size, previous, root, epoch, sealed_at, signature, hashes)
               values ($4, $5, $6, $7, $8, $9, $10) on conflict do nothing";
    let done = sqlx::query(sql)
        .bind(levels)
        .bind(indexes)
        .bind(subtrees)
        .bind(head.size)
        .bind(previous)
        .bind(&head.root[..])
        .bind(head.epoch)
        .bind(head.time)
        .bind(&signature[..])
        .bind(hashes)
        .execute(store.reads())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Reads what is wanted of the tree: the leaves out of the log itself, the rest as it is kept.
pub async fn subtrees(store: &Store, wanted: &Wanted) -> Result<Subtrees, Error> {
    let (leaves, kept): (Vec<Run>, Vec<Run>) = wanted.runs().partition(|run| run.level == 0);
    let mut known = Subtrees::default();
    let ends = |runs: &[Run]| -> (Vec<i64>, Vec<i64>) { runs.iter().map(|run| (run.from, run.to)).unzip() };
    let (from, to) = ends(&leaves);
    let rows = sqlx::query(
        "select e.position, e.hash from unnest($1::bigint[], $2::bigint[]) as r (low, high)
         cross join lateral (select position, hash from event
                             where position > r.low and position <= r.high order by position) e",
    )
    .bind(from)
    .bind(to)
    .fetch_all(store.reads())
    .await?;
    for row in &rows {
        known.add_leaf(row.try_get(0)?, &array(row, 1)?);
    }
    if kept.is_empty() {
        return Ok(known);
    }
    let (from, to) = ends(&kept);
    let levels: Vec<i16> = kept.iter().filter_map(|run| i16::try_from(run.level).ok()).collect();
    let rows = sqlx::query(
        "select n.level, n.index, n.hash from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as r (level, low, high)
         cross join lateral (select level, index, hash from seal_node
                             where level = r.level and index >= r.low and index < r.high order by index) n",
    )
    .bind(levels)
    .bind(from)
    .bind(to)
    .fetch_all(store.reads())
    .await?;
    for row in &rows {
        let level = u32::try_from(row.try_get::<i16, _>(0)?).unwrap_or_default();
        known.add(&Kept { level, index: row.try_get(1)?, hash: array(row, 2)? });
    }
    Ok(known)
}

/// The events of a thing as they are stored, oldest first, without proofs.
pub async fn history(store: &Store, stream: &str, id: Uuid) -> Result<Vec<Proven>, Error> {
    let rows = sqlx::query(
        "select position, event_id, stream, id, version, kind, schema, scope, recorded_at, data::text, meta::text
         from event where stream = $1 and id = $2 order by version",
    )
    .bind(stream)
    .bind(id)
    .fetch_all(store.reads())
    .await?;
    let proven = |row: &PgRow| {
        Ok(Proven {
            position: row.try_get(0)?,
            event_id: row.try_get(1)?,
            stream: row.try_get(2)?,
            id: row.try_get(3)?,
            version: row.try_get(4)?,
            kind: row.try_get(5)?,
            schema: row.try_get(6)?,
            scope: row.try_get(7)?,
            recorded_at: row.try_get(8)?,
            data: row.try_get(9)?,
            meta: row.try_get(10)?,
            proof: Vec::new(),
        })
    };
    rows.iter().map(proven).collect()
}

fn head(row: &PgRow) -> Result<SignedHead, Error> {
    let head = Head { size: row.try_get(0)?, root: array(row, 1)?, epoch: row.try_get(2)?, time: row.try_get(3)? };
    let key = match row.try_get::<Option<Vec<u8>>, _>(5)? {
        Some(_) => PublicKey(array(row, 5)?).id(),
        None => KeyId::default(),
    };
    Ok(SignedHead { head, key, signature: array(row, 4)? })
}

fn array<const N: usize>(row: &PgRow, column: usize) -> Result<[u8; N], Error> {
    let bytes: &[u8] = row.try_get(column)?;
    let wrong = || sqlx::Error::Decode(format!("{} bytes where {N} should be", bytes.len()).into());
    bytes.try_into().map_err(|_| StoreError::from(wrong()).into())
}

/// The keys with the places from which on they sign, in order, as any connection to the database reads them.
pub async fn keys_since(connection: &mut PgConnection) -> Result<Vec<KeySince>, Error> {
    let rows = sqlx::query("select since, public from seal_key order by since").fetch_all(connection).await?;
    rows.iter().map(|row| Ok(KeySince { since: row.try_get(0)?, public: array(row, 1)? })).collect()
}

/// The heads of more than `after` events and at most `until`, in order, `limit` of them.
pub async fn heads_between(
    connection: &mut PgConnection,
    after: i64,
    until: i64,
    limit: i64,
) -> Result<Vec<SignedHead>, Error> {
    let sql = format!("select {HEAD} from seal_head h where h.size > $1 and h.size <= $2 order by h.size limit $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after).bind(until).bind(limit);
    rows.fetch_all(connection).await?.iter().map(head).collect()
}

/// Puts heads that were made elsewhere beside a log that was checked against them, in the transaction in which its events came;
/// each with the size of the one before. The hashes that they cover are read from the log.
pub(crate) async fn adopt(
    connection: &mut PgConnection,
    heads: &[(SignedHead, i64)],
    kept: &[Kept],
) -> Result<(), sqlx::Error> {
    if !kept.is_empty() {
        let levels: Vec<i16> = kept.iter().filter_map(|kept| i16::try_from(kept.level).ok()).collect();
        let indexes: Vec<i64> = kept.iter().map(|kept| kept.index).collect();
        let subtrees: Vec<&[u8]> = kept.iter().map(|kept| &kept.hash[..]).collect();
        let sql = "insert into seal_node (level, index, hash) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])";
        sqlx::query(sql).bind(levels).bind(indexes).bind(subtrees).execute(&mut *connection).await?;
    }
    if heads.is_empty() {
        return Ok(());
    }
    let sizes: Vec<i64> = heads.iter().map(|(signed, _)| signed.head.size).collect();
    let before: Vec<i64> = heads.iter().map(|(_, previous)| *previous).collect();
    let roots: Vec<&[u8]> = heads.iter().map(|(signed, _)| &signed.head.root[..]).collect();
    let epochs: Vec<i32> = heads.iter().map(|(signed, _)| signed.head.epoch).collect();
    let times: Vec<_> = heads.iter().map(|(signed, _)| signed.head.time).collect();
    let signatures: Vec<&[u8]> = heads.iter().map(|(signed, _)| &signed.signature[..]).collect();
    let sql = "insert into seal_head (size, previous, root, epoch, sealed_at, signature, hashes)
               select h.size, h.previous, h.root, h.epoch, h.sealed_at, h.signature,
                      (select string_agg(e.hash, ''::bytea order by e.position) from event e
                       where e.position > h.previous and e.position <= h.size)
               from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::integer[], $5::timestamptz[], $6::bytea[])
                   as h (size, previous, root, epoch, sealed_at, signature)";
    let heads = sqlx::query(sql).bind(sizes).bind(before).bind(roots).bind(epochs).bind(times).bind(signatures);
    heads.execute(connection).await?;
    Ok(())
}

/// Makes `keys` the keys of a log that has come from elsewhere with heads up to `sealed`, which they have signed. A key that this
/// database has made for itself already, and has signed nothing with, signs from there on.
pub(crate) async fn adopt_keys(
    connection: &mut PgConnection,
    keys: &[KeySince],
    sealed: i64,
) -> Result<Option<PublicKey>, sqlx::Error> {
    let own: Option<Vec<u8>> = sqlx::query_scalar("select public from seal_key order by since desc limit 1")
        .fetch_optional(&mut *connection)
        .await?;
    let own: Option<[u8; 32]> = own.and_then(|key| key.try_into().ok());
    let mut all: Vec<KeySince> = keys.iter().filter(|key| key.since < sealed).copied().collect();
    if let Some(public) = own
        && all.last().is_none_or(|last| last.public != public)
    {
        all.push(KeySince { since: sealed, public });
    }
    let signs = all.last().map(|key| PublicKey(key.public));
    // What is appended to only: but nothing was signed here yet, so nothing is altered that anybody could rely on.
    sqlx::raw_sql(
        "alter table seal_key disable trigger seal_key_append_only; delete from seal_key;
         alter table seal_key enable always trigger seal_key_append_only",
    )
    .execute(&mut *connection)
    .await?;
    let since: Vec<i64> = all.iter().map(|key| key.since).collect();
    let public: Vec<&[u8]> = all.iter().map(|key| &key.public[..]).collect();
    sqlx::query("insert into seal_key (since, public) select * from unnest($1::bigint[], $2::bytea[])")
        .bind(since)
        .bind(public)
        .execute(connection)
        .await?;
    Ok(signs)
}

/// The hashes in a row of them.
pub fn each(hashes: &[u8]) -> impl Iterator<Item = &Hash> {
    hashes.as_chunks().0.iter()
}
