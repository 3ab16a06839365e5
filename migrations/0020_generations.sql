-- Generations of the read models: beside the live rows of a projection, in `read`, there may be another set of them in a
-- schema of its own, `gen_<projection>_<number>`: one that is built, one that waits for somebody's word, or the one that was
-- live before. A switch exchanges the tables of the two schemas and the checkpoint in one transaction.
create schema ops;

-- Which generation the live rows are; 0 is the first, which grew with the log.
alter table read.checkpoint add column generation integer not null default 0;

-- Generations that are not live. Written by `projectors` alone.
create table ops.generation (
    projection text not null,
    number integer not null constraint generation_number_check check (number >= 0),
    -- The projection's VERSION in the code that makes its rows.
    version integer not null,
    -- building: somebody is at it, or was; candidate: complete, and waits for a decision; previous: live before.
    state text not null constraint generation_state_check check (state in ('building', 'candidate', 'previous')),
    -- How far a building one has come: load (rows out of memory, without indexes), index, late (events of things whose rows
    -- were out already), follow (events after the target), compare, switch.
    phase text not null
        constraint generation_phase_check check (phase in ('load', 'index', 'late', 'follow', 'compare', 'switch')),
    -- The position up to which rows are loaded without indexes; `done` of it are read.
    target bigint not null,
    done bigint not null default 0,
    -- Where its rows stand: nowhere (0) before all that is loaded is complete.
    position bigint not null default 0,
    epoch integer not null default 1,
    event_id uuid,
    -- Who works at it, by the database's clock: nobody, once `held_until` is past.
    holder uuid,
    held_until timestamptz,
    started_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint generation_pkey primary key (projection, number)
);
-- One that is to become live and one that was, of each projection.
create unique index generation_projection_next_key on ops.generation (projection) where state <> 'previous';
create unique index generation_projection_previous_key on ops.generation (projection) where state = 'previous';

-- What comparing a generation with the live rows found, and what was decided. Kept. Written by `projectors` alone.
create table ops.report (
    id uuid constraint report_pkey primary key,
    projection text not null,
    generation integer not null,
    version integer not null,
    -- What was live then.
    live_generation integer not null,
    live_version integer not null,
    -- Where both stood when they were compared.
    position bigint not null,
    -- False where there was nothing to compare with: no live rows, or those of another log.
    compared boolean not null,
    added bigint not null,
    removed bigint not null,
    changed bigint not null,
    -- Per table: how many rows, and in which columns they differ.
    tables json not null,
    -- Some of the rows that differ, each with the event that explains it.
    samples json not null,
    decision text not null
        constraint report_decision_check check (decision in ('switched', 'rolled_back', 'stopped', 'dry_run')),
    reason text not null,
    actor uuid,
    created_at timestamptz not null default now(),
    -- Where the log says so; null until it does (a dry run is not told).
    said_at bigint
);
create index report_projection_id_idx on ops.report (projection, id);
create index report_unsaid_idx on ops.report (id) where said_at is null and decision <> 'dry_run';
