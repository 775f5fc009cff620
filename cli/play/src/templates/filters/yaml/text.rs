//! Writes text as YAML: plain where it reads as the same text again, else in quotes, and folded at the width.

use super::writer::{Position, Writer};

impl Writer {
    pub(super) fn text(&mut self, text: &str, position: Position, indent: usize) {
        let analysis = Analysis::of(text, self.unicode);
        let in_flow = position.in_flow;
        let may_plain = if in_flow {
            analysis.flow_plain
        } else {
            analysis.block_plain
        };
        let is_empty_key = text.is_empty() && (in_flow || position.is_key);
        let is_plain = self.style.is_none()
            && may_plain
            && !is_empty_key
            && !(position.is_key && analysis.has_lines)
            && !resolves_to_other(text);
        let splits = !position.is_key;
        if is_plain {
            self.plain(text, indent, splits);
            return;
        }
        let is_single =
            self.style != Some('"') && analysis.single && !(position.is_key && analysis.has_lines);
        if is_single {
            self.single(text, indent, splits);
        } else {
            self.double(text, indent, splits);
        }
    }

    pub(super) fn plain(&mut self, text: &str, indent: usize, splits: bool) {
        if text.is_empty() {
            return;
        }
        if !self.is_blank {
            self.write(" ");
        }
        self.is_blank = false;
        self.folded(text, indent, splits, ToOwned::to_owned);
    }

    fn single(&mut self, text: &str, indent: usize, splits: bool) {
        self.indicator("'", true);
        self.folded(text, indent, splits, |text| text.replace('\'', "''"));
        self.indicator("'", false);
    }

    /// Writes a text that is broken at single blanks where a line becomes too long, and whose newlines are doubled.
    fn folded(
        &mut self,
        text: &str,
        indent: usize,
        splits: bool,
        escaped: impl Fn(&str) -> String,
    ) {
        let characters: Vec<char> = text.chars().collect();
        let kind = |at: usize| match characters.get(at) {
            Some(' ') => 1,
            Some('\n' | '\u{85}' | '\u{2028}' | '\u{2029}') => 2,
            _ => 0,
        };
        let mut at = 0;
        while at < characters.len() {
            let start = at;
            let run = kind(at);
            while at < characters.len() && kind(at) == run {
                at += 1;
            }
            let part: String = characters[start..at].iter().collect();
            match run {
                1 => {
                    let is_inner = start > 0 && at < characters.len();
                    if at - start == 1 && self.column > self.width && splits && is_inner {
                        self.line(indent);
                        self.is_blank = false;
                    } else {
                        self.write(&part);
                    }
                }
                2 => {
                    // A newline that is not a fold is doubled.
                    if part.starts_with('\n') {
                        self.out.push('\n');
                    }
                    self.out.push_str(&part);
                    self.column = 0;
                    self.write(&" ".repeat(indent));
                }
                _ => {
                    let shown = escaped(&part);
                    self.write(&shown);
                }
            }
        }
    }

    fn double(&mut self, text: &str, indent: usize, splits: bool) {
        self.indicator("\"", true);
        let characters: Vec<char> = text.chars().collect();
        let is_plain = |character: char| match character {
            '"' | '\\' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
            ' '..='~' => true,
            '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' => self.unicode,
            _ => false,
        };
        let kinds: Vec<bool> = characters
            .iter()
            .map(|character| is_plain(*character))
            .collect();
        let mut was_space = false;
        for (at, character) in characters.iter().enumerate() {
            let is_inner = at > 0 && at + 1 < characters.len();
            if !kinds[at] {
                self.write(&escape(*character));
                was_space = false;
            } else if *character == ' ' {
                if splits && !was_space && self.column > self.width && is_inner {
                    self.line(indent);
                    // Blanks at the beginning of a line would be lost.
                    if characters[at + 1] == ' ' {
                        self.write("\\");
                    }
                } else {
                    self.write(" ");
                }
                was_space = true;
            } else {
                self.write(character.encode_utf8(&mut [0; 4]));
                was_space = false;
            }
        }
        self.indicator("\"", false);
    }
}

fn escape(character: char) -> String {
    let short = match character {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        other => {
            let code = other as u32;
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
}

/// The styles in which a text can be written.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each form is possible or not, independently of the others"
)]
struct Analysis {
    has_lines: bool,
    flow_plain: bool,
    block_plain: bool,
    single: bool,
}

