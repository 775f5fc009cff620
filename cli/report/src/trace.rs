//! A report as Chrome trace events, for Perfetto and `chrome://tracing`.
//!
//! A host or a kind of worker is a process, and a slot or a worker is a thread. Needs are arrows; the queue and the
//! limits are counters.

use std::collections::HashMap;
use std::io::{self, Write};

use foldhash::fast::RandomState;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::digest::describe_event;
use crate::model::{AttemptFacts, RunModel, SHORTEST, shown_name};
use crate::timeline::{LimitUse, Series, limit_uses};

/// The number of steps in which counters are written.
const STEPS: usize = 2_000;

/// An attempt as a trace event.
#[derive(Serialize)]
struct Slice<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'static str,
    pid: u32,
    tid: u32,
    ts: u64,
    dur: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cname: Option<&'static str>,
    args: SliceFacts<'a>,
}

/// The details of an attempt in a trace event.
#[derive(Serialize)]
struct SliceFacts<'a> {
    id: &'a str,
    attempt: usize,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rss: Option<u64>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    waited_ms: Map<String, Value>,
}

/// Writes the attempts of a run as trace events.
pub fn trace(model: &RunModel, out: &mut dyn Write) -> io::Result<()> {
    let mut events = Events {
        out,
        is_first: true,
    };
    events
        .out
        .write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
    let threads = threads(model, &mut events)?;
    for job in &model.jobs {
        let attempts = model.attempts_of(job);
        for (number, attempt) in attempts.iter().enumerate() {
            let (pid, tid) = threads[attempt.row as usize];
            let is_last = number + 1 == attempts.len();
            let waits = model.waits_of(job).iter().filter(|_| number == 0);
            let waits = waits.filter(|wait| wait.time >= 1_000).map(|wait| {
                let word = model.blockers[wait.blocker as usize].word();
                (word.into_owned(), Value::from(wait.time / 1_000))
            });
            events.write(&Slice {
                name: shown_name(job),
                cat: &model.tasks[job.task as usize],
                ph: "X",
                pid,
                tid,
                ts: attempt.began,
                dur: attempt.ran.max(SHORTEST),
                cname: color(attempt, is_last),
                args: SliceFacts {
                    id: job.id.as_str(),
                    attempt: number + 1,
                    status: attempt
                        .class
                        .map_or("succeeded", |class| class.status().as_str()),
                    class: attempt.class.map(ratchet_runtime::Class::as_str),
                    host: model.host_of(job),
                    cpu_ms: attempt.cpu.map(|cpu| cpu / 1_000),
                    max_rss: attempt.max_rss,
                    waited_ms: waits.collect(),
                },
            })?;
        }
    }
    arrows(model, &threads, &mut events)?;
    counters(model, &mut events)?;
    for record in &model.events {
        if let Some(text) = describe_event(record) {
            let ts = (record.at_ms * 1_000).saturating_sub(model.began_us);
            events
                .write(&json!({"name": text, "ph": "i", "s": "g", "pid": 0, "tid": 0, "ts": ts}))?;
        }
    }
    events.out.write_all(b"\n],\"otherData\":")?;
    let about =
        json!({"run": model.id, "command": model.command, "began_ms": model.began_us / 1_000});
    serde_json::to_writer(&mut *events.out, &about)?;
    events.out.write_all(b"}\n")
}

/// The list of events, with commas between them.
struct Events<'a> {
    out: &'a mut dyn Write,
    is_first: bool,
}

impl Events<'_> {
    fn write(&mut self, event: &impl Serialize) -> io::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b",\n")?;
        }
        serde_json::to_writer(&mut *self.out, event).map_err(io::Error::from)
    }
}

