//! Traces for Perfetto and `chrome://tracing`, checked against the rules of the trace event format.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::Command;

use ratchet_tests::{Folder, Ratchet, WorkerProtocol, present};
use serde_json::Value;

/// Names of metadata events, with the argument that each has.
const METADATA: [(&str, &str); 5] = [
    ("process_name", "name"),
    ("process_labels", "labels"),
    ("process_sort_index", "sort_index"),
    ("thread_name", "name"),
    ("thread_sort_index", "sort_index"),
];

/// The colours that viewers know by name, as far as they are used.
const COLORS: [&str; 3] = ["good", "bad", "terrible"];

/// A slice of a thread.
#[derive(Debug, Clone, Copy)]
struct Slice {
    began: u64,
    ended: u64,
}

/// The two ends of an arrow, each with its thread and its time.
#[derive(Debug, Default)]
struct Flow {
    starts: Vec<((u64, u64), u64)>,
    ends: Vec<((u64, u64), u64)>,
}

/// What a trace is checked for.
#[derive(Default)]
struct Checker {
    problems: Vec<String>,
    slices: HashMap<(u64, u64), Vec<Slice>>,
    flows: BTreeMap<String, Flow>,
    /// The last time of each counter.
    counters: HashMap<(u64, String), u64>,
    processes: HashSet<u64>,
    threads: HashSet<(u64, u64)>,
}

fn number(event: &Value, name: &str) -> Option<u64> {
    event[name].as_u64()
}

impl Checker {
    fn problem(&mut self, event: &Value, what: &str) {
        if self.problems.len() < 10 {
            self.problems.push(format!("{what}: {event}"));
        }
    }

    /// Checks one event for its fields.
    fn event(&mut self, event: &Value) {
        let (Some(name), Some(phase)) = (event["name"].as_str(), event["ph"].as_str()) else {
            return self.problem(event, "no name or no phase");
        };
        let Some(process) = number(event, "pid") else {
            return self.problem(event, "no process");
        };
        if phase == "M" {
            return self.metadata(event, name, process);
        }
        let Some(at) = number(event, "ts") else {
            return self.problem(event, "no time");
        };
        if phase == "C" {
            return self.counter(event, name, process, at);
        }
        let Some(thread) = number(event, "tid").map(|thread| (process, thread)) else {
            return self.problem(event, "no thread");
        };
        match phase {
            "X" => {
                let Some(length) = number(event, "dur") else {
                    return self.problem(event, "a slice without a duration");
                };
                if event
                    .get("cname")
                    .is_some_and(|color| !COLORS.iter().any(|known| color == known))
                {
                    self.problem(event, "an unknown colour");
                }
                let slice = Slice {
                    began: at,
                    ended: at + length,
                };
                self.slices.entry(thread).or_default().push(slice);
            }
            "i" => {
                if !matches!(event["s"].as_str(), Some("g" | "p" | "t")) {
                    self.problem(event, "an instant without a scope");
                }
            }
            "s" | "f" => {
                let (Some(category), false) = (event["cat"].as_str(), event["id"].is_null()) else {
                    return self.problem(event, "an arrow without a category or an id");
                };
                let flow = self
                    .flows
                    .entry(format!("{category} {name} {}", event["id"]));
                let flow = flow.or_default();
                if phase == "s" {
                    flow.starts.push((thread, at));
                } else {
                    flow.ends.push((thread, at));
                    if event["bp"] != "e" {
                        self.problem(
                            event,
                            "an arrow that is not bound to the slice around its end",
                        );
                    }
                }
            }
            _ => self.problem(event, "an unknown phase"),
        }
    }

    fn metadata(&mut self, event: &Value, name: &str, process: u64) {
        let known = METADATA.iter().find(|(known, _)| *known == name);
        let Some((_, argument)) = known else {
            return self.problem(event, "unknown metadata");
        };
        let value = &event["args"][argument];
        let is_right = if *argument == "sort_index" {
            value.is_i64()
        } else {
            value.is_string()
        };
        if !is_right {
            self.problem(event, "metadata without its argument");
        }
        let thread = number(event, "tid").unwrap_or_default();
        let is_new = match name {
            "process_name" => self.processes.insert(process),
            "thread_name" => self.threads.insert((process, thread)),
            _ => true,
        };
        if !is_new {
            self.problem(event, "a second name");
        }
    }

    fn counter(&mut self, event: &Value, name: &str, process: u64, at: u64) {
        let values = event["args"].as_object();
        if !values.is_some_and(|values| !values.is_empty() && values.values().all(Value::is_number))
        {
            self.problem(event, "a counter whose arguments are no numbers");
        }
        let last = self.counters.insert((process, name.to_owned()), at);
        if last.is_some_and(|last| last >= at) {
            self.problem(event, "a counter that goes back in time");
        }
    }

    /// Checks what holds between events, after the last one.
    fn finish(mut self) -> Vec<String> {
        for (thread, slices) in &mut self.slices {
            if !self.threads.contains(thread) || !self.processes.contains(&thread.0) {
                self.problems.push(format!("thread {thread:?} has no name"));
            }
            slices.sort_by_key(|slice| (slice.began, std::cmp::Reverse(slice.ended)));
            let mut open: Vec<Slice> = Vec::new();
            for slice in slices {
                while open.last().is_some_and(|outer| outer.ended <= slice.began) {
                    open.pop();
                }
                if open.last().is_some_and(|outer| outer.ended < slice.ended) {
                    let outer = open.last();
                    self.problems
                        .push(format!("{slice:?} overlaps {outer:?} on {thread:?}"));
                }
                open.push(*slice);
            }
        }
        for (name, flow) in &self.flows {
            let ([(from, left)], [(to, arrived)]) = (&flow.starts[..], &flow.ends[..]) else {
                self.problems
                    .push(format!("arrow {name} has not one end each: {flow:?}"));
                continue;
            };
            if left > arrived {
                self.problems
                    .push(format!("arrow {name} leads back in time: {flow:?}"));
            }
            for (thread, at) in [(from, left), (to, arrived)] {
                let slices = self.slices.get(thread).into_iter().flatten();
                let mut around = slices.filter(|slice| slice.began <= *at && *at <= slice.ended);
                if around.next().is_none() {
                    self.problems
                        .push(format!("arrow {name} has no slice at {at} on {thread:?}"));
                }
            }
        }
        self.problems.truncate(10);
        self.problems
    }
}

