-- Prompts can be archived. No event before this says so, so the rows are right as they are. Other generations of the table, in
-- schemas of their own, get the same column, so that they can still take over.
do $$
declare
    place record;
begin
    for place in
        select n.nspname as schema, c.relname as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'r' and c.relname = 'prompt' and (n.nspname = 'read' or n.nspname like 'gen\_%')
    loop
        execute format('alter table %I.%I add column archived boolean not null default false', place.schema, place.name);
    end loop;
end $$;
