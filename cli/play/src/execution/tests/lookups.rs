//! Tests of lookups that run programs, as jobs of the machine.

use super::*;

impl Play {
    /// Ends a lookup with what its program prints, or with the reason why it was killed.
    fn look_up(&mut self, id: &str, printed: Result<&str, &str>, took: Duration) {
        let at = self.open.iter().position(|job| job.id.as_str() == id);
        let job = self
            .open
            .remove(at.unwrap_or_else(|| panic!("{id} is not among {:?}", self.open())));
        let printed = printed.map_err(str::to_owned).map(|text| {
            Ok(crate::programs::ProgramOutput {
                failure: None,
                stdout: text.into(),
                stderr: String::new(),
            })
        });
        self.execution
            .calls()
            .set_result(id, CallResult::Lookup(printed));
        let mut outcome = Outcome::new(job.id.clone(), "task", Ok(Payload::null()));
        outcome.duration = took;
        assert!(!self.execution.ended(&outcome), "it is no task");
        let next = self.execution.proceed();
        self.take(next);
    }

    /// Returns the arguments of the action of a job.
    fn arguments(&self, id: &str) -> serde_json::Value {
        match &self.execution.calls().get(id).unwrap().work {
            Work::Action(action) => json!(action.arguments),
            other => panic!("{id} is {other:?}"),
        }
    }
}

#[test]
fn lookups_that_run_programs_are_jobs_of_their_own_and_hosts_look_up_at_once() {
    let second = Duration::from_secs(1);
    let mut play = play(
        "- hosts: all
  tasks:
    - command: echo {{ lookup('pipe', 'one ' ~ inventory_hostname) }} {{ lookup('pipe', 'two') }}
      timeout: 10
",
    );
    let first = |host: &str| format!("1/tasks.0/{host}/lookup.1");
    assert_eq!(play.open(), [first("h1"), first("h2"), first("h3")]);
    play.look_up(&first("h2"), Ok("a\n"), second * 4);
    play.look_up("1/tasks.0/h2/lookup.2", Ok("b\n"), second);
    assert_eq!(play.open(), [&first("h1"), &first("h3"), "1/tasks.0/h2"]);
    assert_eq!(
        play.arguments("1/tasks.0/h2"),
        json!({"_raw_params": "echo a b"})
    );
    // The time of the lookups is a part of the time of the task.
    let call = play.execution.calls().get("1/tasks.0/h2").unwrap();
    let timeout = call.terms.timeout.unwrap();
    assert_eq!((timeout.period, timeout.left), (second * 10, second * 5));
    let limit = |play: &Play, id: &str| match &play.execution.calls().get(id).unwrap().work {
        Work::Lookup(lookup) => lookup.limit,
        other => panic!("{id} is {other:?}"),
    };
    assert_eq!(limit(&play, &first("h1")), Some(second * 10));
    play.look_up(&first("h1"), Ok("c"), second * 3);
    assert_eq!(limit(&play, "1/tasks.0/h1/lookup.2"), Some(second * 7));
}

#[test]
fn a_lookup_that_is_killed_fails_its_task_even_if_the_lookup_ignores_errors() {
    let mut play = play(
        "- hosts: h1,h2
  tasks:
    - command: echo {{ lookup('pipe', 'x', errors='ignore') }}
      ignore_errors: \"{{ inventory_hostname == 'h1' }}\"
    - command: second
",
    );
    for host in ["h1", "h2"] {
        let id = format!("1/tasks.0/{host}/lookup.1");
        play.look_up(&id, Err("it took too long"), Duration::ZERO);
    }
    assert_eq!(play.open(), ["1/tasks.0/h1", "1/tasks.0/h2"]);
    play.run_well();
    assert_eq!(play.counts("h1"), [2, 1, 0, 0, 0, 1]);
    assert_eq!(play.counts("h2"), [0, 0, 1, 0, 0, 0]);
}

