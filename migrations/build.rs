//! Rebuild when a migration is added: the macro cannot see new files by itself.

fn main() {
    println!("cargo:rerun-if-changed=.");
}
