-- Specialties and sub-specialties can be archived, and have the columns that every read model has: whose they are and who
-- made them. Rows of before say nothing of the two until the projection, whose version is raised, has made them anew. Other
-- generations of the tables, in schemas of their own, get the same columns, so that they can still take over.
do $$
declare
    place record;
begin
    for place in
        select n.nspname as schema, c.relname as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'r' and c.relname in ('specialty', 'sub_specialty')
          and (n.nspname = 'read' or n.nspname like 'gen\_%')
    loop
        execute format('alter table %I.%I
            add column tenant_id uuid,
            add column created_by uuid,
            add column archived boolean not null default false', place.schema, place.name);
    end loop;
end $$;
