//! One delivery of a job, in the hands of who works on it.

use tokio_util::sync::CancellationToken;

/// One delivery of a job.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    taken: CancellationToken,
}

impl Delivery {
    /// One, and what tells that it was taken.
    pub(super) fn new() -> (Self, CancellationToken) {
        let taken = CancellationToken::new();
        (Self { taken: taken.clone() }, taken)
    }

    /// The log knows who has the job: its message need not come again, whatever happens to the work from now on. The work
    /// keeps its slot until it ends.
    pub fn taken(&self) {
        self.taken.cancel();
    }
}
