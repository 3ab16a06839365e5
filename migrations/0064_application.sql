-- Two roles instead of one. The owner runs migrations and owns the log; the application appends to it through append(), reads
-- it, and can neither change nor remove what is there, nor what keeps that so. Which role the application logs in as is not
-- known here (roles are of the whole server): ops.admit() is called with its name after the migrations, each time, so that what
-- a later migration adds is granted too. In a database without such a role nothing changes.

-- Gives the role `application` what the processes need, and nothing more:
--
--   event                  reads; adds through append() alone
--   claim, secret          reads; written by append() alone
--   command                reads, locks and deletes what is older than its time; written by append()
--   ledger                 reads; raises the epoch
--   seal_*                 reads and adds
--   lease, timer, ops.*    and every table of schema public that is not named here: reads and writes rows
--   read.*, gen_*          owns the tables, whose generations it makes and exchanges; but not the schema read, so that nothing
--                          can be put there that hides a table or function of the log
--
-- The one who calls it must own the database and be a member of `application` (a superuser is, of every role).
create function ops.admit(application name) returns void language plpgsql as $$
declare
    place record;
    wanted text[];
    privilege text;
    role oid := (select r.oid from pg_roles r where r.rolname = application);
begin
    if application = current_user then
        return;
    end if;
    if role is null then
        raise exception 'there is no role %', application using errcode = 'undefined_object';
    end if;
    if not pg_has_role(current_user, application, 'usage') then
        raise exception 'the role % is not a member of %', current_user, application
            using errcode = 'insufficient_privilege', hint = format('As a superuser: grant %I to %I', application, current_user);
    end if;
    -- Several processes may do this at once, and a row of the catalogue is changed by one at a time.
    perform pg_advisory_xact_lock(hashtext('ops.admit'));

    if not has_database_privilege(application, current_database(), 'create') then
        execute format('grant create on database %I to %I', current_database(), application);
    end if;
    if exists (select from pg_namespace n, aclexplode(n.nspacl) a
               where n.nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE') then
        revoke create on schema public from public;
    end if;
    for place in select nspname as name, oid from pg_namespace where nspname in ('public', 'read', 'ops') loop
        if not has_schema_privilege(application, place.oid, 'usage') then
            execute format('grant usage on schema %I to %I', place.name, application);
        end if;
    end loop;

    for place in
        select c.oid, n.nspname as schema, c.relname as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('public', 'ops') and c.relkind in ('r', 'p', 'v')
    loop
        wanted := case
            when place.schema = 'ops' then '{select,insert,update,delete}'
            when place.name in ('event', 'claim', 'secret', '_sqlx_migrations') then '{select}'
            when place.name = 'command' then '{select,update,delete}'
            when place.name in ('seal_key', 'seal_node', 'seal_head') then '{select,insert}'
            when place.name = 'ledger' then '{select}'
            else '{select,insert,update,delete}'
        end;
        foreach privilege in array wanted loop
            if not has_table_privilege(application, place.oid, privilege) then
                execute format('grant %s on %I.%I to %I', privilege, place.schema, place.name, application);
            end if;
        end loop;
        if place.name = 'ledger' and not has_column_privilege(application, place.oid, 'epoch', 'update') then
            execute format('grant update (epoch) on public.ledger to %I', application);
        end if;
    end loop;

    -- Whatever form append() has, it writes as the owner, with names that its caller cannot give another meaning.
    for place in
        select p.oid::regprocedure as name, p.prosecdef, p.proacl, p.oid
        from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname = 'append'
    loop
        if not place.prosecdef then
            execute format('alter function %s security definer set search_path = pg_catalog, public, pg_temp', place.name);
        end if;
        if place.proacl is null or exists (select from aclexplode(place.proacl) a where a.grantee = 0) then
            execute format('revoke execute on function %s from public', place.name);
        end if;
        if not has_function_privilege(application, place.oid, 'execute') then
            execute format('grant execute on function %s to %I', place.name, application);
        end if;
    end loop;
    if not has_function_privilege(application, 'ops.take_place(name, name)', 'execute') then
        execute format('grant execute on function ops.take_place(name, name) to %I', application);
    end if;

    -- A table can be given only to one who might have made it in its schema: for this transaction.
    if exists (select from pg_class c where c.relnamespace = 'read'::regnamespace and c.relkind = 'r'
               and c.relowner <> role) then
        execute format('grant create on schema read to %I', application);
        for place in select relname as name from pg_class
                     where relnamespace = 'read'::regnamespace and relkind = 'r' and relowner <> role loop
            execute format('alter table read.%I owner to %I', place.name, application);
        end loop;
        execute format('revoke create on schema read from %I', application);
    end if;
    for place in select nspname as name from pg_namespace where nspname like 'gen\_%' and nspowner <> role loop
        execute format('alter schema %I owner to %I', place.name, application);
    end loop;
    for place in select n.nspname as schema, c.relname as name
                 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                 where n.nspname like 'gen\_%' and c.relkind = 'r' and c.relowner <> role loop
        execute format('alter table %I.%I owner to %I', place.schema, place.name, application);
    end loop;
end $$;
revoke execute on function ops.admit(name) from public;

-- Moves a table of a generation into `read`, where the application can make nothing itself. The table must be the caller's, and
-- must not have the name of one of the log: that one would no longer be found.
create function ops.take_place(generation name, relation name) returns void language plpgsql security definer
    set search_path = pg_catalog, pg_temp as $$
begin
    if generation !~ '^gen_[a-z_]+_[0-9]+$'
       or to_regclass(format('public.%I', relation)) is not null
       or not exists (select from pg_class c where c.oid = to_regclass(format('%I.%I', generation, relation))
                      and c.relkind = 'r' and pg_has_role(session_user, c.relowner, 'usage')) then
        raise exception '%.% cannot take a place in read', generation, relation using errcode = 'insufficient_privilege';
    end if;
    execute format('alter table %I.%I set schema read', generation, relation);
end $$;
revoke execute on function ops.take_place(name, name) from public;
