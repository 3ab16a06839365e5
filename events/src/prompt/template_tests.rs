//! Templates and schemas: what can be written, and what cannot and on which line.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    meter::worked,
    template::{check, is_light, render},
};

pub(super) fn schema() -> Value {
    let any = json!({});
    json!({"type": "object", "properties": {"a": any, "b": any, "items": any, "n": any, "text": any, "people": any}})
}

fn faults(content: &str) -> Vec<String> {
    check(content, &schema()).into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
}

#[test]
fn ordinary_templates_are_written_and_rendered() {
    let variables = json!({
        "a": "Ann", "b": "Bob", "n": 3, "text": "one, two\nthree", "items": [{"k": "x", "v": 1}, {"k": "y", "v": 2.5}],
        "people": {"Ann": 40, "Bob": 50},
    });
    for (content, expected) in [
        ("Dear {{ a }}{# a comment #} and {{ b | upper }}!", "Dear Ann and BOB!"),
        ("{{ a ~ ', ' ~ b ~ ' and ' ~ n }}", "Ann, Bob and 3"),
        ("{% for i in items %}{{ loop.index + 1 }}. {{ i.k }}={{ i['v'] }};{% endfor %}", "2. x=1;3. y=2.5;"),
        ("{% for i in range(n) %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}", "0,1,2"),
        ("{% for k, v in people|items %}{{ k }}:{{ v }} {% endfor %}", "Ann:40 Bob:50 "),
        ("{% set name = a ~ ' ' ~ b %}{{ name|length }} {{ name|replace('n', 'm') }}", "7 Amm Bob"),
        ("{% for i in items %}{% set line = i.k ~ '=' ~ i.v %}{{ line }} {% endfor %}", "x=1 y=2.5 "),
        ("{{ items|map(attribute='k')|join(', ') }} {{ [a, b]|map('lower')|join('/') }}", "x, y ann/bob"),
        ("{% for l in text|split('\\n') %}> {{ l|trim }}\n{% endfor %}", "> one, two\n> three\n"),
        ("{{ n|int * 2 }} {{ (n - 1) * 2 }} {{ n ** 2 }} {{ items|sum(attribute='v') }}", "6 4 9 3.5"),
        ("{{ items[0]|tojson }} {{ 'yes' if n > 2 and a != b else 'no' }}", r#"{"k": "x", "v": 1} yes"#),
        ("{% with x = items|selectattr('k', 'eq', 'y')|first %}{{ x.v|round }}{% endwith %}", "2.0"),
        ("{% raw %}{{ not_a_variable }}{% endraw %}", "{{ not_a_variable }}"),
        ("{{ people|dictsort|length }}{% if 'Ann' in people %} there{% endif %}", "2 there"),
    ] {
        assert_eq!(faults(content), Vec::<String>::new(), "{content}");
        assert_eq!(render(content, &schema(), &variables).as_deref(), Ok(expected), "{content}");
    }
}

#[test]
fn what_only_names_a_few_short_variables_is_light() {
    let (short, long) = (json!({"a": "Ann", "n": 3}), "x".repeat(5000));
    for content in ["Dear {{ a }}, {{- n -}} and { } {# {{ no more }} #}", "no variable"] {
        assert!(is_light(content, &schema(), &short), "{content}");
    }
    for content in ["{{ a | upper }}", "{{ 'x' * n }}", "{{ range(n) }}", "{% if a %}{% endif %}", "{{ a", &long] {
        assert!(!is_light(content, &schema(), &short), "{content}");
    }
    let many = Value::Object((0..17).map(|n| (format!("a{n}"), json!(n))).collect());
    for variables in [json!({"a": long}), json!({"items": [1]}), many, json!(3)] {
        assert!(!is_light("{{ a }}", &schema(), &variables), "{variables}");
    }
    let pattern = json!({"properties": {"a": {"pattern": "(a{9}){9}"}}});
    let reference = json!({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {}}});
    for schema in [pattern, reference, json!({"enum": [long]}), json!({"enum": vec![0; 300]})] {
        assert!(!is_light("{{ a }}", &schema, &short), "{schema}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (content, said) in [
        ("fine\n{{ a", "/content line 2: syntax error"),
        ("fine\n\n{% if a %}never closed", "/content line 3: syntax error"),
        ("{{ a }}\n{{ who }}\n{{ who }}", "/content line 2: `who` is not a variable of the schema"),
        ("{% for x in a %}{{ x }}{% endfor %}\n{{ x }}", "`x` is not a variable of the schema"),
        ("a\n{{ a|format(1) }}", "/content line 2: the filter `format` is not available"),
        ("a\nb\n{{ a * 3 }}", "/content line 3: `*` of what may be no number"),
        ("{% include 'x' %}", "/content line 1: syntax error"),
        ("{% macro x() %}{% endmacro %}", "/content line 1: syntax error"),
        ("{{ namespace() }}", "`namespace` is not a variable"),
        ("  \n", "/content is blank"),
    ] {
        let faults = faults(content);
        assert!(faults.iter().any(|fault| fault.contains(said)), "{content}: {faults:?}");
    }
    assert!(faults(&"a".repeat(128 * 1024 + 1))[0].contains("weighs"));
    assert!(
        faults(&format!("{}{}{}", "{{ ".to_owned() + &"(".repeat(10_000), "a", ")".repeat(10_000) + " }}")).len() == 1
    );
}

#[test]
fn schemas_are_checked_when_they_are_written() {
    let deep = (0..100).fold(json!({}), |inner, _| json!({"type": "object", "properties": {"x": inner}}));
    for (schema, pointer, said) in [
        (json!(true), "/variables", "type object"),
        (json!({"type": "string"}), "/variables/type", "object"),
        (json!({}), "/variables/type", "object"),
        (json!({"type": "object", "properties": {"a": {"type": "nothing"}}}), "/variables", "not a valid JSON Schema"),
        (json!({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}), "/variables", ""),
        (json!({"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}), "/variables", ""),
        (json!({"type": "object", "properties": {"a": {"pattern": "(a"}}}), "/variables", "not a valid JSON Schema"),
        // What only a backtracking engine could do, and what would take memory without end.
        (
            json!({"type": "object", "properties": {"a": {"pattern": r"(a)\1"}}}),
            "/variables",
            "not a valid JSON Schema",
        ),
        (json!({"type": "object", "properties": {"a": {"pattern": "((a{900}){900}){900}"}}}), "/variables", ""),
        (deep, "/variables", "nested more than"),
        (json!({"type": "object", "description": "x".repeat(70_000)}), "/variables", "weighs"),
    ] {
        let faults = check("text", &schema);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].pointer == pointer && faults[0].detail.contains(said), "{schema}: {faults:?}");
    }
}

#[test]
fn references_stay_in_the_schema_and_cannot_multiply() {
    let twice = |to: &str| json!({"allOf": [{"$ref": to}, {"$ref": to}]});
    let mut definitions: serde_json::Map<String, Value> =
        (0..40).map(|n| (format!("d{n}"), twice(&format!("#/$defs/d{}", n + 1)))).collect();
    definitions.insert("d40".to_owned(), json!({"type": "object"}));
    let with = |more: Value| {
        let mut schema = json!({"type": "object", "properties": {"a": more}, "$defs": definitions});
        schema["$defs"]["name"] = json!({"type": "string", "maxLength": 3});
        schema
    };
    for (more, said) in [
        (twice("#/$defs/d0"), "too many checks"),
        (json!({"$ref": "#"}), "leads to itself"),
        (json!({"allOf": [{"$ref": "#/properties/a"}]}), "leads to itself"),
        (json!({"$dynamicRef": "#x"}), "not available"),
        (json!({"$id": "http://x/", "$ref": "y"}), "not available"),
        (json!({"$ref": "#/$defs/nothing"}), "leads nowhere"),
    ] {
        let faults = check("x", &with(more.clone()));
        assert!(faults.len() == 1 && faults[0].detail.contains(said), "{more}: {faults:?}");
        assert!(render("x", &with(more), &json!({})).is_err());
    }
    let schema = |max: usize| {
        json!({
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/name"}, "b": {"items": {"$ref": "#/$defs/name"}}},
            "$defs": {"name": {"type": "string", "maxLength": max}},
        })
    };
    assert_eq!(check("{{ a }}{{ b }}", &schema(3)), []);
    assert_eq!(render("{{ a }}", &schema(3), &json!({"a": "abc", "b": ["x"]})).as_deref(), Ok("abc"));
    assert_eq!(render("x", &schema(3), &json!({"a": "abcd", "b": ["abcd"]})).unwrap_err().len(), 2);
    // Many checks on many values.
    let wide =
        json!({"type": "object", "properties": {"b": {"items": {"allOf": vec![json!({"type": "integer"}); 2000]}}}});
    assert_eq!(check("x", &wide), []);
    assert!(render("x", &wide, &json!({"b": vec![1; 10_000]})).is_err());
    assert!(render("x", &wide, &json!({"b": vec![1; 100]})).is_ok());
}

#[test]
fn patterns_cannot_backtrack_and_deep_variables_are_refused() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}});
    let begin = worked();
    assert!(render("x", &schema, &json!({"a": "a".repeat(50_000) + "!"})).is_err());
    assert!(worked().saturating_sub(begin) < Duration::from_secs(5), "{:?}", worked().saturating_sub(begin));
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    assert!(render("x", &schema, &json!({"b": deep})).unwrap_err()[0].detail.contains("nested"));
    assert!(render("x", &schema, &json!({"b": "b".repeat(400_000)})).unwrap_err()[0].detail.contains("weigh"));
}