/// Returns what is wrong with a trace.
fn problems(trace: &Value) -> Vec<String> {
    let mut checker = Checker::default();
    if !matches!(trace["displayTimeUnit"].as_str(), Some("ms" | "ns")) {
        checker
            .problems
            .push("no unit of time that viewers know".to_owned());
    }
    let Some(events) = trace["traceEvents"].as_array() else {
        return vec!["no list of events".to_owned()];
    };
    for event in events {
        checker.event(event);
    }
    checker.finish()
}

#[test]
fn the_trace_of_a_mixed_run_keeps_the_rules_of_the_format() {
    if !present(
        WorkerProtocol::Python,
        "the trace of a mixed run is not checked",
    ) {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/mixed_run.py");
    let mut command = Command::new("python3");
    command
        .args([script, "3000", "--ratchet"])
        .arg(Ratchet::program());
    let jobs = command.output().expect("python runs").stdout;
    let folder = Folder::new();
    let call = Ratchet::within(&folder).args(["run", "-q", "-j4", "--workers", "4", "-"]);
    // Some of the jobs are made to fail.
    let _ = call.stdin(jobs).run().with_code(100);
    let call = Ratchet::within(&folder).args(["runs", "report", "--format", "trace"]);
    let printed = call.run().with_code(0).stdout();
    let trace: Value = serde_json::from_str(&printed).expect("it is JSON");
    let events = trace["traceEvents"].as_array().expect("it is a list");
    for (phase, least) in [("X", 3000), ("s", 10), ("C", 10), ("M", 8)] {
        let count = events.iter().filter(|event| event["ph"] == phase).count();
        assert!(count >= least, "{count} events of phase {phase}");
    }
    assert_eq!(problems(&trace), Vec::<String>::new());
    // A slot does one thing at a time, so no slice stands within another.
    let mut slices: Vec<_> = (events.iter().filter(|event| event["ph"] == "X"))
        .map(|event| ["pid", "tid", "ts", "dur"].map(|name| event[name].as_u64().unwrap()))
        .collect();
    slices.sort_unstable();
    for pair in slices.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        let is_same_thread = before[..2] == after[..2];
        assert!(
            !is_same_thread || before[2] + before[3] <= after[2],
            "{pair:?}"
        );
    }
}

#[test]
fn the_check_of_traces_finds_what_is_wrong() {
    let with = |event: &str| {
        let named = r#"{"name":"process_name","ph":"M","pid":1,"tid":0,"args":{"name":"local"}},
            {"name":"thread_name","ph":"M","pid":1,"tid":1,"args":{"name":"slot 1"}},
            {"name":"a","ph":"X","pid":1,"tid":1,"ts":10,"dur":10}"#;
        let text = format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[{named},{event}]}}");
        problems(&serde_json::from_str(&text).unwrap()).join("; ")
    };
    assert_eq!(
        with(r#"{"name":"b","ph":"X","pid":1,"tid":1,"ts":20,"dur":0}"#),
        ""
    );
    for (event, said) in [
        (
            r#"{"name":"b","ph":"X","pid":1,"tid":1,"ts":15,"dur":6}"#,
            "overlaps",
        ),
        (
            r#"{"name":"b","ph":"X","pid":1,"tid":2,"ts":15,"dur":6}"#,
            "has no name",
        ),
        (
            r#"{"name":"b","ph":"X","pid":1,"tid":1,"ts":30}"#,
            "without a duration",
        ),
        (
            r#"{"name":"b","ph":"B","pid":1,"tid":1,"ts":30}"#,
            "unknown phase",
        ),
        (
            r#"{"name":"b","ph":"X","pid":1,"tid":1,"ts":-1,"dur":6}"#,
            "no time",
        ),
        (
            r#"{"name":"n","ph":"s","cat":"n","id":1,"pid":1,"tid":1,"ts":12}"#,
            "not one end each",
        ),
        (
            r#"{"name":"n","ph":"s","cat":"n","id":1,"pid":1,"tid":1,"ts":12},{"name":"n","ph":"f","bp":"e","cat":"n","id":1,"pid":1,"tid":1,"ts":11}"#,
            "back in time",
        ),
        (
            r#"{"name":"n","ph":"s","cat":"n","id":1,"pid":1,"tid":1,"ts":12},{"name":"n","ph":"f","bp":"e","cat":"n","id":1,"pid":1,"tid":1,"ts":31}"#,
            "has no slice",
        ),
        (
            r#"{"name":"c","ph":"C","pid":0,"ts":5,"args":{"a":1}},{"name":"c","ph":"C","pid":0,"ts":4,"args":{"a":1}}"#,
            "goes back in time",
        ),
        (
            r#"{"name":"c","ph":"C","pid":0,"ts":5,"args":{"a":"x"}}"#,
            "are no numbers",
        ),
        (
            r#"{"name":"i","ph":"i","pid":0,"tid":0,"ts":5}"#,
            "without a scope",
        ),
    ] {
        assert!(with(event).contains(said), "{event}: {}", with(event));
    }
}
