use service::{
    db::{self, Kind as Pool},
    testkit,
};
use sqlx::{AssertSqlSafe, Column as _, Executor as _, SqlSafeStr as _, Statement as _};

use super::*;

#[tokio::test]
async fn statements_are_those_of_the_schema() {
    let database = testkit::database().await;
    let pool = db::pool(&database.url, Pool::Reads).unwrap();
    for resource in RESOURCES {
        let expected: Vec<_> = resource.table.columns.iter().map(|column| column.name).collect();
        for sql in [query::one_sql(resource), query::list_sql(resource)] {
            let prepared = pool.acquire().await.unwrap().prepare(AssertSqlSafe(sql).into_sql_str()).await.unwrap();
            let columns: Vec<_> = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
            // Before them the position of the projection, after them what is computed.
            assert_eq!(columns[1..=expected.len()], expected, "{}", resource.path);
            assert_eq!(columns.len(), 1 + expected.len() + resource.computed.len(), "{}", resource.path);
        }
        for computed in resource.computed {
            let past = AssertSqlSafe(format!("select {}", computed.past)).into_sql_str();
            let prepared = pool.acquire().await.unwrap().prepare(past).await;
            assert!(prepared.is_ok(), "{}: {:?}", resource.path, prepared.err());
        }
    }
}

#[test]
fn every_resource_is_of_a_projection_that_a_context_names() {
    for resource in RESOURCES {
        let named = events::CONTEXTS.projections().any(|projection| projection == resource.projection);
        assert!(named, "{} is of {}, which no context names", resource.path, resource.projection);
    }
}

#[test]
fn every_resource_is_documented() {
    let document = document();
    for resource in RESOURCES {
        for path in [resource.path.to_owned(), format!("{}/{{id}}", resource.path)] {
            assert!(document["paths"][&path]["get"].is_object(), "{path}");
        }
    }
}

#[test]
fn filters_are_columns() {
    for resource in RESOURCES {
        for name in resource.filters {
            assert!(resource.column(name).is_some(), "{} has no column {name}", resource.path);
        }
    }
}
