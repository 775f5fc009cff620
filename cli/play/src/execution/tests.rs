//! Tests of the machine as a value: playbooks are read, and each job ends as the test decides.

use std::collections::BTreeMap;
use std::time::Duration;

use ratchet_input::inventory;
use ratchet_runtime::ParallelizationHint as Hint;
use serde_json::json;

use super::*;
use crate::language;

mod conditions;
mod failures;
mod handlers;
mod imports;
mod lookups;
mod magic;
mod start;
mod tags;

/// A playbook whose jobs are ended by the test.
struct Play {
    execution: Execution,
    /// The jobs that were given out and have not ended, in their order.
    open: Vec<Job>,
    /// The ids of all jobs that were given out.
    ids: Vec<String>,
    _folder: tempfile::TempDir,
}

/// Reads a playbook for the hosts h1 to h3, with more files next to it, and starts it.
fn play_with(text: &str, files: &[(&str, &str)], options: Options) -> Play {
    begun(text, files, options, |_| {})
}

/// What the `debug` tasks of a play show, by host.
fn shown(mut play: Play) -> Vec<String> {
    let mut shown = Vec::new();
    while let Some(id) = play.open.first().map(|job| job.id.as_str().to_owned()) {
        let call = play.execution.calls().get(&id).unwrap();
        if let Work::Done(result) = &call.work
            && let Some(text) = result.get("msg").and_then(serde_json::Value::as_str)
        {
            shown.push(format!("{}: {text}", call.names.host));
        }
        play.end(&id, &json!({}));
    }
    shown
}

/// Reads a playbook for the hosts h1 to h3, and starts it in step mode.
fn play_asking(text: &str, ask: impl FnMut(&str) -> StepAnswer + Send + 'static) -> Play {
    begun(text, &[], usual_options(), |execution| {
        execution.ask_before_tasks(ask);
    })
}

fn begun(
    text: &str,
    files: &[(&str, &str)],
    options: Options,
    prepare: impl FnOnce(&mut Execution),
) -> Play {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("play.yml");
    std::fs::write(&path, text).unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let inventory = inventory::load(&["h1,h2,h3".to_owned()]).unwrap();
    let (reader, playbooks) = language::read(&[path], &[], &configuration(), Arc::default())
        .unwrap_or_else(|mut error| {
            let shown: Vec<_> = error.take_diagnostics();
            panic!("{error}: {shown:?}")
        });
    let plays = playbooks.into_iter().flat_map(|playbook| playbook.plays);
    let plays = plays.map(Arc::new).collect();
    let registry = ModuleRegistry::with_builtins();
    let mut execution = Execution::new(plays, inventory, reader, registry, options);
    prepare(&mut execution);
    let first = execution.proceed();
    let mut play = Play {
        execution,
        open: Vec::new(),
        ids: Vec::new(),
        _folder: folder,
    };
    play.take(first);
    play
}

/// Returns options without fact gathering, and with changed settings.
fn options_with(change: impl FnOnce(&mut Configuration)) -> Options {
    use crate::configuration::Gathering;
    let mut settings = configuration();
    settings.gathering = Gathering::Explicit;
    change(&mut settings);
    Options {
        settings,
        limit: None,
        check: false,
        start_at: None,
        verbosity: 0,
        answers: HashMap::new(),
        limits: Vec::new(),
        modules: None,
    }
}

fn usual_options() -> Options {
    options_with(|_| {})
}

/// Returns the default settings.
fn configuration() -> Configuration {
    let folder = tempfile::tempdir().unwrap();
    Configuration::load(folder.path(), &BTreeMap::new()).unwrap()
}

fn play(text: &str) -> Play {
    play_with(text, &[], usual_options())
}

impl Play {
    fn take(&mut self, jobs: Vec<Job>) {
        self.ids
            .extend(jobs.iter().map(|job| job.id.as_str().to_owned()));
        self.open.extend(jobs);
    }

    /// Returns the ids of the jobs that have not ended.
    fn open(&self) -> Vec<&str> {
        self.open.iter().map(|job| job.id.as_str()).collect()
    }