#[test]
fn patterns_are_bounded_by_the_text_that_they_go_over() {
    let with = |rules: Vec<Value>| {
        let patterned = json!({"type": "string", "allOf": rules});
        json!({"type": "object", "properties": {"a": patterned, "b": {"items": {"$ref": "#/properties/a"}}}})
    };
    let many = |pattern: &str| (0..800).map(|n| json!({"pattern": format!("{pattern}{n}")})).collect::<Vec<_>>();
    let begin = worked();
    // Each of 800 patterns goes over all of it.
    let dear = with(many("(x+x+)+y"));
    assert_eq!(check("{{ a }}", &dear), []);
    let refused = render("{{ a }}", &dear, &json!({"a": "x".repeat(380_000)})).unwrap_err();
    assert_eq!((refused.len(), refused[0].pointer.as_str()), (1, "/variables/a"), "{refused:?}");
    let refused = render("{{ a }}", &dear, &json!({"b": ["x", "x".repeat(380_000)]})).unwrap_err();
    assert_eq!(refused[0].pointer, "/variables/b/1");
    assert_eq!(render("{{ a }}", &dear, &json!({"a": "x".repeat(10)})).unwrap_err()[0].pointer, "/variables/a");
    // What is large when it is compiled is so for each letter, and all of it together is bounded.
    let large = with(vec![json!({"pattern": r"^(\w{30}|\d{20}){9}$"}); 1]);
    if check("{{ a }}", &large).is_empty() {
        assert!(render("{{ a }}", &large, &json!({"a": "x".repeat(380_000)})).is_err());
    }
    let faults =
        check("{{ a }}", &with((0..400).map(|n| json!({"pattern": format!("[a-z]{{{}}}", 700 + n)})).collect()));
    assert!(faults.len() == 1 && faults[0].detail.contains("too many patterns"), "{faults:?}");
    // Names are texts, too.
    let names = json!({"type": "object", "patternProperties": {"^(a|b)*$": {"type": "integer"}, "^[a-z]+$": true}});
    assert!(render("x", &names, &json!({"abba": 1})).is_ok());
    assert!(worked().saturating_sub(begin) < Duration::from_secs(20), "{:?}", worked().saturating_sub(begin));
    // A long text by a few patterns is what they are for.
    let honest = with(vec![json!({"pattern": r"^[\s\S]*$"}), json!({"pattern": "x$"}), json!({"maxLength": 400_000})]);
    let long = "x".repeat(190_000);
    assert_eq!(render("{{ a|length }}", &honest, &json!({ "a": long })).as_deref(), Ok("190000"));
}

