//! Template files that have to render as in Ansible.

use crate::templates::TemplateOptions;

/// Returns files, and the options with which they are read.
pub(super) fn files() -> Vec<(&'static str, TemplateOptions)> {
    let usual = TemplateOptions::default;
    let mut all: Vec<_> = TEXTS.iter().map(|text| (*text, usual())).collect();
    let untrimmed = TemplateOptions {
        trim_blocks: false,
        ..usual()
    };
    all.push(("{% if t %}\na\n{% endif %}\nb\n", untrimmed));
    let stripped = TemplateOptions {
        lstrip_blocks: true,
        ..usual()
    };
    all.push(("  {% if t %}\na\n  {% endif %}\n  {# c #}\nb\n", stripped));
    let carriage = TemplateOptions {
        newline_sequence: "\r\n".to_owned(),
        ..usual()
    };
    all.push((
        "a\n{% if t %}\n{{ n }}\n{% endif %}\n{{ text }}\nb\n\n",
        carriage,
    ));
    let others = TemplateOptions {
        variable: ("[[".to_owned(), "]]".to_owned()),
        block: ("[%".to_owned(), "%]".to_owned()),
        comment: ("[#".to_owned(), "#]".to_owned()),
        ..usual()
    };
    all.push((
        "[% if t %]\n[[ s['x'] | d('\\d') ]] [[ list[0] ]] {{ n }}\n[% endif %][# gone #]\n",
        others,
    ));
    all
}

/// Returns the options as the module takes them.
pub(super) fn as_given(options: &TemplateOptions) -> serde_json::Value {
    serde_json::json!({
        "trim_blocks": options.trim_blocks,
        "lstrip_blocks": options.lstrip_blocks,
        "newline_sequence": options.newline_sequence,
        "variable_start_string": options.variable.0,
        "variable_end_string": options.variable.1,
        "block_start_string": options.block.0,
        "block_end_string": options.block.1,
        "comment_start_string": options.comment.0,
        "comment_end_string": options.comment.1,
    })
}

/// Files that are read with the default options.
const TEXTS: &[&str] = &[
    "plain\n",
    "plain",
    "",
    "\n",
    "{{ n }}\n",
    "{{ n }}",
    "{{ list }}",
    "{{ map }}\n",
    "{{ nothing }}\n",
    "{{ t }} {{ f }}\n",
    "a\r\nb\r\n",
    "{% for i in list %}\n{{ i }}\n{% endfor %}\n",
    "{% for i in list %}\n{{ loop.index }}/{{ loop.length }} {{ loop.first }} {{ loop.last }} {{ i }}{% if not loop.last %},{% endif %}\n{% endfor %}\n",
    "{% for k, v in map.items() %}\n{{ k }}={{ v }}\n{% endfor %}\n",
    "{% for k, v in map | dictsort %}\n{{ k }}\n{% endfor %}\n",
    "{% for u in users if u.uid > 1 %}\n{{ u.name }}\n{% else %}\nnone\n{% endfor %}\n",
    "{%- if t -%}\n  x  \n{%- endif %}\n  y\n",
    "  {%+ if t %}a{% endif +%}\nb\n",
    "{% if nowhere is defined %}a{% else %}b{% endif %}\n",
    "{% if nowhere %}a{% endif %}\n",
    "{{ nowhere }}\n",
    "{{ nowhere | default('d') }}\n",
    "{{ map.nope }}\n",
    "{{ map[s] | upper }}\n",
    r"{{ 'a\nb' }} {{ '\d' }} {{ 'a\\b' }}",
    r"{{ 'a.b' | regex_replace('\.', '-') }}",
    "{% raw %}{{ x }}{% endraw %}\n",
    "{# a comment #}\nx\n",
    "{% set x = 3 %}\n{{ x }}\n",
    "{% set x %}\na{{ n }}\n{% endset %}\n{{ x }}\n",
    "{% set ns = namespace(found=false) %}\n{% for i in list %}{% if i == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}\n{{ ns.found }}\n",
    "{% macro m(a, b=2) %}\n<{{ a }} {{ b }}>\n{% endmacro %}\n{{ m(1) }}{{ m(1, b=3) }}\n",
    "{% include 'part.j2' %}\n",
    "{% include 'nope.j2' ignore missing %}\nx\n",
    "{% include 'nope.j2' %}\n",
    "{% include ['nope.j2', 'part.j2'] %}\n",
    "{% extends 'base.j2' %}\n{% block body %}own {{ super() }}{% endblock %}\n",
    "{% import 'macros.j2' as m %}\n{{ m.greet('ann', times=2) }}\n",
    "{% from 'macros.j2' import greet %}\n{{ greet() }}\n",
    "{% from 'macros.j2' import greet as hello with context %}\n{{ hello() }}\n",
    "#jinja2: trim_blocks: False\n{% if t %}\na\n{% endif %}\n",
    "#jinja2: lstrip_blocks: True\n  {% if t %}\na\n  {% endif %}\n",
    "#jinja2:variable_start_string:'[%', variable_end_string:'%]', trim_blocks: False\n[% n %] {{ n }}\n",
    "#jinja2: nope: True\nx\n",
    "{{ users | map(attribute='name') | join(', ') }}\n",
    "{{ list | to_json }}\n{{ map | to_nice_json }}\n",
    "{{ list\n  | first }}\n",
    "{% filter upper %}\nabc\n{% endfilter %}\n",
    "{% call(x) nope() %}{% endcall %}\n",
    "{% if x %}\n",
    "{{ '%.2f' % 3.14159 }} {{ '%s and %d' % ('a', 3) }}\n",
    "{% for i in range(3) %}\n{{ i }}{{ ' ' }}\n{% endfor %}\n",
    "{{ loop_a }}\n",
    "{{ lazy }} {{ chain }}\n",
    "{{ (n | string) + 'x' }}\n",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}\n",
    "{% do list.append(1) %}\n",
    "ü {{ text }}\n",
];
