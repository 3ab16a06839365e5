//! The schema, as SQL files in `migrations/`, and nothing else. A shipped file is never edited.

use sqlx::migrate::Migrator;

/// All migrations, embedded. Every process runs them at its start; whoever comes first does the work.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");
