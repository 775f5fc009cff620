//! Filters for texts.

use minijinja::Value;

use super::super::function_arguments::{FunctionArguments, wrong};
use super::super::names::NamedFunctions;
use super::super::values::text_of;

/// Adds the filters.
#[expect(
    clippy::too_many_lines,
    reason = "the function is a table with a line for each filter"
)]
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain("upper", &[], |value, _| {
        Ok(Value::from(text_of(value).to_uppercase()))
    });
    engine.plain("lower", &[], |value, _| {
        Ok(Value::from(text_of(value).to_lowercase()))
    });
    engine.plain("capitalize", &[], |value, _| {
        Ok(Value::from(capitalized(&text_of(value))))
    });
    engine.plain("title", &[], |value, _| {
        Ok(Value::from(titled(&text_of(value))))
    });
    engine.plain("trim", &["chars"], |value, given| {
        let text = text_of(value);
        Ok(Value::from(match given.text("chars") {
            Some(characters) => text
                .trim_matches(|character| characters.contains(character))
                .to_owned(),
            None => text.trim().to_owned(),
        }))
    });
    engine.plain("replace", &["old", "new", "count"], |value, given| {
        let (text, old) = (text_of(value), text_of(given.needed("old")?));
        let new = text_of(given.needed("new")?);
        Ok(Value::from(match given.count("count")? {
            Some(count) => text.replacen(&old, &new, count),
            None => text.replace(&old, &new),
        }))
    });
    engine.plain("split", &["sep", "maxsplit"], |value, given| {
        if value.as_str().is_none() {
            return Err(wrong("`split` takes a text"));
        }
        split(&text_of(value), given)
    });
    engine.plain("splitlines", &[], |value, _| {
        Ok(text_of(value).lines().map(Value::from).collect())
    });
    engine.plain("quote", &[], |value, _| {
        Ok(Value::from(quoted(&text_of(value))))
    });
    engine.plain(
        "comment",
        &[
            "style",
            "decoration",
            "newline",
            "beginning",
            "prefix",
            "prefix_count",
            "postfix",
            "postfix_count",
            "end",
        ],
        |value, given| comment(&text_of(value), given).map(Value::from),
    );
    engine.plain("center", &["width"], |value, given| {
        let text = text_of(value);
        let width = given.count("width")?.unwrap_or(80);
        let blank = width.saturating_sub(text.chars().count());
        // If the width is odd, Python puts the extra blank on the left.
        let left = blank / 2 + (blank & width & 1);
        Ok(Value::from(format!(
            "{}{text}{}",
            " ".repeat(left),
            " ".repeat(blank - left)
        )))
    });
    engine.plain("indent", &["width", "first", "blank"], |value, given| {
        let width = match given.value("width") {
            Some(width) if width.as_str().is_some() => text_of(width),
            _ => " ".repeat(given.count("width")?.unwrap_or(4)),
        };
        let is_first = given.flag("first") == Some(true);
        Ok(Value::from(indented(
            &text_of(value),
            &width,
            is_first,
            given.flag("blank") == Some(true),
        )))
    });
    engine.plain(
        "truncate",
        &["length", "killwords", "end", "leeway"],
        |value, given| truncated(&text_of(value), given).map(Value::from),
    );
    engine.plain("wordcount", &[], |value, _| {
        let text = text_of(value);
        let words = text.split(|character: char| !character.is_alphanumeric() && character != '_');
        Ok(Value::from(words.filter(|word| !word.is_empty()).count()))
    });
    engine.plain(
        "wordwrap",
        &[
            "width",
            "break_long_words",
            "wrapstring",
            "break_on_hyphens",
        ],
        |value, given| wrapped(&text_of(value), given).map(Value::from),
    );
    engine.plain("striptags", &[], |value, _| {
        Ok(Value::from(without_tags(&text_of(value))))
    });
    for name in ["escape", "e", "forceescape"] {
        engine.plain(name, &[], |value, _| Ok(Value::from(html(&text_of(value)))));
    }
    engine.plain("safe", &[], |value, _| Ok(value.clone()));
    engine.plain("filesizeformat", &["binary"], |value, given| {
        let size = match value.as_str() {
            Some(text) => super::types::float_of_text(text),
            None => Some(super::super::function_arguments::number(value)?),
        };
        file_size(
            size.ok_or_else(|| wrong("`filesizeformat` takes a number"))?,
            given.flag("binary") == Some(true),
        )
        .map(Value::from)
    });
    engine.filter("format", super::printf::printf);
    engine.plain("pprint", &[], |value, _| {
        Ok(Value::from(super::super::values::repr(value)))
    });
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().collect::<String>());
    format!(
        "{}{}",
        first.unwrap_or_default(),
        characters.as_str().to_lowercase()
    )
}

