//! Whether who has shown a good token may still come in. The roles say so: here is only where they are asked.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use super::{Caller, Problem};

type Ask = dyn Fn(Caller) -> BoxFuture<'static, Result<Caller, Problem>> + Send + Sync;

/// Asked for every caller, where it is among a route's data ([`poem::EndpointExt::data`]). Clones are the same.
#[derive(Clone)]
pub struct Admission(Arc<Ask>);

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admission")
    }
}

impl Admission {
    /// By `ask`, which gives the caller back, or says why not.
    pub fn new<F>(ask: impl Fn(Caller) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Caller, Problem>> + Send + 'static,
    {
        Self(Arc::new(move |caller| Box::pin(ask(caller))))
    }

    /// The caller, if they may still come in.
    pub async fn of(&self, caller: Caller) -> Result<Caller, Problem> {
        (self.0)(caller).await
    }
}
