//! What follows from the columns of a struct is what the migrated schema has: every statement of every such table.

use std::collections::BTreeMap;

use events::read_model::{Column, Kind};
use projectors::{ALL, columns};
use service::{
    db::{self, Kind as Pool},
    testkit,
};
use sqlx::{AssertSqlSafe, Column as _, Executor as _, PgPool, SqlSafeStr as _, Statement as _, TypeInfo as _};

#[tokio::test]
async fn statements_and_columns_are_those_of_the_schema() {
    let database = testkit::database().await;
    let pool = db::pool(&database.url, Pool::Projectors).unwrap();
    let mut seen = 0;
    for table in ALL.iter().flat_map(|projection| projection.tables) {
        let Some(derived) = table.derived() else { continue };
        let name = table.name();
        assert_eq!(in_the_schema(&pool, name).await, declared(&pool, derived).await, "{name}");
        let load = AssertSqlSafe(columns::load_sql(name, derived)).into_sql_str();
        let loaded = pool.acquire().await.unwrap().prepare(load).await.unwrap();
        let loaded: Vec<_> = loaded.columns().iter().map(|column| (column.name(), column.type_info().name())).collect();
        assert_eq!(loaded.len(), derived.len(), "{name}");
        for ((column, ty), Column { name: declared, kind, .. }) in loaded.into_iter().zip(derived) {
            let is_text = ty == "TEXT";
            assert_eq!(
                (column, is_text),
                (*declared, matches!(kind, Kind::Text | Kind::Json | Kind::Decimal)),
                "{name}"
            );
        }
        let store = AssertSqlSafe(columns::store_sql(name, derived)).into_sql_str();
        let stored = pool.acquire().await.unwrap().prepare(store).await;
        assert!(stored.is_ok(), "{name}: {:?}", stored.err());
        seen += 1;
    }
    assert!(seen > 0, "no table has derived columns");
}

/// Type and whether it may be null, by name.
type Columns = BTreeMap<String, (String, bool)>;

async fn in_the_schema(pool: &PgPool, table: &str) -> Columns {
    let rows: Vec<(String, String, bool)> = sqlx::query_as(
        "select attname::text, atttypid::regtype::text, not attnotnull from pg_attribute
         where attrelid = ('read.' || $1)::regclass and attnum > 0 and not attisdropped",
    )
    .bind(table)
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().map(|(name, ty, nullable)| (name, (ty, nullable))).collect()
}

async fn declared(pool: &PgPool, columns: &[Column]) -> Columns {
    let mut declared = Columns::new();
    for Column { name, kind, nullable, .. } in columns {
        let ty: String =
            sqlx::query_scalar("select $1::text::regtype::text").bind(kind.sql()).fetch_one(pool).await.unwrap();
        declared.insert((*name).to_owned(), (ty, *nullable));
    }
    declared
}
