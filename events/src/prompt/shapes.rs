//! Templates and schemas that are deep or long in every way in which their grammars recurse: none may end the process, and
//! each that is too deep is refused soon, on its line.

use std::{thread, time::Duration};

use proptest::{collection::vec, prelude::*, sample};
use serde_json::{Value, json};

use super::{
    meter::worked,
    shape::LIMITS,
    template::{check, is_light, render},
    template_tests::schema,
};

/// Far less than the threads have on which templates are parsed: and this is not optimised.
const STACK: usize = 4 << 20;

/// What stands before and after an expression, as often as you like.
const EXPRESSIONS: [(&str, &str); 42] = [
    ("-", ""),
    ("not ", ""),
    ("(", ")"),
    ("(", ",)"),
    ("[", "]"),
    ("[1, ", ", 2]"),
    ("{'a': ", "}"),
    ("{", ": 1}"),
    ("", ".b"),
    ("", ".0"),
    ("", "[0]"),
    ("a[", "]"),
    ("", "[1:]"),
    ("a[1:", "]"),
    ("a[::", "]"),
    ("", "(1)"),
    ("f(", ")"),
    ("f(x=", ")"),
    ("f(*", ")"),
    ("f(**", ")"),
    ("", "+1"),
    ("1-", ""),
    ("", "*2"),
    ("", "/2"),
    ("", "//2"),
    ("", "%2"),
    ("2**", ""),
    ("", "**2"),
    ("", "|e"),
    ("", "|default(1)"),
    ("a|default(", ")"),
    ("", "~a"),
    ("", " == 1"),
    ("1 < ", ""),
    ("", " in a"),
    ("", " not in a"),
    ("", " and a"),
    ("a or ", ""),
    ("", " is defined"),
    ("a is divisibleby ", ""),
    ("", " if a else a"),
    ("a if a else ", ""),
];

/// The same of a piece of a template.
const STATEMENTS: [(&str, &str); 17] = [
    ("{% if a %}", "{% endif %}"),
    ("{% if a %}{% else %}", "{% endif %}"),
    ("{% for x in a %}", "{% endfor %}"),
    ("{% for x in a %}{% else %}", "{% endfor %}"),
    ("{% for x in a if x %}", "{% endfor %}"),
    ("{% with x = a %}", "{% endwith %}"),
    ("{% set x %}", "{% endset %}"),
    ("{% set x | upper %}", "{% endset %}"),
    ("{% filter upper %}", "{% endfilter %}"),
    ("{% autoescape true %}", "{% endautoescape %}"),
    ("{% macro m() %}", "{% endmacro %}"),
    ("{% call m() %}", "{% endcall %}"),
    ("{% block b %}", "{% endblock %}"),
    // What never ends.
    ("{% if a %}", ""),
    ("{%- for x in a -%}", ""),
    ("{% elif a %}", ""),
    ("", "{% endif %}"),
];

/// In tags that are no expressions.
fn others(times: usize) -> Vec<String> {
    let (open, close) = ("(".repeat(times), ")".repeat(times));
    vec![
        format!("{{% for {open}x{close} in a %}}{{% endfor %}}"),
        format!("{{% with {open}x{close} = a %}}{{% endwith %}}"),
        format!("{{% set {open}x{close} = a %}}"),
        format!("{{% set x{} = a %}}", ".b".repeat(times)),
        format!("{{% set x {} %}}{{% endset %}}", "| upper".repeat(times)),
        format!("{{% filter upper{} %}}{{% endfilter %}}", "|upper".repeat(times)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(times)),
        format!("{{{{ a|e{} }}}}", ".b".repeat(times)),
        format!("{{{{ a is e{} }}}}", ".b".repeat(times)),
    ]
}

fn wrapped(inner: &str, (before, after): (&str, &str), times: usize) -> String {
    format!("{}{inner}{}", before.repeat(times), after.repeat(times))
}

/// Writes and renders it with little stack, and says what was said of it.
fn tried(content: String) -> Vec<String> {
    let work = move || {
        let begin = worked();
        let schema = schema();
        let faults = check(&content, &schema);
        let variables = json!({"a": 1, "b": "b"});
        let _ = is_light(&content, &schema, &variables);
        // What was written before it was refused must do no harm either.
        let rendered = render(&content, &schema, &variables);
        assert!(faults.is_empty() || rendered.is_err() || faults[0].detail.contains("not a variable"), "{faults:?}");
        let took = worked().saturating_sub(begin);
        assert!(took < Duration::from_secs(10), "{took:?}: {content}");
        faults.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
    };
    thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap()
}

fn assert_too_deep(content: &str) {
    let shown: String = content.chars().take(80).collect();
    let faults = tried(format!("first\n{content}"));
    assert_eq!(faults.len(), 1, "{shown}: {faults:?}");
    assert!(faults[0].starts_with("/content line 2: "), "{shown}: {faults:?}");
    assert!(faults[0].contains("more than"), "{shown}: {faults:?}");
}

