//! The colours of the view. Without colours, weight and inversion tell the same.

use ratatui::style::{Color, Modifier, Style};

/// What a text says by its looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing special.
    Usual,
    /// The name of a part of the view.
    Title,
    /// Something that matters less.
    Dim,
    /// Success, and work that goes on.
    Good,
    /// A failure.
    Bad,
    /// Something that holds work up.
    Warning,
    /// The chosen job.
    Chosen,
}

/// The looks of all tones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette {
    is_coloured: bool,
}

impl Palette {
    /// Makes a palette with colours or without.
    pub(super) fn new(is_coloured: bool) -> Self {
        Self { is_coloured }
    }

    /// Returns the style of a tone.
    pub(super) fn style(self, tone: Tone) -> Style {
        let usual = Style::new();
        let (coloured, plain) = match tone {
            Tone::Usual => (usual, usual),
            Tone::Title => (usual.fg(Color::Cyan), usual.add_modifier(Modifier::BOLD)),
            Tone::Dim => (usual.fg(Color::DarkGray), usual.add_modifier(Modifier::DIM)),
            Tone::Good => (usual.fg(Color::Green), usual),
            Tone::Bad => (usual.fg(Color::Red), usual.add_modifier(Modifier::BOLD)),
            Tone::Warning => (
                usual.fg(Color::Yellow).add_modifier(Modifier::BOLD),
                usual.add_modifier(Modifier::BOLD),
            ),
            Tone::Chosen => (
                usual.add_modifier(Modifier::REVERSED),
                usual.add_modifier(Modifier::REVERSED),
            ),
        };
        if self.is_coloured { coloured } else { plain }
    }
}
