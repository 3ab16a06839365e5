//! What an admin may ask of the system itself.

use std::sync::Arc;

use events::{
    execute,
    ops::{Command, Projection, projection_id},
};
use poem_openapi::{OpenApi, param::Path};
use service::http::{Body, Caller, Problem};

use crate::{
    answer::{Accepted, Context},
    dispatch::Dispatcher,
    envelope::Envelope,
    execution::Again,
};

/// Where the projections are seen.
const PATH: &str = "/api/v1/projections";

/// The commands of this context.
pub struct Ops(pub Arc<Dispatcher>);

#[OpenApi(
    tag = "Context::Ops",
    request_header(
        name = "Idempotency-Key",
        ty = "Option<String>",
        description = "A repeated request with the same key gets the first answer."
    )
)]
impl Ops {
    /// Asks for a read model to be made anew, beside the one that serves, and exchanged for it if no row differs. Needs the
    /// role `admin`. `GET /api/v1/projections` shows how far it is, `GET /api/v1/projections/{name}/reports` what was decided.
    #[oai(path = "/api/v1/projections/:name/rebuild", method = "post", operation_id = "rebuild_projection")]
    async fn rebuild(
        &self,
        caller: Caller,
        /// The projection.
        name: Path<String>,
        envelope: Envelope,
        body: Body<Again>,
    ) -> Result<Accepted, Problem> {
        let projection = name.0;
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, call| {
                dispatcher.need_admin(caller.id).await?;
                let id = projection_id(&projection);
                let command = Command::RequestRebuild { projection };
                Ok(execute::<Projection>(&dispatcher.store, id, command, call).await?)
            })
            .await?;
        Ok(Accepted::at(PATH.to_owned(), receipt))
    }
}
