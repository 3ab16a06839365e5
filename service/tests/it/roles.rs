//! The roles of the database: the application appends and reads, and can neither change what is in the log nor what keeps it so.

use service::db::{self, Kind};
use service::embedded::Postgres;
use service::schema::{self, Error};
use service::testkit::{self, Database};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::embedded::{ANY_PORT, postgres_options};

const EVENT: &str = "insert into event values
    (1, 1, gen_random_uuid(), 'user', gen_random_uuid(), 1, 'kind', 1, null, '{}', '{}', now(), sha256('x'));
    insert into seal_key values (0, sha256('key'));
    insert into seal_node values (1, 0, sha256('x'));
    insert into seal_head values (1, 0, sha256('x'), 1, now(), sha512('x'), sha256('x'))";

/// What nobody may do who is not the owner.
const REFUSED: &[&str] = &[
    // The events themselves.
    "update event set kind = 'other'",
    "delete from event",
    "delete from only event where position = 1",
    "truncate event",
    "truncate event cascade",
    "insert into event select 2, epoch, gen_random_uuid(), stream, id, 2, kind, schema, scope, data, meta, now(), hash from event",
    "copy event from stdin",
    "merge into event e using (select 1) s on true when matched then delete",
    "begin; lock table event in access exclusive mode",
    "select * from event for update",
    "with gone as (delete from event returning *) select * from gone",
    // What guards them.
    "alter table event disable trigger all",
    "alter table event disable trigger user",
    "alter table event disable trigger event_append_only",
    "alter table event disable trigger event_no_truncate",
    "drop trigger event_append_only on event",
    "create or replace trigger event_append_only before insert on event for each row execute function event_is_append_only()",
    "create trigger mine before insert on event for each row execute function event_is_append_only()",
    "create or replace rule mine as on insert to event do instead nothing",
    "set session_replication_role = replica",
    "set local session_replication_role = replica",
    "alter role current_user set session_replication_role = replica",
    "create or replace function event_is_append_only() returns trigger language plpgsql as 'begin return new; end'",
    "drop function event_is_append_only() cascade",
    "alter function event_is_append_only() rename to mine",
    "create policy mine on event using (false)",
    "alter table event enable row level security",
    // The table as a whole.
    "alter table event add column more text",
    "alter table event drop column hash",
    "alter table event drop constraint event_hash_check",
    "alter table event rename to other",
    "alter table event set schema read",
    "alter table event owner to current_user",
    "alter table event set unlogged",
    "alter table event set (autovacuum_enabled = false)",
    "create table mine () inherits (event)",
    "drop table event",
    "drop table event cascade",
    "create index on event (kind)",
    "drop index event_scope_position_idx",
    "comment on table event is 'mine'",
    "cluster event using event_pkey",
    // What appends.
    "create or replace function append() returns void language sql as ''",
    "create function public.append(text) returns void language sql as ''",
    "create function read.append() returns void language sql as ''",
    "do $$ begin execute (select format('drop function %s', oid::regprocedure) from pg_proc where proname = 'append' limit 1); end $$",
    "do $$ begin execute (select format('alter function %s security invoker', oid::regprocedure)
                          from pg_proc where proname = 'append' limit 1); end $$",
    "do $$ begin execute (select format('alter function %s set session_replication_role = replica', oid::regprocedure)
                          from pg_proc where proname = 'append' limit 1); end $$",
    // What is beside.
    "insert into claim values ('scope', 'value', 'user', gen_random_uuid(), 1)",
    "update secret set value = 'x'",
    "delete from secret",
    "update ledger set one = false",
    "delete from ledger",
    "insert into ledger values (false, 1)",
    "update seal_head set root = sha256('other')",
    "delete from seal_head",
    "truncate seal_head",
    "alter table seal_head disable trigger all",
    "delete from seal_node",
    "delete from seal_key",
    "drop table seal_key",
    "delete from _sqlx_migrations",
    "insert into _sqlx_migrations values (1, 'mine', now(), true, '', 0)",
    // Places that are looked at before the log, or in its stead.
    "create table public.mine (n int)",
    "create table read.event (n int)",
    "create view read.event as select 1 as position",
    "create schema gen_mine_1; create table gen_mine_1.event (n int); select ops.take_place('gen_mine_1', 'event')",
    "create schema gen_mine_1; create table gen_mine_1.event (n int); alter table gen_mine_1.event set schema read",
    "select ops.take_place('ops', 'report')",
    "select ops.admit('daybook_application')",
    "drop schema read cascade",
    "drop schema public cascade",
    "alter schema public rename to other",
    // Being somebody else.
    "set role daybook_owner",
    "set role daybook",
    "set session authorization daybook",
    "alter role current_user superuser",
    "alter role current_user createrole",
    "create role mine",
    "grant daybook_owner to current_user",
    "grant pg_write_all_data to current_user",
    // The server.
    "alter system set fsync = off",
    "copy event to program 'cat'",
    "select pg_read_file('PG_VERSION')",
    "select lo_import('/etc/passwd')",
    "create extension file_fdw",
    "create event trigger mine on ddl_command_start execute function event_is_append_only()",
    "drop database daybook",
];

