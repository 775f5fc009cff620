//! The kept part of the output of an attempt on one of its streams.

use std::ops::Deref;

/// The beginning and the end of the output on a stream, as text, and how many bytes between them were dropped.
///
/// The text holds only what was printed. [`dropped`](Self::dropped) shows whether something is missing, so no program
/// has to search the text for a remark of ratchet's.
///
/// ```
/// use ratchet_runtime::OutputExcerpt;
///
/// let all = OutputExcerpt::from("1 failed\n");
/// assert_eq!((&*all, all.dropped()), ("1 failed\n", 0));
///
/// let cut = OutputExcerpt::with_gap("first\n".to_owned(), 1_000_000, "last\n");
/// assert_eq!(cut.parts(), ("first\n", "last\n"));
/// assert_eq!((&*cut, cut.dropped()), ("first\nlast\n", 1_000_000));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputExcerpt(Box<ExcerptFields>);

/// The fields of an [`OutputExcerpt`]. They are boxed because a failure, which may have two excerpts, is moved by
/// value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct ExcerptFields {
    text: String,
    /// How many bytes were dropped from the middle.
    dropped: u64,
    /// The offset in the text at which the dropped bytes were. It is a character boundary.
    gap_at: usize,
}

impl OutputExcerpt {
    /// Makes an excerpt whose beginning and end have a gap of `dropped` bytes between them.
    pub fn with_gap(head: String, dropped: u64, tail: &str) -> Self {
        let (gap_at, mut text) = (head.len(), head);
        text.push_str(tail);
        Self(Box::new(ExcerptFields {
            text,
            dropped,
            gap_at,
        }))
    }

    /// Makes an excerpt from the fields of a result line. A gap that is not at a character boundary is moved to the
    /// beginning.
    pub(crate) fn from_parts(text: String, dropped: u64, gap_at: Option<u64>) -> Self {
        let gap_at = gap_at
            .and_then(|place| usize::try_from(place).ok())
            .filter(|place| text.is_char_boundary(*place))
            .unwrap_or_default();
        Self(Box::new(ExcerptFields {
            text,
            dropped,
            gap_at,
        }))
    }

    /// Returns all of the text that was kept.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Returns how many bytes were printed and not kept.
    pub fn dropped(&self) -> u64 {
        self.0.dropped
    }

    /// Returns how many bytes of the text come before the gap; `None` if nothing was dropped.
    pub fn gap_at(&self) -> Option<usize> {
        (self.0.dropped > 0).then_some(self.0.gap_at)
    }

    /// Returns the text before and after the gap. If nothing was dropped, all of the text is in the second part.
    pub fn parts(&self) -> (&str, &str) {
        self.0.text.split_at(self.0.gap_at)
    }

    /// Whether nothing was printed at all.
    pub fn is_nothing(&self) -> bool {
        self.0.text.is_empty() && self.0.dropped == 0
    }
}

impl From<String> for OutputExcerpt {
    fn from(text: String) -> Self {
        Self(Box::new(ExcerptFields {
            text,
            ..ExcerptFields::default()
        }))
    }
}

impl From<&str> for OutputExcerpt {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl Deref for OutputExcerpt {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}
