//! The tag before each line that a command prints.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;

use super::item::{Item, tag_of};
use super::text_template::TextTemplate;

/// The tag before each line that a command prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LineTag {
    /// Nothing.
    None,
    /// The item, and a tab.
    Item,
    /// A text with placeholders, and a tab.
    Text(TextTemplate),
}

impl LineTag {
    /// Returns the tag of the lines of an item, without the tab. If there is none, the lines are written as they are.
    pub(super) fn of(&self, item: &Item, number: u64) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::None => None,
            Self::Item => Some(item.tag().into()),
            Self::Text(template) => {
                let text = template.text(item, number);
                Some(tag_of(text.as_bytes()).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::map::columns::Columns;

    #[test]
    fn a_tag_is_the_item_or_a_text_in_one_line() {
        let item = Item::from("a/b.c\n");
        let text = TextTemplate::parse(OsStr::new("{#}:{/}"), Columns::ONE).unwrap();
        let tag = LineTag::Text(text);
        let tag = tag.of(&item, 7).unwrap();
        assert!(
            tag.starts_with(b"7:b.c") && !tag.contains(&b'\n'),
            "{tag:?}"
        );
        assert_eq!(LineTag::None.of(&item, 7), None);
        assert!(LineTag::Item.of(&item, 7).unwrap().starts_with(b"a/b.c"));
    }
}
