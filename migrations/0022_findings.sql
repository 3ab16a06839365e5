-- Rows that are not what the log says. Found by comparing them with a fold of the log, by whoever asks for it or by the
-- scrubber; closed when the row is right again. Written by `projectors` alone.
create table ops.finding (
    id uuid constraint finding_pkey primary key,
    projection text not null,
    relation text not null,
    -- The thing that the row is of, and which of its rows, where it has several.
    thing uuid not null,
    row_version integer,
    -- missing: only the log has it; foreign: only the table has it; changed: they differ in `columns`.
    change text not null constraint finding_change_check check (change in ('missing', 'foreign', 'changed')),
    columns json not null,
    -- The first event after which row and fold differ.
    event_position bigint,
    event_kind text,
    why text not null,
    -- Where the live rows stood.
    position bigint not null,
    found_at timestamptz not null default now(),
    closed_at timestamptz,
    is_repaired boolean not null default false,
    -- Where the log says that it was found, and that it was repaired.
    said_at bigint,
    repair_said_at bigint
);
create unique index finding_open_key on ops.finding (projection, relation, thing, coalesce(row_version, 0))
    where closed_at is null;
create index finding_projection_id_idx on ops.finding (projection, id);

-- Which stretches of the log have had the things that begin in them compared, and when; older ones than 30 days are dropped.
create table ops.scrubbed (
    projection text not null,
    after bigint not null,
    until bigint not null,
    at timestamptz not null default now()
);
create index scrubbed_projection_at_idx on ops.scrubbed (projection, at);
