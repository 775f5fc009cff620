//! Templates beside what Ansible makes of them, where it is installed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ratchet_input::document;

use super::filters::json;
use super::{Variables, render};
use crate::data::{self, Data, Entry};
use crate::files::Files;

const VARIABLES: &str = r#"
n: 5
f: 1.5
t: true
s: hello world
empty: ""
nothing: null
list: [3, 1, 2, 1]
words: [b, a, c]
map: {b: 1, a: {x: 1, y: [1, 2]}, c: "z"}
other: {a: {y: [3], z: 9}, d: 4}
users: [{name: ann, uid: 1, keys: [k1, k2]}, {name: bob, uid: 2, keys: [k3]}]
lazy: "{{ s }}!"
chain: "{{ lazy }}{{ n }}"
deep: {one: "{{ n }}", two: ["{{ s }}", "{{ nowhere }}"]}
typed: "{{ list }}"
loop_a: "{{ loop_b }}"
loop_b: "{{ loop_a }}"
bad: "{{ nowhere }}"
path: /etc/ssh/sshd_config.d
version: 1.10.2
text: "a.b-c\td\ne's \"q\" ü"
"#;

/// The templates that both render alike.
const SAME: &[&str] = &[
    "plain",
    "{{ n }}",
    "{{ f }}",
    "{{ t }}",
    "{{ nothing }}",
    "{{ list }}",
    "{{ map }}",
    "a {{ n }} b",
    "{{ n }}{{ n }}",
    "x{{ t }}",
    "x{{ nothing }}",
    "x{{ list }}",
    "x{{ map }}",
    "x{{ f }}",
    "x{{ 1e20 }} {{ 0.00001 }} {{ 2.0 }}",
    "{{ lazy }}",
    "{{ chain }}",
    "{{ typed }}",
    "{{ typed[0] }}",
    "{{ deep.one }}",
    "{{ deep.two[0] }}",
    "{{ deep }}",
    "{{ loop_a }}",
    "{{ bad }}",
    "{{ nowhere }}",
    "{{ nowhere.a.b }}",
    "{{ map.nope }}",
    "{{ map.nope.x }}",
    "{{ nowhere | default('d') }}",
    "{{ nowhere.a.b | default('d') }}",
    "{{ map.nope.x | d(1) }}",
    "{{ empty | d('x') }}",
    "{{ empty | d('x', true) }}",
    "{{ nothing | d('x') }}",
    "{{ nothing | d('x', true) }}",
    "{{ nowhere is defined }}",
    "{{ nowhere.a is defined }}",
    "{{ map.a.x is defined }}",
    "{{ map.a.q is undefined }}",
    "{{ bad is defined }}",
    "{{ nowhere == 1 }}",
    "{{ nowhere ~ 'x' }}",
    "{{ 'a' if nowhere else 'b' }}",
    "{{ nowhere | length }}",
    "{{ 'x' if nowhere is defined and nowhere else 'y' }}",
    "{{ nowhere in list }}",
    "{{ [nowhere] }}",
    "{% for i in nowhere %}x{% endfor %}",
    "{% for i in list %}{{ i }},{% endfor %}",
    "{% if t %}{{ list }}{% endif %}",
    "{% if t %}yes{% else %}no{% endif %}",
    "{% set x = 3 %}{{ x }}",
    "{% set x %}a{{ n }}{% endset %}{{ x }}",
    "{{ n + 1 }}",
    "{{ n / 2 }}",
    "{{ n // 2 }}",
    "{{ n % 2 }}",
    "{{ n ** 2 }}",
    "{{ -n }}",
    "{{ 'a' + 'b' }}",
    "{{ 'a' ~ n }}",
    "{{ 'a' * 3 }}",
    "{{ list + [9] }}",
    "{{ n > 3 }}",
    "{{ n == 5.0 }}",
    "{{ 1 < n < 9 }}",
    "{{ not t }}",
    "{{ t and n }}",
    "{{ empty or 'x' }}",
    "{{ 2 in list }}",
    "{{ 9 not in list }}",
    "{{ 'a' in map }}",
    "{{ 'lo' in s }}",
    "{{ list[1:] }}",
    "{{ list[-1] }}",
    "{{ s[0] }}",
    "{{ s[:5] }}",
    "{{ map['a']['x'] }}",
    "{{ map.a.y[1] }}",
    "{{ (1, 2) }}",
    "{{ {'k': n} }}",
    "{{ s.upper() }}",
    "{{ s.split() }}",
    "{{ s.split('o') }}",
    "{{ s.replace('l', 'L') }}",
    "{{ s.startswith('he') }}",
    "{{ map.keys() | list }}",
    "{{ map.values() | list }}",
    "{{ map.items() | list }}",
    "{{ map.get('q', 1) }}",
    "{{ s.find('w') }}",
    "{{ '{}-{}'.format(1, 2) }}",
    "{{ ' a '.strip() }}",
    "{{ 'a,b'.split(',') }}",
    "{{ ','.join(words) }}",
    "{{ '3' | int }}",
    "{{ 'x' | int }}",
    "{{ '3.7' | int }}",
    "{{ f | int }}",
    "{{ '1.5' | float }}",
    "{{ t | int }}",
    "{{ 'ff' | int(0, 16) }}",
    "{{ 'x' | int(-1) }}",
    "{{ n | string }}",
    "{{ t | string }}",
    "{{ list | string }}",
    "{{ 'yes' | bool }}",
    "{{ 'no' | bool }}",
    "{{ 1 | bool }}",
    "{{ 'True' | bool }}",
    "{{ nothing | bool }}",
    "{{ list | join(',') }}",
    "{{ [t, n, 's'] | join('-') }}",
    "{{ users | join(', ', attribute='name') }}",
    "{{ list | length }}",
    "{{ s | length }}",
    "{{ list | sort }}",
    "{{ words | sort(reverse=true) }}",
    "{{ list | unique }}",
    "{{ list | min }}",
    "{{ list | max }}",
    "{{ list | sum }}",
    "{{ list | first }}",
    "{{ list | last }}",
    "{{ [] | first }}",
    "{{ list | reverse | list }}",
    "{{ s | upper }}",
    "{{ s | title }}",
    "{{ s | capitalize }}",
    "{{ s | replace('o', '0') }}",
    "{{ '  x ' | trim }}",
    "{{ s | list }}",
    "{{ users | map(attribute='name') | list }}",
    "{{ words | map('upper') | list }}",
    "{{ users | map(attribute='q', default='-') | list }}",
    "{{ users | selectattr('uid', 'equalto', 2) | list }}",
    "{{ users | rejectattr('uid', 'gt', 1) | map(attribute='name') | list }}",
    "{{ users | selectattr('q', 'defined') | list }}",
    "{{ list | select('odd') | list }}",
    "{{ list | reject('eq', 1) | list }}",
    "{{ words | select('match', '[ab]') | list }}",
    "{{ words | map('regex_replace', '^', 'x') | list }}",
    "{{ map | dictsort }}",
    "{{ users | groupby('uid') | list }}",
    "{{ list | batch(2) | list }}",
    "{{ 2.5 | round }}",
    "{{ 2.345 | round(2) }}",
    "{{ 2.1 | round(0, 'ceil') | int }}",
    "{{ -3 | abs }}",
    "{{ n | type_debug }}",
    "{{ f | type_debug }}",
    "{{ s | type_debug }}",
    "{{ map | type_debug }}",
    "{{ nothing | type_debug }}",
    "{{ t | ternary('a', 'b') }}",
    "{{ nothing | ternary('a', 'b', 'c') }}",
    "{{ map | to_json }}",
    "{{ map | to_nice_json }}",
    "{{ list | to_nice_json(indent=2) }}",
    "{{ text | to_json }}",
    "{{ [] | to_nice_json }}",
    "{{ '{\"a\": [1, null]}' | from_json }}",
    "{{ 'a: [1, yes]' | from_yaml }}",
    "{{ 'not json' | from_json }}",
    "{{ s | regex_replace('o', '0') }}",
    "{{ s | regex_replace('(\\w+) (\\w+)', '\\2 \\1') }}",
    "{{ 'abc' | regex_replace('B', 'x', ignorecase=true) }}",
    r"{{ 'a1b22' | regex_replace('\d+', '#') }}",
    r"{{ 'a1b22' | regex_findall('\d+') }}",
    r"{{ 'a1b22' | regex_search('\d+') }}",
    "{{ 'abc' | regex_search('x') }}",
    "{{ 'a1' | regex_search('([a-z])([0-9])', '\\\\1', '\\\\2') }}",
    "{{ 'a.b*c' | regex_escape }}",
    "{{ text | quote }}",
    "{{ 'plain' | quote }}",
    "{{ path | basename }}",
    "{{ path | dirname }}",
    "{{ 'a.tar.gz' | splitext }}",
    "{{ ['a', 'b', 'c'] | path_join }}",
    "{{ ['a', '/b'] | path_join }}",
    "{{ map | combine(other) }}",
    "{{ map | combine(other, recursive=true) }}",
    "{{ map | combine(other, recursive=true, list_merge='append') }}",
    "{{ list | union([7]) | sort }}",
    "{{ list | intersect([1, 2]) }}",
    "{{ list | difference([1]) | sort }}",
    "{{ [1, 2] | symmetric_difference([2, 3]) }}",
    "{{ [1, [2, [3, null]]] | flatten }}",
    "{{ [1, [2, [3]]] | flatten(levels=1) }}",
    "{{ {'a': 1} | dict2items }}",
    "{{ {'a': 1} | dict2items(key_name='k', value_name='v') }}",
    "{{ [{'key': 'a', 'value': 1}] | items2dict }}",
    "{{ [1, 2] | product(['a']) | list }}",
    "{{ [1, 2] | zip(['a', 'b']) | list }}",
    "{{ [1, 2] | zip_longest(['a'], fillvalue='-') | list }}",
    "{{ users | subelements('keys') | map(attribute=1) | list }}",
    "{{ 'b' | extract(map) }}",
    "{{ [0, 2] | map('extract', words) | list }}",
    "{{ 'a,b' | split(',') }}",
    "{{ 'a b' | split }}",
    "{{ version is version('1.9', '>') }}",
    "{{ '2.0' is version('2.0') }}",
    "{{ '1.0' is version('1.0.1', 'lt') }}",
    "{{ s is string }}",
    "{{ map is mapping }}",
    "{{ list is sequence }}",
    "{{ list is iterable }}",
    "{{ n is number }}",
    "{{ n is integer }}",
    "{{ f is float }}",
    "{{ t is boolean }}",
    "{{ nothing is none }}",
    "{{ 4 is divisibleby 2 }}",
    "{{ s is match('hello') }}",
    "{{ s is search('wor') }}",
    "{{ s is match('world') }}",
    "{{ 'yes' is truthy(convert_bool=True) }}",
    "{{ empty is falsy }}",
    "{{ [1] is subset(list) }}",
    "{{ list is superset([1]) }}",
    "{{ list is contains(3) }}",
    "{{ 3 is in list }}",
    "{{ [t, false] is any }}",
    "{{ [t, false] is all }}",
    "{{ '/' is directory }}",
    "{{ '/nope' is exists }}",
    "{{ {'failed': true} is failed }}",
    "{{ {'changed': true} is changed }}",
    "{{ {} is success }}",
    "{{ {'skipped': true} is skipped }}",
    "{{ nowhere | mandatory }}",
    "{{ n | mandatory }}",
    "{{ range(3) | list }}",
    "{{ range(1, 7, 2) | list }}",
    "{{ dict(a=1) }}",
    "{# gone #}x",
    "{% raw %}{{ x }}{% endraw %}",
    "{{ 'a\\b' }}",
    r"{{ 'a\nb' }}",
    r"{{ '\\' }}",
    "line\n",
    "{{ n }}\n",
    " {{ n }}",
    "{{ n if t }}",
    "{{ 'x' if false }}",
    "{{ '%s-%d' | format('a', 3) }}",
    "{{ 'a' | indent(2) }}",
    "{{ 'a\nb' | indent(2) }}",
    "{{ list | nosuchfilter }}",
    "{{ list is nosuchtest }}",
    "{{ n | d }}",
    "{{ words | join }}",
    "{{ n.x }}",
    "{{ map['nope']['x'] | d(2) }}",
    "{{ map['a']['x'] }}",
    "{{ map.nope == 1 }}",
    "{{ users[0]['name'] }}",
    "{{ bad | d(3) }}",
    "{{ s.x is defined }}",
    "{{ 1 / 0 }}",
];

