//! The answers of commands.

use events::Receipt;
use poem_openapi::{ApiResponse, Object, Tags, payload::Json};
use uuid::Uuid;

/// What a command was about, and the place of its last event.
#[derive(Debug, Object)]
#[oai(rename = "Receipt")]
pub struct Recorded {
    /// The thing.
    id: Uuid,
    /// The thing's version after the command.
    version: i32,
    /// The place of the command's last event in the log: what `min_position` and `Daybook-Position` speak of.
    position: i64,
}

/// 201
#[derive(ApiResponse)]
pub enum Created {
    /// It exists.
    #[oai(status = 201)]
    Created(
        Json<Recorded>,
        /// Where it can be read.
        #[oai(header = "Location")]
        String,
        /// `true` if this repeats the answer to the first request with this `Idempotency-Key`.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

/// 202
#[derive(ApiResponse)]
pub enum Accepted {
    /// It is recorded, and a worker must still act.
    #[oai(status = 202)]
    Accepted(
        Json<Recorded>,
        /// Where to see what becomes of it.
        #[oai(header = "Location")]
        String,
        /// `true` if this repeats the answer to the first request with this `Idempotency-Key`.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

/// 200
#[derive(ApiResponse)]
pub enum Changed {
    /// It is changed.
    #[oai(status = 200)]
    Changed(
        Json<Recorded>,
        /// Where it can be read.
        #[oai(header = "Location")]
        String,
        /// `true` if this repeats the answer to the first request with this `Idempotency-Key`.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

fn told(receipt: Receipt) -> (Json<Recorded>, Option<bool>) {
    let Receipt { id, version, position, replayed } = receipt;
    (Json(Recorded { id, version, position }), replayed.then_some(true))
}

impl Created {
    /// The thing that `receipt` is about, in the collection at `path`.
    pub fn within(path: &str, receipt: Receipt) -> Self {
        let id = receipt.id;
        Self::at(format!("{path}/{id}"), receipt)
    }

    /// The thing that `receipt` is about, at `location`.
    pub fn at(location: String, receipt: Receipt) -> Self {
        let (recorded, replayed) = told(receipt);
        Self::Created(recorded, location, replayed)
    }
}

impl Accepted {
    /// The thing that `receipt` is about, in the collection at `path`.
    pub fn within(path: &str, receipt: Receipt) -> Self {
        let id = receipt.id;
        Self::at(format!("{path}/{id}"), receipt)
    }

    /// The thing that `receipt` is about, to be seen at `location`.
    pub fn at(location: String, receipt: Receipt) -> Self {
        let (recorded, replayed) = told(receipt);
        Self::Accepted(recorded, location, replayed)
    }
}

impl Changed {
    /// The thing that `receipt` is about, in the collection at `path`.
    pub fn within(path: &str, receipt: Receipt) -> Self {
        let id = receipt.id;
        Self::at(format!("{path}/{id}"), receipt)
    }

    /// The thing that `receipt` is about, at `location`.
    pub fn at(location: String, receipt: Receipt) -> Self {
        let (recorded, replayed) = told(receipt);
        Self::Changed(recorded, location, replayed)
    }
}

/// The contexts, as the document groups its operations.
#[derive(Tags)]
pub enum Context {
    /// Who the users are.
    Identity,
    /// Expert prompts.
    Prompt,
    /// Runs of prompts.
    Execution,
    /// The system itself.
    Ops,
}
