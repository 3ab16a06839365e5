//! What was seen by server-sent events, against the log.

use std::collections::HashMap;

use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::Finding;
use crate::drill::record::Watched;

/// Whether everybody saw the events of an execution from its first, in order, each once over all connections; and all of
/// them, where they saw the end.
pub(super) async fn compare(
    watched: &[Watched],
    database: &mut PgConnection,
    found: &mut Finding,
) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = watched.iter().map(|watched| watched.execution).collect();
    let rows = sqlx::query(
        "select id, position, kind in ('provider_answered_late', 'execution_discarded')
             from event where stream = 'execution' and id = any ($1) order by position",
    )
    .bind(ids)
    .fetch_all(database)
    .await?;
    let mut log: HashMap<Uuid, Vec<(i64, bool)>> = HashMap::new();
    for row in rows {
        log.entry(row.try_get(0)?).or_default().push((row.try_get(1)?, row.try_get(2)?));
    }
    for seen in watched {
        found.seen(1);
        let there = log.get(&seen.execution).map_or(&[] as &[_], Vec::as_slice);
        if !is_kept(seen, there) {
            let Watched { execution, positions, connections, is_over } = seen;
            found.lasting(format!(
                "who watched execution {execution} over {connections} connections saw {positions:?} (to the end: {is_over}), \
                 the log has {there:?}"
            ));
        }
    }
    let events: usize = watched.iter().map(|watched| watched.positions.len()).sum();
    found.figure("server-sent events seen", events as u64);
    Ok(())
}

/// What was seen begins what is there, events by position; after the end came nothing but evidence and marks (`true`).
fn is_kept(seen: &Watched, there: &[(i64, bool)]) -> bool {
    let Watched { positions, is_over, .. } = seen;
    let begins = there.iter().map(|(position, _)| position).take(positions.len()).eq(positions);
    begins && (!is_over || there[positions.len()..].iter().all(|(_, is_evidence)| *is_evidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_a_repetition_and_an_early_end_are_seen() {
        let kept = |positions: &[i64], is_over| {
            let (execution, positions) = (Uuid::nil(), positions.to_vec());
            is_kept(
                &Watched { execution, positions, connections: 1, is_over },
                &[(3, false), (5, false), (9, false), (11, true)],
            )
        };
        assert!(kept(&[], false) && kept(&[3, 5], false) && kept(&[3, 5, 9], true) && kept(&[3, 5, 9, 11], true));
        assert!(!kept(&[3, 9], false) && !kept(&[3, 3, 5], false) && !kept(&[3, 5], true) && !kept(&[], true));
        assert!(!kept(&[3, 5, 9, 11, 12], true));
    }
}
