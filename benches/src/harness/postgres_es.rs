//! What postgres-es needs, wherever it is measured against.

/// Its table of events, as its `db/init.sql` has it.
pub const POSTGRES_ES: &str = "create table events (
    aggregate_type text not null,
    aggregate_id text not null,
    sequence bigint check (sequence >= 0) not null,
    event_type text not null,
    event_version text not null,
    payload json not null,
    metadata json not null,
    primary key (aggregate_type, aggregate_id, sequence)
)";
