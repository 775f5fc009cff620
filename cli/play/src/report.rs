//! Formats the events of a run for display.

mod difference;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use ratchet_input::escape::plain;
use ratchet_input::style::{Style, Tone};
use serde_json::Value;

use crate::execution::{PlayEvent, Recap, Timings};
use crate::language::builtin;
use crate::result::{TaskResult, TaskStatus};

/// The width of headings.
const WIDTH: usize = 79;

/// The maximum number of hosts that a line names one by one.
const NAMED: usize = 12;

/// The maximum number of tasks that the summary names as slow, or as waiting.
const MAX_TASKS: usize = 5;

/// The shortest time for which the summary names a task.
const SLOW: Duration = Duration::from_secs(1);

/// Formats events as lines. Hosts on which a task ended in the same way, with nothing more to show, share a line.
#[derive(Debug)]
pub struct PlayLines {
    style: Style,
    /// How many `-v` flags were given. With any, results are shown in full.
    verbosity: u8,
    /// The title of the task under whose heading results are shown.
    current_task: String,
    /// The titles of handlers.
    handlers: HashSet<String>,
    /// The hosts that the next line will name, with the status that they share.
    pending: Option<(TaskStatus, Vec<String>)>,
    text: String,
}

impl PlayLines {
    /// Makes a formatter with this style.
    pub fn new(style: Style, verbosity: u8) -> Self {
        Self {
            style,
            verbosity,
            current_task: String::new(),
            handlers: HashSet::new(),
            pending: None,
            text: String::new(),
        }
    }

    /// Adds the lines of an event.
    pub fn add(&mut self, event: &PlayEvent) {
        match event {
            PlayEvent::Play { name } => self.heading(&format!("PLAY [{name}]")),
            PlayEvent::NoHosts => self.line(Tone::Doubtful, "skipping: no hosts matched"),
            PlayEvent::Task { name, is_handler } => {
                if *is_handler {
                    self.handlers.insert(name.clone());
                }
                self.task_heading(name);
            }
            PlayEvent::Waited { host, waits } if self.verbosity > 0 => {
                for (word, time) in waits {
                    let line = format!(
                        "waited: [{host}] {} for {}",
                        seconds(*time),
                        lock_name(word)
                    );
                    self.flush();
                    self.line(Tone::Quiet, &line);
                }
            }
            PlayEvent::Item(result) => {
                self.show_task_of(result);
                let item = result.item.as_ref().map(item_text).unwrap_or_default();
                let place = format!("[{}] => (item={item})", result.host);
                self.result(result, &place);
            }
            PlayEvent::Ended { result, has_items } => self.ended(result, *has_items),
            PlayEvent::Included { what, host } => {
                let line = format!("included: {what} for {host}");
                self.line(Tone::Quiet, &line);
            }
            PlayEvent::NoHostsLeft => self.heading("NO MORE HOSTS LEFT"),
            // These are printed with the messages of the program instead.
            PlayEvent::Warning(_) | PlayEvent::Error(_) | PlayEvent::Waited { .. } => {}
        }
    }

    /// Begins the results of a task.
    fn task_heading(&mut self, title: &str) {
        let word = if self.handlers.contains(title) {
            "RUNNING HANDLER"
        } else {
            "TASK"
        };
        self.heading(&format!("{word} [{title}]"));
        title.clone_into(&mut self.current_task);
    }

    /// Repeats the heading of a task if another one has begun since: hosts do not wait for each other under `strategy: free`.
    fn show_task_of(&mut self, result: &TaskResult) {
        if result.task != self.current_task {
            self.task_heading(&result.task);
        }
    }

    /// Shows the result of a task on a host, unless it tells nothing new.
    fn ended(&mut self, result: &TaskResult, has_items: bool) {
        let place = format!("[{}]", result.host);
        let tells_nothing = !self.tells_more(result);
        match result.status {
            TaskStatus::Ok | TaskStatus::Skipped | TaskStatus::Changed if has_items => {}
            // An include was already shown by its own event.
            TaskStatus::Ok if result.result.contains_key("include") => {}
            TaskStatus::Ok | TaskStatus::Skipped | TaskStatus::Changed if tells_nothing => {
                self.show_task_of(result);
                match &mut self.pending {
                    Some((status, hosts)) if *status == result.status => {
                        hosts.push(result.host.clone());
                    }
                    _ => {
                        self.flush();
                        self.pending = Some((result.status, vec![result.host.clone()]));
                    }
                }
            }
            _ => {
                self.show_task_of(result);
                self.result(result, &place);
            }
        }
    }

    /// Whether a result has more to show than its status.
    fn tells_more(&self, result: &TaskResult) -> bool {
        let is_debug = result.result.contains_key("msg") && is_message(result);
        self.verbosity > 0 || result.diff.is_some() || is_debug || shown_variable(result).is_some()
    }

