//! Reports for build servers, held against the schema that they check reports with.

mod xml;

use ratchet_tests::{Folder, Ratchet};
use xml::Element;

/// The rule for an element: its name, its required attributes, its optional attributes, and the elements inside it, in order.
type Rule = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

/// The rules of the `JUnit` schema that build servers check.
/// A star is any number of them, a question mark one or none, and of those with a bar only one.
const SCHEMA: [Rule; 12] = [
    ("testsuites", &[], &[], &["testsuite*"]),
    (
        "testsuite",
        &[
            "id",
            "package",
            "name",
            "timestamp",
            "hostname",
            "tests",
            "failures",
            "errors",
            "time",
        ],
        &["skipped"],
        &["properties", "testcase*", "system-out", "system-err"],
    ),
    ("properties", &[], &[], &["property*"]),
    ("property", &["name", "value"], &[], &[]),
    (
        "testcase",
        &["name", "classname", "time"],
        &[],
        &[
            "properties?",
            "skipped|error|failure?",
            "flakyFailure*",
            "rerunFailure*",
            "system-out?",
            "system-err?",
        ],
    ),
    ("skipped", &[], &["message"], &[]),
    ("error", &["type"], &["message"], &[]),
    ("failure", &["type"], &["message"], &[]),
    // The first schema that had them is that of Maven Surefire.
    ("flakyFailure", &["type"], &["message"], &[]),
    ("rerunFailure", &["type"], &["message"], &[]),
    ("system-out", &[], &[], &[]),
    ("system-err", &[], &[], &[]),
];

fn validate(element: &Element) {
    let name = element.name.as_str();
    let known = SCHEMA.iter().find(|(known, ..)| *known == name);
    let Some((_, needed, allowed, inside)) = known else {
        unreachable!("the schema has no <{name}>")
    };
    for attribute in *needed {
        assert!(
            element.attribute(attribute).is_some(),
            "{name}: {attribute}"
        );
    }
    for (attribute, value) in &element.attributes {
        let attribute = attribute.as_str();
        assert!(
            needed.contains(&attribute) || allowed.contains(&attribute),
            "{name}: {attribute}"
        );
        check_value(name, attribute, value);
    }
    let mut rest = element
        .elements
        .iter()
        .map(|inner| inner.name.as_str())
        .peekable();
    for rule in *inside {
        let (most, names) = match rule.strip_suffix('*') {
            Some(names) => (usize::MAX, names),
            None => (1, rule.strip_suffix('?').unwrap_or(rule)),
        };
        let mut found = 0;
        while found < most
            && rest
                .next_if(|name| names.split('|').any(|known| known == *name))
                .is_some()
        {
            found += 1;
        }
        assert!(found > 0 || rule.ends_with(['*', '?']), "{name}: {rule}");
    }
    assert_eq!(rest.next(), None, "{name}");
    let is_mixed = matches!(
        name,
        "error" | "failure" | "skipped" | "system-out" | "system-err"
    );
    assert!(
        is_mixed || element.text.trim().is_empty(),
        "{name}: {}",
        element.text
    );
    element.elements.iter().for_each(validate);
}

fn check_value(element: &str, attribute: &str, value: &str) {
    let is_sound = match (element, attribute) {
        (_, "tests" | "failures" | "errors" | "skipped" | "id") => value.parse::<u32>().is_ok(),
        // A decimal number, in which there is no exponent.
        (_, "time") => {
            value.parse::<f64>().is_ok() && value.chars().all(|c| c.is_ascii_digit() || c == '.')
        }
        ("testsuite", "timestamp") => {
            let shape: String = value
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            shape == "0000-00-00T00:00:00"
        }
        ("testsuite", "name" | "hostname") => !value.trim().is_empty(),
        _ => true,
    };
    assert!(is_sound, "{element}: {attribute}={value:?}");
}

fn count(suite: &Element, name: &str) -> String {
    let cases = suite
        .elements
        .iter()
        .filter(|inner| inner.name == "testcase");
    let with = cases.filter(|case| case.elements.iter().any(|inner| inner.name == name));
    with.count().to_string()
}

/// Runs a job file, and returns its report.
fn report(folder: &Folder, words: &[&str], code: i32) -> Element {
    let call = Ratchet::within(folder).args(["run", "jobs.yaml", "-q", "-k"]);
    let ended = call.args(["--format", "junit"]).args(words).run();
    let report = xml::read(&ended.with_code(code).quiet().stdout());
    validate(&report);
    assert_eq!(
        (report.name.as_str(), report.elements.len()),
        ("testsuites", 1)
    );
    report
}

#[test]
fn a_junit_report_of_successes_failures_timeouts_and_skips_matches_the_schema() {
    let program = Ratchet::program().display();
    let folder = Folder::new().file(
        "jobs.yaml",
        format!(
            r#"
workers: {{ w: {{ command: ["{program}", worker], tasks: [echo, fail] }} }}
jobs:
  - {{ id: "a \"b\" <c> & \u00e9\t", task: echo, input: "<x>" }}
  - {{ id: refused, task: fail, input: {{ message: "no ]]> \u001b[31m<such>\nfile &amp;", code: "a\"b" }} }}
  - {{ id: exits, run: [sh, -c, "printf 'bad \\033[1m <stderr> ]]> \\377' >&2; exit 3"] }}
  - {{ id: slow, run: [sleep, "1000"], timeout: 200ms }}
  - {{ id: needs, run: ["true"], needs: [exits] }}
"#
        ),
    );
    let report = report(&folder, &[], 100);
    let suite = &report.elements[0];
    for (attribute, expected) in [
        ("tests", "5"),
        ("failures", "3"),
        ("errors", "0"),
        ("skipped", "1"),
    ] {
        assert_eq!(suite.attribute(attribute), Some(expected), "{attribute}");
    }
    assert_eq!(count(suite, "failure"), "3");
    assert_eq!(count(suite, "skipped"), "1");
    let cases: Vec<&Element> = suite
        .elements
        .iter()
        .filter(|inner| inner.name == "testcase")
        .collect();
    assert_eq!(cases[0].attribute("name"), Some("a \"b\" <c> & \u{e9}\t"));
    let refused = &cases[1].elements[0];
    assert_eq!(refused.attribute("type"), Some("task.a\"b"));
    assert_eq!(
        refused.attribute("message"),
        Some("no ]]> \u{fffd}[31m<such>\nfile &amp;")
    );
    assert_eq!(
        cases[2].elements[0].text,
        "bad \u{fffd}[1m <stderr> ]]> \u{fffd}"
    );
}

#[test]
fn a_junit_report_counts_crashes_as_errors_and_is_written_for_successes() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "workers: { w: { command: [sh, -c, \"read line; kill -9 $$\"], protocol: lines } }\njobs: [{ task: w }]\n",
    );
    let crashed = report(&folder, &[], 100);
    let suite = &crashed.elements[0];
    assert_eq!(
        (suite.attribute("errors"), count(suite, "error")),
        (Some("1"), "1".to_owned())
    );
    let folder = folder.file(
        "jobs.yaml",
        "jobs: [{ run: [\"true\"] }, { run: [\"true\"] }]\n",
    );
    let well = report(&folder, &[], 0);
    assert_eq!(well.elements[0].attribute("tests"), Some("2"));
    assert_eq!(count(&well.elements[0], "failure"), "0");
}
