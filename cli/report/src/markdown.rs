//! A report as Markdown, for job summaries on GitHub and for comments, and annotations for failed jobs.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use ratchet_input::escape::is_unsafe;
use ratchet_input::readable::duration;
use ratchet_runtime::Status;

use crate::explain::explain;
use crate::model::{FailureFacts, RunEnd, RunModel, shown_name};

/// The greatest number of failed jobs that are listed.
const FAILURES: usize = 50;

/// The greatest number of flaky jobs that are listed.
const FLAKY: usize = 20;

/// The greatest number of annotations that are written: GitHub shows ten per step.
const ANNOTATIONS: usize = 10;

/// How many characters of a text in a table are shown.
const LONGEST: usize = 200;

/// Writes the report of a run as Markdown.
pub fn markdown(model: &RunModel, out: &mut dyn io::Write) -> io::Result<()> {
    let mut text = String::new();
    head(model, &mut text);
    failures(model, &mut text);
    flaky(model, &mut text);
    slowest(model, &mut text);
    // Within a block of code, nothing is markup except its end.
    let why = explain(model);
    let fence = fence(&why);
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "<details><summary>Why it took this long</summary>\n\n{fence}text\n{why}{fence}\n\n</details>\n"
    );
    out.write_all(text.as_bytes())
}

fn count(model: &RunModel, status: Status) -> usize {
    let jobs = model.jobs.iter();
    jobs.filter(|job| job.status == status).count()
}

fn has_failed(model: &RunModel) -> bool {
    [Status::Failed, Status::TimedOut, Status::Crashed]
        .into_iter()
        .any(|status| count(model, status) > 0)
}

fn head(model: &RunModel, text: &mut String) {
    let state = match (model.end, has_failed(model)) {
        (RunEnd::Ended, false) => "✅",
        (RunEnd::Running, _) => "⏳",
        (RunEnd::Interrupted, _) => "⚠️",
        (RunEnd::Ended, true) => "❌",
    };
    let _ = writeln!(
        text,
        "### {state} ratchet: {} jobs in {}\n",
        model.jobs.len(),
        duration(Duration::from_micros(model.length))
    );
    let _ = writeln!(text, "{}\n", Code(&model.command));
    if model.end != RunEnd::Ended {
        let _ = writeln!(text, "The run is {}.\n", model.end.word());
    }
    let mut cells = Vec::new();
    for status in Status::ALL {
        let count = count(model, status);
        if count > 0 {
            cells.push((status.as_str().replace('_', " "), count.to_string()));
        }
    }
    let more = [
        ("flaky", model.flaky.len()),
        (
            "retries",
            model
                .jobs
                .iter()
                .map(|job| job.charged.saturating_sub(1) as usize)
                .sum(),
        ),
        ("cached", model.jobs.iter().filter(|job| job.cached).count()),
    ];
    let more = more.into_iter().filter(|(_, count)| *count > 0);
    cells.extend(more.map(|(name, count)| (name.to_owned(), count.to_string())));
    if cells.is_empty() {
        return;
    }
    let row = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    text.push_str(&row(cells.iter().map(|(name, _)| name.as_str()).collect()));
    text.push_str(&row(cells.iter().map(|_| "--:").collect()));
    text.push_str(&row(cells
        .iter()
        .map(|(_, count)| count.as_str())
        .collect()));
    text.push('\n');
}

fn failures(model: &RunModel, text: &mut String) {
    if model.failures.is_empty() {
        return;
    }
    text.push_str("#### Failures\n\n");
    for failure in model.failures.iter().take(FAILURES) {
        let job = &model.jobs[failure.job as usize];
        let _ = writeln!(
            text,
            "<details><summary>{}: {} {}</summary>\n",
            Html(shown_name(job)),
            Html(&class(failure)),
            Html(&failure.message)
        );
        if !failure.output.is_empty() {
            let fence = fence(&failure.output);
            let _ = writeln!(text, "{fence}text\n{}\n{fence}\n", Plain(&failure.output));
        }
        text.push_str("</details>\n\n");
    }
    let all = [Status::Failed, Status::TimedOut, Status::Crashed]
        .map(|status| count(model, status))
        .iter()
        .sum::<usize>();
    if all > FAILURES {
        let _ = writeln!(text, "and {} more\n", all - FAILURES);
    }
}

fn flaky(model: &RunModel, text: &mut String) {
    if model.flaky.is_empty() {
        return;
    }
    text.push_str("#### Flaky jobs\n\nThey succeeded, and only after a failed attempt.\n\n| job | attempts |\n| --- | --: |\n");
    for job in model.flaky.iter().take(FLAKY) {
        let job = &model.jobs[*job as usize];
        let _ = writeln!(text, "| {} | {} |", Html(shown_name(job)), job.charged);
    }
    if model.flaky.len() > FLAKY {
        let _ = writeln!(text, "\nand {} more", model.flaky.len() - FLAKY);
    }
    text.push('\n');
}

