//! One base URL for both APIs: what only reads goes to the query API, all else to the command API, with what that one says
//! of its events.

use poem::http::Method;
use poem::{Endpoint, Request, Result};

/// The one document that the command API serves: it describes the events, and they come from there.
const OF_COMMANDS: &str = "/asyncapi.json";

/// Two endpoints behind one address, chosen by method.
#[derive(Debug)]
pub struct ByMethod<C, Q> {
    /// Takes all methods but GET and HEAD, and the document.
    pub commands: C,
    /// Takes GET and HEAD.
    pub queries: Q,
}

impl<C, Q> Endpoint for ByMethod<C, Q>
where
    C: Endpoint,
    Q: Endpoint<Output = C::Output>,
{
    type Output = C::Output;

    async fn call(&self, request: Request) -> Result<Self::Output> {
        match *request.method() {
            Method::GET | Method::HEAD if request.uri().path() != OF_COMMANDS => self.queries.call(request).await,
            _ => self.commands.call(request).await,
        }
    }
}
