//! Which events a client wants, of those that it may see.

use events::{
    CONTEXTS, Fold, Recorded, execution,
    store::{Among, Heading},
};
use service::http::{Caller, Problem};
use uuid::Uuid;

/// The scope that has no tenant, as on the bus.
const PUBLIC: &str = "public";

/// What the system says of itself, in the public scope, too, but to admins alone.
const OPS: &str = "ops";

/// Whose events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    All,
    /// One tenant's.
    Tenant(Uuid),
    /// Nobody's: the public scope.
    Shared,
    /// A tenant's and nobody's.
    TenantAndShared(Uuid),
    /// One execution's.
    Execution(Uuid),
}

/// Which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Whose.
    pub whose: Whose,
    /// With those of [`OPS`].
    ops: bool,
    stream: Option<&'static str>,
    kind: Option<&'static str>,
}

impl Filter {
    /// What `caller` asks for: 422 names what is not known, 403 is for what only admins may see. Whether the
    /// caller may see the tenant of [`Self::foreign`] is not known here.
    pub fn parse(
        caller: &Caller,
        stream: Option<&str>,
        scope: Option<&str>,
        kind: Option<&str>,
    ) -> Result<Self, Problem> {
        let admin = caller.is_admin();
        let stream = stream.map(known_stream).transpose()?;
        let kind = kind.map(|kind| known_kind(stream, kind)).transpose()?;
        let whose = match scope {
            None if admin => Whose::All,
            None => Whose::TenantAndShared(caller.id),
            Some(PUBLIC) => Whose::Shared,
            Some(tenant) => Whose::Tenant(tenant.parse().map_err(|_| {
                Problem::invalid_parameter("scope", format!("must be the id of a tenant (a user), or `{PUBLIC}`"))
            })?),
        };
        if stream == Some(OPS) {
            caller.need_admin()?;
        }
        Ok(Self { whose, ops: admin, stream, kind })
    }

    /// The tenant whose events are asked for, where it is not the caller's own and the caller may not see everything: to be
    /// allowed before anything is read.
    pub fn foreign(&self, caller: &Caller) -> Option<Uuid> {
        match self.whose {
            Whose::Tenant(tenant) if !caller.is_admin() && tenant != caller.id => Some(tenant),
            _ => None,
        }
    }

    /// All events of one execution.
    pub fn of_execution(id: Uuid) -> Self {
        Self { whose: Whose::Execution(id), ops: false, stream: Some(execution::row::Execution::STREAM), kind: None }
    }

    /// Where to look for them in the table.
    pub fn among(&self) -> Among<'static> {
        match self.whose {
            Whose::All => Among::All,
            Whose::Tenant(tenant) => Among::Tenant(tenant),
            Whose::Shared => Among::Shared,
            Whose::TenantAndShared(tenant) => Among::TenantAndShared(tenant),
            Whose::Execution(id) => Among::Thing { stream: execution::row::Execution::STREAM, id },
        }
    }

    /// Whether this is one of them.
    pub fn wants(&self, event: &impl Facts) -> bool {
        let scope = event.scope();
        let whose = match self.whose {
            Whose::All => true,
            Whose::Tenant(tenant) => scope == Some(tenant),
            Whose::Shared => scope.is_none(),
            Whose::TenantAndShared(tenant) => scope.is_none_or(|scope| scope == tenant),
            Whose::Execution(id) => event.id() == id,
        };
        whose
            && (self.ops || event.stream() != OPS)
            && self.stream.is_none_or(|stream| stream == event.stream())
            && self.kind.is_none_or(|kind| kind == event.kind())
    }
}

fn known_stream(name: &str) -> Result<&'static str, Problem> {
    let known = CONTEXTS.stream(name).map(|stream| stream.name);
    known.ok_or_else(|| {
        let mut names: Vec<_> = CONTEXTS.streams().map(|stream| stream.name).collect();
        names.sort_unstable();
        Problem::invalid_parameter("stream", format!("must be one of {}", names.join(", ")))
    })
}

