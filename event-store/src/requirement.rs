//! What a command needs of other aggregates: it is looked at before the command is decided, and holds when it is appended.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::{
    Condition, Store, Stream,
    store::{Loaded, StoreError},
};

type Look<E> = dyn Fn(Store, bool) -> BoxFuture<'static, Result<Result<Condition, E>, StoreError>> + Send + Sync;

/// What must be so of another aggregate, or of a scope of claims, and the refusal where it is not.
pub struct Requirement<E>(Arc<Look<E>>);

impl<E> Clone for Requirement<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> fmt::Debug for Requirement<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requirement")
    }
}

impl<E: Clone + Send + Sync + 'static> Requirement<E> {
    /// The aggregate `id` of the stream of `B` is so, as `is_so` tells from its state; else `refusal`.
    pub fn of<B: Stream>(id: Uuid, is_so: fn(&B) -> bool, refusal: E) -> Self {
        Self(Arc::new(move |store, again| {
            let refusal = refusal.clone();
            Box::pin(async move {
                // What this process knows may be old: the append checks its version, and a refusal is not believed.
                let known = if again { None } else { store.recent::<B>(id) };
                let known = known.filter(|known| is_so(&known.aggregate));
                let Loaded { aggregate, version, .. } = match known {
                    Some(known) => known,
                    None => store.load::<B>(id).await?,
                };
                let condition = Condition::Unchanged { stream: B::TYPE, id, version };
                Ok(if is_so(&aggregate) { Ok(condition) } else { Err(refusal) })
            })
        }))
    }

    /// Nothing holds a claim of `scope`; else `refusal`.
    pub fn unclaimed(scope: String, refusal: E) -> Self {
        Self(Arc::new(move |store, again| {
            let (scope, refusal) = (scope.clone(), refusal.clone());
            Box::pin(async move {
                let claimed = again && store.is_claimed(&scope).await?;
                Ok(if claimed { Err(refusal) } else { Ok(Condition::Unclaimed { scope }) })
            })
        }))
    }

    /// The condition under which it holds, or the refusal. `again`: the append has found one that did not.
    pub(crate) async fn look(&self, store: &Store, again: bool) -> Result<Result<Condition, E>, StoreError> {
        (self.0)(store.clone(), again).await
    }
}
