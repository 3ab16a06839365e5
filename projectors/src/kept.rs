//! What a projector remembers of the rows that it has written.

use std::sync::Arc;

use events::Recorded;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::{memory::Move, projection::Error};

/// The rows that are remembered, and the statement that they make possible.
pub trait Kept: Send + Sync {
    /// Applies `batch` and moves the checkpoint, in one statement: both or, if the checkpoint is not where it was, neither.
    /// Returns whether it was done. `batch` has events that the projection knows, and no others.
    fn advance<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        batch: &'a [Arc<Recorded>],
        step: &'a Move,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}