fn slowest(model: &RunModel, text: &mut String) {
    let mut jobs: Vec<_> = model.jobs.iter().map(|job| (model.ran(job), job)).collect();
    jobs.sort_by_key(|(ran, _)| std::cmp::Reverse(*ran));
    text.push_str(
        "<details><summary>Slowest jobs</summary>\n\n| job | ran | waited |\n| --- | --: | --: |\n",
    );
    for (ran, job) in jobs.into_iter().take(10) {
        let waited: u64 = model.waits_of(job).iter().map(|wait| wait.time).sum();
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            Html(shown_name(job)),
            duration(Duration::from_micros(ran)),
            duration(Duration::from_micros(waited))
        );
    }
    text.push_str("\n</details>\n\n");
}

fn class(failure: &FailureFacts) -> String {
    match &failure.code {
        Some(code) => format!("{} ({code})", failure.class),
        None => failure.class.to_string(),
    }
}

/// Writes an annotation for each failed job, as workflow commands of GitHub; if there are many, only for the first
/// ones.
pub fn annotations(model: &RunModel, out: &mut dyn io::Write) -> io::Result<()> {
    for failure in model.failures.iter().take(ANNOTATIONS) {
        let job = &model.jobs[failure.job as usize];
        let message = match failure.output.lines().next_back() {
            Some(last) => format!("{}: {}\n{last}", class(failure), failure.message),
            None => format!("{}: {}", class(failure), failure.message),
        };
        let title = format!("{} did not succeed", shown_name(job));
        writeln!(
            out,
            "::error title={}::{}",
            WorkflowCommand(&title, true),
            WorkflowCommand(&message, false)
        )?;
    }
    Ok(())
}

/// Returns a fence that is longer than any in the text.
fn fence(text: &str) -> String {
    let mut longest = 0;
    let mut current = 0;
    for character in text.chars() {
        current = if character == '`' { current + 1 } else { 0 };
        longest = longest.max(current);
    }
    "`".repeat((longest + 1).max(3))
}

/// Escapes a text for a workflow command of GitHub. The flag says whether it is a property; else it is the message.
struct WorkflowCommand<'a>(&'a str, bool);

impl std::fmt::Display for WorkflowCommand<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '%' => out.write_str("%25")?,
                '\r' => out.write_str("%0D")?,
                '\n' => out.write_str("%0A")?,
                ':' if self.1 => out.write_str("%3A")?,
                ',' if self.1 => out.write_str("%2C")?,
                character if is_unsafe(character) => out.write_char('\u{fffd}')?,
                character => out.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// A text of several lines, escaped so that it does not affect the text around it.
struct Plain<'a>(&'a str);

impl std::fmt::Display for Plain<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\n' | '\t' => out.write_char(character)?,
                character if is_unsafe(character) => out.write_char('\u{fffd}')?,
                character => out.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// The beginning of a text in one line, as HTML in which Markdown finds no markup either.
struct Html<'a>(&'a str);

impl std::fmt::Display for Html<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars().take(LONGEST) {
            match character {
                '\n' | '\r' | '\t' => out.write_char(' ')?,
                character if is_unsafe(character) => out.write_char('\u{fffd}')?,
                character if character.is_ascii_punctuation() => {
                    write!(out, "&#{};", u32::from(character))?;
                }
                character => out.write_char(character)?,
            }
        }
        if self.0.chars().nth(LONGEST).is_some() {
            out.write_str("..")?;
        }
        Ok(())
    }
}

/// A text in one line as code.
struct Code<'a>(&'a str);

impl std::fmt::Display for Code<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "<code>{}</code>", Html(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_end_a_workflow_command_or_its_title() {
        let text = "100%: a,b\r\n::error::x";
        assert_eq!(
            WorkflowCommand(text, true).to_string(),
            "100%25%3A a%2Cb%0D%0A%3A%3Aerror%3A%3Ax"
        );
        assert_eq!(
            WorkflowCommand(text, false).to_string(),
            "100%25: a,b%0D%0A::error::x"
        );
    }

    #[test]
    fn a_block_of_code_ends_only_at_its_fence() {
        assert_eq!(fence("plain"), "```");
        assert_eq!(fence("a ```` b"), "`````");
    }

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(
            Html("<img src=x>|`*\n").to_string(),
            "&#60;img src&#61;x&#62;&#124;&#96;&#42; "
        );
    }
}
