//! The schema of the database, and who may do what in it.
//!
//! Migrations are run by the owner; the processes work as another role, which the function `ops.admit` of the database gives what
//! they need. Where there is one login for both, it is used for both, and that is told.

use std::collections::BTreeSet;

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, PgPool};

/// Why the schema is not what this program needs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A migration could not be run, or the database has one that this program does not know.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The database could not be reached, or refused a statement.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// This login may not run the migrations that are missing, and no other was given.
    #[error(
        "its schema lacks {0} migrations of this program, which the role of DATABASE_URL may not run: run `daybook migrate` with \
         DATABASE_OWNER_URL, or give that here, too"
    )]
    Behind(usize),
}

impl Error {
    /// Whether waiting may help: nothing listens, the server is starting up or shutting down, or somebody has yet to migrate.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Behind(_) => true,
            Self::Database(error) | Self::Migrate(MigrateError::Execute(error)) => is_away(error),
            Self::Migrate(_) => false,
        }
    }
}

fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code == "57P03"),
        _ => false,
    }
}

/// Brings the schema up to date as `owner`, and gives the role of `application` what it needs. Without an owner the application
/// does it itself where it may; where it may not, this fails while migrations are missing.
///
/// Several processes may do it at once: one does the work, under an advisory lock. Statements may take as long as they need.
pub async fn prepare(application: &PgConnectOptions, owner: Option<&PgConnectOptions>) -> Result<(), Error> {
    let Some(owner) = owner else {
        let mut connection = connect(application).await?;
        if may_migrate(&mut connection).await? {
            migrations::MIGRATIONS.run(&mut connection).await?;
        } else {
            let missing = missing(&mut connection).await?;
            if missing > 0 {
                return Err(Error::Behind(missing));
            }
        }
        return Ok(connection.close().await?);
    };
    let mut connection = connect(owner).await?;
    migrations::MIGRATIONS.run(&mut connection).await?;
    sqlx::query("select ops.admit($1::name)").bind(application.get_username()).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Brings the schema of the database of `pool` up to date, as its owner, and gives nobody anything.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    let mut connection = connect(&pool.connect_options()).await?;
    migrations::MIGRATIONS.run(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Whether this login could change or remove what is in the log, which must be migrated: a superuser could, and who owns it.
pub async fn is_unconfined(application: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut connection = connect(application).await?;
    let sql = "select r.rolsuper or has_table_privilege('public.event', 'update, delete, truncate, trigger')
                      or pg_has_role((select c.relowner from pg_class c where c.oid = 'public.event'::regclass), 'member')
               from pg_roles r where r.rolname = current_user";
    let is_unconfined = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(is_unconfined)
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let options = options.clone().application_name("daybook migrations").options([
        ("search_path", "public"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("client_min_messages", "warning"),
    ]);
    PgConnection::connect_with(&options).await
}

/// Whether the log is this role's, or there is none yet and it may make one.
async fn may_migrate(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let sql = "select coalesce(
                   (select pg_has_role(c.relowner, 'usage') from pg_class c where c.oid = to_regclass('public.event')),
                   has_schema_privilege('public', 'create'))";
    sqlx::query_scalar(sql).fetch_one(connection).await
}

/// How many migrations of this program the database has not had.
async fn missing(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let there: bool = sqlx::query_scalar(
        "select coalesce(has_table_privilege(to_regclass('public._sqlx_migrations'), 'select'), false)",
    )
    .fetch_one(&mut *connection)
    .await?;
    let done: BTreeSet<i64> = if there {
        let sql = "select version from public._sqlx_migrations where success";
        sqlx::query_scalar(sql).fetch_all(connection).await?.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    Ok(migrations::MIGRATIONS.iter().filter(|migration| !done.contains(&migration.version)).count())
}
