//! Draws the view of a run.

mod figures;
mod jobs;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use super::model::{Focus, Mode, Model};
use super::palette::{Palette, Tone};
use super::text::{cut, fit};
use crate::escape::plain;
use crate::live::LiveState;

/// The smallest terminal on which the view is drawn.
const SMALLEST: (u16, u16) = (50, 12);

/// The height from which on the figures are drawn, and the jobs that have failed.
const WITH_FIGURES: u16 = 18;

/// The width from which on the name of the program is drawn.
const WITH_NAME: usize = 76;

/// The height of the figures, with their titles.
const FIGURES: u16 = 5;

/// Which part of the height the failures fill at most.
const FAILURES: u16 = 6;

/// The keys, for the last line and for the help.
const KEYS: [(&str, &str, &str); 9] = [
    (
        "Up Down",
        "choose",
        "choose a job; its output is shown below (also k, j, PageUp, PageDown, Home, End)",
    ),
    ("Tab", "failed", "go to the jobs that have failed, or back"),
    ("c", "cancel", "cancel the chosen job, after a question"),
    (
        "p",
        "pause",
        "start no more jobs, or let them start again (also the space bar)",
    ),
    (
        "q",
        "quit",
        "end the view; the run goes on (also Esc, ^C; ^Z stops the view)",
    ),
    ("?", "help", "show the keys"),
    ("+ -", "slots", "run one job more or one less at once"),
    ("s", "", "type how many jobs run at once"),
    ("^L", "", "draw everything anew"),
];

/// Draws the view of a run.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, palette: Palette) {
    let area = frame.area();
    let (width, height) = SMALLEST;
    if area.width < width || area.height < height {
        let text = format!(
            "The terminal has {} x {} characters; the view needs {width} x {height}. q quits.",
            area.width, area.height
        );
        let lines = super::text::wrap(&text, area.width.into()).into_iter();
        frame.render_widget(
            Paragraph::new(lines.map(Line::from).collect::<Vec<_>>()),
            area,
        );
        return;
    }
    let Some(state) = model.state() else {
        frame.render_widget(
            Paragraph::new("waiting for the run to answer; q quits"),
            area,
        );
        return;
    };
    let is_high = area.height >= WITH_FIGURES;
    let shows_failures = model.focus() == Focus::Failed || is_high && !state.failures.is_empty();
    let failures = if shows_failures {
        let count = u16::try_from(state.failures.len()).unwrap_or(u16::MAX);
        count.clamp(1, area.height / FAILURES) + 1
    } else {
        0
    };
    // The slots stay as many as they are, so nothing jumps when jobs end.
    let rows = state
        .slots
        .max(u32::try_from(state.jobs.len()).unwrap_or(u32::MAX));
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2);
    let figures = if is_high { FIGURES } else { 0 };
    let rest = area.height.saturating_sub(2 + figures + failures + 1);
    let [head, figures, running, failed, output, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(figures),
        Constraint::Length(rows.min(rest * 3 / 5)),
        Constraint::Length(failures),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, head, model, state, palette);
    if is_high {
        figures::draw(frame, figures, state, palette);
    }
    jobs::draw_running(frame, running, model, state, palette);
    if failures > 0 {
        jobs::draw_failed(frame, failed, model, state, palette);
    }
    jobs::draw_output(frame, output, model, state, palette);
    frame.render_widget(
        Paragraph::new(foot_line(model, foot.width.into(), palette)),
        foot,
    );
    if *model.mode() == Mode::Help {
        draw_help(frame, area, palette);
    }
}

/// Returns a part of the view below a line with its title. Returns the area below.
fn titled(frame: &mut Frame<'_>, area: Rect, title: Line<'_>, palette: Palette) -> Rect {
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(palette.style(Tone::Dim))
        .title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// Returns a title, with a blank on each side.
fn title(text: &str, palette: Palette) -> Line<'static> {
    Line::from(Span::styled(
        format!(" {text} "),
        palette.style(Tone::Title),
    ))
}