#[test]
fn titles_loops_and_items_wait_for_their_lookups_and_run_no_program_twice() {
    let mut play = play(
        "- hosts: h1
  tasks:
    - name: of {{ lookup('pipe', 'title') }}
      command: echo {{ item }} {{ lookup('pipe', 'each') }}
      loop: \"{{ query('lines', 'items') }}\"
    - debug: {msg: \"{{ lookup('pipe', 'x') }}\"}
      when: lookup('pipe', 'wanted') == 'yes'
",
    );
    assert!(play.told().is_empty());
    play.look_up("1/tasks.0/h1/lookup.1", Ok("all"), Duration::ZERO);
    play.look_up("1/tasks.0/h1/lookup.2", Ok("a\nb\n"), Duration::ZERO);
    assert_eq!(play.told(), ["of all"]);
    play.look_up("1/tasks.0/h1/0/lookup.1", Ok("1"), Duration::ZERO);
    assert_eq!(
        play.arguments("1/tasks.0/h1/0"),
        json!({"_raw_params": "echo a 1"})
    );
    play.end("1/tasks.0/h1/0", &json!({}));
    play.look_up("1/tasks.0/h1/1/lookup.1", Ok("2"), Duration::ZERO);
    play.end("1/tasks.0/h1/1", &json!({}));
    // A condition that does not hold leaves the lookups behind it out.
    play.look_up("1/tasks.1/h1/lookup.1", Ok("no"), Duration::ZERO);
    play.end("1/tasks.1/h1", &json!({}));
    assert!(play.execution.is_done());
    assert_eq!(play.counts("h1")[3], 1);
}

#[test]
fn variables_that_a_file_includes_are_looked_up_before_they_are_known() {
    let mut play = play_with(
        "- hosts: h1\n  tasks:\n    - include_vars: v.yml\n    - command: echo {{ a }}\n",
        &[("v.yml", "a: \"{{ lookup('pipe', 'a') }}\"\n")],
        usual_options(),
    );
    play.look_up("1/tasks.0/h1/lookup.1", Ok("1"), Duration::ZERO);
    play.end("1/tasks.0/h1", &json!({}));
    // The variable is a template, which is rendered again where it is read.
    play.look_up("1/tasks.1/h1/lookup.1", Ok("2"), Duration::ZERO);
    assert_eq!(
        play.arguments("1/tasks.1/h1"),
        json!({"_raw_params": "echo 2"})
    );
}

#[test]
fn keywords_of_plays_and_tasks_wait_for_their_lookups_while_other_hosts_proceed() {
    let mut play = play(
        "- hosts: h1,h2
  strategy: free
  serial: \"{{ lookup('pipe', 'size') }}\"
  tasks:
    - command: one
      notify: \"{{ lookup('pipe', 'handler') }}\"
    - meta: end_host
      when: lookup('pipe', 'left') == 'yes'
    - command: two
      run_once: \"{{ lookup('pipe', 'once') }}\"
      throttle: \"{{ lookup('pipe', 'most') }}\"
  handlers:
    - name: restart
      command: three
",
    );
    let look_up = |play: &mut Play, id: &str, printed: &str| {
        play.look_up(id, Ok(printed), Duration::ZERO);
    };
    assert_eq!(play.open(), ["1/play/lookup.1"]);
    look_up(&mut play, "1/play/lookup.1", "2");
    play.end("1/tasks.0/h1", &json!({"changed": true}));
    assert_eq!(play.open(), ["1/tasks.0/h2", "1/tasks.0/h1/end/lookup.1"]);
    // Meanwhile the other host goes on.
    play.end("1/tasks.0/h2", &json!({}));
    look_up(&mut play, "1/tasks.1/h2/start/lookup.1", "no");
    look_up(&mut play, "1/tasks.2/h2/start/lookup.1", "no");
    look_up(&mut play, "1/tasks.2/h2/lookup.1", "1");
    assert_eq!(play.open(), ["1/tasks.0/h1/end/lookup.1", "1/tasks.2/h2"]);
    look_up(&mut play, "1/tasks.0/h1/end/lookup.1", "restart");
    look_up(&mut play, "1/tasks.1/h1/start/lookup.1", "no");
    look_up(&mut play, "1/tasks.2/h1/start/lookup.1", "no");
    look_up(&mut play, "1/tasks.2/h1/lookup.1", "1");
    // One host at a time may run this task.
    assert_eq!(play.open(), ["1/tasks.2/h2"]);
    play.end("1/tasks.2/h2", &json!({}));
    play.end("1/tasks.2/h1", &json!({}));
    assert_eq!(play.open().len(), 1, "{:?}", play.open());
    play.run_well();
    assert_eq!(play.counts("h1"), [3, 2, 0, 0, 0, 0]);
    assert_eq!(play.counts("h2"), [2, 0, 0, 0, 0, 0]);
}

#[test]
fn a_keyword_whose_lookup_is_killed_counts_as_one_that_cannot_be_evaluated() {
    let mut play = play(
        "- hosts: h1
  tasks:
    - command: one
      notify: \"{{ lookup('pipe', 'handler') }}\"
    - command: never
",
    );
    play.end("1/tasks.0/h1", &json!({"changed": true}));
    let id = "1/tasks.0/h1/end/lookup.1";
    play.look_up(id, Err("it took too long"), Duration::ZERO);
    assert!(play.execution.is_done() && play.execution.has_error());
    assert_eq!(play.counts("h1")[2], 1);
}