impl Analysis {
    fn of(text: &str, unicode: bool) -> Self {
        if text.is_empty() {
            return Self {
                has_lines: false,
                flow_plain: false,
                block_plain: true,
                single: true,
            };
        }
        let characters: Vec<char> = text.chars().collect();
        let is_newline =
            |character: char| matches!(character, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let is_gap = |character: Option<&char>| {
            character.is_none_or(|character| {
                matches!(character, ' ' | '\t' | '\r' | '\0') || is_newline(*character)
            })
        };
        let mut block_indicators = text.starts_with("---") || text.starts_with("...");
        let mut flow_indicators = block_indicators;
        let (mut has_lines, mut has_special) = (false, false);
        let (mut leading_space, mut leading_break, mut trailing_space, mut trailing_break) =
            (false, false, false, false);
        let (mut break_space, mut space_break) = (false, false);
        let (mut was_space, mut was_break) = (false, false);
        let mut follows_gap = true;
        for (at, character) in characters.iter().enumerate() {
            let character = *character;
            let precedes_gap = is_gap(characters.get(at + 1));
            let is_last = at + 1 == characters.len();
            if at == 0 {
                if "#,[]{}&*!|>'\"%@`".contains(character) {
                    flow_indicators = true;
                    block_indicators = true;
                }
                if "?:".contains(character) {
                    flow_indicators = true;
                    block_indicators |= precedes_gap;
                }
                if character == '-' && precedes_gap {
                    flow_indicators = true;
                    block_indicators = true;
                }
            } else {
                if ",?[]{}".contains(character) {
                    flow_indicators = true;
                }
                if character == ':' {
                    flow_indicators = true;
                    block_indicators |= precedes_gap;
                }
                if character == '#' && follows_gap {
                    flow_indicators = true;
                    block_indicators = true;
                }
            }
            has_lines |= is_newline(character);
            let is_printable = character == '\n' || (' '..='~').contains(&character);
            if !is_printable {
                let is_far = character == '\u{85}'
                    || ('\u{a0}'..='\u{d7ff}').contains(&character)
                    || ('\u{e000}'..='\u{fffd}').contains(&character);
                has_special |= !(is_far && character != '\u{feff}' && unicode);
            }
            if character == ' ' {
                leading_space |= at == 0;
                trailing_space |= is_last;
                break_space |= was_break;
                (was_space, was_break) = (true, false);
            } else if is_newline(character) {
                leading_break |= at == 0;
                trailing_break |= is_last;
                space_break |= was_space;
                (was_space, was_break) = (false, true);
            } else {
                (was_space, was_break) = (false, false);
            }
            follows_gap = is_gap(Some(&character));
        }
        let may_plain = !(leading_space
            || leading_break
            || trailing_space
            || trailing_break
            || break_space
            || space_break
            || has_special
            || has_lines);
        Self {
            has_lines,
            flow_plain: may_plain && !flow_indicators,
            block_plain: may_plain && !block_indicators,
            single: !(break_space || space_break || has_special),
        }
    }
}

/// Whether a text without quotes would be read as another type.
fn resolves_to_other(text: &str) -> bool {
    const WORDS: [&str; 11] = [
        "yes", "no", "true", "false", "on", "off", "null", "~", "", "<<", "=",
    ];
    let is_word = WORDS.contains(&text) || {
        let lower = text.to_lowercase();
        let capital = lower
            .chars()
            .next()
            .map(|first| first.to_uppercase().collect::<String>() + &lower[first.len_utf8()..]);
        WORDS.contains(&lower.as_str())
            && (text == lower.to_uppercase() || Some(text) == capital.as_deref())
    };
    is_word || NUMBERS.is_match(text).unwrap_or(false)
}

/// Numbers and dates in YAML 1.1.
static NUMBERS: std::sync::LazyLock<fancy_regex::Regex> = std::sync::LazyLock::new(|| {
    let forms = [
        r"[-+]?0b[0-1_]+",
        r"[-+]?0[0-7_]+",
        r"[-+]?(?:0|[1-9][0-9_]*)",
        r"[-+]?0x[0-9a-fA-F_]+",
        r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?",
        r"\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
        r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
        r"[-+]?\.(?:inf|Inf|INF)",
        r"\.(?:nan|NaN|NAN)",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
        r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
    ];
    let all = format!(r"\A(?:{})\z", forms.join("|"));
    #[expect(clippy::expect_used, reason = "the expression is always the same")]
    fancy_regex::Regex::new(&all).expect("the expression is sound")
});
