//! Templates and schemas: what can be written, what cannot and on which line, and what a hostile one may cost.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::template::{check, render};

fn schema() -> Value {
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
    let begin = Instant::now();
    assert!(render("x", &schema, &json!({"a": "a".repeat(50_000) + "!"})).is_err());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    assert!(render("x", &schema, &json!({"b": deep})).unwrap_err()[0].detail.contains("nested"));
    assert!(render("x", &schema, &json!({"b": "b".repeat(400_000)})).unwrap_err()[0].detail.contains("weigh"));
}

/// Templates that would stall a process or fill its memory, refused when written or stopped when rendered.
fn bombs() -> Vec<(String, Value)> {
    let text = |bytes: usize| json!({"a": "x".repeat(bytes), "b": "y".repeat(bytes / 2), "n": 100_000_000});
    let doubled = |bind: &str| format!("{{% set t = a %}}{}{{{{ t|length }}}}", bind.repeat(40));
    let nested = |open: &str, close: &str| format!("{}{{{{ a }}}}{}", open.repeat(40), close.repeat(40));
    let mut bombs = vec![
        (doubled("{% set t = t ~ t %}"), text(1)),
        (doubled("{% set t = [t, t] %}"), text(1)),
        (doubled("{% set t = t + t %}"), text(1)),
        (format!("{{% set t = a %}}{}{{{{ t }}}}", "{% set t = [t] %}".repeat(5000)), text(1)),
        ("{% set t = a %}{% for i in range(9000) %}{% set t = [t] %}{% endfor %}{{ t }}".to_owned(), text(1)),
        (
            "{% set t = [a] %}{% for i in range(9000) %}{% set t = t|groupby(0) %}{% endfor %}{{ t }}".to_owned(),
            text(1),
        ),
        (doubled("{% set t = {'x': t, 'y': t} %}"), text(1)),
        (doubled("{% set t = dict(x=t, y=t) %}"), text(1)),
        (doubled("{% set t = t|list|string %}"), text(1)),
        (doubled("{% set t = t|tojson|tojson %}"), json!({"a": "\"\\<"})),
        (doubled("{% set t = t|join('xxxxxxxxx') %}"), text(10)),
        (doubled("{% set t = t|replace('x', 'xx') %}"), text(10)),
        (nested("{% with a = a ~ a %}", "{% endwith %}"), text(1)),
        (nested("{% for a in [a ~ a] %}", "{% endfor %}"), text(1)),
        (nested("{% for i in range(100000) %}", "{% endfor %}"), text(1)),
    ];
    for content in [
        "{% set t = a %}{% for i in range(50) %}{% set t = t ~ t %}{% endfor %}{{ t|length }}",
        "{% set t = a %}{% for i in range(50) %}{% if i %}{% set t = t|replace('x', 'xx') %}{% endif %}{% endfor %}{{ t }}",
        "{% for x in [a] recursive %}{{ loop([x ~ x]) }}{% endfor %}",
        "{% set t %}{% for i in range(100000) %}{{ a }}{% endfor %}{% endset %}{{ t|length }}",
        "{% filter upper %}{% for i in range(100000) %}{{ a }}{% endfor %}{% endfilter %}",
        "{{ 'x' * 100000000 }}",
        "{{ a * n }}",
        "{{ n * [a] }}",
        "{{ ('x' * 100000000 ~ 'x' * 100000000)|length }}",
        "{{ a|join(b) }}",
        "{{ a|replace('', b) }}",
        "{{ a|replace('x', b)|length }}",
        "{{ [a]|map('replace', '', b)|list|length }}",
        "{{ '%100000000d'|format(1)|length }}",
        "{{ a|indent(100000000, true)|length }}",
        "{{ [[1]]|tojson(indent=100000000)|length }}",
        "{{ [1]|batch(100000000, a)|list|length }}",
        "{{ [1]|slice(100000000)|list|length }}",
        "{{ a|list|pprint|length }}",
        "{{ a|list|string|length }}",
        "{{ a|list|tojson|length }}",
        "{{ [a, a, a, a]|string|length }}",
        "{% for i in range(100000) %}{{ a }}{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{% if a|upper|lower == b %}x{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% if b in a %}x{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% set t = a ~ b %}{% endfor %}",
        "{% for i in range(100000) %}{% if a|list|sort|unique|reverse|first == 'z' %}x{% endif %}{% endfor %}",
        "{{ range(100000)|list|map('string')|join('xxxxxxxxxxxxxxxx')|length }}",
        "{{ [range(100000)|list, range(100000)|list]|string|length }}",
    ] {
        bombs.push((content.to_owned(), text(1)));
        bombs.push((content.to_owned(), text(250_000)));
    }
    bombs
}

/// Not a test of its own: the process whose memory the test below reads.
#[test]
fn explode_as_a_process() {
    if std::env::var_os("DAYBOOK_TEST_BOMBS").is_none() {
        return;
    }
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // With another schema first, so that what is made once is there.
    assert_eq!(render("{{ a|upper }}", &schema(), &json!({"a": "x"})).as_deref(), Ok("X"));
    let before = peak();
    for (content, variables) in bombs() {
        let begin = Instant::now();
        let written = faults(&content);
        // Also what was written before a rule was there must do no harm.
        let outcome = render(&content, &schema(), &variables);
        let content: String = content.chars().take(60).collect();
        let outcome = outcome.map(|text| text.len()).map_err(|faults| faults[0].detail.clone());
        println!(
            "bomb {} {} {content} | {written:?} | {outcome:?}",
            begin.elapsed().as_millis(),
            peak().saturating_sub(before)
        );
    }
}

#[test]
fn a_hostile_template_stays_small_and_ends_soon() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "prompt::template_tests::explode_as_a_process", "--nocapture"])
        .env("DAYBOOK_TEST_BOMBS", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("bomb ")).collect();
    assert_eq!(lines.len(), bombs().len(), "{said}");
    for line in lines {
        let mut words = line.split(' ').map(|word| word.parse::<u64>().unwrap_or_default());
        let (millis, kilobytes) = (words.next().unwrap(), words.next().unwrap());
        // Unoptimised; some hundred milliseconds in a release.
        assert!(millis < 5_000 && kilobytes < 64 * 1024, "{line}");
    }
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
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

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