/// The kind `name`, of this stream if one is given.
fn known_kind(stream: Option<&str>, name: &str) -> Result<&'static str, Problem> {
    let streams = CONTEXTS.streams().filter(|known| stream.is_none_or(|stream| stream == known.name));
    let mut kinds: Vec<_> = streams.flat_map(|stream| stream.kinds.iter().copied()).collect();
    kinds.sort_unstable();
    let known = kinds.iter().find(|known| **known == name);
    known.copied().ok_or_else(|| Problem::invalid_parameter("kind", format!("must be one of {}", kinds.join(", "))))
}

/// What a filter asks an event, wherever it was read.
pub trait Facts {
    /// Its stream.
    fn stream(&self) -> &str;
    /// Its thing.
    fn id(&self) -> Uuid;
    /// Its kind.
    fn kind(&self) -> &str;
    /// Its tenant.
    fn scope(&self) -> Option<Uuid>;
}

macro_rules! facts {
    ($($event:ty),+) => {$(
        impl Facts for $event {
            fn stream(&self) -> &str {
                &self.stream
            }

            fn id(&self) -> Uuid {
                self.id
            }

            fn kind(&self) -> &str {
                &self.kind
            }

            fn scope(&self) -> Option<Uuid> {
                self.scope
            }
        }
    )+};
}

facts!(Recorded, Heading);

#[cfg(test)]
mod tests {
    use events::clock;

    use super::*;

    fn caller(id: u128, admin: bool) -> Caller {
        let roles = if admin { vec!["admin".to_owned()] } else { Vec::new() };
        Caller { id: Uuid::from_u128(id), roles, session: None, expires_at: clock::now() }
    }

    #[test]
    fn a_foreign_tenant_is_one_that_is_not_the_callers() {
        let of = |id| Uuid::from_u128(id).to_string();
        let foreign = |admin, scope: Option<&str>| {
            Filter::parse(&caller(1, admin), None, scope, None).unwrap().foreign(&caller(1, admin))
        };
        assert_eq!(foreign(false, Some(&of(2))), Some(Uuid::from_u128(2)));
        for own in [
            foreign(false, None),
            foreign(false, Some(&of(1))),
            foreign(false, Some(PUBLIC)),
            foreign(true, Some(&of(2))),
        ] {
            assert_eq!(own, None);
        }
    }

    #[test]
    fn who_asks_for_what() {
        let uuid = |id| Uuid::from_u128(id).to_string();
        let ask = |admin, stream: &str, scope: &str, kind: &str| {
            let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
            match Filter::parse(&caller(1, admin), given(stream), given(scope), given(kind)) {
                Ok(filter) => format!("{:?}", filter.whose),
                Err(problem) => {
                    let fault = problem.errors().first().map(|fault| fault.pointer.clone()).unwrap_or_default();
                    format!("{} {fault}", problem.status().as_u16())
                }
            }
        };
        let own = format!("Tenant({})", uuid(1));
        for (admin, stream, scope, kind, expected) in [
            (false, "", "", "", format!("TenantAndShared({})", uuid(1))),
            (true, "", "", "", "All".to_owned()),
            (false, "", &*uuid(1), "", own.clone()),
            (false, "", &*uuid(2), "", format!("Tenant({})", uuid(2))),
            (true, "", &*uuid(2), "", format!("Tenant({})", uuid(2))),
            (false, "", "public", "", "Shared".to_owned()),
            (true, "", "Public", "", "422 /scope".to_owned()),
            (false, "", "*", "", "422 /scope".to_owned()),
            (false, "ops", "", "", "403 ".to_owned()),
            (true, "ops", "", "", "All".to_owned()),
            (true, "opus", "", "", "422 /stream".to_owned()),
            (true, "prompt", "", "prompt_created", "All".to_owned()),
            (true, "prompt", "", "execution_failed", "422 /kind".to_owned()),
            (true, "", "", "execution_fialed", "422 /kind".to_owned()),
        ] {
            assert_eq!(ask(admin, stream, scope, kind), expected, "{admin} {stream} {scope} {kind}");
        }
    }
}
