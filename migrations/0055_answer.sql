-- What comes of a call beside its text: what the model thought, and the tools that it wants to be called. Rows of what happened
-- before say nothing of it, as the events do not. Other generations of the table, in schemas of their own, get the same columns,
-- so that they can still take over.
do $$
declare
    place record;
begin
    for place in
        select n.nspname as schema
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'r' and c.relname = 'execution' and (n.nspname = 'read' or n.nspname like 'gen\_%')
    loop
        execute format('alter table %I.execution
            -- Its first 65,536 bytes.
            add column reasoning text,
            -- In the form of OpenAI, with the arguments as they came.
            add column tool_calls json', place.schema);
        -- Those whose answer ended for a reason that is not the usual one are few among many.
        execute format('create index execution_finish_reason_id_idx on %I.execution (finish_reason, id)
            where finish_reason is not null', place.schema);
    end loop;
end $$;
