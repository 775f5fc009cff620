//! Preprocesses the text of templates before it is compiled.
//!
//! The language of the engine differs slightly from that of Ansible. The differences are rewritten here: escapes in
//! strings, access to items by key, and names of filters with their collection.

mod escapes;
mod expression;
mod named;
mod operands;
mod parts;

pub(super) use escapes::Escapes;
pub(super) use expression::{
    ATTRIBUTE, COMPARE, FORMAT, IS_DATE, ITEM, MINUS, MUTABLE, prepared_expression,
};
use expression::{changes_in_place, rewritten};
pub(super) use named::{Named, names, names_in_expression, without_builtin};
use parts::{Part, parts};

/// The delimiters of templates in a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Delimiters {
    pub(super) variable: (String, String),
    pub(super) block: (String, String),
    pub(super) comment: (String, String),
    /// The prefix of a line that is a statement as a whole.
    pub(super) line_statement: Option<String>,
}

impl Default for Delimiters {
    fn default() -> Self {
        let pair = |open: &str, close: &str| (open.to_owned(), close.to_owned());
        Self {
            variable: pair("{{", "}}"),
            block: pair("{%", "%}"),
            comment: pair("{#", "#}"),
            line_statement: None,
        }
    }
}

/// Rewrites the expressions of a text for the engine. The other lines get the newlines of the rendered output.
pub(super) fn prepared(
    text: &str,
    delimiters: &Delimiters,
    escapes: Escapes,
    newline: &str,
) -> String {
    let is_changed = changes_in_place(text);
    let mut out = String::with_capacity(text.len() + 8);
    for part in parts(text, delimiters) {
        match part {
            Part::Plain(text) if newline == "\n" => out.push_str(text),
            Part::Plain(text) => out.push_str(&text.replace('\n', newline)),
            Part::Code {
                open,
                inside,
                close,
            } => {
                // A sign at either end controls the blanks outside, and belongs to no expression.
                let signs = ['-', '+'];
                let (before, inside) = inside.split_at(inside.starts_with(signs).into());
                let (inside, after) =
                    inside.split_at(inside.len() - usize::from(inside.ends_with(signs)));
                out.push_str(open);
                out.push_str(before);
                out.push_str(&rewritten(inside, escapes, is_changed));
                out.push_str(after);
                out.push_str(close);
            }
        }
    }
    out
}

/// Returns the expression of which a template consists, if it contains nothing else.
pub(super) fn lone_expression(text: &str) -> Option<&str> {
    let delimiters = &*DELIMITERS;
    if !(text.starts_with("{{") && text.ends_with("}}")) {
        return None;
    }
    let mut all = parts(text, delimiters);
    match (all.next(), all.next()) {
        (
            Some(Part::Code {
                inside,
                close: "}}",
                ..
            }),
            None,
        ) => {
            let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
            Some(inside.strip_suffix(['-', '+']).unwrap_or(inside).trim())
        }
        _ => None,
    }
}

/// The default delimiters.
pub(super) static DELIMITERS: std::sync::LazyLock<Delimiters> =
    std::sync::LazyLock::new(Delimiters::default);

