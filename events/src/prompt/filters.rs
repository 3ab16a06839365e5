//! The filters, tests and functions of templates, each paying for what it is given to go over: a step of minijinja's fuel may
//! be a filter on a long text, thousands of times.

use std::sync::LazyLock;

use minijinja::{
    Environment, Error, UndefinedBehavior, escape_formatter, functions,
    value::{Rest, Value, ValueKind, ValueOrKwargs},
};

use super::meter::{Meter, VALUE};

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

/// Those that go over their arguments for each item that they are given.
const EACH: [&str; 11] =
    ["groupby", "join", "map", "max", "min", "reject", "rejectattr", "select", "selectattr", "sort", "sum"];

/// Those that compare what they are given, item with item, without regard to case.
const ORDER: [&str; 6] = ["dictsort", "groupby", "max", "min", "sort", "unique"];

/// Tests that go over what they are given.
const TESTS: [&str; 20] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "endingwith",
    "eq",
    "equalto",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "le",
    "lessthan",
    "lower",
    "lt",
    "ne",
    "startingwith",
    "upper",
];

/// The most numbers of a range where it is used as a list by steps that may go over it.
pub(super) const SHORT_RANGE: u64 = 10_000;
/// The most of any other.
pub(super) const RANGE: u64 = 100_000;

/// Puts the filters, tests and functions into `environment`, in place of those that it has: they pay by `meter`. Ranges have at
/// most `range` numbers.
pub(super) fn install(environment: &mut Environment<'static>, meter: &Meter, range: u64) {
    for name in NAMES {
        let meter = meter.clone();
        environment.add_filter(name, move |arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            meter.pay(cost(name, &arguments, &meter)?)?;
            let made = PLAIN.empty_state().apply_filter(name, &arguments)?;
            // A view of a view of a view takes a frame for each when it is read or dropped.
            if made.kind() == ValueKind::Iterable { Ok(made.try_iter()?.collect()) } else { Ok(made) }
        });
    }
    for name in TESTS {
        let meter = meter.clone();
        environment.add_test(name, move |arguments: Rest<Value>| {
            for argument in arguments.iter() {
                meter.pay(meter.weigh(argument, 1)?)?;
            }
            PLAIN.empty_state().perform_test(name, &arguments)
        });
    }
    let paying = meter.clone();
    environment.add_function("range", move |lower: isize, upper: Option<isize>, step: Option<isize>| {
        let numbers = functions::range(lower, upper, step)?;
        let count = u64::try_from(numbers.try_iter()?.take(usize::try_from(RANGE).unwrap_or(usize::MAX)).count());
        let count = count.unwrap_or(u64::MAX);
        if count > range {
            let detail = format!("range has {count} numbers, of at most {range} in a template that compares lists");
            return Err(Error::new(minijinja::ErrorKind::InvalidOperation, detail));
        }
        paying.pay(count.saturating_mul(VALUE))?;
        Ok(numbers)
    });
    let writing = meter.clone();
    environment.set_formatter(move |out, state, value| {
        writing.writes()?;
        escape_formatter(out, state, value)
    });
}

/// minijinja's own.
static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});

/// What the filter `name` costs with these arguments, of which the first is what it is applied to.
fn cost(name: &str, arguments: &[Value], meter: &Meter) -> Result<u64, Error> {
    let letter = if APART.contains(&name) { VALUE } else { 1 };
    let Some((given, others)) = arguments.split_first() else { return Ok(VALUE) };
    let mut cost = meter.weigh(given, letter)?;
    let mut more = 0_u64;
    for other in others {
        more = more.saturating_add(meter.weigh(other, 1)?);
    }
    let items = match given.as_str() {
        Some(text) => text.len(),
        None => given.len().unwrap_or(0),
    };
    let items = u64::try_from(items).unwrap_or(u64::MAX);
    // Then it is what is in the items that is put in order: no more than all that there is.
    let mapped = name == "map" && others.first().and_then(Value::as_str).is_some_and(|name| ORDER.contains(&name));
    if ORDER.contains(&name) || mapped {
        // So often each is compared, and made lower-case for it.
        let items = if mapped { cost / VALUE } else { items };
        let times = 4 * u64::from(items.max(1).ilog2() + 1);
        (cost, more) = (cost.saturating_mul(times), more.saturating_mul(times));
    }
    let times = if EACH.contains(&name) { items.max(1) } else { 1 };
    Ok(cost.saturating_add(more.saturating_mul(times)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_for_each_item_costs_so_many_times_its_arguments() {
        let (meter, items) = (Meter::new(), Value::from(vec![1; 1000]));
        let cost = |name: &str, arguments: &[Value]| cost(name, arguments, &meter).expect("it can be paid");
        let list = cost("list", std::slice::from_ref(&items));
        assert_eq!(list, 1001 * VALUE);
        assert_eq!(cost("select", &[items.clone(), "in".into(), items.clone()]), list + 1000 * (2 + list));
        assert_eq!(cost("sort", std::slice::from_ref(&items)), list * 40);
        let lists = Value::from(vec![items.clone(), items.clone()]);
        assert!(cost("map", &[lists.clone(), "sort".into()]) > 40 * cost("list", &[lists]));
        assert_eq!(cost("upper", &["abc".into()]), 3);
    }
}
