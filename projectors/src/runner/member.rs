//! One projection, and where it stands.

use std::sync::Arc;

use events::Recorded;

use super::{Shared, trace};
use crate::{
    checkpoint::{self, Checkpoint, Outcome, Target},
    memory::Memory,
    projection::{Error, Projection},
};

/// A projection of the runner.
pub(super) struct Member {
    pub(super) projection: &'static Projection,
    memory: Memory,
    /// None before it was read, and after whatever has made it uncertain.
    pub(super) place: Option<Place>,
    /// The group did not wait for it.
    pub(super) is_slow: bool,
}

/// Where a projection stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its checkpoint.
    pub(super) at: Checkpoint,
    /// How far it has seen the log: since the checkpoint there was nothing that concerns it.
    pub(super) seen: Target,
}

impl Member {
    pub(super) fn new(projection: &'static Projection) -> Self {
        Self { projection, memory: Memory::new(projection), place: None, is_slow: false }
    }

    /// Reads the checkpoint, where that is not known.
    pub(super) async fn open(&mut self, shared: &Shared) -> Result<Place, Error> {
        if let Some(place) = self.place {
            return Ok(place);
        }
        self.memory.forget();
        let _permit = shared.permits.acquire().await;
        let mut connection = shared.connections.lend().await?;
        let at = checkpoint::open_on(self.projection, &mut connection, &shared.store).await?;
        connection.give_back();
        shared.board.reached(self.projection.name, at.position);
        let place = Place { at, seen: Target { place: at, epoch: 0 } };
        self.place = Some(place);
        Ok(place)
    }

    /// The events of `batch` that concern it and that it has not seen. `batch` leaves no position out.
    pub(super) fn own(&self, batch: &[Arc<Recorded>]) -> Vec<Arc<Recorded>> {
        let seen = self.seen();
        batch.iter().filter(|event| event.position > seen && self.projection.is_own(event)).cloned().collect()
    }

    /// How far it has seen the log.
    pub(super) fn seen(&self) -> i64 {
        self.place.map_or(0, |place| place.seen.place.position)
    }

    /// Notes that nothing up to `target` concerns it.
    pub(super) fn pass(&mut self, target: Target) {
        if let Some(place) = &mut self.place
            && target.place.position > place.seen.place.position
        {
            place.seen = target;
        }
    }

    /// Notes that the checkpoint was moved as far as it has seen the log.
    pub(super) fn moved(&mut self, shared: &Shared) {
        if let Some(place) = &mut self.place {
            place.at = place.seen.place;
            shared.board.reached(self.projection.name, place.at.position);
        }
    }

    /// Applies `own`, which is all that concerns it up to `target`, and moves its checkpoint there.
    pub(super) async fn apply(
        &mut self,
        shared: &Shared,
        own: &[Arc<Recorded>],
        target: Target,
    ) -> Result<Outcome, Error> {
        let Some(place) = &mut self.place else { return Ok(Outcome::Superseded) };
        let _permit = shared.permits.acquire().await;
        let spans = trace::spans(self.projection, own);
        let outcome = self.memory.apply_own(&shared.connections, place.at, target, own).await?;
        drop(spans);
        match outcome {
            Outcome::Applied(at) => {
                *place = Place { at, seen: target };
                shared.board.reached(self.projection.name, at.position);
                shared.bus.publish_progress(self.projection.name, at.position).await;
                trace::tell(self.projection, own);
            }
            Outcome::Superseded => {
                tracing::debug!(projection = self.projection.name, "another projector of this name is at work");
            }
        }
        Ok(outcome)
    }
}
