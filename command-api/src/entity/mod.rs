//! Plain commands on an aggregate, from one declaration: make one, change it, take it through a transition.
//!
//! A body's type is in `events`, where its JSON Schema is derived: the request is checked against it and the document publishes
//! it. `null` in a change empties a field, what is left out stays (RFC 7396). What is not plain is a method of its own.

mod document;
mod endpoint;

use std::{marker::PhantomData, sync::Arc};

use cqrs_es::Aggregate;
use events::{Action, Call, Receipt, Requirement, Stream};
use futures_util::future::BoxFuture;
use poem::http::Method;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use service::http::{Caller, Faults, Problem};
use uuid::Uuid;

pub use document::document;
pub use endpoint::routes;

use crate::{dispatch::Dispatcher, permission::May};

/// Who may write an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Who may do this to things of the tenant that it belongs to.
    Tenant(&'static Action),
    /// Admins of the system: it is shared by all.
    System,
    /// Whom it lets itself, for it is a tenant. Who may not even do this is told that it is not there.
    Itself(&'static Action),
}

/// Who asks for a command on something that exists.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The caller.
    pub by: Uuid,
    /// What of it the path names.
    pub part: Option<Uuid>,
}

/// The body of a command that takes none.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub struct Nothing {}

/// One command of the HTTP API.
pub struct Operation {
    method: Method,
    /// The collection's path.
    collection: &'static str,
    /// What comes after it, as `/:id/archive`.
    below: String,
    tag: &'static str,
    id: &'static str,
    doc: &'static str,
    /// The schema of the body, as JSON Schema 2020-12.
    schema: Value,
    check: fn(&Value, &mut Faults),
    run: Run,
}

type Run = Box<dyn Fn(Arc<Dispatcher>, Command) -> BoxFuture<'static, Result<Receipt, Problem>> + Send + Sync>;

/// A request that was read, before it is decided.
struct Command {
    caller: Caller,
    /// The aggregate; for one that is made, a new id.
    id: Uuid,
    /// What of it is meant.
    part: Option<Uuid>,
    body: Value,
    call: Call,
}

/// The commands of the aggregate `A`, one after the other.
pub struct Entity<A: Stream> {
    collection: &'static str,
    tag: &'static str,
    owner: Owner,
    requirements: Requirements<A>,
    operations: Vec<Operation>,
    aggregate: PhantomData<fn() -> A>,
}

/// What a command on the aggregate of an id needs of others.
type Requirements<A> = fn(&<A as Aggregate>::Command, Uuid) -> Vec<Requirement<<A as Aggregate>::Error>>;

