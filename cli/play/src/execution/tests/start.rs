//! Tests of calls that start at a task.

use super::*;

#[test]
fn a_play_starts_at_the_task_that_is_named() {
    let text = "
- hosts: h1
  tasks:
    - name: one
      command: a
    - name: two words
      command: b
    - name: three
      command: c
";
    let options = Options {
        start_at: Some(StartAt::new("two*")),
        ..usual_options()
    };
    let mut play = play_with(text, &[], options);
    play.run_well();
    assert_eq!(play.told(), ["two words", "three"]);
}

/// Starts two hosts in one batch, or each in its own, at the task `three`.
fn started(serial: &str) -> Play {
    let text = format!(
        "
- hosts: h1,h2
  {serial}
  pre_tasks:
    - {{name: before, command: c}}
  tasks:
    - {{name: one, command: c}}
    - block:
        - {{name: two, command: c}}
      rescue:
        - {{name: saved, command: c}}
      always:
        - {{name: three, command: c}}
    - {{name: four, command: c}}
- hosts: h3
  tasks:
    - {{name: other, command: c}}
"
    );
    let options = Options {
        start_at: Some(StartAt::new("three")),
        ..usual_options()
    };
    play_with(&text, &[], options)
}

#[test]
fn all_hosts_of_the_batch_start_at_the_task() {
    let mut play = started("order: inventory");
    play.run_well();
    let ids = [
        "1/tasks.1.always.0/h1",
        "1/tasks.1.always.0/h2",
        "1/tasks.2/h1",
        "1/tasks.2/h2",
        "2/tasks.0/h3",
    ];
    assert_eq!(play.ids, ids);
}

#[test]
fn a_later_batch_goes_through_the_whole_play() {
    let mut play = started("serial: 1");
    play.run_well();
    let of_second = play.ids.iter().filter(|id| id.ends_with("/h2"));
    assert_eq!(of_second.count(), 5);
    let of_first = play.ids.iter().filter(|id| id.ends_with("/h1"));
    assert_eq!(of_first.count(), 2);
}

#[test]
fn plays_before_the_one_with_the_task_do_nothing() {
    let text = "
- hosts: all
  gather_facts: true
  tasks:
    - {name: early, command: c}
- hosts: h1
  gather_facts: true
  tasks:
    - {name: passed over, command: c}
    - {name: late, command: c}
";
    let options = Options {
        start_at: Some(StartAt::new("late")),
        ..usual_options()
    };
    let mut play = play_with(text, &[], options);
    play.run_well();
    assert_eq!(play.ids, ["2/facts/h1", "2/tasks.1/h1"]);
}

#[test]
fn a_start_that_no_play_with_hosts_has_is_an_error() {
    let text = "
- hosts: nobody
  tasks:
    - {name: late, command: c}
- hosts: h1
  tasks:
    - {name: early, command: c}
";
    let options = Options {
        start_at: Some(StartAt::new("late")),
        ..usual_options()
    };
    let mut play = play_with(text, &[], options);
    assert!(play.execution.is_done() && play.execution.has_error());
    assert!(play.ids.is_empty());
    let events = play.execution.take_events();
    let told =
        |event: &PlayEvent| matches!(event, PlayEvent::Error(text) if text.contains("`late`"));
    assert!(events.iter().any(told), "{events:?}");
}
