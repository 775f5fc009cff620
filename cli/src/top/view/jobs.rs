//! Draws the jobs that run, those that have failed, and the output of the chosen one.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use super::super::model::{Focus, Model};
use super::super::palette::{Palette, Tone};
use super::super::tail::Stream;
use super::super::text::{cut, fit, wrap};
use super::{title, titled};
use crate::escape::plain;
use crate::live::{LiveState, RunningNow};
use crate::readable::duration;

/// The widest column of names, and of places.
const WIDEST: usize = 30;

/// The widths of the columns for ages and attempts.
const AGE: usize = 8;
const ATTEMPT: usize = 3;

/// Draws the jobs that run.
pub(super) fn draw_running(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    state: &LiveState,
    palette: Palette,
) {
    let listed = state.jobs.len() as u64;
    let text = if listed < state.running {
        format!("running: {}, of which {listed} are listed", state.running)
    } else {
        format!("running: {}", state.running)
    };
    let inner = titled(frame, area, title(&text, palette), palette);
    let width = usize::from(inner.width);
    let names: Vec<String> = state.jobs.iter().map(name_of).collect();
    let places: Vec<String> = state.jobs.iter().map(place_of).collect();
    let widest = |texts: &[String], least: usize, most: usize| {
        let widths = texts.iter().map(|text| text.width());
        widths
            .max()
            .unwrap_or_default()
            .clamp(least, most.max(least))
    };
    let name = widest(&names, 3, WIDEST.min(width / 3));
    let place = widest(&places, 5, WIDEST.min(width / 4));
    let row = |mark: &str, cells: [&str; 5]| {
        let [id, age, attempt, at, what] = cells;
        let (id, at) = (fit(id, name), fit(at, place));
        let row = format!("{mark} {id} {age:>AGE$} {attempt:>ATTEMPT$} {at} {what}");
        fit(&row, width)
    };
    let mut lines = vec![Line::from(Span::styled(
        row(" ", ["job", "age", "try", "where", "what"]),
        palette.style(Tone::Dim),
    ))];
    let room = usize::from(inner.height).saturating_sub(1);
    let chosen = model.chosen(Focus::Running);
    for at in window(chosen, state.jobs.len(), room) {
        let job = &state.jobs[at];
        let is_chosen = at == chosen;
        let age = duration(Duration::from_millis(job.age_ms));
        let mut what = String::new();
        if let Some(share) = job.share {
            what = format!("{:.0} %  ", share.clamp(0.0, 1.0) * 100.0);
        }
        what.push_str(&plain(&job.does));
        let attempt = job.attempt.to_string();
        let cells = [&*names[at], &age, &attempt, &places[at], &what];
        let text = row(if is_chosen { ">" } else { " " }, cells);
        let tone = match (is_chosen, model.focus()) {
            (true, Focus::Running) => Tone::Chosen,
            _ if job.attempt > 1 => Tone::Warning,
            _ => Tone::Usual,
        };
        lines.push(Line::from(Span::styled(text, palette.style(tone))));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Draws the jobs that have failed.
pub(super) fn draw_failed(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    state: &LiveState,
    palette: Palette,
) {
    let text = if (state.failures.len() as u64) < state.failed {
        format!(
            "failed: {}, of which the last {} are listed",
            state.failed,
            state.failures.len()
        )
    } else {
        "not successful".to_owned()
    };
    let inner = titled(frame, area, title(&text, palette), palette);
    let width = usize::from(inner.width);
    let chosen = model.chosen(Focus::Failed);
    let is_focus = model.focus() == Focus::Failed;
    let count = state.failures.len();
    // Who does not choose sees the last ones.
    let around = if is_focus {
        chosen
    } else {
        count.saturating_sub(1)
    };
    let widths = state
        .failures
        .iter()
        .map(|failed| plain(failed.id.as_str()).width());
    let name = widths
        .max()
        .unwrap_or_default()
        .clamp(3, WIDEST.min(width / 3));
    let mut lines = Vec::new();
    for at in window(around, count, inner.height.into()) {
        let failed = &state.failures[at];
        let is_chosen = is_focus && at == chosen;
        let mark = if is_chosen { ">" } else { " " };
        let id = fit(&plain(failed.id.as_str()), name);
        let text = format!(
            "{mark} {id} {:<9} {}",
            plain(&failed.status),
            plain(&failed.message)
        );
        let tone = if is_chosen { Tone::Chosen } else { Tone::Bad };
        lines.push(Line::from(Span::styled(
            fit(&text, width),
            palette.style(tone),
        )));
    }
    if lines.is_empty() {
        lines.push(Line::from(Span::styled(
            "  none so far",
            palette.style(Tone::Dim),
        )));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Draws what the chosen job has printed, or how the chosen one has failed.
pub(super) fn draw_output(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    state: &LiveState,
    palette: Palette,
) {
    let width = usize::from(area.width);
    let (heading, lines) = match model.focus() {
        Focus::Running => match state.jobs.get(model.chosen(Focus::Running)) {
            Some(job) => (
                format!("output of {}", name_of(job)),
                tail(model, area, palette),
            ),
            None => ("output".to_owned(), vec![dim("no job runs", palette)]),
        },
        Focus::Failed => match state.failures.get(model.chosen(Focus::Failed)) {
            Some(failed) => {
                let message = wrap(&plain(&failed.message), width.saturating_sub(1));
                let lines = message.into_iter().map(Line::from).collect();
                let id = plain(failed.id.as_str());
                (format!("{id}: {}", plain(&failed.status)), lines)
            }
            None => ("output".to_owned(), vec![dim("no job has failed", palette)]),
        },
    };
    let heading = cut(&heading, width.saturating_sub(3));
    let inner = titled(frame, area, title(&heading, palette), palette);
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Returns the last lines of the chosen job that there is room for.
fn tail(model: &Model, area: Rect, palette: Palette) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let lines = model.tail().last(height.saturating_sub(1));
    if lines.is_empty() {
        return vec![dim("nothing was printed so far", palette)];
    }
    let tone = |stream| match stream {
        Stream::Stdout => Tone::Usual,
        Stream::Stderr => Tone::Warning,
        Stream::Remark => Tone::Dim,
    };
    let lines = lines.into_iter();
    let lines = lines.map(|(stream, line)| {
        let style = palette.style(tone(stream));
        Line::from(Span::styled(cut(&line, width), style))
    });
    lines.collect()
}

fn dim(text: &str, palette: Palette) -> Line<'static> {
    Line::from(Span::styled(text.to_owned(), palette.style(Tone::Dim)))
}

/// Returns what people call a job that runs.
fn name_of(job: &RunningNow) -> String {
    let item = job.item.as_deref();
    match item {
        Some(item) => format!("{} ({})", plain(job.id.as_str()), plain(item)),
        None => plain(job.id.as_str()).into_owned(),
    }
}

/// Returns where a job runs: its worker, or the slot of a command, and the host if it is another one.
fn place_of(job: &RunningNow) -> String {
    let at = match (&job.at.worker, job.at.slot) {
        (Some(worker), _) => plain(worker).into_owned(),
        (None, Some(slot)) => format!("slot {slot}"),
        (None, None) => String::new(),
    };
    match &job.at.place {
        Some(place) => format!("{} {at}", plain(place)),
        None => at,
    }
}

/// Returns the indexes that are shown of a list, around the chosen one.
fn window(chosen: usize, count: usize, room: usize) -> std::ops::Range<usize> {
    let start = chosen
        .saturating_sub(room / 2)
        .min(count.saturating_sub(room));
    start..count.min(start + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_job_is_always_among_those_that_are_shown() {
        for (count, room) in [(0, 0), (0, 5), (3, 5), (20, 5), (20, 1), (5, 5)] {
            for chosen in 0..count {
                let shown = window(chosen, count, room);
                assert!(shown.contains(&chosen), "{chosen} of {count} in {room}");
                assert_eq!(shown.len(), count.min(room));
            }
            assert!(window(0, count, room).len() <= room);
        }
    }
}
