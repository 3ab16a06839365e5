-- Claims can be given back, conditions on other aggregates are checked in the append, and an aggregate of any stream may have
-- several timers.

-- The slot of its aggregate that holds a claim; null is held for ever. A slot holds one value. What was claimed before by a
-- name or an address is held by the slot that its aggregate has for it.
alter table claim add column slot text;
update claim set slot = case when scope = 'email' then 'email' when scope = 'username' then 'username' else 'name' end
where scope in ('email', 'username', 'specialty') or scope like 'sub\_specialty:%';
-- A specialty with sub-specialties is not archived: each of them holds a claim among the specialty's children.
insert into claim (scope, value, stream, id, position, slot)
select 'specialty:' || (e.data ->> 'specialty_id') || ':children', e.id::text, e.stream, e.id, e.position, 'parent'
from event e where e.scope is null and e.kind = 'sub_specialty_created';
create unique index claim_stream_id_slot_key on claim (stream, id, slot) where slot is not null;

-- A timer's name among those of its aggregate.
alter table timer add column name text not null default 'main';
alter table timer drop constraint timer_pkey, add constraint timer_pkey primary key (stream, id, name);
-- By which whoever holds a timer puts it off.
create index timer_id_idx on timer (id);

-- As timer_due, with the name.
create function timer_due_named(most bigint, lenient boolean)
    returns table (stream text, id uuid, version integer, holder uuid, mark integer, is_past boolean, first_meta json, cause uuid,
                   name text)
    language sql volatile set enable_seqscan = off as $$
    select t.stream, t.id, t.version, t.holder, t.mark, coalesce(t.deadline_at <= clock_timestamp(), false),
           (select e.meta from event e where e.stream = t.stream and e.id = t.id and e.version = 1),
           (select e.event_id from event e where e.stream = t.stream and e.id = t.id and e.version = t.version),
           t.name
    from timer t
    where t.due_at <= now() and (not lenient or t.holder is null or t.deadline_at <= now())
    order by t.due_at limit most
$$;