    /// Writes the line of a result that does not share its line with other hosts.
    fn result(&mut self, result: &TaskResult, place: &str) {
        self.flush();
        let (word, tone) = match result.status {
            TaskStatus::Ok => ("ok", Tone::Good),
            TaskStatus::Changed => ("changed", Tone::Doubtful),
            TaskStatus::Skipped => ("skipping", Tone::Quiet),
            TaskStatus::Unreachable => ("unreachable", Tone::Bad),
            TaskStatus::Failed | TaskStatus::Rescued => ("failed", Tone::Bad),
            TaskStatus::Ignored => ("failed", Tone::Doubtful),
        };
        if let Some(diff) = &result.diff {
            self.text.push_str(&difference::shown(diff, self.style));
        }
        let is_failure = matches!(
            result.status,
            TaskStatus::Failed
                | TaskStatus::Unreachable
                | TaskStatus::Rescued
                | TaskStatus::Ignored
        );
        let mut line = format!("{word}: {place}");
        let mut more = String::new();
        if is_failure {
            let message = result
                .msg
                .clone()
                .unwrap_or_else(|| "the module failed".to_owned());
            add_message(&mut line, &mut more, &message);
            for name in [
                "cmd",
                "rc",
                "module_stdout",
                "module_stderr",
                "stdout",
                "stderr",
                "exception",
            ] {
                if let Some(value) = result.result.get(name) {
                    add_field(&mut more, name, value);
                }
            }
            if let Some(hidden) = result.result.get("censored") {
                add_field(&mut more, "censored", hidden);
            }
        } else if is_message(result) {
            match result.result.get("msg") {
                Some(Value::String(text)) => add_message(&mut line, &mut more, text),
                Some(other) => add_json(&mut more, other),
                None => {}
            }
        } else if let Some((name, value)) = shown_variable(result) {
            match value {
                Value::Array(_) | Value::Object(_) => {
                    let _ = write!(line, ": {name}");
                    add_json(&mut more, value);
                }
                _ => add_message(
                    &mut line,
                    &mut more,
                    &format!("{name}: {}", item_text(value)),
                ),
            }
        }
        if self.verbosity > 0 && !is_message(result) {
            add_json(&mut more, &Value::Object(result.result.clone()));
        }
        self.line(tone, &line);
        for line in more.lines() {
            self.line(tone, &format!("    {line}"));
        }
        match result.status {
            TaskStatus::Ignored => self.line(Tone::Quiet, "...ignoring"),
            TaskStatus::Rescued => self.line(Tone::Quiet, "...rescued"),
            _ => {}
        }
    }

    /// Writes the line of the pending hosts.
    fn flush(&mut self) {
        let Some((status, hosts)) = self.pending.take() else {
            return;
        };
        let (word, tone) = match status {
            TaskStatus::Changed => ("changed", Tone::Doubtful),
            TaskStatus::Skipped => ("skipping", Tone::Quiet),
            _ => ("ok", Tone::Good),
        };
        let named: Vec<_> = hosts
            .iter()
            .take(NAMED)
            .map(|host| format!("[{host}]"))
            .collect();
        let mut line = format!("{word}: {}", named.join(" "));
        if hosts.len() > NAMED {
            let _ = write!(line, " and {} more hosts", hosts.len() - NAMED);
        }
        self.line(tone, &line);
    }

    fn heading(&mut self, title: &str) {
        self.flush();
        let title = plain(title).into_owned();
        let stars = WIDTH.saturating_sub(title.chars().count() + 1).max(3);
        let _ = writeln!(self.text, "\n{title} {}", "*".repeat(stars));
    }

    fn line(&mut self, tone: Tone, line: &str) {
        let line = plain(line);
        let _ = writeln!(self.text, "{}", self.style.paint(tone, &line));
    }

    /// Takes the lines so far.
    pub fn take(&mut self) -> String {
        self.flush();
        std::mem::take(&mut self.text)
    }

    /// Adds a summary of where the time went, if anything took long.
    pub fn add_timings(&mut self, timings: &Timings) {
        let slowest = timings.slowest(MAX_TASKS, SLOW);
        if !slowest.is_empty() {
            self.heading("SLOWEST TASKS");
            for task in slowest {
                let line = format!(
                    "{:>8}  {} [{}]",
                    seconds(task.longest),
                    task.name,
                    task.host
                );
                self.line(Tone::Quiet, &line);
            }
        }
        let waits = timings.waits(MAX_TASKS, SLOW);
        if !waits.is_empty() {
            self.heading("WAITED FOR LOCKS AND LIMITS");
            for (name, word, time) in waits {
                let line = format!("{:>8}  {name} for {}", seconds(time), lock_name(word));
                self.line(Tone::Quiet, &line);
            }
        }
    }

