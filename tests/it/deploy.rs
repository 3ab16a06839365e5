//! The files in `deploy/` say what the code says.

use std::{net::SocketAddr, path::Path};

use nats::server::{Config, Users};

/// The compose file's nats-server has the very users and permissions of the code; only the passwords come from its
/// environment, and it answers health checks.
#[test]
fn the_compose_file_s_nats_conf_is_what_the_code_says() {
    let [relay, worker, query, reader] = ["RELAY", "WORKER", "QUERY", "READER"].map(str::to_owned);
    let users = Users { relay, worker, query, reader };
    let addr: SocketAddr = "0.0.0.0:4222".parse().unwrap();
    let config = Config {
        addr,
        store_dir: Path::new("/data"),
        max_file_store: 10 << 30,
        users: &users,
        durables: workers::DURABLES,
    };
    let mut expected = config.text().replacen("# Written at every start.\n", HEAD, 1);
    for name in ["RELAY", "WORKER", "QUERY", "READER"] {
        expected = expected.replace(&format!("\"{name}\""), &format!("$NATS_{name}_PASSWORD"));
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nats.conf");
    if std::env::var_os("DAYBOOK_WRITE_DEPLOY").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    let actual = std::fs::read_to_string(&file).unwrap();
    assert_eq!(actual, expected, "run DAYBOOK_WRITE_DEPLOY=1 cargo test -p daybook nats_conf");
}

const HEAD: &str = "\
# nats-server for deploy/compose.yaml. Written by a test of the root package from what nats/src/server.rs says:
#   DAYBOOK_WRITE_DEPLOY=1 cargo test -p daybook nats_conf
# The passwords come from the environment: letters, digits, - and _.
http: 127.0.0.1:8222
";
