//! The catalogue, which any user may read.

use events::{
    catalog::row,
    read_model::{Column, Kind},
};

use crate::resource::{Computed, Resource};

/// Specialties.
pub static SPECIALTIES: Resource = Resource {
    path: "/api/v1/specialties",
    table: &row::SPECIALTY,
    projection: "catalog",
    tag: "Catalog",
    doc: "A specialty, such as cardiology.",
    shared: true,
    filters: &[],
    computed: &[Computed {
        column: Column {
            name: "sub_specialty_count",
            kind: Kind::Long,
            nullable: false,
            doc: "How many sub-specialties it has that are not archived.",
        },
        sql: "(select count(*) from sub_specialty s where s.specialty_id = t.id and not s.archived)",
        past: "(select count(*) filter (where kind = 'sub_specialty_created')
                     - count(*) filter (where kind = 'sub_specialty_archived')
                from event e
                where e.scope is null and e.position <= $2 and e.stream = 'sub_specialty'
                  and e.id in (select c.id from event c
                               where c.scope is null and c.position <= $2 and c.kind = 'sub_specialty_created'
                                 and c.data ->> 'specialty_id' = $1::uuid::text))",
    }],
};

/// Sub-specialties, of one specialty or of all.
pub static SUB_SPECIALTIES: Resource = Resource {
    path: "/api/v1/sub-specialties",
    table: &row::SUB_SPECIALTY,
    projection: "catalog",
    tag: "Catalog",
    doc: "A part of a specialty, such as rhythm disorders in cardiology.",
    shared: true,
    filters: &["specialty_id"],
    computed: &[],
};
