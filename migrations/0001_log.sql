-- The log: the only truth. Written by `events::store` alone, through the function append() at the end of this file.

-- One row. Its lock orders all appends of all processes; the position that follows is read under that lock, so positions
-- are gapless and in commit order. The row itself is not rewritten by an append: a row version a group would be scanned by
-- every later lock for as long as some old snapshot is open.
create table ledger (
    one boolean default true constraint ledger_pkey primary key constraint ledger_one_check check (one),
    -- Raised when the stream on the bus has to be built anew, or when the log itself was restored to an earlier point.
    epoch integer not null default 1 constraint ledger_epoch_check check (epoch > 0)
);
insert into ledger default values;

create table event (
    position bigint constraint event_pkey primary key,
    epoch integer not null,
    event_id uuid not null,
    stream text not null,
    id uuid not null,
    version integer not null constraint event_version_check check (version > 0),
    kind text not null,
    schema smallint not null,
    -- The tenant that owns the thing; null is the shared catalogue.
    scope uuid,
    -- json, not jsonb: the bytes stay as written, and the hash is over them.
    data json not null,
    meta json not null,
    recorded_at timestamptz not null,
    -- SHA-256; see docs/architecture.md for the lines that go into it.
    hash bytea not null constraint event_hash_check check (octet_length(hash) = 32),
    constraint event_stream_id_version_key unique (stream, id, version)
);
create index event_scope_position_idx on event (scope, position);

create function event_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the log is append-only: % on table event is refused', tg_op using errcode = 'integrity_constraint_violation';
end $$;
create trigger event_append_only before update or delete on event
    for each row execute function event_is_append_only();
create trigger event_no_truncate before truncate on event
    for each statement execute function event_is_append_only();
-- Always: also in a session that plays a replica.
alter table event enable always trigger event_append_only;
alter table event enable always trigger event_no_truncate;

-- Values that only one thing may hold (e-mail, names). A pure function of the events: it can be derived again from them.
create table claim (
    scope text not null,
    value text not null,
    stream text not null,
    id uuid not null,
    position bigint not null,
    constraint claim_pkey primary key (scope, value)
);

-- What must never be in an event (password hashes), in the same transaction as the event that it belongs to.
create table secret (
    stream text not null,
    id uuid not null,
    kind text not null,
    value bytea not null,
    constraint secret_pkey primary key (stream, id, kind)
);

-- Commands that came with an Idempotency-Key, and their receipts. Kept for 24 hours, then deleted by the relay's leader.
create table command (
    caller uuid not null,
    key text not null,
    -- HMAC of the request under the server's secret; the request itself is not kept.
    request bytea not null,
    stream text not null,
    id uuid not null,
    version integer not null,
    position bigint not null,
    recorded_at timestamptz not null,
    constraint command_pkey primary key (caller, key)
);
create index command_recorded_at_idx on command (recorded_at);

-- Who leads at what only one may do at a time (the relay), by database time. Losing a lease is harmless.
create table lease (
    name text constraint lease_pkey primary key,
    holder uuid not null,
    expires_at timestamptz not null
);

-- Appends a group of commands in one transaction and one round trip.
--
-- c_* hold one element a command, e_* one an event, k_* one a claim, s_* one a secret; *_cmd is the index (from 1) of the
-- command that it belongs to. c_version = c_expected + number of its events. No two commands of a group share a stream,
-- a claim or a key: the writer sees to that. Per command `refused` says 0 accepted, 1 its stream is not at c_expected,
-- 2 a claim is taken, 3 its key was used; `last` is the position of its last event.
--
-- Every statement here takes a snapshot of its own (volatile function, read committed), so the checks see all that was
-- committed before the lock was ours. The key is checked first: a repeated command would meet its own version and claims.
create function append(
    c_stream text[], c_id uuid[], c_expected integer[], c_version integer[],
    c_caller uuid[], c_key text[], c_request bytea[], -- all three empty when no command has a key
    e_cmd integer[], e_event_id uuid[], e_stream text[], e_id uuid[], e_version integer[], e_kind text[],
    e_schema smallint[], e_scope uuid[], e_data text[], e_meta text[], e_hash bytea[], e_at timestamptz,
    k_cmd integer[], k_scope text[], k_value text[],
    s_cmd integer[], s_kind text[], s_value bytea[],
    out refused smallint[], out last bigint[], out head bigint
) language plpgsql volatile as $append$
#variable_conflict use_variable
declare
    now_epoch integer;
    taken integer[] := '{}';
    used integer[] := '{}';
