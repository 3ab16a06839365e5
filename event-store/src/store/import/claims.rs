//! The claims of a log that comes in: folded in log order, as its appends have made them, and written once.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{ImportError, Row};
use crate::{Claim, registry::Effects};

/// What is held, as of the events so far: by scope and value, and by slot.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: HashMap<(String, String), Holder>,
    slots: HashMap<(String, Uuid, &'static str), (String, String)>,
}

#[derive(Debug)]
struct Holder {
    stream: String,
    id: Uuid,
    position: i64,
    slot: Option<&'static str>,
}

impl Claims {
    /// What an event releases and claims. Nothing else may hold it.
    pub(super) fn turn(&mut self, row: &Row, effects: &Effects) -> Result<(), ImportError> {
        let taken = effects.claims.iter().find_map(|claim| self.taken(row, claim));
        if let Some((scope, holder)) = taken {
            // What is claimed may be personal: it is not shown.
            let why = format!("it claims a value of {scope} that the event at position {holder} holds");
            return Err(ImportError::At { position: row.position, why });
        }
        for slot in effects.releases {
            self.release(row, slot);
        }
        for claim in &effects.claims {
            let key = (claim.scope.clone(), claim.value.clone());
            if let Some(slot) = claim.slot {
                self.release(row, slot);
                self.slots.insert((row.stream.clone(), row.id, slot), key.clone());
            }
            let holder = Holder { stream: row.stream.clone(), id: row.id, position: row.position, slot: claim.slot };
            self.held.insert(key, holder);
        }
        Ok(())
    }

    fn taken<'a>(&self, row: &Row, claim: &'a Claim) -> Option<(&'a str, i64)> {
        let holder = self.held.get(&(claim.scope.clone(), claim.value.clone()))?;
        let is_own_slot =
            claim.slot.is_some() && holder.slot == claim.slot && holder.id == row.id && holder.stream == row.stream;
        (!is_own_slot).then_some((&claim.scope, holder.position))
    }

    fn release(&mut self, row: &Row, slot: &'static str) {
        if let Some(key) = self.slots.remove(&(row.stream.clone(), row.id, slot)) {
            self.held.remove(&key);
        }
    }

    /// Writes them in the transaction of the import. Returns how many there are.
    pub(super) async fn insert(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let all: Vec<_> = self.held.iter().collect();
        for some in all.chunks(10_000) {
            sqlx::query(
                "insert into claim (scope, value, stream, id, position, slot)
                 select * from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::text[])",
            )
            .bind(some.iter().map(|((scope, _), _)| scope.as_str()).collect::<Vec<_>>())
            .bind(some.iter().map(|((_, value), _)| value.as_str()).collect::<Vec<_>>())
            .bind(some.iter().map(|(_, holder)| holder.stream.as_str()).collect::<Vec<_>>())
            .bind(some.iter().map(|(_, holder)| holder.id).collect::<Vec<_>>())
            .bind(some.iter().map(|(_, holder)| holder.position).collect::<Vec<_>>())
            .bind(some.iter().map(|(_, holder)| holder.slot).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
        }
        Ok(all.len() as u64)
    }
}
