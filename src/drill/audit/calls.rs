//! I13: what the provider was asked and would bill, against what the log says of it.

use std::collections::HashMap;

use anyhow::Context as _;
use rust_decimal::Decimal;
use sqlx::Row as _;

use super::{Finding, Promise, Scene};
use crate::system::provider::{Calls, PRICE};

pub(super) const PROMISE: Promise =
    ("I13", "the provider was called no more often than the log says, and would bill no more than is booked for it");

/// By what was asked: how many calls the log knows of, over all executions that ask the same, and what they are booked with.
const CALLS: &str = "
    with asked as (
        select id, data -> 'messages' -> -1 ->> 'content' as text
        from event
        where stream = 'execution' and kind = 'execution_requested' and data ->> 'llm_provider' = 'openai'
    ), called as (
        select id, count(*) filter (where kind = 'provider_call_started') as calls,
               count(*) filter (where kind = 'provider_answered_late') as late
        from event where stream = 'execution' group by id
    )
    select a.text, sum(c.calls)::bigint as calls, sum(c.late)::bigint as late,
           sum(coalesce(x.cost, 0) + coalesce(x.cost_ceiling, 0) + coalesce(x.cost_unknown, 0))::text as booked
    from asked a join called c using (id) left join read.execution x using (id)
    where a.text is not null group by a.text";

/// Calls whose cost stands in more than one event: whose sum is then too high, and what is booked for others too low.
const TOLD_TWICE: &str = "
    select count(*) from (
        select from event where stream = 'execution' and data ->> 'cost' is not null
        group by id, data ->> 'attempt' having count(*) > 1) twice";

/// Holds the provider's own ledger against the log, and against the read model of costs (which is held against the log itself).
pub(super) async fn counted(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let price: Decimal = PRICE.parse()?;
    let ledger: &HashMap<String, Calls> = &scene.record.called;
    let (mut known, mut late, mut billed, mut all) = (0, 0, Decimal::ZERO, Decimal::ZERO);
    let mut asked = 0;
    for row in sqlx::query(CALLS).fetch_all(&scene.pool).await? {
        let text: String = row.try_get("text")?;
        let calls: i64 = row.try_get("calls")?;
        let booked: Decimal = row.try_get::<String, _>("booked")?.parse().context("what is booked")?;
        let Calls { made, billed: worked } = ledger.get(&text).copied().unwrap_or_default();
        let bill = price * Decimal::from(worked);
        asked += u64::from(made > 0);
        let calls = u64::try_from(calls)?;
        found.check(made <= calls, || format!("{text:?}: {made} calls, of which the log knows {calls}"));
        found.check(bill <= booked, || {
            format!("{text:?}: {worked} calls are billed with {bill}, and {booked} is booked")
        });
        known += calls;
        late += u64::try_from(row.try_get::<i64, _>("late")?)?;
        billed += bill;
        all += booked;
    }
    let twice: i64 = sqlx::query_scalar(TOLD_TWICE).fetch_one(&scene.pool).await?;
    found.check(twice == 0, || format!("the cost of {twice} calls was told more than once"));
    let made: u64 = ledger.values().map(|calls| calls.made).sum();
    let strangers = ledger.len() as u64 - asked;
    found.check(strangers == 0, || format!("{strangers} texts were asked that nobody requested"));
    found.figure("calls that the log knows of", known);
    found.figure("calls at the provider", made);
    found.figure("answers that came late", late);
    found.figure("millionths of a dollar that are billed", millionths(billed));
    found.figure("millionths of a dollar that are booked", millionths(all));
    Ok(found)
}

fn millionths(amount: Decimal) -> u64 {
    u64::try_from((amount * Decimal::from(1_000_000)).round().mantissa()).unwrap_or(u64::MAX)
}