/// Capitalizes each word of a text.
fn titled(text: &str) -> String {
    let mut out = String::new();
    let mut is_begin = true;
    for character in text.chars() {
        if is_begin {
            out.extend(character.to_uppercase());
        } else {
            out.extend(character.to_lowercase());
        }
        is_begin = character.is_whitespace() || "-({[<".contains(character);
    }
    out
}

fn split(text: &str, given: &FunctionArguments) -> Result<Value, minijinja::Error> {
    let most = given
        .whole("maxsplit")?
        .and_then(|most| usize::try_from(most).ok());
    let parts: Vec<&str> = match (given.text("sep"), most) {
        (Some(separator), _) if separator.is_empty() => {
            return Err(wrong("a separator cannot be empty"));
        }
        (Some(separator), None) => return Ok(text.split(&*separator).map(Value::from).collect()),
        (Some(separator), Some(most)) => {
            return Ok(text
                .splitn(most + 1, &*separator)
                .map(Value::from)
                .collect());
        }
        (None, None) => text.split_whitespace().collect(),
        (None, Some(most)) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start();
            while !rest.is_empty() {
                let end = rest
                    .find(char::is_whitespace)
                    .filter(|_| parts.len() < most);
                let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
                parts.push(part);
                rest = behind.trim_start();
            }
            parts
        }
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Quotes a text as one word for a shell, as Python does.
fn quoted(text: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "_@%+=:,./-".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// Formats a text as a comment in one of the supported languages.
fn comment(text: &str, given: &FunctionArguments) -> Result<String, minijinja::Error> {
    let (beginning, decoration, end) = match given.text("style").as_deref().unwrap_or("plain") {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        other => {
            return Err(wrong(format!(
                "unknown style of comments `{other}`; use plain, erlang, c, cblock or xml"
            )));
        }
    };
    let part = |name: &str, usual: &str| given.text(name).unwrap_or_else(|| usual.to_owned());
    let decoration = part("decoration", decoration);
    let around = decoration.trim_end();
    let (newline, beginning) = (part("newline", "\n"), part("beginning", beginning));
    let (prefix, postfix, end) = (
        part("prefix", around),
        part("postfix", around),
        part("end", end),
    );
    let (prefixes, postfixes) = (given.count("prefix_count")?, given.count("postfix_count")?);

    let mut out = String::new();
    if !beginning.is_empty() {
        out.push_str(&beginning);
        out.push_str(&newline);
    }
    if !prefix.is_empty() {
        let line = if prefix == newline {
            newline.clone()
        } else {
            format!("{prefix}{newline}")
        };
        out.push_str(&line.repeat(prefixes.unwrap_or(1)));
    }
    let decorated = format!(
        "{decoration}{}",
        text.replace(&newline, &format!("{newline}{decoration}"))
    );
    // A line that consists only of its decoration has no blank at its end.
    out.push_str(&decorated.replace(
        &format!("{decoration}{newline}"),
        &format!("{}{newline}", decoration.trim_end()),
    ));
    for _ in 0..postfixes.unwrap_or(1) {
        out.push_str(&newline);
        out.push_str(&postfix);
    }
    if !end.is_empty() {
        out.push_str(&newline);
        out.push_str(&end);
    }
    Ok(out)
}

fn indented(text: &str, width: &str, is_first: bool, is_blank: bool) -> String {
    let mut out = String::new();
    // A newline at the end starts one more line, which is blank.
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
        }
        let is_meant = if at == 0 {
            is_first
        } else {
            is_blank || !line.is_empty()
        };
        if is_meant {
            out.push_str(width);
        }
        out.push_str(line);
    }
    out
}

