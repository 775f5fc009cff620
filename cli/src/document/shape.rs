//! What may stand where: the one description that the check and the schema are made from.

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Any value at all.
    Any,
    /// Text that is not empty.
    Text,
    /// Text, or a number, or `true` and `false`, each as its text.
    Plain,
    /// A name: text that is not empty, or a whole number.
    Id,
    /// One of some words.
    Word(&'static [&'static str]),
    Bool,
    /// The number `true` or `false` alone.
    Just(bool),
    /// A whole number of at least so many.
    Count(u32),
    /// The number 1: the only version there is.
    Version,
    /// A number above 0.
    Rate,
    /// A number of at least 1.
    Factor,
    /// `30s`.
    Duration,
    /// A duration that is longer than nothing.
    Span,
    /// `2GiB`.
    Size,
    /// `10/s`.
    Frequency,
    /// `auto` or a count.
    Prefetch,
    /// A count or a share: `3`, `10%`.
    Amount,
    /// A command: one string, or a list of words.
    Command,
    /// A list of one thing.
    List(&'static Shape),
    /// A map from free names to one thing.
    Map(&'static Shape),
    /// A map of known keys.
    Section(&'static Section),
    /// One of several, told apart by whether they are text, a number, a list or a map.
    Either(&'static [Shape]),
}

/// A map of known keys.
#[derive(Debug)]
pub(crate) struct Section {
    /// With its article, as in `a job`.
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key, and what it may say.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) required: bool,
    /// For editors.
    pub(crate) about: &'static str,
}

impl Key {
    pub(crate) const fn new(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self {
            name,
            shape,
            required: false,
            about,
        }
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

impl Shape {
    /// What is expected, for people.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Any => "a value".to_owned(),
            Self::Text | Self::Plain => "text".to_owned(),
            Self::Id => "a name or a number".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Just(value) => format!("`{value}`"),
            Self::Count(0) => "a whole number".to_owned(),
            Self::Count(least) => format!("a whole number of at least {least}"),
            Self::Version => "the version 1".to_owned(),
            Self::Rate => "a number above 0".to_owned(),
            Self::Factor => "a number of at least 1".to_owned(),
            Self::Duration | Self::Span => "a duration like 30s".to_owned(),
            Self::Size => "a size like 2GiB".to_owned(),
            Self::Frequency => "a rate like 10/s".to_owned(),
            Self::Prefetch => "`auto` or a whole number".to_owned(),
            Self::Amount => "a whole number or a share like 10%".to_owned(),
            Self::Command => "a command: a list of words, or one string".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
            Self::Section(section) => match section.keys {
                [first, second, ..] => {
                    format!("a map like {{{}: .., {}: ..}}", first.name, second.name)
                }
                [one] => format!("a map like {{{}: ..}}", one.name),
                [] => "a map".to_owned(),
            },
            Self::Either(shapes) => {
                let mut all: Vec<_> = shapes.iter().map(Self::expected).collect();
                let last = all.pop().unwrap_or_default();
                format!("{} or {last}", all.join(", "))
            }
        }
    }
}