    /// Ends a job with the result of its module.
    fn end(&mut self, id: &str, result: &serde_json::Value) {
        let at = self.open.iter().position(|job| job.id.as_str() == id);
        let job = self
            .open
            .remove(at.unwrap_or_else(|| panic!("{id} is not among {:?}", self.open())));
        let call = self.execution.calls().get(id).unwrap();
        let raw = match &call.work {
            Work::Done(result) | Work::Wait(_, result) => result.clone(),
            Work::Action(_) => result.as_object().unwrap().clone(),
            Work::Lookup(lookup) => panic!("{id} is the lookup {lookup:?}"),
        };
        let ended = match call.rules.apply(&call.names, raw, 1) {
            crate::call::AttemptResult::Ended(result) => result,
            crate::call::AttemptResult::Again(result) => {
                panic!("{id} wants another attempt: {result:?}")
            }
        };
        let ended = CallResult::Task(Box::new(ended));
        self.execution.calls().set_result(id, ended);
        let outcome = Outcome::new(job.id.clone(), "task", Ok(Payload::null()));
        self.execution.ended(&outcome);
        let next = self.execution.proceed();
        self.take(next);
    }

    /// Ends all jobs, in their order, with the results of their modules.
    fn run(&mut self, result: impl Fn(&str) -> serde_json::Value) {
        while let Some(id) = self.open.first().map(|job| job.id.as_str().to_owned()) {
            self.end(&id, &result(&id));
        }
        assert!(self.execution.is_done());
    }

    /// Ends all jobs successfully.
    fn run_well(&mut self) {
        self.run(|_| json!({"changed": true}));
    }

    /// Returns the counts of a host: ok, changed, failed, skipped, rescued, ignored.
    fn counts(&self, host: &str) -> [u64; 6] {
        let mut hosts = self.execution.recap().hosts();
        let found = hosts.find(|(name, _)| *name == host);
        found.map_or([0; 6], |(_, counts)| {
            [
                counts.ok,
                counts.changed,
                counts.failed,
                counts.skipped,
                counts.rescued,
                counts.ignored,
            ]
        })
    }