/// Names the processes and threads, and returns those of each row.
fn threads(model: &RunModel, events: &mut Events<'_>) -> io::Result<Vec<(u32, u32)>> {
    let mut processes: HashMap<&str, u32, RandomState> = HashMap::default();
    let name = |kind: &str, pid: u32, tid: u32, name: &str| json!({"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}});
    events.write(&name("process_name", 0, 0, "run"))?;
    let mut threads = Vec::new();
    for row in &model.rows {
        let next = u32::try_from(processes.len() + 1).unwrap_or(u32::MAX);
        let pid = *processes.entry(&row.group).or_insert(next);
        if pid == next {
            events.write(&name("process_name", pid, 0, &row.group))?;
        }
        let tid = u32::try_from(threads.len() + 1).unwrap_or(u32::MAX);
        let shown = match row.part {
            0 => row.name.clone(),
            part => format!("{} ({})", row.name, part + 1),
        };
        events.write(&name("thread_name", pid, tid, &shown))?;
        events.write(&json!({
            "name": "thread_sort_index", "ph": "M", "pid": pid, "tid": tid, "args": {"sort_index": tid},
        }))?;
        threads.push((pid, tid));
    }
    Ok(threads)
}

/// Returns the colour of an attempt that did not succeed, by the names that trace viewers know.
fn color(attempt: &AttemptFacts, is_last: bool) -> Option<&'static str> {
    match attempt.class {
        None => None,
        Some(_) if !is_last => Some("bad"),
        Some(_) => Some("terrible"),
    }
}

/// Draws an arrow from the end of each need to the beginning of the job that needed it.
fn arrows(model: &RunModel, threads: &[(u32, u32)], events: &mut Events<'_>) -> io::Result<()> {
    for (number, (job, needed)) in model.needs.iter().enumerate() {
        let from = model.attempts_of(&model.jobs[*needed as usize]).last();
        let to = model.attempts_of(&model.jobs[*job as usize]).first();
        let (Some(from), Some(to)) = (from, to) else {
            continue;
        };
        let id = number + 1;
        let (pid, tid) = threads[from.row as usize];
        // An arrow is bound to the slice in which it begins, and the end of a slice is not in it. It must not lead back in time,
        // and starts are recorded to the millisecond.
        let ts = from.ended().saturating_sub(1).min(to.began).max(from.began);
        let end = to.began.max(ts);
        if end > to.ended() {
            continue;
        }
        events.write(&json!({"name": "need", "cat": "need", "ph": "s", "id": id, "pid": pid, "tid": tid, "ts": ts}))?;
        let (pid, tid) = threads[to.row as usize];
        events.write(&json!({"name": "need", "cat": "need", "ph": "f", "bp": "e", "id": id, "pid": pid, "tid": tid, "ts": end}))?;
    }
    Ok(())
}

/// Writes counters of how many jobs ran and waited, and of how limits were used.
fn counters(model: &RunModel, events: &mut Events<'_>) -> io::Result<()> {
    let Series { running, waiting } = Series::of(model, STEPS);
    let at = |step: usize| {
        let length = u128::from(model.length);
        u64::try_from(length * step as u128 / STEPS as u128).unwrap_or(u64::MAX)
    };
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    let mut last = None;
    for step in 0..STEPS {
        let waits: f64 = waiting.iter().map(|(_, values)| values[step]).sum();
        let values = (rounded(running[step]), rounded(waits));
        // A counter keeps its value until the next one.
        if last.replace(values) != Some(values) {
            events.write(&json!({"name": "jobs", "ph": "C", "pid": 0, "ts": at(step), "args": {"running": values.0, "waiting": values.1}}))?;
        }
    }
    for LimitUse { name, values, .. } in limit_uses(model, STEPS) {
        let name = format!("limit {name}");
        let mut last = None;
        for (step, value) in values.into_iter().enumerate() {
            let value = rounded(value);
            if last.replace(value) != Some(value) {
                events.write(&json!({"name": name, "ph": "C", "pid": 0, "ts": at(step), "args": {"used": value}}))?;
            }
        }
    }
    Ok(())
}
