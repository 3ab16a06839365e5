//! Companies, for their members.

use events::company::row;

use crate::resource::Resource;

/// Companies.
pub static COMPANIES: Resource = Resource {
    path: "/api/v1/companies",
    table: &row::COMPANY,
    projection: MEMBERS,
    tag: "Company",
    doc: "A company: a tenant with members.",
    shared: false,
    filters: &[],
    computed: &[],
};

/// The projection that knows who is a member of what.
pub const MEMBERS: &str = "company";
