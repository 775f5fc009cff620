//! Draws what jobs wait for, the workers and limits, and the rate over time.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::super::palette::{Palette, Tone};
use super::super::text::{cut, fit};
use super::{title, titled};
use crate::escape::plain;
use crate::live::LiveState;

/// The narrowest column of figures.
const NARROW: usize = 20;

/// Draws the figures beside each other.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &LiveState, palette: Palette) {
    let [waits, workers, rate] = Layout::horizontal([
        Constraint::Percentage(28),
        Constraint::Percentage(36),
        Constraint::Fill(1),
    ])
    .spacing(1)
    .areas(area);
    let inner = titled(frame, waits, title("waiting for", palette), palette);
    list(frame, inner, wait_rows(state), palette);
    let inner = titled(
        frame,
        workers,
        title("workers and limits", palette),
        palette,
    );
    list(frame, inner, worker_rows(state), palette);
    draw_rate(frame, rate, state, palette);
}

/// A row of figures: what it is about, what is to be said, and how it looks.
type Row = (String, String, Tone);

fn wait_rows(state: &LiveState) -> Vec<Row> {
    let mut waits: Vec<_> = state.waits.iter().collect();
    waits.sort_by_key(|wait| std::cmp::Reverse(wait.jobs));
    let mut rows: Vec<Row> = Vec::new();
    // What a user has paused is told in the first line and among the causes.
    if let Some(held) = state.held.as_ref().filter(|_| !state.paused) {
        rows.push((plain(held).into_owned(), String::new(), Tone::Warning));
    }
    rows.extend(waits.iter().map(|wait| {
        let cause = plain(&wait.cause).into_owned();
        (cause, wait.jobs.to_string(), Tone::Usual)
    }));
    if rows.is_empty() {
        rows.push(("nothing waits".to_owned(), String::new(), Tone::Dim));
    }
    rows
}

fn worker_rows(state: &LiveState) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for pool in &state.workers {
        let mut text = format!("{} of {} busy", pool.busy, pool.size);
        let tone = if pool.failures > 0 {
            Tone::Warning
        } else {
            Tone::Usual
        };
        if pool.failures > 0 {
            text = format!("{text}, {} died", pool.failures);
        }
        rows.push((plain(&pool.name).into_owned(), text, tone));
    }
    for limit in &state.limits {
        // Tokens of a rate come in parts.
        let left = limit.left.max(0.0).floor();
        let text = format!("{}, {left} left", limit.limit);
        rows.push((plain(&limit.name).into_owned(), text, Tone::Usual));
    }
    if rows.is_empty() {
        rows.push(("no workers, no limits".to_owned(), String::new(), Tone::Dim));
    }
    rows
}

/// Draws as many rows as there is room for, and says how many more there are.
fn list(frame: &mut Frame<'_>, area: Rect, mut rows: Vec<Row>, palette: Palette) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    if rows.len() > height && height > 0 {
        let more = rows.len() - height + 1;
        rows.truncate(height - 1);
        rows.push((format!("and {more} more"), String::new(), Tone::Dim));
    }
    let lines = rows.into_iter().map(|(name, text, tone)| {
        let text = cut(&text, width.saturating_sub(NARROW / 4));
        let room = width.saturating_sub(text.len() + usize::from(!text.is_empty()));
        let name = fit(&name, room);
        let gap = if text.is_empty() { "" } else { " " };
        Line::from(Span::styled(
            format!("{name}{gap}{text}"),
            palette.style(tone),
        ))
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

fn draw_rate(frame: &mut Frame<'_>, area: Rect, state: &LiveState, palette: Palette) {
    let width = usize::from(area.width);
    let seconds = &state.history[state.history.len().saturating_sub(width)..];
    let most = seconds.iter().copied().max().unwrap_or_default();
    let text = format!("{:.1} jobs/s, at most {most}", state.rate);
    let inner = titled(frame, area, title(&text, palette), palette);
    // The last second stands at the right edge.
    let mut data = vec![0; width.saturating_sub(seconds.len())];
    data.extend(seconds);
    let bars = Sparkline::default()
        .data(&data)
        .max(most.max(1))
        .style(palette.style(Tone::Good));
    frame.render_widget(bars, inner);
}