impl<A: Stream> Entity<A>
where
    A::Command: 'static,
{
    /// No command yet, below `collection`; `tag` is the context as the document writes it.
    pub fn new(collection: &'static str, tag: &'static str, owner: Owner) -> Self {
        Self { collection, tag, owner, requirements: |_, _| Vec::new(), operations: Vec::new(), aggregate: PhantomData }
    }

    /// What the commands that follow need of other aggregates.
    #[must_use]
    pub fn requiring(self, requirements: Requirements<A>) -> Self {
        Self { requirements, ..self }
    }

    /// `POST {collection}`, which makes one, for the tenant that `command` is given: 201.
    #[must_use]
    pub fn create<B: DeserializeOwned + JsonSchema + 'static>(
        self,
        id: &'static str,
        doc: &'static str,
        command: fn(B, Uuid) -> A::Command,
    ) -> Self {
        let (owner, requirements) = (self.owner, self.requirements);
        let run = move |dispatcher: Arc<Dispatcher>, mut request: Command| -> BoxFuture<'static, _> {
            Box::pin(async move {
                dispatcher.known(request.caller.id).await?;
                let caller = request.caller.id;
                let (tenant, may) = match owner {
                    Owner::Tenant(action) => {
                        let tenant = take_tenant(&mut request.body).unwrap_or(caller);
                        (tenant, May { caller, tenant, action: Some(action) })
                    }
                    Owner::System => {
                        dispatcher.need_admin(caller).await?;
                        (caller, May::unasked(caller))
                    }
                    Owner::Itself(_) => (caller, May::unasked(caller)),
                };
                dispatcher.allow(may, false).await?;
                let command = command(parse(request.body)?, tenant);
                let call = Call { fresh: true, ..request.call };
                let needs = requirements(&command, request.id);
                dispatcher.allowed::<A>(may, request.id, command, call, &needs).await
            })
        };
        let mut schema = schema::<B>();
        if matches!(owner, Owner::Tenant(_)) {
            schema["properties"]["tenant_id"] = serde_json::json!({
                "type": ["string", "null"], "format": "uuid",
                "description": "The tenant that it is to belong to; without it, the caller's own.",
            });
        }
        self.with(Method::POST, String::new(), id, doc, schema, Box::new(run))
    }

    /// `PATCH {collection}/{id}`, which changes one: 200.
    #[must_use]
    pub fn change<B: DeserializeOwned + JsonSchema + 'static>(
        self,
        id: &'static str,
        doc: &'static str,
        command: fn(B) -> A::Command,
    ) -> Self {
        let mut schema = schema::<B>();
        schema["minProperties"] = 1.into();
        self.existing(Method::PATCH, "/:id".to_owned(), id, doc, schema, move |body, _| command(body))
    }

    /// Any method on `{collection}{below}`, which is what one has: 200. `:part` in it is an id that `command` is given.
    #[must_use]
    pub fn on<B: DeserializeOwned + JsonSchema + 'static>(
        self,
        method: Method,
        below: &str,
        id: &'static str,
        doc: &'static str,
        command: fn(B, Asked) -> A::Command,
    ) -> Self {
        let mut schema = schema::<B>();
        if method == Method::PATCH {
            schema["minProperties"] = 1.into();
        }
        self.existing(method, below.to_owned(), id, doc, schema, command)
    }

    /// `POST {collection}/{id}/{transition}`: 200.
    #[must_use]
    pub fn transition<B: DeserializeOwned + JsonSchema + 'static>(
        self,
        transition: &'static str,
        id: &'static str,
        doc: &'static str,
        command: fn(B) -> A::Command,
    ) -> Self {
        let below = format!("/:id/{transition}");
        self.existing(Method::POST, below, id, doc, schema::<B>(), move |body, _| command(body))
    }

    /// What a schema cannot say of the body of the command before.
    #[must_use]
    pub fn checked(mut self, check: fn(&Value, &mut Faults)) -> Self {
        if let Some(last) = self.operations.last_mut() {
            last.check = check;
        }
        self
    }

    /// All of them.
    pub fn operations(self) -> Vec<Operation> {
        self.operations
    }

    fn existing<B: DeserializeOwned + 'static>(
        self,
        method: Method,
        below: String,
        id: &'static str,
        doc: &'static str,
        schema: Value,
        command: impl Fn(B, Asked) -> A::Command + Copy + Send + Sync + 'static,
    ) -> Self {
        let (owner, requirements) = (self.owner, self.requirements);
        let run = move |dispatcher: Arc<Dispatcher>, request: Command| -> BoxFuture<'static, _> {
            Box::pin(async move {
                let by = request.caller.id;
                dispatcher.known(by).await?;
                if owner == Owner::System {
                    dispatcher.need_admin(by).await?;
                }
                // Before the version is compared: a stranger learns nothing of it.
                let loaded = dispatcher.store.load::<A>(request.id).await?;
                if loaded.version == 0 {
                    return Err(Problem::not_found());
                }
                let may = match (owner, loaded.aggregate.scope(request.id)) {
                    (Owner::Tenant(action), Some(tenant)) => May { caller: by, tenant, action: Some(action) },
                    (Owner::Itself(action), Some(tenant)) => {
                        dispatcher.allow(May { caller: by, tenant, action: Some(action) }, true).await?;
                        May::unasked(by)
                    }
                    (Owner::System, _) => May::unasked(by),
                    // Nobody may be asked for it, so nobody may.
                    (Owner::Tenant(_) | Owner::Itself(_), None) => return Err(Problem::not_found()),
                };
                dispatcher.allow(may, false).await?;
                let command = command(parse(request.body)?, Asked { by, part: request.part });
                let needs = requirements(&command, request.id);
                dispatcher.allowed::<A>(may, request.id, command, request.call, &needs).await
            })
        };
        self.with(method, below, id, doc, schema, Box::new(run))
    }

    fn with(
        mut self,
        method: Method,
        below: String,
        id: &'static str,
        doc: &'static str,
        schema: Value,
        run: Run,
    ) -> Self {
        let (collection, tag) = (self.collection, self.tag);
        let check = |_: &Value, _: &mut Faults| ();
        self.operations.push(Operation { method, collection, below, tag, id, doc, schema, check, run });
        self
    }
}

/// The body's schema, whole in itself; it takes no other fields.
fn schema<B: JsonSchema>() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<B>().to_value();
    schema["additionalProperties"] = false.into();
    if !schema["properties"].is_object() {
        schema["properties"] = Map::new().into();
    }
    schema
}

fn parse<B: DeserializeOwned>(body: Value) -> Result<B, Problem> {
    // The schema has taken it: what the type does not take is between the two.
    serde_json::from_value(body).map_err(|error| {
        Problem::invalid(vec![events::refusal::Fault::new("", format!("does not have the documented form: {error}"))])
    })
}

/// The tenant that a body names, which is taken out of it.
fn take_tenant(body: &mut Value) -> Option<Uuid> {
    let named = body.as_object_mut().and_then(|fields| fields.shift_remove("tenant_id"))?;
    named.as_str()?.parse().ok()
}
