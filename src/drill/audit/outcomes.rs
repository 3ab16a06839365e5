//! I5: what became of executions.

use sqlx::Row as _;
use uuid::Uuid;

use super::{Finding, Promise, Scene};

pub(super) const PROMISE: Promise = (
    "I5",
    "every execution has exactly one outcome, after which only evidence and marks follow, and follows its rules until then",
);

/// Per execution: how many outcomes, what comes after the first, and where attempts are not counted one by one, or are more than
/// its policy allows and somebody decided beyond it. An outcome is unknown twice at most (it is called again once), once where
/// it fails then, and once more for each decision where it is held.
const EXECUTIONS: &str = "
    with happened as materialized (
        select id, version, kind, position,
               kind in ('execution_succeeded', 'execution_failed', 'execution_timed_out', 'execution_cancelled') as ends,
               case when kind = 'execution_started' then (data ->> 'attempt')::integer end as started,
               case when kind = 'execution_requested'
                    then coalesce((data -> 'policy' ->> 'max_attempts')::integer, 5) end as allowed,
               case when kind = 'execution_requested'
                    then coalesce(data -> 'policy' ->> 'outcome_unknown', 'retry_once') end as on_unknown,
               kind = 'execution_resolved' as resolved
        from event where stream = 'execution'
    ), told as (
        select id, count(*) filter (where ends) as outcomes,
               max(version) filter (where ends) as ended, count(started) as starts,
               coalesce(max(started), 0) as attempts, count(*) filter (where kind = 'execution_requested') as requests,
               min(version) filter (where kind = 'execution_requested') as requested,
               count(*) filter (where kind = 'execution_cancel_requested') as wishes,
               count(*) filter (where kind = 'provider_call_started') as calls,
               max(allowed) as allowed, max(on_unknown) as on_unknown, count(*) filter (where resolved) as resolved,
               count(*) filter (where kind = 'execution_outcome_unknown') as unknown,
               max(version) filter (where kind not in ('provider_answered_late', 'execution_discarded')) as acted,
               string_agg(kind || ' (' || position || ')', ', ' order by version) as story
        from happened group by id
    )
    select id, outcomes, unknown, acted is not distinct from ended as closed,
           starts = attempts and requests = 1 and requested = 1 and wishes <= 1 and calls <= starts
               and starts <= allowed + resolved and (resolved = 0 or on_unknown = 'hold')
               and unknown <= case on_unknown when 'hold' then resolved + 1 when 'fail' then 1 else 2 end as regular,
           right(story, 400) as story
    from told";

/// Whether all have ended, once.
pub(super) async fn ended(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let (mut open, mut unknown) = (0, 0);
    for row in sqlx::query(EXECUTIONS).fetch_all(&scene.pool).await? {
        let (id, outcomes): (Uuid, i64) = (row.try_get("id")?, row.try_get("outcomes")?);
        let (closed, regular): (bool, bool) = (row.try_get("closed")?, row.try_get("regular")?);
        let story: String = row.try_get("story")?;
        found.seen(1);
        unknown += u64::try_from(row.try_get::<i64, _>("unknown")?).unwrap_or_default();
        match outcomes {
            0 => {
                open += 1;
                found.breach(format!("execution {id} has no outcome: {story}"));
            }
            1 if closed => {}
            1 => found.lasting(format!("execution {id} went on after its outcome: {story}")),
            many => found.lasting(format!("execution {id} has {many} outcomes: {story}")),
        }
        if !regular {
            found.lasting(format!("execution {id} did not follow its rules: {story}"));
        }
    }
    found.figure("executions", found.checked);
    found.figure("without an outcome", open);
    found.figure("outcomes that nobody knew at first", unknown);
    Ok(found)
}
