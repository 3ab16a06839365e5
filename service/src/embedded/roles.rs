//! Who logs in to a PostgreSQL of ours: the superuser, which sets the other two up; the owner of the database, which runs
//! migrations; and the application. What the application may do is said in the database: see the function `ops.admit`.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::postgres::NAME;
use super::{Error, folder};

/// Owns the database, but for the tables of the read models.
pub(super) const OWNER: &str = "daybook_owner";
/// What all processes log in as.
pub(super) const APPLICATION: &str = "daybook_application";

/// Each in hex, and in a file that only we can read.
pub(super) struct Passwords {
    pub(super) superuser: String,
    pub(super) owner: String,
    pub(super) application: String,
}

impl Passwords {
    /// Those in `file`, which is the superuser's, and beside it.
    pub(super) fn kept(file: &Path) -> Result<Self, Error> {
        let beside = |role: &str| {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(role);
            folder::secret(&file.with_file_name(name))
        };
        Ok(Self { superuser: folder::secret(file)?, owner: beside("-owner")?, application: beside("-application")? })
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords(…)")
    }
}

/// Makes the roles and the database where they are missing, through the superuser's `login` to the maintenance database.
pub(super) async fn set_up(login: &PgConnectOptions, passwords: &Passwords) -> Result<(), Error> {
    // The passwords must not stand in the server's log, should a statement fail.
    let login = &login.clone().options([
        ("log_statement", "none"),
        ("log_min_error_statement", "panic"),
        ("log_min_duration_statement", "-1"),
    ]);
    let mut admin = PgConnection::connect_with(login).await?;
    for (role, password, options) in [
        // It restores backups, beside the database and in its place.
        (OWNER, &passwords.owner, "createdb"),
        (APPLICATION, &passwords.application, ""),
    ] {
        let there = "select exists (select from pg_roles where rolname = $1)";
        let verb = if sqlx::query_scalar(there).bind(role).fetch_one(&mut admin).await? { "alter" } else { "create" };
        // The password is hex: it cannot end the text that it stands in.
        let made = format!("{verb} role {role} with login nosuperuser nocreaterole {options} password '{password}'");
        admin.execute(AssertSqlSafe(made)).await?;
    }
    // The owner changes what is the application's; the application asks how full the disk is.
    let granted = format!("grant {APPLICATION} to {OWNER}; grant pg_read_all_settings to {APPLICATION}");
    admin.execute(sqlx::raw_sql(AssertSqlSafe(granted))).await?;
    let owner: Option<String> =
        sqlx::query_scalar("select pg_get_userbyid(datdba)::text from pg_database where datname = $1")
            .bind(NAME)
            .fetch_optional(&mut admin)
            .await?;
    match owner.as_deref() {
        None => {
            admin.execute(AssertSqlSafe(format!("create database {NAME} owner {OWNER}"))).await?;
        }
        Some(OWNER) => {}
        Some(_) => {
            hand_over(&login.clone().database(NAME)).await?;
            admin.execute(AssertSqlSafe(format!("alter database {NAME} owner to {OWNER}"))).await?;
        }
    }
    Ok(admin.close().await?)
}

/// Gives the owner what is in a database from when all of it was the superuser's. (`reassign owned` refuses to: it would be
/// all that is the system's, too.)
async fn hand_over(login: &PgConnectOptions) -> Result<(), Error> {
    let mut admin = PgConnection::connect_with(login).await?;
    let all = format!(
        "do $$
         declare
             sql text;
         begin
             for sql in
                 with place as (
                     select oid, nspname from pg_namespace
                     where nspname in ('public', 'read', 'ops') or nspname like 'gen\\_%'
                 )
                 select format('alter schema %I owner to {OWNER}', nspname) from place where nspname <> 'public'
                 union all
                 select format('alter table %I.%I owner to {OWNER}', nspname, relname)
                 from pg_class join place on place.oid = relnamespace where relkind in ('r', 'p', 'v')
                 union all
                 select format('alter routine %s owner to {OWNER}', p.oid::regprocedure)
                 from pg_proc p join place on place.oid = pronamespace
                 where not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
             loop
                 execute sql;
             end loop;
         end $$"
    );
    admin.execute(AssertSqlSafe(all)).await?;
    Ok(admin.close().await?)
}
