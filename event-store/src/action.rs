//! What can be done to things of a tenant, as contexts name it. Whether a caller may is decided in one place, by who knows the
//! roles; here is only what contexts say.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody is in a tenant. Each may all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Makes and changes things.
    Editor,
    /// Manages members and settings.
    Admin,
    /// May everything.
    Owner,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Editor, Self::Admin, Self::Owner];

    /// Its name, as serde writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Who has this role in the tenant, or a higher one.
    Role(Role),
    /// Admins of the system, whatever the tenant.
    SystemAdmin,
}

/// Something that can be done, as `items:write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Its name: what it is done to, and after a colon what is done.
    pub name: &'static str,
    /// The scope that a key must have for it.
    pub scope: &'static str,
    /// Who may.
    pub needs: Needs,
}

impl Action {
    /// One that needs a role in the tenant, and of a key the scope of its own name.
    pub const fn of(name: &'static str, least: Role) -> Self {
        Self { name, scope: name, needs: Needs::Role(least) }
    }

    /// The same with another scope.
    #[must_use]
    pub const fn in_scope(self, scope: &'static str) -> Self {
        Self { scope, ..self }
    }

    /// Whether it only reads.
    pub fn is_read(&self) -> bool {
        self.name.ends_with(":read")
    }
}