/// Whether a template has blocks whose output is captured as a text, so that values in it must be printed.
pub(super) fn captures(text: &str) -> bool {
    let words = ["macro", "call", "filter", "set"];
    text.split("{%").skip(1).any(|block| {
        let block = block.trim_start_matches(['-', '+']).trim_start();
        let word = block.split_whitespace().next().unwrap_or_default();
        words.contains(&word)
            && !(word == "set"
                && block
                    .split("%}")
                    .next()
                    .is_some_and(|set| set.contains('=')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        prepared(text, &DELIMITERS, Escapes::Kept, "\n")
    }

    #[test]
    fn backslashes_in_quotes_are_kept_as_they_are_written() {
        for (text, expected) in [
            (r"a\b", r"a\b"),
            (r"{{ 'a\b' }}\c", r"{{ 'a\\b' }}\c"),
            (r"{{ 'a\\b' }}", r"{{ 'a\\\\b' }}"),
            (r"{{ 'a\'b\c' }}", r"{{ 'a\\\'b\\c' }}"),
            (r#"{% if x == "\d" %}\d"#, r#"{% if x == "\\d" %}\d"#),
            (r"{# '\d' #}{{ '\d' }}", r"{# '\d' #}{{ '\\d' }}"),
            (
                r"{% raw %}{{ '\d' }}{% endraw %}{{ '\d' }}",
                r"{% raw %}{{ '\d' }}{% endraw %}{{ '\\d' }}",
            ),
        ] {
            assert_eq!(kept(text), expected, "{text}");
        }
    }

    #[test]
    fn backslashes_of_files_and_conditions_are_those_of_python() {
        for (text, expected) in [
            (r"'a\nb\d\/'", r"'a\nb\\d\\/'"),
            (r"'\\d\'\a'", r"'\\d\'\u0007'"),
            (r"'\U0001F600'", "'\u{1f600}'"),
        ] {
            assert_eq!(
                prepared_expression(text, Escapes::Python),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn items_with_a_plain_name_are_attributes_and_others_are_looked_up_by_a_function() {
        for (expression, expected) in [
            ("a['b']['c-d'].e", "__item(__attribute(a, 'b'), 'c-d').e"),
            ("a(x)[\"b\"]", "a(x).b"),
            ("a.b.c", "__attribute(a, 'b').c"),
            (
                "{'a': x.y}.b['c'].d.e() + f.g()",
                "__attribute(__attribute(__attribute({'a': x.y}, 'b'), 'c'), 'd').e() + f.g()",
            ),
            ("['b'] + a[b]", "['b'] + __item(a, b)"),
            (r#""a['b']\"['c']""#, r#""a['b']\\\"['c']""#),
            ("{'a': ['b']}", "{'a': ['b']}"),
            (
                "x + a[b[c]][0].d",
                "x + __item(__item(a, __item(b, c)), 0).d",
            ),
            ("(a | first)[n]", "__item((a | first), n)"),
            ("a[1:2] in [b]", "a[1:2] in [b]"),
            (
                "'%s' % a[0] | upper ~ 'x' if b",
                "__format('%s', __item(a, 0) | upper) ~ 'x' if b",
            ),
            ("f('%d %s' % (1, b))", "f(__format('%d %s', (1, b)))"),
            ("5 % a", "5 % a"),
            ("x is subset [1]", "x is subset [1]"),
            (
                "x is not ansible.builtin.match('a') and y | ansible.builtin.b64encode",
                "x is not match('a') and y | b64encode",
            ),
            ("' '.join(a)[0]", "__item(' '.join(a), 0)"),
            (
                "not (a)[0] if [1] else b",
                "not __item((a), 0) if [1] else b",
            ),
        ] {
            assert_eq!(prepared_expression(expression, Escapes::Kept), expected);
        }
    }

    #[test]
    fn dates_are_subtracted_by_a_function() {
        for (expression, expected) in [
            (
                "((a | to_datetime) - (b | to_datetime)).days > 3",
                "__compare('>', (__minus((a | to_datetime), (b | to_datetime))).days, 3)",
            ),
            ("now() - b.c | d == -1", "__minus(now(), b.c | d) == -1"),
            (
                "(a | to_datetime('%Y')) - b",
                "__minus((a | to_datetime('%Y')), b)",
            ),
            ("a | to_datetime == -1", "a | to_datetime == -1"),
            (
                "(a | to_datetime(f) - b | to_datetime(f)).days",
                "(__minus(a | to_datetime(f), b | to_datetime(f))).days",
            ),
            (
                "(a.b - c | d).days",
                "((__minus(a.b, c | d) if __is_date(a.b) else a.b - c | d)).days",
            ),
            ("a * b - c", "a * b - c"),
            ("a - b * c", "a - b * c"),
            ("[a, -1]", "[a, -1]"),
            ("a | length - 1", "a | length - 1"),
        ] {
            assert_eq!(
                prepared_expression(expression, Escapes::Kept),
                expected,
                "{expression}"
            );
        }
    }

    #[test]
    fn values_are_compared_in_order_by_a_function() {
        for (expression, expected) in [
            ("a < b", "__compare('<', a, b)"),
            (
                "a | length >= b + 1 and c",
                "__compare('>=', a | length, b + 1) and c",
            ),
            ("not a > b or c", "not __compare('>', a, b) or c"),
            (
                "f(a > 1, x=b <= 2)",
                "f(__compare('>', a, 1), x=__compare('<=', b, 2))",
            ),
            (
                "x if a[0] > b[0] else y",
                "x if __compare('>', __item(a, 0), __item(b, 0)) else y",
            ),
            ("{'a': b > 1}", "{'a': __compare('>', b, 1)}"),
            ("(a > b) == c", "(__compare('>', a, b)) == c"),
            (
                "a is version('1', '>') and b",
                "a is version('1', '>') and b",
            ),
            // A chain is left to the engine.
            ("1 < a < 9", "1 < a < 9"),
            ("a == b < c", "a == b < c"),
            ("a < b in c", "a < b in c"),
        ] {
            assert_eq!(
                prepared_expression(expression, Escapes::Kept),
                expected,
                "{expression}"
            );
        }
    }

    #[test]
    fn signs_that_control_blanks_stay_outside_of_expressions() {
        for (text, expected) in [
            ("{{- a < b -}}", "{{- __compare('<', a, b) -}}"),
            (
                "{%- if a >= b -%}x{%+ endif %}",
                "{%- if __compare('>=', a, b) -%}x{%+ endif %}",
            ),
            ("{{-a-}}", "{{-a-}}"),
        ] {
            assert_eq!(kept(text), expected, "{text}");
        }
    }

    #[test]
    fn blocks_that_keep_their_output_are_known() {
        assert!(captures("{%- macro a() %}x{% endmacro %}"));
        assert!(captures("{% set x %}a{% endset %}"));
        assert!(!captures("{% set x = 1 %}{{ x }}"));
        assert!(!captures("{% if set %}{% endif %}"));
    }

    #[test]
    fn a_lone_expression_is_told_from_several_and_may_have_braces() {
        assert_eq!(
            lone_expression("{{ {'a': {'b': 1}} }}"),
            Some("{'a': {'b': 1}}")
        );
        assert_eq!(lone_expression("{{- '}}' -}}"), Some("'}}'"));
        assert_eq!(lone_expression("{{ a }}{{ b }}"), None);
        assert_eq!(lone_expression("{{ a }} "), None);
        assert_eq!(lone_expression("{% a %}"), None);
    }

    #[test]
    fn the_filters_tests_and_lookups_of_a_template_are_found() {
        let text = "{{ a | first | map('upper') | select('match', '^x') }}{% if b is not c.d.e and lookup('env', q) %}\
                    {% filter indent %}{{ q(\"file\", 'x') is defined }}{# | no #}{{ '| no' }}{{ x.lookup('y') }}";
        assert_eq!(
            names(text, &DELIMITERS),
            [
                Named::Filter("first"),
                Named::Filter("map"),
                Named::Filter("upper"),
                Named::Filter("select"),
                Named::Test("match"),
                Named::Test("c.d.e"),
                Named::Lookup("env"),
                Named::Filter("indent"),
                Named::Lookup("file"),
                Named::Test("defined"),
            ]
        );
    }
}
