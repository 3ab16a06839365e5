-- Timers: which things are to be looked at, and when. One row a thing, and only while something is waited for: so the table is
-- as large as what is open, and what is due is found by an index, however many things there have ever been.
--
-- Operational, but a pure consequence of the log: a row is set and deleted in the transaction that appends the event which
-- says so, by append() below. Only `due_at` of a held one moves without an event: its holder puts it off while it lives.
-- Written by `events::store` alone.
create table timer (
    id uuid constraint timer_pkey primary key,
    stream text not null,
    -- The thing's version when it was set, and what the thing knows it by.
    version integer not null,
    mark integer not null,
    -- Who may put it off: the worker that has a lease. Null for a wait.
    holder uuid,
    due_at timestamptz not null,
    -- The thing's deadline; `due_at` is never later.
    deadline_at timestamptz
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);
create index timer_due_at_idx on timer (due_at);

-- Both go by their keys, always: a plan that was made while the table was empty would read all of it long after.

-- Timers that are due, those first that have been due longest; `lenient`: without those that are held, unless their thing's
-- deadline is past. With what is told of the things: how they began, and which event set the timer.
create function timer_due(most bigint, lenient boolean)
    returns table (stream text, id uuid, version integer, holder uuid, mark integer, is_past boolean, first_meta json, cause uuid)
    language sql volatile set enable_seqscan = off as $$
    select t.stream, t.id, t.version, t.holder, t.mark, coalesce(t.deadline_at <= clock_timestamp(), false),
           (select e.meta from event e where e.stream = t.stream and e.id = t.id and e.version = 1),
           (select e.event_id from event e where e.stream = t.stream and e.id = t.id and e.version = t.version)
    from timer t
    where t.due_at <= now() and (not lenient or t.holder is null or t.deadline_at <= now())
    order by t.due_at limit most
$$;

-- Puts those timers off by so many milliseconds that are still held by the holder beside them.
create function timer_renew(ids uuid[], holders uuid[], milliseconds bigint) returns table (id uuid)
    language sql volatile set enable_seqscan = off as $$
    update timer t
    set due_at = least(clock_timestamp() + milliseconds * interval '1 millisecond', t.deadline_at)
    from (select unnest(ids) as id, unnest(holders) as holder) h
    where t.id = h.id and t.holder = h.holder
    returning t.id
$$;

-- As before, and timers: x_cmd are the commands that stop theirs; t_* hold one element for each command that sets one: after
-- so many milliseconds (null: at the deadline), with the deadline so many milliseconds from now (null: as it was).
create function append(
    c_stream text[], c_id uuid[], c_expected integer[], c_version integer[],
    c_caller uuid[], c_key text[], c_request bytea[], -- all three empty when no command has a key
    e_cmd integer[], e_event_id uuid[], e_stream text[], e_id uuid[], e_version integer[], e_kind text[],
    e_schema smallint[], e_scope uuid[], e_data text[], e_meta text[], e_hash bytea[], e_at timestamptz,
    k_cmd integer[], k_scope text[], k_value text[],
    s_cmd integer[], s_kind text[], s_value bytea[],
    x_cmd integer[], t_cmd integer[], t_after bigint[], t_deadline bigint[], t_holder uuid[], t_mark integer[],
    out refused smallint[], out last bigint[], out head bigint
) language plpgsql volatile as $append$
#variable_conflict use_variable
declare
    now_epoch integer;
    taken integer[] := '{}';
    used integer[] := '{}';
    now_at timestamptz;
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
    if cardinality(x_cmd) > 0 then
        delete from timer where id = any (array(select c_id[x.cmd] from unnest(x_cmd) as x (cmd) where refused[x.cmd] = 0));
    end if;
    if cardinality(t_cmd) > 0 then
        -- The lock may have been waited for: time begins now.
        now_at := clock_timestamp();
        insert into timer (id, stream, version, mark, holder, due_at, deadline_at)
        select c_id[t.cmd], c_stream[t.cmd], c_version[t.cmd], t.mark, t.holder,
               coalesce(least(now_at + t.after * interval '1 millisecond', now_at + t.deadline * interval '1 millisecond'),
                        'infinity'),
               now_at + t.deadline * interval '1 millisecond'
        from (select unnest(t_cmd) as cmd, unnest(t_after) as after, unnest(t_deadline) as deadline,
                     unnest(t_holder) as holder, unnest(t_mark) as mark) t
        where refused[t.cmd] = 0
        on conflict on constraint timer_pkey do update
            set version = excluded.version, mark = excluded.mark, holder = excluded.holder,
                due_at = least(excluded.due_at, coalesce(excluded.deadline_at, timer.deadline_at)),
                deadline_at = coalesce(excluded.deadline_at, timer.deadline_at);
    end if;

    head := last[cardinality(last)];
    -- One a group: NOTIFY takes a lock of the whole cluster at commit.
    perform pg_notify('log', head::text);
end $append$;

-- For processes of the version before, as long as some run: what they append sets no timer.
create or replace function append(
    c_stream text[], c_id uuid[], c_expected integer[], c_version integer[],
    c_caller uuid[], c_key text[], c_request bytea[],
    e_cmd integer[], e_event_id uuid[], e_stream text[], e_id uuid[], e_version integer[], e_kind text[],
    e_schema smallint[], e_scope uuid[], e_data text[], e_meta text[], e_hash bytea[], e_at timestamptz,
    k_cmd integer[], k_scope text[], k_value text[],
    s_cmd integer[], s_kind text[], s_value bytea[],
    out refused smallint[], out last bigint[], out head bigint
) language sql volatile as $append$
    select refused, last, head from append(
        c_stream, c_id, c_expected, c_version, c_caller, c_key, c_request, e_cmd, e_event_id, e_stream, e_id, e_version,
        e_kind, e_schema, e_scope, e_data, e_meta, e_hash, e_at, k_cmd, k_scope, k_value, s_cmd, s_kind, s_value,
        '{}'::integer[], '{}'::integer[], '{}'::bigint[], '{}'::bigint[], '{}'::uuid[], '{}'::integer[])
$append$;

-- What is open now, from before there were timers: what runs is looked at after the lease that it would have had, and all of
-- it has the deadline that it would have had, from now.
insert into timer (id, stream, version, mark, holder, due_at, deadline_at)
select r.id, r.stream, l.version, coalesce(s.attempt, 0),
       case when s.attempt is not null then '00000000-0000-0000-0000-000000000000'::uuid end,
       now() + case when s.attempt is not null then interval '15 seconds' else interval '10 minutes' end,
       now() + interval '10 minutes'
from event r
cross join lateral (select e.version from event e where e.stream = r.stream and e.id = r.id order by e.version desc limit 1) l
left join lateral (select (e.data ->> 'attempt')::integer as attempt from event e
                   where e.stream = r.stream and e.id = r.id and e.kind = 'execution_started'
                   order by e.version desc limit 1) s on true
where r.stream = 'execution' and r.kind = 'execution_requested'
  and not exists (select from event o
                  where o.stream = r.stream and o.id = r.id
                    and o.kind in ('execution_succeeded', 'execution_failed', 'execution_timed_out', 'execution_cancelled'));
