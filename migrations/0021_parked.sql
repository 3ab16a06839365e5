-- Things whose events a projection cannot apply: their rows stay as they were before, and all that happens to them later
-- waits with the first such event, until it can be applied. Everything else goes on. Written by `projectors` alone.
create table ops.parked (
    projection text not null,
    -- The generation of rows that lacks the events.
    generation integer not null,
    stream text not null,
    id uuid not null,
    -- The first event that could not be applied.
    position bigint not null,
    version integer not null,
    kind text not null,
    error text not null,
    -- How many events wait, and how often they were tried again.
    events integer not null,
    tries integer not null default 0,
    parked_at timestamptz not null default now(),
    constraint parked_pkey primary key (projection, generation, stream, id)
);
create index parked_projection_position_idx on ops.parked (projection, generation, position);

-- How many things are parked: what is nearly always 0 need not be asked for at each batch.
alter table read.checkpoint add column parked integer not null default 0;
alter table ops.generation add column parked integer not null default 0;
