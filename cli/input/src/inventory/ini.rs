//! Inventories in Ansible's variant of INI.
//!
//! ```text
//! lone ansible_port=2222
//! [web]
//! web[01:20] http_port=80 note="two words"
//! [web:vars]
//! tls = True
//! [site:children]
//! web
//! ```

use super::literal;
use super::{GroupIndex, Inventory, UNGROUPED, range};
use crate::diagnostic::{Diagnostic, Problems, Source, Span};

/// The kind of a section, which determines the meaning of its lines.
#[derive(Clone, Copy)]
enum Section {
    /// `[web]`: each line names hosts of this group, with their variables.
    Hosts(GroupIndex),
    /// `[web:children]`: each line names a child of this group.
    Children(GroupIndex),
    /// `[web:vars]`: each line sets a variable of this group.
    Variables(GroupIndex),
    /// A section that was refused, whose lines are ignored.
    Refused,
}

/// Adds the contents of a source to an inventory.
pub(super) fn read(source: &Source, inventory: &mut Inventory, problems: &mut Problems) {
    let mut section = Section::Hosts(inventory.group(UNGROUPED));
    // Groups that `vars` and `children` sections name. Another section has to declare each of them, before or after.
    let mut named: Vec<(String, Span, &'static str)> = Vec::new();
    let mut declared: Vec<String> = Vec::new();
    let mut start = 0;
    for line in source.text().split_inclusive('\n') {
        let at = start + (line.len() - line.trim_start().len());
        start += line.len();
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let span = Span::new(at, at + line.len());
        if line.starts_with('[') && without_comment(line).ends_with(']') {
            let Some((name, kind)) = section_of(without_comment(line)) else {
                problems.push(
                    Diagnostic::error(span, "this is not a section")
                        .help("write `[group]`, `[group:vars]` or `[group:children]`"),
                );
                section = Section::Refused;
                continue;
            };
            let group = inventory.group(name);
            section = match kind {
                "hosts" => Section::Hosts(group),
                "children" => Section::Children(group),
                "vars" => Section::Variables(group),
                other => {
                    let message = format!("unknown kind of section `{other}`");
                    let help = "the kinds are `hosts`, `vars` and `children`";
                    problems.push(Diagnostic::error(span, message).help(help));
                    section = Section::Refused;
                    continue;
                }
            };
            if kind == "vars" {
                named.push((name.to_owned(), span, "gives variables to"));
            } else {
                declared.push(name.to_owned());
            }
            continue;
        }
        match section {
            Section::Hosts(group) => hosts(line, at, group, inventory, problems),
            Section::Children(group) => {
                let name = without_comment(line);
                if name.contains([':', ']']) || name.contains(char::is_whitespace) {
                    problems.push(Diagnostic::error(
                        span,
                        "a line of `children` names exactly one group",
                    ));
                    continue;
                }
                let child = inventory.group(name);
                named.push((name.to_owned(), span, "has as its child"));
                if let Err(message) = inventory.add_child(group, child) {
                    problems.push(Diagnostic::error(span, message));
                }
            }
            Section::Variables(group) => {
                let Some((name, value)) = line.split_once('=') else {
                    problems.push(
                        Diagnostic::error(span, "expected a variable").help("write `name=value`"),
                    );
                    continue;
                };
                let value = literal::value(value.trim());
                if let Err(message) = inventory.set_group_variable(group, name.trim(), value) {
                    problems.push(Diagnostic::error(span, message));
                }
            }
            Section::Refused => {}
        }
    }
    for (name, span, does) in named {
        let is_given = matches!(name.as_str(), super::ALL | UNGROUPED);
        if !is_given && !declared.contains(&name) {
            let message = format!("this {does} `{name}`, which is not a group of this inventory");
            let help = format!("add a section `[{name}]` for its hosts");
            problems.push(Diagnostic::error(span, message).help(help));
        }
    }
}

/// Returns a line without the comment at its end.
fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim_end()
}

/// Returns the group of a section, and the kind of the section.
fn section_of(line: &str) -> Option<(&str, &str)> {
    let inside = line.strip_prefix('[')?.strip_suffix(']')?;
    let (name, kind) = inside.split_once(':').unwrap_or((inside, "hosts"));
    let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == ']');
    let is_word = !kind.is_empty() && kind.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_name && is_word).then_some((name, kind))
}

/// Adds the hosts of a line, with their variables.
fn hosts(
    line: &str,
    at: usize,
    group: GroupIndex,
    inventory: &mut Inventory,
    problems: &mut Problems,
) {
    let whole = Span::new(at, at + line.len());
    let words = match words(line) {
        Ok(words) => words,
        Err(message) => {
            problems.push(Diagnostic::error(whole, message));
            return;
        }
    };
    let Some(((name, _), variables)) = words.split_first() else {
        return;
    };
    let (name, port) = super::split_port(name);
    let names = match range::expand(name) {
        Ok(names) => names,
        Err(message) => {
            problems.push(Diagnostic::error(whole, format!("`{name}`: {message}")));
            return;
        }
    };
    let mut values = Vec::with_capacity(variables.len());
    for (word, span) in variables {
        let span = Span::new(at + span.start(), at + span.end());
        match word.split_once('=') {
            Some((name, value)) => values.push((name, literal::value(value))),
            None => problems.push(
                Diagnostic::error(span, format!("`{word}` is not a variable of the host"))
                    .help("write `name=value`; a line contains one host and its variables"),
            ),
        }
    }
    for name in names {
        let host = inventory.host(&name, group);
        if let Some(port) = port {
            inventory.set_host_variable(host, super::PORT, port.into());
        }
        for (name, value) in &values {
            inventory.set_host_variable(host, name, value.clone());
        }
    }
}

/// Splits a line into words with their places, by the rules of a shell: quotes, backslashes and comments.
fn words(line: &str) -> Result<Vec<(String, Span)>, String> {
    let mut words: Vec<(String, Span)> = Vec::new();
    let mut word: Option<(String, usize)> = None;
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '#' => {
                words.extend(
                    word.take()
                        .map(|(text, start)| (text, Span::new(start, at))),
                );
                return Ok(words);
            }
            blank if blank.is_whitespace() => {
                words.extend(
                    word.take()
                        .map(|(text, start)| (text, Span::new(start, at))),
                );
            }
            quote @ ('\'' | '"') => {
                let (text, _) = word.get_or_insert_with(|| (String::new(), at));
                loop {
                    match characters.next() {
                        None => return Err("a quote is not closed".to_owned()),
                        Some((_, end)) if end == quote => break,
                        Some((_, '\\')) if quote == '"' => match characters.next() {
                            None => return Err("a quote is not closed".to_owned()),
                            Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                            Some((_, other)) => text.extend(['\\', other]),
                        },
                        Some((_, other)) => text.push(other),
                    }
                }
            }
            '\\' => {
                let (text, _) = word.get_or_insert_with(|| (String::new(), at));
                match characters.next() {
                    None => return Err("nothing follows the last backslash".to_owned()),
                    Some((_, escaped)) => text.push(escaped),
                }
            }
            other => {
                let (text, _) = word.get_or_insert_with(|| (String::new(), at));
                text.push(other);
            }
        }
    }
    words.extend(word.map(|(text, start)| (text, Span::new(start, line.len()))));
    Ok(words)
}