/// Pieces of templates, most of which fit together.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~\n]{0,20}",
        "[{}%#|~*\\[\\]()'\".a-c0-9 -]{0,12}",
        Just("{{ a }}".to_owned()),
        Just("{{ a ~ b }}".to_owned()),
        Just("{{ items|join(',') }}".to_owned()),
        Just("{% for x in items %}{{ x }}".to_owned()),
        Just("{% for x in range(n) %}".to_owned()),
        Just("{% endfor %}".to_owned()),
        Just("{% if a == b %}".to_owned()),
        Just("{% else %}".to_owned()),
        Just("{% endif %}".to_owned()),
        Just("{% set t = a|upper %}".to_owned()),
        Just("{% set t = [a, b, items] %}{{ t|tojson }}".to_owned()),
        Just("{{ text[1:n] }}{{ items[0] }}{{ items.x.y }}".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(|m| json!(m)),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics_and_what_passes_the_check_has_no_syntax_error(
        pieces in prop::collection::vec(piece(), 0..12),
        (a, b, items, n, text) in (value(), value(), value(), value(), value()),
    ) {
        let content = pieces.concat();
        let written = check(&content, &schema());
        let variables = json!({"a": a, "b": b, "items": items, "n": n, "text": text});
        match render(&content, &schema(), &variables) {
            Ok(text) => prop_assert!(text.len() <= super::RENDERED_BYTES),
            Err(faults) => {
                prop_assert_eq!(faults.len(), 1);
                prop_assert!(!written.is_empty() || !faults[0].detail.contains("syntax error"), "{:?}", faults);
            }
        }
    }

    #[test]
    fn no_schema_and_no_variables_panic(schema in value(), variables in value()) {
        let _ = check("{{ a }}", &schema);
        let _ = render("{{ a }}", &schema, &variables);
        let _ = render("x", &json!({"type": "object", "properties": schema}), &variables);
    }
}
