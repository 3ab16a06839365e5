//! What a projector remembers of the rows that it has written, so that a batch is one statement: the rows of its things need
//! not be read, and the checkpoint moves with them.
//!
//! That is right as long as nobody else has changed the rows. Whoever does so moves the checkpoint, makes another generation
//! live or raises `checkpoint.revision`, and the statement is then refused by its condition: everything is forgotten, and the
//! batch goes the long way ([`checkpoint::apply`]), as it does whenever anything is out of the ordinary.

use std::sync::Arc;

use events::{Recorded, plant, store::Connections};
use sqlx::PgConnection;

use crate::{
    checkpoint::{self, Checkpoint, Outcome, Target},
    kept::Kept,
    projection::{Error, Projection},
};

/// The memory of one projector.
pub struct Memory {
    projection: &'static Projection,
    standing: Option<Standing>,
    kept: Option<Box<dyn Kept>>,
}

/// Which rows it is of.
#[derive(Debug, Clone, Copy)]
struct Standing {
    generation: i32,
    revision: i32,
}

/// How the checkpoint of `name` moves, and what must still be so for that: its place, the version and generation of the rows,
/// their revision, and that no thing is parked.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Move {
    pub name: &'static str,
    pub version: i32,
    pub generation: i32,
    pub revision: i32,
    pub from: Checkpoint,
    pub to: Checkpoint,
    /// The epoch of the event at `to`.
    pub epoch: i32,
}

impl Memory {
    /// An empty one.
    pub fn new(projection: &'static Projection) -> Self {
        Self { projection, standing: None, kept: projection.kept.map(|new| new()) }
    }

    /// [`checkpoint::apply`], the short way where that is possible.
    pub async fn apply(
        &mut self,
        connections: &Connections,
        from: Checkpoint,
        batch: &[Arc<Recorded>],
    ) -> Result<Outcome, Error> {
        let Some(to) = checkpoint::follow(from, batch)? else { return Ok(Outcome::Applied(from)) };
        let own: Vec<_> = batch.iter().filter(|event| self.projection.is_own(event)).cloned().collect();
        self.apply_own(connections, from, to, &own).await
    }

    /// [`checkpoint::apply_own`], the short way where that is possible.
    pub(crate) async fn apply_own(
        &mut self,
        connections: &Connections,
        from: Checkpoint,
        to: Target,
        own: &[Arc<Recorded>],
    ) -> Result<Outcome, Error> {
        // Where nothing concerns the projection there is nothing to remember.
        if self.kept.is_some() && !own.is_empty() && !plant::planted(plant::CHECKPOINT) {
            if self.advance(connections, from, to, own).await? {
                return Ok(Outcome::Applied(to.place));
            }
            self.forget();
        }
        let outcome = checkpoint::apply_own(self.projection, connections, from, to, own).await?;
        if outcome == Outcome::Superseded {
            self.forget();
        }
        Ok(outcome)
    }

    /// Whether the batch was applied; if not, nothing was done.
    async fn advance(
        &mut self,
        connections: &Connections,
        from: Checkpoint,
        to: Target,
        own: &[Arc<Recorded>],
    ) -> Result<bool, Error> {
        let projection = self.projection;
        let Some(kept) = &mut self.kept else { return Ok(false) };
        if own.iter().any(|event| projection.concerns(event).is_err()) {
            return Ok(false);
        }
        let mut connection = connections.lend().await?;
        if self.standing.is_none() {
            self.standing = standing(projection, &mut connection).await?;
        }
        let Some(Standing { generation, revision }) = self.standing else {
            connection.give_back();
            return Ok(false);
        };
        let step = Move {
            name: projection.name,
            version: projection.version,
            generation,
            revision,
            from,
            to: to.place,
            epoch: to.epoch,
        };
        match kept.advance(&mut connection, own, &step).await {
            Ok(done) => {
                connection.give_back();
                Ok(done)
            }
            Err(error) if error.is_of_an_event() => Ok(false),
            Err(error) => {
                self.forget();
                Err(error)
            }
        }
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        *self = Self::new(self.projection);
    }
}

/// Which rows are live, unless some of their things are parked.
async fn standing(projection: &'static Projection, connection: &mut PgConnection) -> Result<Option<Standing>, Error> {
    let standing = sqlx::query_as!(
        Standing,
        "select generation, revision from checkpoint where name = $1 and version = $2 and parked = 0",
        projection.name,
        projection.version
    );
    Ok(standing.fetch_optional(connection).await?)
}

/// Says in the transaction `tx`, which holds the checkpoint, that it changes rows of `P` past its projector.
pub(crate) async fn disturb(projection: &'static Projection, tx: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("update checkpoint set revision = revision + 1 where name = $1", projection.name).execute(tx).await?;
    Ok(())
}