fn draw_head(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    state: &LiveState,
    palette: Palette,
) {
    let width = usize::from(area.width);
    let (phase, tone) = match (model.silence(), state.paused) {
        (Some(silence), _) => (format!("no answer for {}", clock(silence)), Tone::Bad),
        (None, true) => ("PAUSED".to_owned(), Tone::Warning),
        (None, false) => (state.phase.clone(), Tone::Good),
    };
    let program = if width < WITH_NAME {
        ""
    } else {
        "ratchet top  "
    };
    let name = format!("{program}{}  ", plain(&state.run));
    let mut right = match state.total {
        Some(total) => format!("{} of {total} ended", state.ended),
        None => format!("{} ended", state.ended),
    };
    right.extend([" in ", &clock(Duration::from_millis(state.elapsed_ms))]);
    if let Some(left) = state.left_ms {
        right.extend([", about ", &clock(Duration::from_millis(left)), " left"]);
    }
    let room = width.saturating_sub(name.len() + phase.len() + 1);
    let right = cut(&right, room);
    let gap = width.saturating_sub(name.len() + phase.len() + right.len());
    let first = Line::from(vec![
        Span::styled(name, palette.style(Tone::Title)),
        Span::styled(phase, palette.style(tone)),
        Span::raw(" ".repeat(gap)),
        Span::raw(right),
    ]);
    let second = progress_line(state, width, palette);
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

/// Returns the bar of the jobs that have ended, and how many jobs are where.
fn progress_line(state: &LiveState, width: usize, palette: Palette) -> Line<'static> {
    let mut spans = Vec::new();
    if let Some(total) = state.total.filter(|total| *total > 0) {
        let bar = (width / 4).max(10);
        let part = |count: u64| {
            usize::try_from(u128::from(count.min(total)) * bar as u128 / u128::from(total))
                .unwrap_or_default()
        };
        let (ended, failed) = (
            part(state.ended),
            part(state.failed).max(usize::from(state.failed > 0)),
        );
        let good = ended.saturating_sub(failed);
        spans.push(Span::styled("█".repeat(good), palette.style(Tone::Good)));
        spans.push(Span::styled("▓".repeat(failed), palette.style(Tone::Bad)));
        spans.push(Span::styled(
            "░".repeat(bar.saturating_sub(good + failed)),
            palette.style(Tone::Dim),
        ));
        spans.push(Span::raw(format!(
            " {} %  ",
            u128::from(state.ended) * 100 / u128::from(total)
        )));
    }
    spans.push(Span::raw(format!("{} ok  ", state.succeeded)));
    let tone = if state.failed > 0 {
        Tone::Bad
    } else {
        Tone::Usual
    };
    spans.push(Span::styled(
        format!("{} failed", state.failed),
        palette.style(tone),
    ));
    let mut rest = format!(
        "  {} of {} slots  {} waiting",
        state.slots_used, state.slots, state.waiting
    );
    if let Some(queued) = state.queued {
        rest.extend(["  ", &queued.to_string(), " queued"]);
    }
    spans.push(Span::raw(rest));
    Line::from(spans)
}

/// Returns the last line: what was done, what is asked, or the keys.
fn foot_line(model: &Model, width: usize, palette: Palette) -> Line<'static> {
    let styled = |text: &str, tone| Line::from(Span::styled(fit(text, width), palette.style(tone)));
    match model.mode() {
        Mode::ConfirmCancel(job) => {
            let job = cut(&plain(job.as_str()), width.saturating_sub(45));
            return styled(
                &format!("cancel {job}? y: yes, any other key: no"),
                Tone::Warning,
            );
        }
        Mode::TypeSlots(typed) => {
            let text = format!("jobs at once: {typed}_   Enter sets it, Esc leaves it as it is");
            return styled(&text, Tone::Warning);
        }
        Mode::Normal | Mode::Help => {}
    }
    if let Some(note) = model.note() {
        let tone = if note.is_error {
            Tone::Bad
        } else {
            Tone::Warning
        };
        return styled(&note.text, tone);
    }
    if let Some(unanswered) = model.unanswered() {
        return styled(
            &format!("the run is asked: {}", unanswered.description()),
            Tone::Dim,
        );
    }
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, what, _) in KEYS.iter().filter(|(_, what, _)| !what.is_empty()) {
        let what = match *what {
            "pause" if model.state().is_some_and(|state| state.paused) => "continue",
            "failed" if model.focus() == Focus::Failed => "running",
            what => what,
        };
        used += key.len() + what.len() + 3;
        if used > width + 2 {
            break;
        }
        spans.push(Span::styled(*key, palette.style(Tone::Title)));
        spans.push(Span::raw(format!(" {what}  ")));
    }
    Line::from(spans)
}

fn draw_help(frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let width = area.width.saturating_sub(4).min(92);
    let room = usize::from(width).saturating_sub(13);
    let mut lines = Vec::new();
    for (key, _, text) in KEYS {
        let mut key = key;
        for text in super::text::wrap(text, room) {
            lines.push(Line::from(vec![
                Span::styled(format!(" {key:<9}"), palette.style(Tone::Title)),
                Span::raw(text),
            ]));
            key = "";
        }
    }
    let height = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let popup = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered().title(title("keys; any key closes this", palette));
    frame.render_widget(Clear, popup);
    frame.render_widget(Paragraph::new(lines).block(block), popup);
}

/// Returns a time in whole seconds, so that it does not flicker.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h {minutes:02}m"),
    }
}

#[cfg(test)]
mod tests;
