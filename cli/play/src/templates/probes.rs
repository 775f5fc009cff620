//! Compares our results of templates, conditions and files with those of Ansible, where it is installed.

mod conditions;
mod data;
mod expressions;
mod files;
mod filters;
mod lookups;
mod numbers;
mod templates;
mod tests;
mod undefined;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use ratchet_input::document;
use serde_json::json;

use super::filters::json as python_json;
use super::template_file::{TemplateOptions, template_file};
use super::{SearchPath, TemplateError, Variables, condition, expression, render, render_data};
use crate::data::Data;
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
ports: {80: http, 443: https, 9: discard}
lazy_ports: {22: "{{ s }}", 1.5: x, yes: 1, "yes": 2, ~: 3, 010: 8}
path: /etc/ssh/sshd_config.d
version: 1.10.2
written: "n == 5"
by_name: "{{ written }}"
text: "a.b-c\td\ne's \"q\" ü"
"#;

/// Renders probes with Ansible, and prints each result as one line of JSON.
const THEIRS: &str = r"
import json, os, sys, tempfile
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible._internal._templating._utils import Omit
loader = DataLoader()
given = json.load(open(sys.argv[1]))
def load(text):
    path = os.path.join(os.path.dirname(sys.argv[1]), 'part.yml')
    open(path, 'w').write(text)
    loader.cleanup_all_tmp_files()
    return DataLoader().load_from_file(path, cache='none', trusted_as_template=True)
variables = load(given['variables'])
variables['omit'] = Omit
loader.set_basedir(given['folder'])
for probe in given['probes']:
    kind, text = probe['kind'], probe['text']
    try:
        templar = Templar(loader, variables=variables)
        if kind == 'template':
            result = templar.template(trust_as_template(text))
        elif kind == 'condition':
            result = templar.evaluate_conditional(trust_as_template(text))
        elif kind == 'expression':
            result = templar.evaluate_expression(trust_as_template(text))
        elif kind == 'data':
            result = templar.template(load(text))
        elif kind == 'file':
            templar = templar.copy_with_new_env(searchpath=[given['folder']], available_variables=variables)
            result = templar.template(trust_as_template(text), escape_backslashes=False, overrides=probe['options'])
            # The module writes what is printed.
            result = '' if result is None else str(result)
        print(json.dumps(result, sort_keys=True, default=str))
    except Exception as error:
        if os.environ.get('PROBES'):
            print(kind, text, error, file=sys.stderr)
        print('error')
";

/// Returns the Python of an Ansible, if there is one.
fn python() -> Option<PathBuf> {
    let folder = std::env::var_os("ANSIBLE_BIN")?;
    Some(PathBuf::from(folder).join("python3")).filter(|path| path.is_file())
}

pub(super) fn parsed(text: &str) -> Data {
    let mut files = Files::default();
    let file = files.add_text("text", text.to_owned());
    let (source, problems) = files.get(file);
    let node = document::ansible_node(&source, problems).expect("it is YAML");
    Data::read(node, file, problems)
}

pub(super) fn variables() -> Variables {
    let crate::data::Value::Map(entries) = parsed(VARIABLES).value else {
        panic!("it is a map")
    };
    Variables::new(entries)
}

/// Formats a result: JSON as Python writes it, or a marker for an error.
fn said(result: Result<minijinja::Value, TemplateError>) -> String {
    let shown = result.and_then(|value| {
        python_json(&value, None, true).map_err(|error| TemplateError::Wrong(error.to_string()))
    });
    shown.unwrap_or_else(|_| "error".to_owned())
}

fn ours(template: &str, variables: &Variables) -> String {
    said(render(template, variables))
}

/// The files that the templates of the probes include, by their names.
const INCLUDED: &[(&str, &str)] = &[
    ("part.j2", "part of {{ s }}{% set inner = 1 %}\n"),
    ("base.j2", "<{% block body %}base {{ n }}{% endblock %}>\n"),
    (
        "macros.j2",
        "{% macro greet(name='you', times=1) %}hi {{ name }}{{ '!' * times }}{% endmacro %}\n",
    ),
];