fn truncated(text: &str, given: &FunctionArguments) -> Result<String, minijinja::Error> {
    let length = given.count("length")?.unwrap_or(255);
    let end = given.text("end").unwrap_or_else(|| "...".to_owned());
    let leeway = given.count("leeway")?.unwrap_or(5);
    let ending = end.chars().count();
    if length < ending {
        return Err(wrong(format!(
            "`truncate` to {length} characters has no room for `{end}`"
        )));
    }
    if text.chars().count() <= length + leeway {
        return Ok(text.to_owned());
    }
    let cut: String = text.chars().take(length - ending).collect();
    if given.flag("killwords") == Some(true) {
        return Ok(cut + &end);
    }
    let whole = cut
        .rsplit_once(' ')
        .map_or(cut.as_str(), |(whole, _)| whole);
    Ok(format!("{whole}{end}"))
}

fn wrapped(text: &str, given: &FunctionArguments) -> Result<String, minijinja::Error> {
    let width = given.count("width")?.unwrap_or(79).max(1);
    let breaks = given.flag("break_long_words") != Some(false);
    let newline = given.text("wrapstring").unwrap_or_else(|| "\n".to_owned());
    let hyphens = given.flag("break_on_hyphens") != Some(false);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut room = 0;
        for word in pieces(paragraph, hyphens) {
            let mut word = word;
            let mut length = word.chars().count();
            if room + word.trim_end().chars().count() > width && !line.trim().is_empty() {
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
                room = 0;
                word = word.trim_start();
                length = word.chars().count();
            }
            while breaks && room + word.trim_end().chars().count() > width {
                let at = word
                    .char_indices()
                    .nth(width - room)
                    .map_or(word.len(), |(at, _)| at);
                line.push_str(&word[..at]);
                lines.push(std::mem::take(&mut line));
                word = &word[at..];
                length = word.chars().count();
                room = 0;
            }
            line.push_str(word);
            room += length;
        }
        lines.push(line.trim_end().to_owned());
    }
    Ok(lines.join(&newline))
}

/// Splits a line into the pieces between which it may be broken. Each keeps the blanks that follow it.
fn pieces(line: &str, hyphens: bool) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut was_blank = false;
    let mut was_hyphen = false;
    for (at, character) in line.char_indices() {
        let is_blank = character == ' ';
        if at > start && ((was_blank && !is_blank) || (was_hyphen && character.is_alphabetic())) {
            pieces.push(&line[start..at]);
            start = at;
        }
        was_hyphen = hyphens && character == '-' && line[start..at].ends_with(char::is_alphabetic);
        was_blank = is_blank;
    }
    pieces.push(&line[start..]);
    pieces
}

fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let Some(end) = rest[at..].find('>') else {
            break;
        };
        out.push_str(&rest[..at]);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    let words: Vec<&str> = out.split_whitespace().collect();
    let text = words.join(" ");
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(text, |text, (entity, character)| {
        text.replace(entity, character)
    })
}

/// Escapes the characters of a text that have a meaning in HTML.
fn html(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            other => out.push(other),
        }
    }
    out
}

fn file_size(size: f64, is_binary: bool) -> Result<String, minijinja::Error> {
    let (base, end) = if is_binary {
        (1024.0, "iB")
    } else {
        (1000.0, "B")
    };
    if (size - 1.0).abs() < f64::EPSILON {
        return Ok("1 Byte".to_owned());
    }
    if size < base {
        return Ok(format!("{size:.0} Bytes"));
    }
    let letters = if is_binary { "KMGTPEZY" } else { "kMGTPEZY" };
    let mut unit = base;
    for letter in letters.chars() {
        unit *= base;
        if size < unit || letter == 'Y' {
            return Ok(format!("{:.1} {letter}{end}", base * size / unit));
        }
    }
    Err(wrong("the size is too large"))
}