    /// Takes the names of the tasks that were reported.
    fn told(&mut self) -> Vec<String> {
        let events = self.execution.take_events().into_iter();
        events
            .filter_map(|event| match event {
                PlayEvent::Task { name, .. } => Some(name),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn hosts_of_a_linear_play_wait_for_each_other_before_the_next_task() {
    let mut play = play("- hosts: all\n  tasks:\n    - command: one\n    - command: two\n");
    assert_eq!(
        play.open(),
        ["1/tasks.0/h1", "1/tasks.0/h2", "1/tasks.0/h3"]
    );
    play.end("1/tasks.0/h1", &json!({}));
    play.end("1/tasks.0/h3", &json!({}));
    assert_eq!(play.open(), ["1/tasks.0/h2"]);
    play.end("1/tasks.0/h2", &json!({}));
    assert_eq!(
        play.open(),
        ["1/tasks.1/h1", "1/tasks.1/h2", "1/tasks.1/h3"]
    );
    play.run_well();
    assert_eq!(play.counts("h1"), [2, 1, 0, 0, 0, 0]);
}

#[test]
fn hosts_of_a_free_play_go_on_by_themselves() {
    let mut play =
        play("- hosts: all\n  strategy: free\n  tasks:\n    - command: one\n    - command: two\n");
    play.end("1/tasks.0/h2", &json!({}));
    assert_eq!(
        play.open(),
        ["1/tasks.0/h1", "1/tasks.0/h3", "1/tasks.1/h2"]
    );
    play.run_well();
}

#[test]
fn as_many_hosts_as_forks_go_through_a_pinned_play() {
    let text =
        "- hosts: all\n  strategy: host_pinned\n  tasks:\n    - command: one\n    - command: two\n";
    let mut play = play(text);
    play.execution.machine.options.settings.forks = Some(1);
    // The first round started ten.
    play.run_well();
    let mut play = play_with(text, &[], usual_options());
    assert_eq!(play.open().len(), 3);
    play.run_well();
}

#[test]
fn items_of_a_loop_go_one_after_the_other_unless_the_task_lets_them_run_in_parallel() {
    let text = "
- hosts: h1
  tasks:
    - command: echo {{ item }}
      loop: [1, 2, 3]
";
    let mut usual = play(text);
    assert_eq!(usual.open(), ["1/tasks.0/h1/0"]);
    usual.run_well();
    assert_eq!(
        usual.ids,
        ["1/tasks.0/h1/0", "1/tasks.0/h1/1", "1/tasks.0/h1/2"]
    );
    let parallel = format!("{text}      loop_control: {{parallel: 2}}\n");
    let mut play = play(&parallel);
    assert_eq!(play.open(), ["1/tasks.0/h1/0", "1/tasks.0/h1/1"]);
    play.end("1/tasks.0/h1/1", &json!({}));
    assert_eq!(play.open(), ["1/tasks.0/h1/0", "1/tasks.0/h1/2"]);
    play.run_well();
    assert_eq!(play.counts("h1"), [1, 1, 0, 0, 0, 0]);
}

#[test]
fn no_more_hosts_than_the_throttle_do_a_task_at_once() {
    let text = "
- hosts: all
  tasks:
    - command: one
      throttle: 1
    - command: two
";
    let mut play = play(text);
    assert_eq!(play.open(), ["1/tasks.0/h1"]);
    play.end("1/tasks.0/h1", &json!({}));
    assert_eq!(play.open(), ["1/tasks.0/h2"]);
    play.run_well();
    assert_eq!(play.counts("h3"), [2, 2, 0, 0, 0, 0]);
}

#[test]
fn a_task_that_runs_once_gives_its_result_to_all_hosts() {
    let text = "
- hosts: all
  tasks:
    - command: one
      run_once: true
      register: r
    - command: two
      when: r.answer == 42
";
    let mut play = play(text);
    assert_eq!(play.open(), ["1/tasks.0/h1"]);
    play.end("1/tasks.0/h1", &json!({"answer": 42}));
    assert_eq!(
        play.open(),
        ["1/tasks.1/h1", "1/tasks.1/h2", "1/tasks.1/h3"]
    );
    play.run_well();
    assert_eq!(play.counts("h2"), [1, 1, 0, 0, 0, 0]);
}

#[test]
fn batches_go_one_after_the_other() {
    let mut play = play("- hosts: all\n  serial: 2\n  tasks:\n    - command: one\n");
    assert_eq!(play.open(), ["1/tasks.0/h1", "1/tasks.0/h2"]);
    play.end("1/tasks.0/h1", &json!({}));
    play.end("1/tasks.0/h2", &json!({"failed": true}));
    assert_eq!(play.open(), ["1/tasks.0/h3"]);
    play.run_well();
}

#[test]
fn a_batch_that_fails_as_a_whole_ends_the_playbook() {
    let text = "
- hosts: all
  serial: 1
  tasks:
    - command: one
- hosts: all
  tasks:
    - command: two
";
    let mut play = play(text);
    play.end("1/tasks.0/h1", &json!({"failed": true}));
    assert!(play.execution.is_done());
    assert_eq!(play.ids, ["1/tasks.0/h1"]);
}

#[test]
fn a_host_that_has_failed_is_left_out_of_later_plays() {
    let text = "
- hosts: all
  tasks:
    - command: one
- hosts: h2,h3
  tasks:
    - command: two
";
    let mut play = play(text);
    play.run(|id| json!({"failed": id == "1/tasks.0/h2"}));
    assert_eq!(play.ids.last().unwrap(), "2/tasks.0/h3");
    assert_eq!(play.ids.len(), 4);
}

#[test]
fn an_unreachable_host_is_no_failure_that_a_rescue_catches() {
    let text = "
- hosts: h1,h2
  tasks:
    - block:
        - command: one
      rescue:
        - command: mend
";
    let mut play = play(text);
    play.run(|id| json!({"unreachable": id.ends_with("h1")}));
    assert!(!play.ids.iter().any(|id| id.contains("rescue")));
    let hosts: BTreeMap<_, _> = play.execution.recap().hosts().collect();
    assert_eq!(hosts["h1"].unreachable, 1);
    assert_eq!(hosts["h2"].unreachable, 0);
}

#[test]
fn the_result_of_a_task_is_a_variable_of_its_host_and_never_a_template() {
    let text = "
- hosts: h1
  tasks:
    - command: one
      register: r
    - command: echo {{ r.said }}
";
    let mut play = play(text);
    play.end("1/tasks.0/h1", &json!({"said": "{{ 1 + 1 }}"}));
    let call = play.execution.calls().get("1/tasks.1/h1").unwrap();
    let Work::Action(action) = &call.work else {
        panic!("a command is an action");
    };
    assert_eq!(action.arguments["_raw_params"], "echo {{ 1 + 1 }}");
    play.run_well();
}

#[test]
fn a_template_that_fails_is_a_job_that_fails() {
    let mut play = play("- hosts: h1\n  tasks:\n    - command: echo {{ nowhere }}\n");
    assert_eq!(play.open(), ["1/tasks.0/h1"]);
    play.run_well();
    assert_eq!(play.counts("h1"), [0, 0, 1, 0, 0, 0]);
}

#[test]
fn hosts_that_include_the_same_go_on_together_and_the_others_wait() {
    let text = "
- hosts: all
  tasks:
    - include_tasks: more.yml
      when: inventory_hostname != 'h3'
    - command: after
";
    let files = [("more.yml", "- command: inside\n")];
    let mut play = play_with(text, &files, usual_options());
    for host in ["h1", "h2", "h3"] {
        play.end(&format!("1/tasks.0/{host}"), &json!({}));
    }
    assert_eq!(play.open(), ["1/tasks.0.0.0/h1", "1/tasks.0.0.0/h2"]);
    play.run_well();
    assert_eq!(play.counts("h1"), [3, 2, 0, 0, 0, 0]);
    assert_eq!(play.counts("h3"), [1, 1, 0, 1, 0, 0]);
}

#[test]
fn a_file_that_includes_itself_without_an_end_fails_its_host() {
    let files = [("more.yml", "- include_tasks: more.yml\n")];
    let text = "- hosts: h1\n  tasks:\n    - include_tasks: more.yml\n";
    let mut play = play_with(text, &files, usual_options());
    play.run_well();
    assert_eq!(play.counts("h1")[2], 1);
}

#[test]
fn locks_are_those_of_the_host_where_the_module_runs() {
    let text = "
- hosts: h1
  tasks:
    - lineinfile: {path: /x, line: y}
      delegate_to: 127.0.0.1
    - apt: {name: x}
    - command: z
    - command: z
      hint: global_exclusive
";
    let mut play = play(text);
    let mut locks = Vec::new();
    while let Some(job) = play.open.first() {
        let hint = job.terms.hint.clone().unwrap();
        locks.push((job.host.as_ref().unwrap().as_str().to_owned(), hint));
        let id = job.id.as_str().to_owned();
        play.end(&id, &json!({}));
    }
    assert_eq!(
        locks,
        [
            ("localhost".to_owned(), Hint::HostExclusive),
            ("h1".to_owned(), Hint::HostExclusive),
            ("h1".to_owned(), Hint::FullyParallel),
            ("h1".to_owned(), Hint::GlobalExclusive),
        ]
    );
}

#[test]
fn what_a_secret_task_returns_is_neither_shown_nor_the_same_job_when_it_is_resumed() {
    let text = "
- hosts: h1
  tasks:
    - command: one
      no_log: true
      register: r
    - command: echo {{ r.said }}
";
    let input = |play: &Play| match &play.open[0].work {
        ratchet_runtime::Work::Task { input, .. } => input.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    let mut first = play(text);
    let again = play(text);
    assert_ne!(input(&first), input(&again));
    first.end("1/tasks.0/h1", &json!({"said": "secret"}));
    let events = first.execution.take_events();
    assert!(!format!("{events:?}").contains("secret"), "{events:?}");
    let call = first.execution.calls().get("1/tasks.1/h1").unwrap();
    assert!(format!("{:?}", call.work).contains("secret"));
}

#[test]
fn a_recorded_outcome_is_as_good_as_the_end_of_a_job() {
    let text = "
- hosts: h1
  tasks:
    - command: one
      register: r
    - command: echo {{ r.said }}
";
    let mut play = play(text);
    let call = play.execution.calls().get("1/tasks.0/h1").unwrap();
    let raw = json!({"said": "hello", "changed": true})
        .as_object()
        .unwrap()
        .clone();
    let crate::call::AttemptResult::Ended(result) = call.rules.apply(&call.names, raw, 1) else {
        panic!("there is one attempt");
    };
    let recorded = Payload::from_value(&result).unwrap();
    let outcome = Outcome::new("1/tasks.0/h1", "command", Ok(recorded));
    play.execution.ended(&outcome);
    let next = play.execution.proceed();
    assert_eq!(next[0].id.as_str(), "1/tasks.1/h1");
    let call = play.execution.calls().get("1/tasks.1/h1").unwrap();
    assert!(format!("{:?}", call.work).contains("echo hello"));
    assert_eq!(play.counts("h1"), [1, 1, 0, 0, 0, 0]);
}

#[test]
fn too_many_failures_end_the_play_for_all() {
    let text = "
- hosts: all
  max_fail_percentage: 30
  tasks:
    - command: one
    - command: two
";
    let mut play = play(text);
    play.run(|id| json!({"failed": id == "1/tasks.0/h1"}));
    assert_eq!(play.ids.len(), 3);
}

#[test]
fn a_failure_that_is_fatal_for_all_ends_the_play_after_the_task() {
    let text = "
- hosts: all
  any_errors_fatal: true
  tasks:
    - command: one
    - command: two
";
    let mut play = play(text);
    play.run(|id| json!({"failed": id == "1/tasks.0/h2"}));
    assert_eq!(play.ids, ["1/tasks.0/h1", "1/tasks.0/h2", "1/tasks.0/h3"]);
}

#[test]
fn the_settings_of_the_call_count_where_a_play_says_nothing() {
    let text = "
- hosts: all
  tasks:
    - command: one
    - command: two
";
    let options = options_with(|settings| {
        settings.strategy = Some("free".to_owned());
        settings.no_log = true;
        settings.task_timeout = Some(Duration::from_secs(7));
        settings.becomes = true;
        settings.become_flags = Some("-E".to_owned());
    });
    let mut free = play_with(text, &[], options);
    let call = free.execution.calls().get("1/tasks.0/h1").unwrap();
    assert!(call.no_log);
    let limit = call.terms.timeout.unwrap().left;
    assert_eq!(limit, Duration::from_secs(7));
    let Work::Action(action) = &call.work else {
        panic!("a command is an action");
    };
    let privilege = action.privilege.as_ref().unwrap();
    assert_eq!(
        (privilege.user.as_str(), privilege.flags.as_deref()),
        ("root", Some("-E"))
    );
    free.end("1/tasks.0/h2", &json!({}));
    assert_eq!(
        free.open(),
        ["1/tasks.0/h1", "1/tasks.0/h3", "1/tasks.1/h2"]
    );
    free.run_well();

    let options = options_with(|settings| settings.any_errors_fatal = true);
    let mut fatal = play_with(text, &[], options);
    fatal.run(|id| json!({"failed": id == "1/tasks.0/h2"}));
    assert_eq!(fatal.ids.len(), 3);
}

#[test]
fn a_play_from_which_no_job_follows_says_that_it_is_stuck() {
    let mut play =
        play("- hosts: h1\n  gather_facts: false\n  tasks: [{command: a}, {command: b}]\n");
    assert!(!play.execution.is_stuck());
    // A job that the machine does not know of has no consequences.
    play.execution.machine.under_way.clear();
    play.end("1/tasks.0/h1", &json!({}));
    assert!(play.execution.is_stuck() && !play.execution.is_done());
}