#[test]
fn probes_have_the_results_that_ansible_gives() {
    let Some(python) = python() else {
        let skipped =
            "nothing is compared with Ansible's templates, which are not installed (ANSIBLE_BIN)";
        let _ = writeln!(std::io::stderr(), "\n!! SKIPPED: {skipped}\n");
        return;
    };
    let folder = tempfile::tempdir().expect("there is room for a folder");
    for (name, text) in INCLUDED {
        std::fs::write(folder.path().join(name), text).expect("it can be written");
    }
    for (name, text) in lookups::FILES {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }
    let search = SearchPath {
        folders: vec![folder.path().to_path_buf()],
        ..SearchPath::default()
    };
    let variables = variables().with_search(Arc::new(search));
    let mut probes = Vec::new();
    let mut ours = Vec::new();
    let all = [
        templates::TEMPLATES,
        filters::FILTERS,
        tests::TESTS,
        lookups::LOOKUPS,
        expressions::EXPRESSIONS,
        numbers::NUMBERS,
        undefined::UNDEFINED,
    ];
    // Ansible hashes passwords with a separate package, which may not be installed.
    let passlib = Command::new(&python)
        .args(["-c", "import passlib"])
        .output();
    let hashes = passlib.is_ok_and(|output| output.status.success());
    if !hashes {
        let skipped =
            "no hash of a password is compared with Ansible's, whose Python has no passlib";
        let _ = writeln!(std::io::stderr(), "\n!! SKIPPED: {skipped}\n");
    }
    let all = all
        .into_iter()
        .flatten()
        .filter(|text| hashes || !(text.contains("password_hash") || text.contains("encrypt=")));
    for text in all {
        probes.push(json!({ "kind": "template", "text": text }));
        ours.push(said(render(text, &variables)));
    }
    for text in conditions::CONDITIONS {
        probes.push(json!({ "kind": "condition", "text": text }));
        ours.push(said(
            condition(text, &variables).map(minijinja::Value::from),
        ));
    }
    for text in conditions::EXPRESSIONS {
        probes.push(json!({ "kind": "expression", "text": text }));
        ours.push(said(expression(text, &variables)));
    }
    for text in data::DATA {
        probes.push(json!({ "kind": "data", "text": text }));
        ours.push(said(render_data(&parsed(text), &variables)));
    }
    for (text, options) in files::files() {
        probes.push(json!({ "kind": "file", "text": text, "options": files::as_given(&options) }));
        let options = TemplateOptions {
            folders: vec![folder.path().to_path_buf()],
            ..options
        };
        ours.push(said(
            template_file(text, &variables, &options).map(minijinja::Value::from),
        ));
    }
    let given = folder.path().join("given.json");
    let all = json!({ "variables": VARIABLES, "folder": folder.path(), "probes": probes });
    std::fs::write(&given, all.to_string()).expect("it can be written");
    let output = Command::new(python)
        .args(["-c", THEIRS])
        .arg(&given)
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let theirs = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let theirs: Vec<&str> = theirs.lines().collect();
    assert_eq!(theirs.len(), probes.len());
    let mut different = String::new();
    for ((probe, ours), theirs) in probes.iter().zip(ours).zip(theirs) {
        if ours != theirs {
            let _ = writeln!(
                different,
                "{}: {}\n  ours   {ours}\n  theirs {theirs}",
                probe["kind"], probe["text"]
            );
        }
    }
    assert!(different.is_empty(), "\n{different}\n{said}");
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
    assert_eq!(said("{{ loop_a }}"), "a variable refers to itself");
}

#[test]
fn whole_numbers_of_more_than_128_bits_are_refused_and_never_rounded() {
    let variables = variables();
    for (template, expected) in [
        ("{{ 340282366920938463463374607431768211456 }}", "error"),
        (
            "{{ '340282366920938463463374607431768211456' | int }}",
            "error",
        ),
        ("{{ 1e39 | int }}", "error"),
        ("{{ 99999999999999999999 * 99999999999999999999 }}", "error"),
        ("{{ 2 ** 128 }}", "error"),
        (
            "{{ '[340282366920938463463374607431768211456]' | from_json }}",
            "error",
        ),
        (
            "{{ '340282366920938463463374607431768211456' | from_yaml }}",
            "\"340282366920938463463374607431768211456\"",
        ),
    ] {
        assert_eq!(ours(template, &variables), expected, "{template}");
    }
    // JSON of results and arguments has no whole numbers of more than 64 bits, so they become text.
    let long = render("{{ [2 ** 64, 2 ** 64 - 1, 'inf' | float] }}", &variables).unwrap();
    let json = json!([
        "18446744073709551616",
        18_446_744_073_709_551_615_u64,
        "inf"
    ]);
    assert_eq!(super::to_json(&long), json);
    let data = parsed("[18446744073709551616, -9223372036854775809]");
    let rendered = render_data(&data, &variables).unwrap();
    assert_eq!(
        said(Ok(rendered)),
        "[18446744073709551616, -9223372036854775809]"
    );
}

#[test]
fn queries_of_documents_are_those_of_jmespath() {
    let variables = variables();
    for (template, expected) in [
        ("{{ users | json_query('[*].name') }}", r#"["ann", "bob"]"#),
        (
            "{{ users | json_query('[?uid==`2`].keys[0]') }}",
            r#"["k3"]"#,
        ),
        (
            "{{ users | community.general.json_query('length(@)') }}",
            "2",
        ),
        ("{{ users | json_query('[') }}", "error"),
    ] {
        assert_eq!(ours(template, &variables), expected, "{template}");
    }
}
