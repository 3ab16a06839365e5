//! All projectors killed at an instant in which a read model is being made anew.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use rand::Rng as _;
use rand::rngs::StdRng;
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use super::{BACK, Faults};
use crate::drill::record::Part;
use crate::drill::schedule::Step;
use crate::system::Role;

/// How long one waits for a rebuild: the load asks for one every few seconds, and something else may be down.
const WAITS: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(15);
/// How long after it was seen they are killed at the latest, in milliseconds: about as long as one takes.
const WITHIN: u64 = 400;

impl Faults {
    /// Kills all projectors while one of them works at a generation.
    pub(super) async fn kill_rebuild(&self, step: &Step, rng: &mut StdRng) -> anyhow::Result<()> {
        let actors: Vec<_> = self.stage.of(Role::Projectors).collect();
        let _busy = join_all(actors.iter().map(|actor| actor.busy.lock())).await;
        let until = Instant::now() + WAITS;
        while !is_rebuilding(&self.stage.direct.database).await.unwrap_or(false) {
            anyhow::ensure!(Instant::now() < until, "nothing was made anew within {} s", WAITS.as_secs());
            sleep(LOOK).await;
        }
        sleep(Duration::from_millis(rng.random_range(0..WITHIN))).await;
        let from = Instant::now();
        join_all(actors.iter().map(|actor| actor.kill())).await;
        sleep(step.lasts).await;
        for actor in &actors {
            actor.revive().context("starting a projector again")?;
        }
        for actor in &actors {
            let _ = actor.process.ready(BACK).await;
            self.recorder.outage(Part::Process, step.fault.name(), Some(actor.process.name()), false, from);
        }
        Ok(())
    }
}

/// Whether somebody works at a generation now.
async fn is_rebuilding(url: &str) -> sqlx::Result<bool> {
    let mut connection = PgConnection::connect(url).await?;
    let held = sqlx::query_scalar(
        "select exists (select from ops.generation where state = 'building' and held_until > now()
                        and updated_at > now() - interval '2 seconds')",
    );
    let held = held.fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(held)
}
