//! The filters of templates, each paying out of one purse for what it is given to go over: a step of minijinja's fuel may
//! be a filter on a long text, thousands of times.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior,
    value::{Rest, Value, ValueKind, ValueOrKwargs},
};

/// How many bytes all filters of one rendering may go over, together.
const PURSE: u64 = 64_000_000;
/// What a value costs besides its text, and what each letter of a text costs that is taken apart into values.
const VALUE: u64 = 24;

/// Filters that a template may have.
pub(super) const NAMES: [&str; 41] = [
    "abs",
    "attr",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

/// Those of them that make a list, also of the letters of a text.
pub(super) const APART: [&str; 15] = [
    "dictsort",
    "groupby",
    "items",
    "join",
    "lines",
    "list",
    "map",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "sort",
    "split",
    "unique",
];

/// Puts the filters into `environment`, with a purse of their own, in place of those that it has.
pub(super) fn install(environment: &mut Environment<'static>) {
    let purse = Arc::new(AtomicU64::new(PURSE));
    for name in NAMES {
        let purse = purse.clone();
        environment.add_filter(name, move |arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            let letter = if APART.contains(&name) { VALUE } else { 1 };
            let mut left = purse.load(Ordering::Relaxed);
            for argument in &arguments {
                left = pay(left, argument, letter)?;
            }
            purse.store(left, Ordering::Relaxed);
            PLAIN.empty_state().apply_filter(name, &arguments)
        });
    }
}

/// minijinja's own filters.
static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});

/// What is left of `purse` after `value` was gone over.
fn pay(purse: u64, value: &Value, letter: u64) -> Result<u64, Error> {
    let empty = || Error::new(ErrorKind::OutOfFuel, "filters");
    if let Some(text) = value.as_str() {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        return purse.checked_sub(bytes.saturating_mul(letter)).ok_or_else(empty);
    }
    let mut left = purse.checked_sub(VALUE).ok_or_else(empty)?;
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        for item in value.try_iter()? {
            left = pay(left, &item, 1)?;
            if value.kind() == ValueKind::Map {
                left = pay(left, &value.get_item(&item)?, 1)?;
            }
        }
    }
    Ok(left)
}