-- As before, and more: k_slot is the slot that holds a claim (null: for ever), k_held whether it still does after the command;
-- r_* are the slots that are released, also those that hold something new. Conditions: u_* are streams and the version that
-- each must have, n_* scopes of which nothing may be claimed. `refused` 4 says that a condition does not hold. x_name and
-- t_name are the timers' names.
create function append(
    c_stream text[], c_id uuid[], c_expected integer[], c_version integer[],
    c_caller uuid[], c_key text[], c_request bytea[], -- all three empty when no command has a key
    e_cmd integer[], e_event_id uuid[], e_stream text[], e_id uuid[], e_version integer[], e_kind text[],
    e_schema smallint[], e_scope uuid[], e_data text[], e_meta text[], e_hash bytea[], e_at timestamptz,
    k_cmd integer[], k_scope text[], k_value text[], k_slot text[], k_held boolean[],
    r_cmd integer[], r_slot text[],
    u_cmd integer[], u_stream text[], u_id uuid[], u_version integer[], n_cmd integer[], n_scope text[],
    s_cmd integer[], s_kind text[], s_value bytea[],
    x_cmd integer[], x_name text[], t_cmd integer[], t_name text[], t_after bigint[], t_deadline bigint[], t_holder uuid[], t_mark integer[],
    out refused smallint[], out last bigint[], out head bigint
) language plpgsql volatile as $append$
#variable_conflict use_variable
declare
    now_epoch integer;
    taken integer[] := '{}';
    used integer[] := '{}';
    unmet integer[] := '{}';
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
            from (select unnest(k_cmd) as cmd, unnest(k_scope) as scope, unnest(k_value) as value, unnest(k_slot) as slot) k
            -- A slot may claim what it holds already.
            where (select 1 from claim t
                   where t.scope = k.scope and t.value = k.value
                     and not (t.stream = c_stream[k.cmd] and t.id = c_id[k.cmd] and coalesce(t.slot = k.slot, false))) is not null);
    end if;
    if cardinality(u_cmd) > 0 then
        unmet := array(
            select u.cmd
            from (select unnest(u_cmd) as cmd, unnest(u_stream) as stream, unnest(u_id) as id, unnest(u_version) as version) u
            where u.version <> coalesce((select e.version from event e
                                         where e.stream = u.stream and e.id = u.id
                                         order by e.version desc limit 1), 0));
    end if;
    if cardinality(n_cmd) > 0 then
        unmet := unmet || array(
            select n.cmd
            from (select unnest(n_cmd) as cmd, unnest(n_scope) as scope) n
            where (select 1 from claim t where t.scope = n.scope limit 1) is not null);
    end if;

    with checked as materialized (
        select c.n, c.version - c.expected as events,
            case
                when c.n = any (used) then 3
                when c.expected <> coalesce((select e.version from event e
                                             where e.stream = c.stream and e.id = c.id
                                             order by e.version desc limit 1), 0) then 1
                when c.n = any (taken) then 2
                when c.n = any (unmet) then 4
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

    -- What a slot held before it holds no longer: a statement of its own, so that the same value can be claimed again.
    if cardinality(r_cmd) > 0 then
        delete from claim t
        using (select unnest(r_cmd) as cmd, unnest(r_slot) as slot) r
        where refused[r.cmd] = 0 and t.stream = c_stream[r.cmd] and t.id = c_id[r.cmd] and t.slot = r.slot;
    end if;
    if cardinality(k_cmd) > 0 then
        insert into claim (scope, value, stream, id, position, slot)
        select k.scope, k.value, c_stream[k.cmd], c_id[k.cmd], last[k.cmd], k.slot
        from (select unnest(k_cmd) as cmd, unnest(k_scope) as scope, unnest(k_value) as value, unnest(k_slot) as slot,
                     unnest(k_held) as held) k
        where refused[k.cmd] = 0 and k.held;
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
        delete from timer t
        using (select unnest(x_cmd) as cmd, unnest(x_name) as name) x
        where refused[x.cmd] = 0 and t.stream = c_stream[x.cmd] and t.id = c_id[x.cmd] and t.name = x.name;
    end if;
    if cardinality(t_cmd) > 0 then
        -- The lock may have been waited for: time begins now.
        now_at := clock_timestamp();
        insert into timer (id, stream, name, version, mark, holder, due_at, deadline_at)
        select c_id[t.cmd], c_stream[t.cmd], t.name, c_version[t.cmd], t.mark, t.holder,
               coalesce(least(now_at + t.after * interval '1 millisecond', now_at + t.deadline * interval '1 millisecond'),
                        'infinity'),
               now_at + t.deadline * interval '1 millisecond'
        from (select unnest(t_cmd) as cmd, unnest(t_name) as name, unnest(t_after) as after, unnest(t_deadline) as deadline,
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


-- For processes of the version before, as long as some run: their claims are held by the slots that they have now.
create or replace function append(
    c_stream text[], c_id uuid[], c_expected integer[], c_version integer[],
    c_caller uuid[], c_key text[], c_request bytea[], -- all three empty when no command has a key
    e_cmd integer[], e_event_id uuid[], e_stream text[], e_id uuid[], e_version integer[], e_kind text[],
    e_schema smallint[], e_scope uuid[], e_data text[], e_meta text[], e_hash bytea[], e_at timestamptz,
    k_cmd integer[], k_scope text[], k_value text[],
    s_cmd integer[], s_kind text[], s_value bytea[],
    x_cmd integer[], t_cmd integer[], t_after bigint[], t_deadline bigint[], t_holder uuid[], t_mark integer[],
    out refused smallint[], out last bigint[], out head bigint
) language sql volatile as $append$
    select refused, last, head from append(
        c_stream, c_id, c_expected, c_version, c_caller, c_key, c_request, e_cmd, e_event_id, e_stream, e_id, e_version,
        e_kind, e_schema, e_scope, e_data, e_meta, e_hash, e_at, k_cmd, k_scope, k_value,
        array(select case when k.scope = 'email' then 'email' when k.scope = 'username' then 'username'
                          when k.scope = 'specialty' or k.scope like 'sub\_specialty:%' then 'name' end
              from unnest(k_scope) with ordinality as k (scope, n) order by k.n),
        array_fill(true, array[cardinality(k_cmd)]), '{}'::integer[], '{}'::text[],
        '{}'::integer[], '{}'::text[], '{}'::uuid[], '{}'::integer[], '{}'::integer[], '{}'::text[],
        s_cmd, s_kind, s_value, x_cmd, array_fill('main'::text, array[cardinality(x_cmd)]),
        t_cmd, array_fill('main'::text, array[cardinality(t_cmd)]), t_after, t_deadline, t_holder, t_mark)
$append$;
