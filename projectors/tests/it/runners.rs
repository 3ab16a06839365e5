//! Runners on a real log and a real bus.

use events::{Store, store::Options};
use service::testkit::Database;

/// The log of a test's database.
pub fn log(database: &Database) -> Store {
    let connect = (*database.pool.connect_options()).clone();
    let (store, mut lanes) = Store::open(database.pool.clone(), connect, &Options::default());
    lanes.detach_all();
    store
}
