//! Waits until nothing moves any more: for the auditor, who looks at what has become of it all.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use super::load::subscribers;
use super::recorder::Recorder;
use super::stage::Stage;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Returns when every execution has ended, every rebuild that was asked for is answered, and the ordered subscriber has heard all, or at the deadline: whether that is a
/// breach is not said here.
pub async fn quiet(stage: &Stage, recorder: &Recorder, deadline: Instant) {
    while Instant::now() < deadline {
        if let Ok((head, open)) = log(&stage.direct.database).await
            && open == 0
            && u64::try_from(head).is_ok_and(|head| subscribers::position(recorder) >= head)
        {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The position of the last event, and how many executions and rebuilds have not ended.
async fn log(url: &str) -> sqlx::Result<(i64, i64)> {
    let mut connection = PgConnection::connect(url).await?;
    let answer = sqlx::query_as(
        "select coalesce(max(position), 0),
            count(*) filter (where kind in ('execution_requested', 'rebuild_requested'))
            - count(*) filter (where kind in ('execution_succeeded', 'execution_failed', 'execution_timed_out',
                                              'execution_cancelled', 'projection_switched', 'rebuild_stopped',
                                              'rebuild_failed'))
         from event",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(answer)
}
