//! Whether a caller may, decided on the log. What a company was when it was last read is believed only as long as the log says
//! the same: an append is refused otherwise, and whatever else a command comes to is not told before the log was asked.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use cqrs_es::Aggregate as _;
use events::{
    Action, Call, Condition, Error, Receipt, Requirement, Stream,
    company::Company,
    execute_requiring,
    permission::{Because, Standing, decide},
    store::Loaded,
};
use service::http::Problem;
use uuid::Uuid;

use crate::dispatch::Dispatcher;

/// How many companies are remembered.
const KNOWN: usize = 4_096;
/// How often it is decided again when members have changed meanwhile.
const TRIES: usize = 5;

/// Companies as they were last read.
#[derive(Default)]
pub struct Companies(RwLock<HashMap<Uuid, Loaded<Company>>>);

/// A question: whether the caller may do something to things of a tenant.
#[derive(Debug, Clone, Copy)]
pub struct May {
    /// Who.
    pub caller: Uuid,
    /// Whose.
    pub tenant: Uuid,
    /// What; none where that is decided elsewhere.
    pub action: Option<&'static Action>,
}

impl May {
    /// What is decided elsewhere.
    pub fn unasked(caller: Uuid) -> Self {
        Self { caller, tenant: caller, action: None }
    }
}

impl Companies {
    /// What `caller` is to `tenant`, and the version of it that says so, where it is a company's.
    fn known(&self, caller: Uuid, tenant: Uuid) -> Option<(Standing, i32)> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&tenant).map(|company| (company.aggregate.standing(caller), company.version))
    }

    fn keep(&self, tenant: Uuid, company: Loaded<Company>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(tenant, company);
    }
}

impl Dispatcher {
    /// The conditions under which the caller may, or the refusal: 404 for who must not know of the tenant, 403 for others.
    /// A refusal is always of the log as it is; `anew`, the leave is, too.
    pub async fn allow(&self, may: May, anew: bool) -> Result<Vec<Condition>, Problem> {
        let May { caller, tenant, action } = may;
        let Some(action) = action else { return Ok(Vec::new()) };
        if tenant == caller {
            return decide(action, Standing { is_own: true, ..Standing::default() })
                .map(|_| Vec::new())
                .map_err(refused);
        }
        let under = |version| vec![Condition::Unchanged { stream: Company::TYPE, id: tenant, version }];
        if !anew
            && let Some((standing, version)) = self.companies.known(caller, tenant)
            && decide(action, standing).is_ok()
        {
            return Ok(under(version));
        }
        let company = self.store.load::<Company>(tenant).await?;
        let (standing, version) = (company.aggregate.standing(caller), company.version);
        // Of what is no company nothing is kept: anybody can name any id.
        if version > 0 {
            self.companies.keep(tenant, company);
        }
        decide(action, standing).map(|_| under(version)).map_err(refused)
    }

    /// Executes a command that the caller may give, on the log as it is when it is appended or refused.
    pub async fn allowed<A: Stream>(
        &self,
        may: May,
        id: Uuid,
        command: A::Command,
        call: Call,
        needs: &[Requirement<A::Error>],
    ) -> Result<Receipt, Problem> {
        for attempt in 0..TRIES {
            let conditions = self.allow(may, attempt > 0).await?;
            let call = Call { conditions, ..call.clone() };
            match execute_requiring::<A>(&self.store, id, command.clone(), call, needs).await {
                Err(Error::Outdated) => {}
                done => return Ok(done?),
            }
        }
        Err(Error::<A::Error>::Contended.into())
    }
}

fn refused(because: Because) -> Problem {
    match because {
        Because::NoMember => Problem::not_found(),
        because => Problem::forbidden(because.to_string()),
    }
}