begin
    select l.epoch into strict now_epoch from ledger l for update;
    select coalesce((select e.position from event e order by e.position desc limit 1), 0) into head;

    if cardinality(c_key) > 0 then
        -- A scalar subselect is an index probe a row; an EXISTS may become a hash of the whole table.
        used := array(
            select c.n
            from (select generate_subscripts(c_key, 1) as n, unnest(c_caller) as caller, unnest(c_key) as key) c
            where c.key is not null
              and (select 1 from command k
                   where k.caller = c.caller and k.key = c.key and k.recorded_at > e_at - interval '24 hours') is not null);
    end if;
    if cardinality(k_cmd) > 0 then
        taken := array(
            select k.cmd
            from (select unnest(k_cmd) as cmd, unnest(k_scope) as scope, unnest(k_value) as value) k
            where (select 1 from claim t where t.scope = k.scope and t.value = k.value) is not null);
    end if;

    with checked as materialized (
        select c.n, c.version - c.expected as events,
            case
                when c.n = any (used) then 3
                when c.expected <> coalesce((select e.version from event e
                                             where e.stream = c.stream and e.id = c.id
                                             order by e.version desc limit 1), 0) then 1
                when c.n = any (taken) then 2
                else 0
            end::smallint as refused
        from (select generate_subscripts(c_id, 1) as n, unnest(c_stream) as stream, unnest(c_id) as id,
                     unnest(c_expected) as expected, unnest(c_version) as version) c
    ), placed as (
        select c.n, c.refused,
            head + coalesce(sum(c.events) filter (where c.refused = 0) over (order by c.n rows unbounded preceding), 0) as last
        from checked c
    )
    select array_agg(p.refused order by p.n), array_agg(p.last order by p.n) into refused, last from placed p;

    if last[cardinality(last)] = head then
        return;
    end if;

    insert into event (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
    select last[x.cmd] - (c_version[x.cmd] - x.version), now_epoch, x.event_id, x.stream, x.id, x.version,
           x.kind, x.schema, x.scope, x.data::json, x.meta::json, e_at, x.hash
    from (select unnest(e_cmd) as cmd, unnest(e_event_id) as event_id, unnest(e_stream) as stream, unnest(e_id) as id,
                 unnest(e_version) as version, unnest(e_kind) as kind, unnest(e_schema) as schema, unnest(e_scope) as scope,
                 unnest(e_data) as data, unnest(e_meta) as meta, unnest(e_hash) as hash) x
    where refused[x.cmd] = 0;

    if cardinality(k_cmd) > 0 then
        insert into claim (scope, value, stream, id, position)
        select k.scope, k.value, c_stream[k.cmd], c_id[k.cmd], last[k.cmd]
        from (select unnest(k_cmd) as cmd, unnest(k_scope) as scope, unnest(k_value) as value) k
        where refused[k.cmd] = 0;
    end if;
    if cardinality(s_cmd) > 0 then
        insert into secret (stream, id, kind, value)
        select c_stream[s.cmd], c_id[s.cmd], s.kind, s.value
        from (select unnest(s_cmd) as cmd, unnest(s_kind) as kind, unnest(s_value) as value) s
        where refused[s.cmd] = 0
        on conflict on constraint secret_pkey do update set value = excluded.value;
    end if;
    if cardinality(c_key) > 0 then
        -- The conflict is with a row that is older than 24 hours and not deleted yet.
        insert into command (caller, key, request, stream, id, version, position, recorded_at)
        select c.caller, c.key, c.request, c_stream[c.n], c_id[c.n], c_version[c.n], last[c.n], e_at
        from (select generate_subscripts(c_key, 1) as n, unnest(c_caller) as caller, unnest(c_key) as key,
                     unnest(c_request) as request) c
        where c.key is not null and refused[c.n] = 0
        on conflict on constraint command_pkey do update
            set request = excluded.request, stream = excluded.stream, id = excluded.id, version = excluded.version,
                position = excluded.position, recorded_at = excluded.recorded_at;
    end if;

    head := last[cardinality(last)];
    -- One a group: NOTIFY takes a lock of the whole cluster at commit.
    perform pg_notify('log', head::text);
end $append$;
