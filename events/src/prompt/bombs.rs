//! What a hostile template may cost, in memory and in time.

use std::process::Command;

use serde_json::{Value, json};

use super::{
    template::{check, render},
    template_tests::schema,
};

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
        "{{ range(20000)|select('in', range(20000,40000)|list)|list|length }}",
        "{{ range(20000)|reject('in', range(20000,40000)|list)|list|length }}",
        "{{ range(20000)|map('string')|map(attribute='a')|select('in', range(20000,40000)|list)|list|length }}",
        "{{ [range(99999)|list]|selectattr('a', 'eq', range(99999)|list)|list|length }}",
        "{{ range(100000)|select('eq', a)|list|length }}",
        "{% set r = range(100000)|list %}{% for i in range(100000) %}{% if -1 in r %}x{% endif %}{% endfor %}",
        "{% set r = range(100000)|list %}{% for i in r %}{% if r == r %}x{% endif %}{% endfor %}",
        "{% set r = range(100000) %}{% for i in range(100000) %}{% if r[99999:]|first == i %}{% endif %}{% endfor %}",
        "{% set r = range(100000)|list %}{% for i in r %}{% if loop.changed(r) %}x{% endif %}{% endfor %}",
        "{% set r = range(100000)|list %}{% for i in r %}{% if i is in(r) %}{% endif %}{{ (r ~ '')|length }}{% endfor %}",
        "{% set r = range(100000)|list %}{% for i in range(100000) if -1 in r %}{% endfor %}",
        "{% set r = range(100000) %}{% for i in range(100000) %}{% if r[99999] == 1 %}x{% endif %}{% endfor %}",
        "{% set r = (range(100000)|list)[1:] %}{% for i in r %}{% if r[i] == 1 %}x{% endif %}{% endfor %}",
        "{% set r = range(100000)|list + [a] %}{% for i in range(9999) %}{% if r[99999] == 1 %}x{% endif %}{% endfor %}",
        "{{ [range(100000)|list, range(100000)|list, range(100000)|list]|map('sort')|list|length }}",
        "{% for i in range(100000) %}{% if range(100000)|sort|first == i %}x{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% if range(100000)|map('string')|unique|list|length %}x{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% if range(100000)|map('string')|groupby(0)|length %}x{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% if range(100000)|sum + range(100000)|max %}x{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{{ range(100000)|tojson|length }}{% endfor %}",
        "{% for i in range(100000) %}{% if a is upper and a is startingwith(b) %}x{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% if dict(a=range(100000)|list) == dict(a=range(100000)|list) %}{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{% if range(100000)|list + range(100000)|list == a %}{% endif %}{% endfor %}",
    ] {
        bombs.push((content.to_owned(), text(1)));
        bombs.push((content.to_owned(), text(250_000)));
    }
    // Values are short in JSON and long in work.
    let many = json!({"a": vec![1; 60_000], "b": vec![2; 60_000], "n": 1});
    for content in [
        "{% for x in a %}{% if x in b %}{% endif %}{% endfor %}",
        "{{ a|select('in', b)|list|length }}",
        "{% for x in a %}{% if a == b or a + b == b + a %}{% endif %}{% endfor %}",
        "{% for x in a %}{% if x in [1, 2, b] %}{% endif %}{% endfor %}",
    ] {
        bombs.push((content.to_owned(), many.clone()));
    }
    let written =
        format!("{{% for x in range(9999) %}}{{% if x in [{}] %}}{{% endif %}}{{% endfor %}}", "-1,".repeat(40_000));
    bombs.push((written, text(1)));
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
    // What is made once is there.
    assert_eq!(render("{{ a|upper }}", &schema(), &json!({"a": "x"})).as_deref(), Ok("X"));
    let bombs = bombs();
    let before = peak();
    for (content, variables) in bombs {
        let begin = worked();
        let written = check(&content, &schema()).len();
        // Also what was written before a rule was there must do no harm.
        let outcome = render(&content, &schema(), &variables);
        let content: String = content.chars().take(60).collect();
        let outcome = outcome.map(|text| text.len()).map_err(|faults| faults[0].detail.clone());
        println!("bomb {} {} {content} | {written} | {outcome:?}", worked() - begin, peak().saturating_sub(before));
    }
}

/// How long this thread has had a processor, in milliseconds: unlike the clock, it does not count what others do.
fn worked() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

#[test]
fn a_hostile_template_stays_small_and_ends_soon() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "prompt::bombs::explode_as_a_process", "--nocapture"])
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
