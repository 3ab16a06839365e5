//! What whoever works at a generation has in hand, and the sign of life that keeps others away from it.

use std::time::Duration;

use events::Store;
use sqlx::PgPool;
use tokio::time::interval;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    Error, Workshop,
    generation::{Generation, HELD},
    progress::{Phase, Progress},
};

/// How often a sign is given.
const EVERY: Duration = Duration::from_secs(1);

/// One who works at a generation. Clones are the same.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) store: Store,
    pub(super) pool: PgPool,
    pub(super) generation: Generation,
    pub(super) holder: Uuid,
    pub(super) share: f64,
    pub(super) progress: Progress,
    /// It was told to stop.
    stop: CancellationToken,
    /// Somebody else has the generation.
    lost: CancellationToken,
}

impl Work {
    /// Begins to work at `generation`, which `holder` has taken, and gives signs of it until the guard is dropped.
    pub(super) fn begin(
        workshop: &Workshop,
        generation: Generation,
        holder: Uuid,
        share: f64,
        progress: Progress,
        stop: CancellationToken,
    ) -> (Self, DropGuard) {
        let (over, lost) = (CancellationToken::new(), CancellationToken::new());
        let Workshop { store, pool } = workshop.clone();
        let work = Self { store, pool, generation, holder, share, progress, stop, lost };
        tokio::spawn(signs(work.clone(), over.clone()));
        (work, over.drop_guard())
    }

    /// Fails where the work is to be left.
    pub(super) fn check(&self) -> Result<(), Error> {
        let name = || self.generation.projection.clone();
        if self.lost.is_cancelled() {
            return Err(Error::Lost { name: name() });
        }
        if self.stop.is_cancelled() { Err(Error::Interrupted { name: name() }) } else { Ok(()) }
    }

    /// Tells all who work at it to stop.
    pub(super) fn halt(&self) {
        self.stop.cancel();
    }

    /// Writes down how far it has come, for whoever goes on after a crash, and for those who watch.
    pub(super) async fn enter(&mut self, phase: Phase) -> Result<(), Error> {
        self.check()?;
        self.progress.enter(phase);
        let (name, number) = (&self.generation.projection, self.generation.number);
        let noted = sqlx::query!(
            "update ops.generation set phase = $4, updated_at = now()
             where projection = $1 and number = $2 and holder = $3",
            name,
            number,
            self.holder,
            phase.name()
        );
        if noted.execute(&self.pool).await?.rows_affected() == 0 {
            return Err(Error::Lost { name: name.clone() });
        }
        phase.name().clone_into(&mut self.generation.phase);
        Ok(())
    }

    /// Lets go of the generation, which stays as it is, or waits as a candidate.
    pub(super) async fn leave(&self, is_candidate: bool) -> Result<(), Error> {
        sqlx::query!(
            "update ops.generation
             set holder = null, held_until = null, updated_at = now(),
                 state = case when $4 and state = 'building' then 'candidate' else state end
             where projection = $1 and number = $2 and holder = $3",
            self.generation.projection,
            self.generation.number,
            self.holder,
            is_candidate
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

async fn signs(work: Work, over: CancellationToken) {
    let mut every = interval(EVERY);
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            _ = every.tick() => {}
        }
        let given = sqlx::query!(
            "update ops.generation
             set held_until = now() + make_interval(secs => $4), done = $5, updated_at = now()
             where projection = $1 and number = $2 and holder = $3",
            work.generation.projection,
            work.generation.number,
            work.holder,
            HELD,
            work.progress.glance().done
        );
        match given.execute(&work.pool).await {
            Ok(given) if given.rows_affected() == 0 => {
                if !over.is_cancelled() {
                    work.lost.cancel();
                }
                return;
            }
            Ok(_) => {}
            // What is written is fenced anyway.
            Err(error) => tracing::debug!(%error, "no sign of the rebuild could be given"),
        }
    }
}