/// What PostgreSQL does not refuse to those who may not, and does not do.
const WITHOUT_EFFECT: &[&str] =
    &["grant delete on event to current_user", "grant all on event to public", "vacuum full event"];

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    PgConnection::connect_with(&options.options([("search_path", "read,public")])).await.unwrap()
}

/// All that the log consists of, as text.
async fn shown(database: &Database) -> String {
    let sql = "select (select string_agg(e::text, ' ' order by position) from event e)
        || (select string_agg(format('%s %s %s', c.relname, c.relowner::regrole, c.relacl), ' ' order by c.oid)
            from pg_class c where c.relnamespace = 'public'::regnamespace)
        || (select string_agg(format('%s %s', t.tgname, t.tgenabled), ' ' order by t.oid) from pg_trigger t)
        || (select string_agg(p::text, ' ' order by p.oid) from pg_proc p where p.pronamespace = 'public'::regnamespace)
        || (select string_agg(format('%s %s', r.rolname, r.rolsuper), ' ' order by r.oid) from pg_roles r)";
    sqlx::query_scalar(sql).fetch_one(&database.admin).await.unwrap()
}

#[tokio::test]
async fn the_application_cannot_change_the_log_nor_what_guards_it() {
    let database = testkit::database().await;
    sqlx::raw_sql(EVENT).execute(&database.admin).await.unwrap();
    let before = shown(&database).await;
    let mut application = connect(&database.url).await;
    let mut otherwise = Vec::new();
    for statement in REFUSED {
        match sqlx::raw_sql(*statement).execute(&mut application).await {
            // Insufficient privilege: nothing else was wrong with the statement.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {}
            other => otherwise.push((statement, other)),
        }
        application.execute("rollback").await.unwrap();
    }
    assert!(otherwise.is_empty(), "{otherwise:#?}");
    for statement in WITHOUT_EFFECT {
        let _ = application.execute(*statement).await;
    }
    assert_eq!(shown(&database).await, before);
}

/// Only the owner's own tables are written by `append()`, whatever its caller calls its own.
#[tokio::test]
async fn append_cannot_be_turned_to_other_tables() {
    let database = testkit::database().await;
    let mut application = connect(&database.url).await;
    let tables = "create temp table event (like public.event); create temp table ledger (like public.ledger);
                  set search_path = pg_temp, public";
    application.execute(sqlx::raw_sql(tables)).await.unwrap();
    let append = "select public.append('{user}', array[$1], '{0}', '{1}', '{}', '{}', '{}', '{1}', array[gen_random_uuid()],
        '{user}', array[$1], '{1}', '{kind}', '{1}', array[null::uuid], '{\"{}\"}', '{\"{}\"}', array[sha256('x')], now(),
        '{}', '{}', '{}', '{}', '{}', '{}')";
    let id = uuid::Uuid::from_u128(7);
    sqlx::query(append).bind(id).execute(&mut application).await.unwrap();
    let mine: i64 = sqlx::query_scalar("select count(*) from pg_temp.event").fetch_one(&mut application).await.unwrap();
    let all: i64 = sqlx::query_scalar("select count(*) from public.event").fetch_one(&database.admin).await.unwrap();
    assert_eq!((mine, all), (0, 1));
}

/// An empty database of the owner's, on the shared server.
async fn empty(name: &str) -> (std::sync::Arc<Postgres>, PgConnectOptions, PgConnectOptions) {
    let server = testkit::postgres().await;
    let mut admin = PgConnection::connect(&server.url()).await.unwrap();
    let create = format!("create database {name} owner {}", server.owner());
    admin.execute(AssertSqlSafe(create)).await.unwrap();
    let [application, owner] =
        [server.application_url_of(name), server.owner_url_of(name)].map(|url| url.parse().unwrap());
    (server, application, owner)
}

