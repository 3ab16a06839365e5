use super::*;

#[test]
fn filters_are_columns() {
    for resource in RESOURCES {
        for name in resource.filters {
            assert!(resource.column(name).is_some(), "{} has no column {name}", resource.path);
        }
    }
}
