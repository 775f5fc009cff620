//! Values of playbooks that have to render as in Ansible.

/// Values in YAML.
pub(super) const DATA: &[&str] = &[
    "a: '{{ omit }}'\nb: [1, '{{ omit }}', '{{ n }}']",
    "a: \"{{ nowhere | default(omit) }}\"\nb: {c: \"{{ nothing | default(omit, true) }}\", d: x}",
    "a: 'x{{ omit }}y'",
    "'{{ s }}': 1",
    "a: {b: {c: ['{{ nowhere }}']}}",
    "a: '{{ list }}'\nb: '{{ map }}'\nc: '{{ t }}'",
    "a: !unsafe '{{ n }}'",
    "['{{ deep.one }}', 1.5, null, yes, '007']",
    "{a: '{{ [1, omit, {\"b\": omit}] }}'}",
    "{a: '{{ deep }}'}",
    "{a: '{{ users | map(attribute=\"name\") }}'}",
    "{a: '{{ range(3) | list }}', b: '{{ {} }}', c: '{{ [] }}'}",
];
