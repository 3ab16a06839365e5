//! I12: read models that were made anew while everything was being crashed.

use sqlx::Row as _;

use super::{Finding, Promise, Scene};

pub(super) const PROMISE: Promise = (
    "I12",
    "every rebuild that was asked for came to an end, whatever was killed; no row differed, then or under the scrubber; nothing \
     that was begun is left",
);

/// Requests and answers of each projection, in the log's order: they must take turns.
const TURNS: &str = "
    select id, kind, position, kind = 'rebuild_requested' as asks,
           lag(kind = 'rebuild_requested', 1, false) over (partition by id order by version) as asked,
           lead(position) over (partition by id order by version) is null as is_last
    from event
    where stream = 'ops' and kind in ('rebuild_requested', 'projection_switched', 'rebuild_stopped', 'rebuild_failed')
    order by position";

/// Holds requests against answers, and what is kept about generations against what there is.
pub(super) async fn done(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let mut snapshot = scene.snapshot().await?;
    let (mut switched, mut failed) = (0, 0);
    for row in sqlx::query(TURNS).fetch_all(&mut *snapshot).await? {
        let (kind, position): (String, i64) = (row.try_get("kind")?, row.try_get("position")?);
        let (asks, asked): (bool, bool) = (row.try_get("asks")?, row.try_get("asked")?);
        switched += u64::from(kind == "projection_switched");
        failed += u64::from(kind == "rebuild_failed");
        found.seen(1);
        if asks == asked {
            found.lasting(format!("{kind} at {position} comes out of turn"));
        }
        found.check(!(asks && row.try_get("is_last")?), || format!("the request at {position} was not answered"));
    }
    found.check(switched > 0, || "no rebuild came to its end, so nothing is proved".to_owned());
    let reports = sqlx::query(
        "select projection, generation, decision, added + removed + changed as differ, reason from ops.report
         where decision <> 'switched' or added + removed + changed > 0 or not compared",
    );
    for row in reports.fetch_all(&mut *snapshot).await? {
        let (projection, generation): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
        let (decision, differ, reason): (String, i64, String) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        found
            .lasting(format!("generation {generation} of {projection} was {decision}, {differ} rows differ: {reason}"));
    }
    let findings = sqlx::query("select relation, thing::text, change, why from ops.finding limit 5");
    for row in findings.fetch_all(&mut *snapshot).await? {
        let text = |index: usize| row.try_get::<String, _>(index);
        found.lasting(format!("the scrubber found {} {} {}: {}", text(0)?, text(1)?, text(2)?, text(3)?));
    }
    let left = sqlx::query(
        "select coalesce(g.schema, n.nspname) as schema, g.state, n.nspname is not null as is_there
         from (select format('gen_%s_%s', projection, number) as schema, state from ops.generation) g
         full join (select nspname from pg_namespace where starts_with(nspname, 'gen_')) n on n.nspname = g.schema",
    );
    for row in left.fetch_all(&mut *snapshot).await? {
        let (schema, state): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let is_there: bool = row.try_get(2)?;
        found.check(is_there && state.as_deref() == Some("previous"), || {
            format!("{schema} is left, as {}", state.unwrap_or_else(|| "what nobody knows of".to_owned()))
        });
    }
    let scrubbed: i64 = sqlx::query_scalar("select count(*) from ops.scrubbed").fetch_one(&mut *snapshot).await?;
    found.check(scrubbed > 0, || "the scrubber has looked at nothing".to_owned());
    found.figure("rebuilds that took over", switched);
    found.figure("rebuilds that were given up, and said so", failed);
    found.figure("stretches of the log that were scrubbed", u64::try_from(scrubbed)?);
    Ok(found)
}
