//! A PostgreSQL with the whole schema and nothing in it, whose URL is printed, until standard input ends: what the macros of
//! sqlx check queries against. It needs no crate that has queries, so one that is not checked yet keeps nobody from it.

use std::io::{Read as _, Write as _};

use service::testkit;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let database = testkit::database().await;
    // A query is looked at as by someone who may run it.
    println!("{}", database.server.url_of(&database.name));
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
