//! Whether there is room for a second set of rows.

use sqlx::PgPool;

use super::Error;
use crate::projection::Projection;

/// Fails where the rows would not fit, as far as that can be known: against what is free where the database keeps its data, if
/// that is on this machine. (A disk that fills up is told later, and then what was built is dropped.)
pub(super) async fn check(projection: &'static Projection, pool: &PgPool) -> Result<(), Error> {
    let tables: Vec<String> = projection.table_names().iter().map(|table| format!("read.{table}")).collect();
    let (rows, wal): (i64, i64) = sqlx::query_as(
        "select coalesce(sum(pg_total_relation_size(to_regclass(t))), 0)::bigint, pg_size_bytes(current_setting('max_wal_size'))
         from unnest($1::text[]) t",
    )
    .bind(tables)
    .fetch_one(pool)
    .await?;
    // Refused to roles that may not know it.
    let folder = sqlx::query_scalar::<_, String>(
        "select current_setting('data_directory') where inet_server_addr() is null or host(inet_server_addr()) in ('127.0.0.1', '::1')",
    )
    .fetch_optional(pool)
    .await;
    let Ok(Some(folder)) = folder else { return Ok(()) };
    let Ok(disk) = rustix::fs::statvfs(folder.as_str()) else { return Ok(()) };
    let unsigned = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    let (needed, free) = (needed(unsigned(rows), unsigned(wal)), disk.f_bavail * disk.f_frsize);
    if needed > free { Err(Error::Disk { name: projection.name.to_owned(), needed, free }) } else { Ok(()) }
}

/// How many bytes it takes to make rows anew that take so many: as many, a quarter more while indexes are sorted, and the
/// write-ahead log of all that, which PostgreSQL keeps up to `wal`. Where that finds no room, PostgreSQL stops as a whole.
fn needed(rows: u64, wal: u64) -> u64 {
    let written = rows + rows / 4;
    written + written.min(wal)
}

#[cfg(test)]
mod tests {
    use super::needed;

    #[test]
    fn what_is_needed_is_the_rows_and_their_log() {
        assert_eq!(needed(0, 1 << 30), 0);
        assert_eq!(needed(8 << 20, 1 << 30), 20 << 20);
        assert_eq!(needed(8 << 30, 1 << 30), 11 << 30);
    }
}
