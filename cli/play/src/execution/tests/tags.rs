//! Tests of tags that are templates.

use super::*;

/// The ids of the jobs that a play gives out with `--tags b`.
fn with_tag_b(text: &str, files: &[(&str, &str)]) -> Vec<String> {
    let options = options_with(|settings| settings.run_tags = vec!["b".to_owned()]);
    let mut play = play_with(text, files, options);
    play.run_well();
    play.ids
}

#[test]
fn templates_in_tags_are_rendered_before_tasks_are_selected() {
    let text = "
- hosts: h1
  vars: {one: b, several: [a, b]}
  tasks:
    - {command: c, tags: '{{ one }}'}
    - {command: c, tags: ['x', '{{ one }}']}
    - {command: c, tags: 'x, {{ one }}'}
    - {command: c, tags: ['{{ several }}']}
    - {command: c, tags: \"{{ ['b', 'x'] }}\"}
    - {command: c, tags: ['{{ one }}x']}
    - {command: c, tags: x}
";
    let ids: Vec<_> = (0..5).map(|task| format!("1/tasks.{task}/h1")).collect();
    assert_eq!(with_tag_b(text, &[]), ids);
}

#[test]
fn tags_of_a_role_and_of_included_tasks_know_its_defaults_and_the_play() {
    let text = "
- hosts: h1
  vars: {one: b}
  roles: [app]
  tasks:
    - {include_tasks: more.yml, tags: always}
";
    let files = [
        ("roles/app/defaults/main.yml", "own: b\n"),
        (
            "roles/app/tasks/main.yml",
            "- {command: c, tags: '{{ own }}'}\n",
        ),
        (
            "more.yml",
            "- {command: c, tags: '{{ one }}'}\n- {command: c, tags: x}\n",
        ),
    ];
    let ids = ["1/roles.0.0/h1", "1/tasks.0/h1", "1/tasks.0.0.0/h1"];
    assert_eq!(with_tag_b(text, &files), ids);
}