const THEIRS: &str = r"
import json, sys
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
loader = DataLoader()
given = loader.load_from_file(sys.argv[1], trusted_as_template=True)
for probe in given['probes']:
    try:
        result = Templar(loader, variables=given['variables']).template(probe)
        print(json.dumps(result, sort_keys=True, default=str))
    except Exception:
        print('error')
";

fn python() -> Option<PathBuf> {
    let folder = std::env::var_os("ANSIBLE_BIN")?;
    Some(PathBuf::from(folder).join("python3")).filter(|path| path.is_file())
}

fn variables() -> Variables {
    let mut files = Files::default();
    let file = files.add_text("variables", VARIABLES.to_owned());
    let (source, problems) = files.get(file);
    let node = document::ansible_node(&source, problems).unwrap();
    let data::Value::Map(entries) = Data::read(node, file, problems).value else {
        panic!("it is a map")
    };
    Variables::new(Arc::<Vec<Entry>>::new(entries))
}

fn ours(template: &str, variables: &Variables) -> String {
    let rendered = render(template, variables);
    rendered
        .and_then(|value| {
            super::undefined::evaluate(|| {
                json(&value, None, true).map_err(|error| error.to_string())
            })
        })
        .map_or_else(|_| "error".to_owned(), |(text, _)| text)
}

