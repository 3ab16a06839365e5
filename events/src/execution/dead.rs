//! Dead letters, looked for in the log: what failed after all its attempts, and was neither redriven nor discarded.

use sqlx::Row as _;
use uuid::Uuid;

use super::{Command, Execution, Request, event::REDRIVE};
use crate::{Call, Claim, Error, Receipt, Requirement, Store, clock, execute_requiring, store::StoreError};

/// Which dead letters are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this user; none for all.
    pub user_id: Option<Uuid>,
    /// Only those of this prompt.
    pub prompt_id: Option<Uuid>,
    /// Only those that have failed up to this position of the log; none for all.
    pub until: Option<i64>,
}

/// How many there are, and the `most` oldest of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// How many the filter matches.
    pub count: i64,
    /// The oldest of them.
    pub ids: Vec<Uuid>,
    /// The position at which the last of these has failed; 0 if there is none.
    pub until: i64,
}

/// The dead letters that `filter` matches, without those of archived prompts: they cannot be sent again.
pub async fn find(store: &Store, filter: &Filter, most: i64) -> Result<Found, StoreError> {
    // The comparison with claims and marks is an index probe a dead letter.
    let rows = sqlx::query(
        "select e.id, e.position, count(*) over () as count
         from event e
         where e.kind = 'execution_failed' and (e.data ->> 'dead') = 'true'
           and ($1::uuid is null or e.scope = $1)
           and ($5::bigint is null or e.position <= $5)
           and (select 1 from claim c where c.scope = $3 and c.value = e.id::text) is null
           and (select 1 from event d
                where d.stream = e.stream and d.id = e.id and d.version > e.version and d.kind = 'execution_discarded'
                limit 1) is null
           -- An archived prompt has this claim, and is not executed any more.
           and (select 1 from claim c
                where c.scope = 'prompt:' || (select r.data ->> 'prompt_id' from event r
                                              where r.stream = e.stream and r.id = e.id and r.version = 1) || ':archived'
                limit 1) is null
           and ($2::uuid is null
                or (select (r.data ->> 'prompt_id')::uuid from event r
                    where r.stream = e.stream and r.id = e.id and r.version = 1) = $2)
         order by e.position limit $4",
    )
    .bind(filter.user_id)
    .bind(filter.prompt_id)
    .bind(REDRIVE)
    .bind(most)
    .bind(filter.until)
    .fetch_all(store.reads())
    .await?;
    let count = rows.first().map(|row| row.try_get("count")).transpose()?.unwrap_or(0);
    let until = rows.last().map(|row| row.try_get("position")).transpose()?.unwrap_or(0);
    Ok(Found { count, ids: rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?, until })
}

/// Whether the dead letter `id` was redriven or discarded.
pub async fn is_redriven(store: &Store, id: Uuid) -> Result<bool, StoreError> {
    Ok(store.holder(&Claim::exact(REDRIVE, id.to_string())).await?.is_some())
}

/// Requests the execution that sends a dead letter again, if `needs` hold when it is appended.
pub async fn send(
    store: &Store,
    request: Request,
    mut call: Call,
    needs: &[Requirement<super::Error>],
) -> Result<Receipt, Error<super::Error>> {
    call.fresh = true;
    call.expected = None;
    execute_requiring::<Execution>(store, clock::id(), Command::Request(Box::new(request)), call, needs).await
}
