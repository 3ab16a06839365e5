//! Whether there is room for a second set of rows.

use sqlx::PgPool;

use super::Error;
use crate::projection::Projection;

/// Fails where the rows would not fit, as far as that can be known: the size of the live ones and a quarter more, against what
/// is free where the database keeps its data, if that is on this machine. (A disk that fills up is told later, and then what
/// was built is dropped.)
pub(super) async fn check<P: Projection>(pool: &PgPool) -> Result<(), Error> {
    let tables: Vec<String> = P::TABLES.iter().map(|table| format!("read.{table}")).collect();
    let size: i64 = sqlx::query_scalar(
        "select coalesce(sum(pg_total_relation_size(to_regclass(t))), 0)::bigint from unnest($1::text[]) t",
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
    let size = u64::try_from(size).unwrap_or(0);
    let (needed, free) = (size + size / 4, disk.f_bavail * disk.f_frsize);
    if needed > free { Err(Error::Disk { name: P::NAME.to_owned(), needed, free }) } else { Ok(()) }
}