#[test]
fn templates_are_rendered_as_ansible_renders_them() {
    let Some(python) = python() else {
        let skipped =
            "templates are not compared with Ansible's, which is not installed (ANSIBLE_BIN)";
        let _ = writeln!(std::io::stderr(), "\n!! SKIPPED: {skipped}\n");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let given = folder.path().join("given.yml");
    let mut text = "variables:\n".to_owned();
    for line in VARIABLES.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text.push_str("probes:\n");
    for probe in SAME {
        let _ = writeln!(text, "- {}", serde_json::Value::from(*probe));
    }
    std::fs::write(&given, text).unwrap();
    let output = Command::new(python)
        .args(["-c", THEIRS])
        .arg(&given)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let theirs = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<&str> = theirs.lines().collect();
    assert_eq!(theirs.len(), SAME.len());
    let variables = variables();
    let mut different = String::new();
    for (probe, theirs) in SAME.iter().zip(theirs) {
        let ours = ours(probe, &variables);
        if ours != theirs {
            let _ = writeln!(different, "{probe:?}\n  ours   {ours}\n  theirs {theirs}");
        }
    }
    assert!(different.is_empty(), "\n{different}");
}

#[test]
fn what_is_undefined_fails_where_nobody_asked_for_it() {
    let variables = variables();
    for (template, expected) in [
        ("{{ nowhere.a | d('x') }}", "\"x\""),
        ("{{ nowhere.a is defined }}", "false"),
        ("rm -rf {{ nowhere }}/", "error"),
        ("{{ nowhere == 1 }}", "error"),
        ("{{ map.q == 1 }}", "error"),
        ("{{ map['q']['r'] == 1 }}", "error"),
        ("{{ map['q']['r'] | d('x') }}", "\"x\""),
        ("{{ 'q' in map }}", "false"),
        ("{{ bad }}", "error"),
        ("{{ lazy }} {{ n }}", "\"hello world! 5\""),
        ("{{ typed }}", "[3, 1, 2, 1]"),
    ] {
        assert_eq!(ours(template, &variables), expected, "{template}");
    }
    let said = |template| render(template, &variables).unwrap_err().to_string();
    assert_eq!(said("{{ nowhere.q.r }}"), "`nowhere.q.r` is undefined");
    assert_eq!(said("{{ loop_a }}"), "a variable stands for itself");
}
