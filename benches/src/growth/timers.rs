//! What timers cost with so many executions open: to look what is due, to renew leases, to set one with an append.

use std::time::Instant;

use events::{
    Meta, Store, Timer, clock,
    fact::TIMER,
    store::{Append, New},
};
use sqlx::Executor as _;
use uuid::Uuid;

use super::{Growth, each, place::Place, short};
use crate::harness::sized;

/// How often each is done.
const TIMES: usize = sized(500, 20);
/// How many leases one worker process renews at a time.
const HELD: i64 = 32;

/// Everything waits, and half of it is held; nothing is due for an hour.
const FILL: &str = "
    insert into timer (id, stream, version, mark, holder, due_at, deadline_at)
    select md5('thing' || n)::uuid, 'thing', 1, 1, case when n % 2 = 0 then md5('holder' || n)::uuid end,
           now() + interval '1 hour' + n * interval '1 millisecond', now() + interval '1 day'
    from generate_series(1, $1::bigint) n";
/// Some of it is due now.
const DUE: &str = "update timer set due_at = now() - interval '1 second' where id = any (array(
    select md5('thing' || n)::uuid from generate_series(1, 256) n))";

pub(super) async fn measure(growth: &mut Growth) -> anyhow::Result<()> {
    for open in [100, sized(10_000, 1000), sized(1_000_000, 10_000)] {
        let (open, at) = (i64::try_from(open)?, format!("{} open", short(open)));
        let place = Place::start().await?;
        let mut connection = place.pool.acquire().await?;
        connection.execute("set statement_timeout = 0").await?;
        sqlx::query(FILL).bind(open).execute(&mut *connection).await?;
        connection.execute("vacuum (analyze) timer").await?;
        let held: Vec<(Uuid, Uuid)> =
            sqlx::query_as("select id, holder from timer where holder is not null order by due_at limit $1")
                .bind(HELD)
                .fetch_all(&mut *connection)
                .await?;
        let (ids, holders): (Vec<Uuid>, Vec<Uuid>) = held.into_iter().unzip();
        let store = place.store();
        look(&store, 0).await?;
        let begin = Instant::now();
        for _ in 0..TIMES {
            look(&store, 0).await?;
        }
        growth.add("a look at timers, none due", &at, "µs", each(begin, TIMES), TIMES)?;
        let begin = Instant::now();
        for _ in 0..TIMES {
            let renewed = store.renew(&ids, &holders, 3_600_000).await?;
            anyhow::ensure!(renewed.len() == ids.len(), "a lease was lost");
        }
        growth.add("renewal of 32 leases", &at, "µs", each(begin, TIMES), TIMES)?;
        let begin = Instant::now();
        for _ in 0..TIMES {
            let appended = store.append(append()).await?;
            appended.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
        }
        growth.add("an append that sets one", &at, "µs", each(begin, TIMES), TIMES)?;
        connection.execute(DUE).await?;
        let due = usize::try_from(open.min(256))?;
        let begin = Instant::now();
        for _ in 0..TIMES {
            look(&store, due).await?;
        }
        growth.add("a look at timers, per due one", &at, "µs", each(begin, TIMES * due), TIMES)?;
        connection.close().await?;
        place.stop().await?;
    }
    Ok(())
}

async fn look(store: &Store, expected: usize) -> anyhow::Result<()> {
    let found = store.due(256, false).await?.len();
    anyhow::ensure!(found == expected, "{found} timers are due instead of {expected}");
    Ok(())
}

fn append() -> Append {
    Append {
        stream: "thing",
        id: clock::id(),
        expected: 0,
        scope: None,
        events: vec![New { event_id: clock::id(), kind: "done", schema: 1, data: "{}".to_owned() }],
        meta: Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None },
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: vec![(TIMER, Timer::Set { after: Some(3_600_000), deadline: Some(3_600_000), holder: None, mark: 1 })],
        key: None,
    }
}
