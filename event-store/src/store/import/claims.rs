//! The claims of a log that comes in.

use sqlx::Row as _;
use uuid::Uuid;

use super::{Import, ImportError, Row};
use crate::Claim;

impl Import {
    /// Takes in what events claim. Nothing else may hold it.
    pub(super) async fn claim(&mut self, all: &[(Claim, &Row)]) -> Result<(), ImportError> {
        if all.is_empty() {
            return Ok(());
        }
        let scopes: Vec<&str> = all.iter().map(|(claim, _)| claim.scope.as_str()).collect();
        let values: Vec<&str> = all.iter().map(|(claim, _)| claim.value.as_str()).collect();
        let streams: Vec<&str> = all.iter().map(|(_, row)| row.stream.as_str()).collect();
        let ids: Vec<Uuid> = all.iter().map(|(_, row)| row.id).collect();
        let positions: Vec<i64> = all.iter().map(|(_, row)| row.position).collect();
        let inserted = sqlx::query(
            "insert into claim (scope, value, stream, id, position)
             select * from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bigint[]) on conflict do nothing",
        )
        .bind(&scopes)
        .bind(&values)
        .bind(&streams)
        .bind(&ids)
        .bind(&positions)
        .execute(&mut self.connection)
        .await?
        .rows_affected();
        self.done.claims += inserted;
        if inserted == all.len() as u64 {
            return Ok(());
        }
        // What is claimed may be personal: it is not shown.
        let taken = sqlx::query(
            "select k.position, k.scope, c.position from unnest($1::text[], $2::text[], $3::bigint[]) as k (scope, value, position)
             join claim c on c.scope = k.scope and c.value = k.value
             where c.position <> k.position order by k.position limit 1",
        )
        .bind(&scopes)
        .bind(&values)
        .bind(&positions)
        .fetch_one(&mut self.connection)
        .await?;
        let (scope, holder): (String, i64) = (taken.try_get(1)?, taken.try_get(2)?);
        let why = format!("it claims a value of {scope} that the event at position {holder} holds");
        Err(ImportError::At { position: taken.try_get(0)?, why })
    }
}
