//! What was decided, said in the log: a command of the context `ops` for each report that the log does not know yet.
//!
//! The report is committed with the exchange, so that nothing is done without being said in the end: by whoever did it, or,
//! where that one was killed, by the next projectors that look.

use events::{
    Meta, execute,
    ops::{self, Command, Comparison, Said, Verdict},
};

use super::{Error, Workshop};

/// Says all that was not said yet; how much that was.
pub async fn say(workshop: &Workshop) -> Result<usize, Error> {
    let unsaid = sqlx::query!(
        "select id, projection, generation, version, live_generation, live_version, position, added, removed, changed,
                decision, reason, actor
         from ops.report where said_at is null and decision <> 'dry_run' order by id"
    );
    let unsaid = unsaid.fetch_all(&workshop.pool).await?;
    let count = unsaid.len();
    for report in unsaid {
        let verdict = match report.decision.as_str() {
            "stopped" => Verdict::Stopped,
            decision => Verdict::Switched { rolled_back: decision == "rolled_back" },
        };
        let thing = ops::projection_id(&report.projection);
        let facts = Comparison {
            projection: report.projection,
            generation: report.generation,
            version: report.version,
            live_generation: report.live_generation,
            live_version: report.live_version,
            position: report.position,
            added: report.added,
            removed: report.removed,
            changed: report.changed,
            reason: report.reason,
        };
        let meta = Meta { actor: report.actor, correlation_id: report.id, causation_id: None, traceparent: None };
        let command = Command::Say(Said { report: report.id, verdict, facts });
        let said = execute::<ops::Projection>(&workshop.store, thing, command, meta).await;
        let said = said.map_err(|error| Error::Unsaid(error.to_string()))?;
        sqlx::query!("update ops.report set said_at = $2 where id = $1", report.id, said.position)
            .execute(&workshop.pool)
            .await?;
    }
    Ok(count)
}
