-- What executions and prompts read as, since executions are tried more than once. Rows of what happened before are as they
-- were: the new columns say nothing of it. Other generations of the tables, in schemas of their own, get the same columns, so
-- that they can still take over.
do $$
declare
    place record;
begin
    for place in
        select n.nspname as schema, c.relname as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'r' and c.relname in ('execution', 'prompt', 'prompt_version')
          and (n.nspname = 'read' or n.nspname like 'gen\_%')
    loop
        if place.name = 'execution' then
            execute format('alter table %I.execution
                drop constraint if exists execution_status_check,
                add constraint execution_status_check check (status in
                    (''queued'', ''running'', ''outcome_unknown'', ''succeeded'', ''failed'', ''timed_out'', ''cancelled'')),
                -- It failed after all its attempts.
                add column dead boolean not null default false,
                add column discarded_at timestamptz,
                -- While it waits for another attempt: not before this.
                add column next_attempt_at timestamptz,
                add column deadline_at timestamptz,
                -- The most that the call that is made now can cost; and that calls can have cost of which nobody knows it.
                add column cost_ceiling numeric,
                add column cost_unknown numeric,
                -- It sends the dead letter `retry_of` again.
                add column is_redrive boolean not null default false', place.schema);
            execute format('create index execution_redrive_idx on %I.execution (retry_of) where is_redrive', place.schema);
            execute format('create index execution_dead_id_idx on %I.execution (id) where dead', place.schema);
        else
            -- How hard executions are tried; null where nothing but what holds anyway was said.
            execute format('alter table %I.%I add column policy json', place.schema, place.name);
        end if;
    end loop;
end $$;

-- Dead letters, in the log: what a redrive of many looks for.
create index event_dead_idx on event (scope, position)
    where kind = 'execution_failed' and (data ->> 'dead') = 'true';
