//! What describes the events, beside what describes the API.

use poem_openapi::{OpenApi, payload::Json};
use serde_json::Value;

use crate::{answer::Context, asyncapi};

/// The documents.
pub struct Documents {
    asyncapi: Value,
}

impl Default for Documents {
    fn default() -> Self {
        Self { asyncapi: asyncapi::document() }
    }
}

#[OpenApi(tag = "Context::Ops")]
impl Documents {
    /// The `AsyncAPI` 3 document of the events on NATS.
    #[oai(path = "/asyncapi.json", method = "get", operation_id = "asyncapi")]
    #[expect(clippy::unused_async, reason = "an operation of poem-openapi is async")]
    async fn asyncapi(&self) -> Json<Value> {
        Json(self.asyncapi.clone())
    }
}
