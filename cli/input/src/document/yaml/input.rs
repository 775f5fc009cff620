//! The text of a document, as input for the scanner of saphyr-parser.
//!
//! The parser's own input decodes each character several times, and makes the scanner reserve 128 bytes for every word
//! without quotes. Large files consist of millions of short words, so this input reads bytes as long as they are ASCII,
//! and requests less space. It only returns the next characters; the scanner interprets them.

use saphyr_parser::Input;

/// How many bytes the scanner reserves before it continues with a word without quotes. It begins with 32 bytes, one of
/// which is in use by then, so most words are read without an allocation.
const ROOM: usize = 31;

/// The rest of a text.
pub(super) struct Text<'a> {
    text: &'a str,
    /// The offset of the next character. It is never inside of a character.
    at: usize,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the next byte. Like the parser's own input, this returns a NUL at the end.
    #[inline]
    fn byte(&self) -> u8 {
        self.byte_after(0)
    }

    #[inline]
    fn byte_after(&self, count: usize) -> u8 {
        let next = self.text.as_bytes().get(self.at + count);
        next.copied().unwrap_or_default()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

/// Whether a byte ends a word: a blank, a line break or a NUL.
const fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\0')
}

/// Whether a byte is one that separates the parts of lists and maps in brackets.
const fn is_flow(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
}

/// The meaning of a byte within a word without quotes.
#[derive(Clone, Copy)]
enum Class {
    /// A part of the word.
    Plain,
    /// A part of the word, except within brackets.
    Flow,
    /// A colon or a byte of a multi-byte character, which need a closer look.
    Other,
}

/// The class of each byte.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 0x80 {
        classes[byte as usize] = match byte {
            b':' => Class::Other,
            byte if is_flow(byte) => Class::Flow,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

impl Input for Text<'_> {
    #[inline]
    fn lookahead(&mut self, _: usize) {
        // The whole text is already available.
    }

    #[inline]
    fn buflen(&self) -> usize {
        ROOM
    }

    #[inline]
    fn bufmaxlen(&self) -> usize {
        ROOM
    }

    #[inline]
    fn raw_read_ch(&mut self) -> char {
        let next = self.peek();
        self.skip();
        next
    }

    #[inline]
    fn raw_read_non_breakz_ch(&mut self) -> Option<char> {
        let next = self.peek();
        let is_content = !matches!(next, '\n' | '\r' | '\0' | '\u{feff}');
        is_content.then(|| self.raw_read_ch())
    }

    #[inline]
    fn skip(&mut self) {
        self.at += match self.text.as_bytes().get(self.at) {
            Some(0..0x80) => 1,
            Some(_) => self.peek().len_utf8(),
            None => 0,
        };
    }

    #[inline]
    fn skip_n(&mut self, count: usize) {
        for _ in 0..count {
            self.skip();
        }
    }

    #[inline]
    fn peek(&self) -> char {
        match self.byte() {
            byte @ 0..0x80 => char::from(byte),
            _ => self.peek_opt().unwrap_or_default(),
        }
    }

    #[inline]
    fn peek_nth(&self, n: usize) -> char {
        self.rest().chars().nth(n).unwrap_or_default()
    }

    #[inline]
    fn peek_opt(&self) -> Option<char> {
        self.rest().chars().next()
    }

    #[inline]
    fn next_is_blank_or_breakz(&self) -> bool {
        ends_word(self.byte())
    }

    #[inline]
    fn next_can_be_plain_scalar(&self, in_flow: bool) -> bool {
        let byte = self.byte();
        match CLASSES[usize::from(byte)] {
            Class::Plain => true,
            Class::Flow => !in_flow,
            Class::Other if byte == b':' => {
                let after = self.byte_after(1);
                !(ends_word(after) || in_flow && is_flow(after))
            }
            Class::Other => self.peek() != '\u{feff}',
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use saphyr_parser::{Event, Parser, ScanError, Span};

    use super::Text;

    type Parsed<'a> = Option<Result<(Event<'a>, Span), ScanError>>;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_text_means_the_same_as_by_the_input_of_the_parser(
            pieces in proptest::collection::vec(prop_oneof![
                8 => "[ab0ä日]{1,40}",
                8 => r#"[-:?,\[\]{}#&*!|>'"%@` \t\r\n]{1,3}"#,
                4 => "\n {0,40}",
                2 => r"(- |\? |: |[|>][-+1-9]?\n|--- |\.\.\.\n|&a |\*a |!!str )",
                1 => "[\u{feff}\0\u{1}\u{85}\u{2028}]",
            ], 0..30),
        ) {
            let mut text = pieces.concat();
            if text.contains('%') {
                // In a directive, the parser's own input counts the bytes of multi-byte characters.
                text.retain(|character| character.is_ascii());
            }
            let mut ours = Parser::new(Text::new(&text));
            let mut theirs = Parser::new_from_str(&text);
            loop {
                let (ours, theirs): (Parsed<'_>, Parsed<'_>) = (ours.next(), theirs.next());
                prop_assert_eq!(&ours, &theirs);
                if !matches!(ours, Some(Ok(_))) {
                    break;
                }
            }
        }
    }
}