#[test]
fn whatever_is_chained_or_nested_a_thousand_times_is_refused_on_its_line() {
    for times in [LIMITS.links + 1, 1000, 6_000] {
        for each in EXPRESSIONS {
            assert_too_deep(&format!("{{{{ {} }}}}", wrapped("a", each, times)));
            assert_too_deep(&format!("{{% if {} %}}{{% endif %}}", wrapped("a", each, times)));
            assert_too_deep(&format!("{{% set x = {} %}}", wrapped("a", each, times)));
        }
        for each in others(times) {
            assert_too_deep(&each);
        }
        for each in STATEMENTS.into_iter().take(15) {
            assert_too_deep(&wrapped("a", each, times.min(3_000)));
        }
    }
}

#[test]
fn what_is_as_deep_as_it_may_be_is_parsed_compiled_and_dropped_with_little_stack() {
    for each in EXPRESSIONS {
        tried(format!("{{{{ {} }}}}", wrapped("a", each, LIMITS.links / 3)));
        let around = wrapped("", STATEMENTS[0], LIMITS.blocks - 1);
        let at = around.find("{% endif").unwrap_or_default();
        let (before, after) = around.split_at(at);
        tried(format!("{before}{{{{ {} }}}}{after}", wrapped("a", each, LIMITS.links / 3)));
    }
    for content in others(LIMITS.blocks - 2) {
        tried(content);
    }
}

#[test]
fn long_templates_that_are_not_deep_are_good() {
    for content in [
        "{{ a ~ b }} and {{ a|upper }}\n".repeat(4_000),
        "{% if a %}x{% elif b %}y{% else %}z{% endif %}".repeat(2_000),
        format!("{{{{ [{}]|length }}}}", "1, ".repeat(5_000)),
        format!("{{{{ a ~ {} }}}}", vec!["b"; LIMITS.links - 1].join(" ~ ")),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif b %}x".repeat(LIMITS.blocks - 1)),
        "{% set x = a %}".repeat(2_000),
    ] {
        assert_eq!(tried(content), Vec::<String>::new());
    }
}

#[test]
fn schemas_and_their_references_are_bounded_in_depth() {
    let chain = |times: usize, link: &dyn Fn(String) -> Value| {
        let mut definitions: serde_json::Map<String, Value> =
            (0..times).map(|n| (format!("d{n}"), link(format!("#/$defs/d{}", n + 1)))).collect();
        definitions.insert(format!("d{times}"), json!({}));
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions})
    };
    let links: [&dyn Fn(String) -> Value; 5] = [
        &|to| json!({ "$ref": to }),
        &|to| json!({"allOf": [{ "$ref": to }]}),
        &|to| json!({"not": { "$ref": to }}),
        &|to| json!({"properties": {"a": { "$ref": to }}}),
        &|to| json!({"if": { "$ref": to }, "then": {"$ref": "#/$defs/d0"}}),
    ];
    let tried = |schema: Value| {
        let work = move || {
            let _ = render("x", &schema, &json!({"a": 1}));
            check("x", &schema)
        };
        thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap()
    };
    for (number, link) in links.into_iter().enumerate() {
        let faults = tried(chain(1_000, link));
        assert!(faults.len() == 1 && faults[0].pointer == "/variables", "{number}: {faults:?}");
        assert!(number == 4 || tried(chain(20, link)).is_empty(), "{number}");
        // As deep as it may be, wherever that is.
        for times in (30..130).step_by(10) {
            tried(chain(times, link));
        }
    }
    // A name that is written in two ways.
    let twice = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/%61"}}, "$defs": {"%61": {}, "a": {"$ref": "#/$defs/%61"}}});
    assert!(tried(twice)[0].detail.contains('%'));
    let nested = (0..10_000).fold("a".to_owned(), |inner, _| format!("({inner})"));
    let pattern = json!({"type": "object", "properties": {"a": {"pattern": nested}}});
    assert_eq!(tried(pattern).len(), 1);
}

fn shape() -> impl Strategy<Value = String> {
    let times = prop_oneof![3 => 1..4usize, 2 => 40..300usize, 1 => 300..1500usize];
    let expression = (vec((sample::select(EXPRESSIONS.as_slice()), times.clone()), 1..5), 0..5usize);
    let expression = expression.prop_map(|(wraps, tag)| {
        let inner = wraps.into_iter().fold("a".to_owned(), |inner, (each, times)| wrapped(&inner, each, times));
        match tag {
            0 => format!("{{% if {inner} %}}x{{% endif %}}"),
            1 => format!("{{% for x in {inner} %}}x{{% endfor %}}"),
            2 => format!("{{% set x = {inner} %}}"),
            _ => format!("{{{{ {inner} }}}}"),
        }
    });
    let statements = vec((sample::select(STATEMENTS.as_slice()), times), 0..4);
    (expression, statements).prop_map(|(inner, statements)| {
        statements.into_iter().fold(inner, |inner, (each, times)| wrapped(&inner, each, times.min(500)))
    })
}

proptest! {
    #[test]
    fn no_shape_ends_the_process(content in shape()) {
        for fault in tried(content) {
            prop_assert!(fault.starts_with("/content "), "{}", fault);
        }
    }
}