    /// Adds the counts of how tasks have ended on each host.
    pub fn add_recap(&mut self, recap: &Recap) {
        self.heading("PLAY RECAP");
        let width = recap.hosts().map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or_default().max(26);
        for (name, counts) in recap.hosts() {
            let tone = if counts.failed > 0 || counts.unreachable > 0 {
                Tone::Bad
            } else if counts.changed > 0 {
                Tone::Doubtful
            } else {
                Tone::Good
            };
            let line = format!(
                "{:width$} : ok={:<4} changed={:<4} unreachable={:<4} failed={:<4} skipped={:<4} rescued={:<4} ignored={:<4}",
                plain(name),
                counts.ok,
                counts.changed,
                counts.unreachable,
                counts.failed,
                counts.skipped,
                counts.rescued,
                counts.ignored,
            );
            self.line(tone, &line);
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Returns how a lock or a limit is called in the summary.
fn lock_name(word: &str) -> String {
    match word {
        "host" => "the lock of a host".to_owned(),
        "global" => "the global lock".to_owned(),
        "rate" => "its rate".to_owned(),
        other => other.replacen(':', " ", 1),
    }
}

/// Whether the purpose of the task is to show the message of its result.
fn is_message(result: &TaskResult) -> bool {
    matches!(result.module(), "debug" | "assert" | "fail") && result.result.contains_key("msg")
}

/// Returns the variable that `debug` shows, with its value.
fn shown_variable(result: &TaskResult) -> Option<(&str, &Value)> {
    let is_shown = matches!(result.status, TaskStatus::Ok | TaskStatus::Changed);
    if !is_shown || result.module() != "debug" || result.result.contains_key("msg") {
        return None;
    }
    let known = [
        "changed",
        "failed",
        "ansible_loop_var",
        "ansible_index_var",
        "attempts",
    ];
    let loop_variable = result
        .result
        .get("ansible_loop_var")
        .and_then(Value::as_str);
    let mut shown = result.result.iter().filter(|(name, _)| {
        !known.contains(&name.as_str()) && Some(name.as_str()) != loop_variable
    });
    shown.next().map(|(name, value)| (name.as_str(), value))
}

impl TaskResult {
    /// Returns the module, without the prefix of Ansible's own collection.
    fn module(&self) -> &str {
        builtin(&self.module)
    }
}

fn item_text(item: &Value) -> String {
    match item {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Adds a message to a line, or below the line if it has several lines.
fn add_message(line: &mut String, more: &mut String, message: &str) {
    if message.contains('\n') {
        more.push_str(message);
        more.push('\n');
    } else {
        let _ = write!(line, ": {message}");
    }
}

fn add_field(more: &mut String, name: &str, value: &Value) {
    let text = match value {
        Value::String(text) => text.trim_end().to_owned(),
        Value::Array(words) if name == "cmd" => {
            words.iter().map(item_text).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    if text.is_empty() {
        return;
    }
    if text.contains('\n') {
        let _ = writeln!(more, "{name}:");
        for line in text.lines() {
            let _ = writeln!(more, "  {line}");
        }
    } else {
        let _ = writeln!(more, "{name}: {text}");
    }
}

fn add_json(more: &mut String, value: &Value) {
    // As in Ansible's output, people find keys by the alphabet.
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    // A value that was read from JSON can be written as JSON.
    let text = serde_json::to_string_pretty(&sorted).unwrap_or_else(|error| error.to_string());
    more.push_str(&text);
    more.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(task: &str, host: &str) -> PlayEvent {
        let result = TaskResult {
            status: TaskStatus::Ok,
            changed: false,
            msg: None,
            play: "p".to_owned(),
            task: task.to_owned(),
            module: "stat".to_owned(),
            host: host.to_owned(),
            item: None,
            result: serde_json::Map::new(),
            diff: None,
        };
        PlayEvent::Ended {
            result,
            has_items: false,
        }
    }

    fn begun(name: &str, is_handler: bool) -> PlayEvent {
        PlayEvent::Task {
            name: name.to_owned(),
            is_handler,
        }
    }

    #[test]
    fn a_result_stands_under_the_heading_of_its_task_although_another_has_begun() {
        let mut lines = PlayLines::new(Style::PLAIN, 0);
        for event in [
            begun("one", true),
            ended("one", "h1"),
            ended("one", "h2"),
            begun("two", false),
            ended("one", "h3"),
            ended("two", "h1"),
        ] {
            lines.add(&event);
        }
        let text = lines.take();
        let shown: Vec<_> = text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| line.trim_end_matches('*').trim_end())
            .collect();
        let expected = [
            "RUNNING HANDLER [one]",
            "ok: [h1] [h2]",
            "TASK [two]",
            "RUNNING HANDLER [one]",
            "ok: [h3]",
            "TASK [two]",
            "ok: [h1]",
        ];
        assert_eq!(shown, expected);
    }
}
