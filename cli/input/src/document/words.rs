//! Types whose values are the words of a fixed list.

use std::borrow::Cow;

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::from_node::{FromNode, mismatch};
use super::node::Node;
use super::schema::Schemas;
use crate::diagnostic::{Diagnostic, Problems};

/// A type whose values are words.
pub trait Words: Sized {
    /// Returns each word and its value, in the order of the documentation.
    fn words() -> Vec<(Cow<'static, str>, Self)>;

    /// Returns why a word that is not among these cannot be one, if that is known.
    fn why_not(_word: &str) -> Option<String> {
        None
    }
}

/// Reads a word of a fixed list; the error for another word names the closest one.
pub fn read<T: FromNode + Words>(node: &Node<'_>, problems: &mut Problems) -> Option<T> {
    let words = T::words();
    let Some(text) = node.text() else {
        problems.push(mismatch::<T>(node));
        return None;
    };
    let names: Vec<_> = words.iter().map(|(word, _)| word.clone()).collect();
    let found = words.into_iter().find(|(word, _)| word == text);
    if found.is_none() {
        let reason = T::why_not(text);
        let message = reason.unwrap_or_else(|| format!("unknown word `{text}`"));
        let error = Diagnostic::error(node.span, message);
        let names = names.iter().map(Cow::as_ref);
        problems.push(error.did_you_mean(text, names, "known"));
    }
    found.map(|(_, value)| value)
}

/// Implements `FromNode` for types whose values are words. For plain enums, the words are listed here; other types
/// implement `Words` themselves.
#[macro_export]
macro_rules! words {
    ($($type:ty $({ $($value:ident = $word:literal),* $(,)? })?;)*) => {$(
        $(impl $crate::document::Words for $type {
            fn words() -> Vec<(std::borrow::Cow<'static, str>, Self)> {
                vec![$(($word.into(), <$type>::$value)),*]
            }
        })?

        impl $crate::document::FromNode for $type {
            fn from_node(
                node: $crate::document::Node<'_>,
                problems: &mut $crate::diagnostic::Problems,
            ) -> Option<Self> {
                $crate::document::read_word(&node, problems)
            }

            fn accepts(node: &$crate::document::Node<'_>) -> bool {
                node.text().is_some()
            }

            fn expected() -> std::borrow::Cow<'static, str> {
                $crate::document::expected_words(&<Self as $crate::document::Words>::words())
            }

            fn schema(_: &mut $crate::document::Schemas) -> serde_json::Value {
                $crate::document::schema_of_words(&<Self as $crate::document::Words>::words())
            }
        }
    )*};
}

pub use crate::words;

/// Returns the list of words for error messages.
pub fn expected<T>(words: &[(Cow<'static, str>, T)]) -> Cow<'static, str> {
    let words: Vec<_> = words.iter().map(|(word, _)| word.as_ref()).collect();
    format!("one of {}", words.join(", ")).into()
}

/// Returns the JSON Schema that accepts these words.
pub fn schema<T>(words: &[(Cow<'static, str>, T)]) -> Json {
    let words: Vec<_> = words.iter().map(|(word, _)| word.as_ref()).collect();
    json!({"enum": words})
}

/// A word that can also be the value of a command line flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClapWord<T>(pub T);

impl<T: ValueEnum> Words for ClapWord<T> {
    fn words() -> Vec<(Cow<'static, str>, Self)> {
        let variants = T::value_variants().iter();
        variants
            .filter_map(|value| {
                let word = value.to_possible_value()?.get_name().to_owned();
                Some((word.into(), Self(value.clone())))
            })
            .collect()
    }
}

impl<T: ValueEnum> FromNode for ClapWord<T> {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        read(&node, problems)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.text().is_some()
    }

    fn expected() -> Cow<'static, str> {
        expected(&Self::words())
    }

    fn schema(_: &mut Schemas) -> Json {
        schema(&Self::words())
    }
}
