//! The one place that decides whether a caller may do something to things of a tenant. Pure: who asks has found out what the
//! caller is there, commands from the log, queries from the read model of members.

use std::fmt;

use crate::{Action, Needs, Role};

/// What a caller is to a tenant, as far as it matters to whether they may do something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The tenant is the caller's own, personal one.
    pub is_own: bool,
    /// The caller's role in the company that the tenant is; none for who is no member.
    pub role: Option<Role>,
    /// The company is archived: nothing of it changes any more.
    pub is_archived: bool,
    /// The caller has the role `admin` of the system.
    pub is_admin: bool,
}

/// Why a caller may, or may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The tenant is the caller's own.
    Own,
    /// The caller has this role, which is enough.
    Has(Role),
    /// The caller is an admin of the system.
    SystemAdmin,
    /// The caller is no member of the tenant, and so must not learn that it is there.
    NoMember,
    /// The caller needs this role at least.
    NeedsRole(Role),
    /// The caller would have to be an admin of the system.
    NeedsSystemAdmin,
    /// The company is archived.
    Archived,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the tenant is the caller's own"),
            Self::Has(role) => write!(f, "the caller has the role {role}"),
            Self::SystemAdmin => f.write_str("the caller is an admin of the system"),
            Self::NoMember => f.write_str("the caller is no member of such a tenant"),
            Self::NeedsRole(role) => write!(f, "this needs the role {role}"),
            Self::NeedsSystemAdmin => f.write_str("this needs the role admin of the system"),
            Self::Archived => f.write_str("the company is archived"),
        }
    }
}

/// Whether a caller of this standing may do `action`: why, or why not.
pub fn decide(action: &Action, standing: Standing) -> Result<Because, Because> {
    let Standing { is_own, role, is_archived, is_admin } = standing;
    let Needs::Role(least) = action.needs else {
        return if is_admin { Ok(Because::SystemAdmin) } else { Err(Because::NeedsSystemAdmin) };
    };
    if is_own {
        return Ok(Because::Own);
    }
    match role {
        Some(role) if role >= least && (action.is_read() || !is_archived) => Ok(Because::Has(role)),
        // Admins of the system see everything, and are not for that members of anything.
        _ if is_admin && action.is_read() => Ok(Because::SystemAdmin),
        Some(role) if role >= least => Err(Because::Archived),
        Some(_) => Err(Because::NeedsRole(least)),
        None => Err(Because::NoMember),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::CONTEXTS;

    const TABLE: &str = "own none viewer editor admin owner archived system system+viewer
catalog:write: no no no no no no no yes yes
companies:read: yes 404 yes yes yes yes yes yes yes
companies:write: yes 404 no no yes yes archived 404 no
companies:archive: yes 404 no no no yes archived 404 no
executions:read: yes 404 yes yes yes yes yes yes yes
executions:write: yes 404 no yes yes yes archived 404 no
items:read: yes 404 yes yes yes yes yes yes yes
items:write: yes 404 no yes yes yes archived 404 no
admin: no no no no no no no yes yes
prompts:read: yes 404 yes yes yes yes yes yes yes
prompts:write: yes 404 no yes yes yes archived 404 no
";

    /// Every action of every context with every standing: a line for each action, a word for each standing.
    #[test]
    fn every_action_with_every_standing() {
        let company = |role| Standing { role: Some(role), ..Standing::default() };
        let standings = [
            Standing { is_own: true, ..Standing::default() },
            Standing::default(),
            company(Role::Viewer),
            company(Role::Editor),
            company(Role::Admin),
            company(Role::Owner),
            Standing { is_archived: true, ..company(Role::Owner) },
            Standing { is_admin: true, ..Standing::default() },
            Standing { is_admin: true, ..company(Role::Viewer) },
        ];
        let mut table = String::from("own none viewer editor admin owner archived system system+viewer\n");
        for action in CONTEXTS.actions() {
            let words = standings.map(|standing| match decide(action, standing) {
                Ok(_) => "yes",
                Err(Because::NoMember) => "404",
                Err(Because::Archived) => "archived",
                Err(_) => "no",
            });
            writeln!(table, "{}: {}", action.name, words.join(" ")).unwrap();
        }
        assert_eq!(table, TABLE);
    }

    #[test]
    fn every_action_is_named_once_and_its_scope_is_one_of_the_documented() {
        let mut names: Vec<_> = CONTEXTS.actions().map(|action| action.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for action in CONTEXTS.actions() {
            let (of, what) = action.scope.split_once(':').unwrap_or((action.scope, "admin"));
            assert!(["read", "write", "admin"].contains(&what) && !of.is_empty(), "{}", action.scope);
        }
    }
}
