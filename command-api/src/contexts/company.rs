//! Managing companies. The aggregate decides who may.

use events::company::{Change, Command, Company, CompanyChanges, NewCompany, NewRole, READ, SettingsChanges};
use poem::http::Method;

use crate::entity::{Entity, Nothing, Operation, Owner};

/// The commands of this context.
pub fn operations() -> Vec<Operation> {
    Entity::<Company>::new("/api/v1/companies", "Company", Owner::Itself(&READ))
        .create("create_company", "Makes a company. The caller is its owner.", |new: NewCompany, owner| {
            Command::Create(owner, new)
        })
        .on(
            Method::PATCH,
            "/:id",
            "change_company",
            "Changes a company: what is left out stays. Needs the role `admin` in it.",
            |changes: CompanyChanges, asked| Command::Change(asked.by, Change::Rename(changes)),
        )
        .on(
            Method::POST,
            "/:id/archive",
            "archive_company",
            "Archives a company, of which nothing changes any more then. Needs the role `owner` in it.",
            |Nothing {}, asked| Command::Change(asked.by, Change::Archive),
        )
        .on(
            Method::PATCH,
            "/:id/settings",
            "change_company_settings",
            "Changes settings of a company: what is left out stays, null takes it away. Needs the role `admin` in it.",
            |changes: SettingsChanges, asked| Command::Change(asked.by, Change::Settings(changes)),
        )
        .on(
            Method::PATCH,
            "/:id/members/:part",
            "change_company_member",
            "Gives a member (`part` is the user) another role. Needs the role `admin` in the company; only owners make and \
             demote owners, and the last one stays one.",
            |NewRole { role }, asked| Command::Change(asked.by, Change::Role(asked.part.unwrap_or_default(), role)),
        )
        .on(
            Method::DELETE,
            "/:id/members/:part",
            "remove_company_member",
            "Removes a member (`part` is the user), or leaves the company. To remove others needs the role `admin` in it, \
             and `owner` to remove owners; the last owner stays.",
            |Nothing {}, asked| Command::Change(asked.by, Change::Remove(asked.part.unwrap_or_default())),
        )
        .operations()
}