#[tokio::test]
async fn migrations_are_the_owners_and_waited_for_by_others() {
    let (server, application, owner) = empty("waited_for").await;
    let early = schema::prepare(&application, None).await.unwrap_err();
    assert!(matches!(early, Error::Behind(missing) if missing > 5) && early.may_pass(), "{early}");
    schema::prepare(&application, Some(&owner)).await.unwrap();
    // Every process does it again, several at a time.
    let again = || schema::prepare(&application, Some(&owner));
    for done in futures_util::future::join_all((0..4).map(|_| again())).await {
        done.unwrap();
    }
    schema::prepare(&application, None).await.unwrap();
    assert!(!schema::is_unconfined(&application).await.unwrap());
    assert!(schema::is_unconfined(&owner).await.unwrap());

    let one_too_many = "insert into _sqlx_migrations values (999999, 'later', now(), true, '', 0)";
    let later = db::pool(&server.owner_url_of("waited_for"), Kind::Health).unwrap();
    later.execute(one_too_many).await.unwrap();
    assert!(!schema::prepare(&application, Some(&owner)).await.unwrap_err().may_pass());
}

#[tokio::test]
async fn one_login_for_both_works_as_before() {
    let (server, _, owner) = empty("one_login").await;
    schema::prepare(&owner, None).await.unwrap();
    schema::prepare(&owner, None).await.unwrap();
    let superuser = server.url_of("one_login").parse().unwrap();
    schema::prepare(&superuser, None).await.unwrap();
    assert!(schema::is_unconfined(&superuser).await.unwrap());
}

#[tokio::test]
async fn the_documented_roles_are_enough() {
    let server = testkit::postgres().await;
    let mut admin = PgConnection::connect(&server.url()).await.unwrap();
    let sql = std::fs::read_to_string("../deploy/roles.sql").unwrap().replace("daybook", "elsewhere");
    let sql: String = sql.lines().filter(|line| !line.starts_with("--")).collect();
    let sql = sql.replace(":'owner_password'", "'one'").replace(":'application_password'", "'other'");
    for statement in sql.split(';').filter(|statement| !statement.is_empty()) {
        admin.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
    }
    let login = |role: &str, password: &str| {
        format!("postgres://elsewhere_{role}:{password}@{}/elsewhere?sslmode=disable", server.addr()).parse().unwrap()
    };
    let (application, owner) = (login("application", "other"), login("owner", "one"));
    schema::prepare(&application, Some(&owner)).await.unwrap();
    assert!(!schema::is_unconfined(&application).await.unwrap());
    let mut application = PgConnection::connect_with(&application).await.unwrap();
    application.execute("insert into read.checkpoint values ('mine', 1, 0, 1)").await.unwrap();
}

/// A cluster from when all was the superuser's.
#[tokio::test]
async fn what_was_the_superusers_becomes_the_owners() {
    let home = testkit::folder("handed over");
    let server = Postgres::start(postgres_options(&home, ANY_PORT)).await.unwrap();
    let before = db::pool(&server.url(), Kind::Rebuild).unwrap();
    schema::migrate(&before).await.unwrap();
    let old = format!(
        "alter database daybook owner to daybook; create schema gen_prompt_1; create table gen_prompt_1.prompt (like read.prompt);
         {EVENT}"
    );
    sqlx::raw_sql(AssertSqlSafe(old)).execute(&before).await.unwrap();
    before.close().await;
    server.stop().await;

    let server = Postgres::start(postgres_options(&home, ANY_PORT)).await.unwrap();
    let (application, owner) = (server.application_url().parse().unwrap(), server.owner_url().parse().unwrap());
    schema::prepare(&application, Some(&owner)).await.unwrap();
    assert!(!schema::is_unconfined(&application).await.unwrap());
    let mut admin = PgConnection::connect(&server.url()).await.unwrap();
    let left = "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where c.relkind <> 't' and c.relowner = 10 and n.nspname in ('public', 'read', 'ops', 'gen_prompt_1')
                union all select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                where p.proowner = 10 and n.nspname in ('public', 'read', 'ops')
                union all select nspname from pg_namespace where nspowner = 10 and nspname in ('read', 'ops', 'gen_prompt_1')";
    let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&mut admin).await.unwrap();
    assert_eq!(left, Vec::<String>::new());
    let mut application = PgConnection::connect_with(&application).await.unwrap();
    let there: i64 = sqlx::query_scalar("select count(*) from event").fetch_one(&mut application).await.unwrap();
    assert_eq!(there, 1);
    application.execute(sqlx::raw_sql("truncate read.prompt; drop schema gen_prompt_1 cascade")).await.unwrap();
    server.stop().await;
}
