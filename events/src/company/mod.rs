//! Companies: tenants with members. A company's tenant has the company's id.
//!
//! The aggregate itself decides who may change it, by the members that it has: nothing is between the question and the answer.

mod aggregate;
pub mod row;
mod settings;
#[cfg(test)]
mod tests;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use aggregate::Company;
pub use settings::{Settings, SettingsChanges};

use crate::{Action, Context, EventStream, Fact, Patch, Role};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "company",
    doc: "Companies: tenants with members.",
    streams: &[EventStream::of::<Company>()],
    projections: &["company"],
    actions: &[READ, WRITE, ARCHIVE],
};

/// To see a company, its members and settings.
pub const READ: Action = Action::of("companies:read", Role::Viewer);
/// To manage a company's name, members and settings.
pub const WRITE: Action = Action::of("companies:write", Role::Admin);
/// To archive a company.
pub const ARCHIVE: Action = Action::of("companies:archive", Role::Owner).in_scope("companies:write");

/// A new company.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct NewCompany {
    /// For people.
    #[schemars(length(max = 100), regex(pattern = r"\S"))]
    pub name: String,
}

/// What is to be different: what is left out stays.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct CompanyChanges {
    /// For people.
    #[serde(default)]
    #[schemars(length(max = 100), regex(pattern = r"\S"))]
    pub name: Patch<String>,
}

/// What a member is to be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct NewRole {
    /// The role.
    #[schemars(schema_with = "any_role")]
    pub role: Role,
}

/// The names alone, so that a refusal lists them.
fn any_role(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Role::ALL.map(Role::name) })
}

/// What can be asked of a company.
#[derive(Debug, Clone)]
pub enum Command {
    /// Makes it; this user is its owner.
    Create(Uuid, NewCompany),
    /// Changes it, as this user asks.
    Change(Uuid, Change),
}

/// What is to become of a company.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is called so.
    Rename(CompanyChanges),
    /// Nothing of it changes any more. Once more changes nothing.
    Archive,
    /// Its settings are these.
    Settings(SettingsChanges),
    /// A member has this role.
    Role(Uuid, Role),
    /// Somebody is no member any more: the one who asks leaves, others are removed.
    Remove(Uuid),
}

/// What happened to a company.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// It exists from now on.
    CompanyCreated {
        /// For people.
        name: String,
    },
    /// It is called otherwise.
    CompanyRenamed {
        /// For people.
        name: String,
    },
    /// Nothing of it changes any more.
    CompanyArchived {},
    /// Somebody is a member from now on: with the company its first owner.
    MemberJoined {
        /// Who.
        user_id: Uuid,
        /// What they may do.
        role: Role,
    },
    /// Somebody has left.
    MemberLeft {
        /// Who.
        user_id: Uuid,
    },
    /// Somebody was removed.
    MemberRemoved {
        /// Who.
        user_id: Uuid,
    },
    /// A member has another role.
    MemberRoleChanged {
        /// Who.
        user_id: Uuid,
        /// The role.
        role: Role,
    },
    /// Settings are different: what is left out stayed.
    CompanySettingChanged(SettingsChanges),
}

impl Fact for Event {}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, derive::DomainError)]
pub enum Error {
    /// There is no such company, or the one who asks is no member of it.
    #[error("there is no such company")]
    #[refusal(NotFound, "not_found")]
    NotFound,
    /// It exists already.
    #[error("the company exists already")]
    #[refusal(Conflict, "company_exists")]
    Exists,
    /// The one who asks has too low a role.
    #[error("this needs the role {0}")]
    #[refusal(Forbidden, "forbidden")]
    Needs(Role),
    /// It is archived.
    #[error("the company is archived, which allows nothing any more but to leave it")]
    #[refusal(Conflict, "illegal_transition")]
    Archived,
    /// There is no such member.
    #[error("the company has no such member")]
    #[refusal(NotFound, "not_found")]
    NoSuchMember,
    /// Without its last owner a company would be nobody's.
    #[error("this is the company's last owner: make another member an owner first")]
    #[refusal(Conflict, "last_owner")]
    LastOwner,
}
