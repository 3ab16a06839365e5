-- The two roles of Daybook on a PostgreSQL of your own, and its database. As a superuser, once:
--
--   psql -v owner_password=… -v application_password=… -f deploy/roles.sql postgres://postgres@host/postgres
--
-- Processes get the application's login as DATABASE_URL; `daybook migrate` the owner's, too, as DATABASE_OWNER_URL. What the
-- application may do in the database follows with the migrations.

-- createdb: `daybook restore` restores beside the database, and exchanges the two.
create role daybook_owner login createdb password :'owner_password';
create role daybook_application login password :'application_password';
-- The owner changes the tables of the read models, which are the application's.
grant daybook_application to daybook_owner;
-- Where PostgreSQL is on the same machine, a rebuild asks whether its disk has room.
grant pg_read_all_settings to daybook_application;
create database daybook owner daybook_owner;
