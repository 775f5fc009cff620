//! Makes several jobs from one section: one for each combination of a `matrix`, or for each item of `for_each`.
//!
//! This works on the values of a document before they are read into types. So `{NAME}` can be used in every text of a
//! job, and each job is read and checked like one that was written out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use ratchet_runtime::JobKey;

use super::paths::within;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Entry, Node, Value};
use crate::value;

/// The most jobs that one section makes. More of them are better written as JSON lines, which are read one by one.
const MOST: usize = 1_000_000;

/// The largest file of items, in bytes.
const LARGEST: u64 = 64 << 20;

/// The keys of a section that make several jobs of it.
const MATRIX: &str = "matrix";
const FOR_EACH: &str = "for_each";

/// The names in braces for the item of `for_each`, `{}`, and for its number, `{#}`.
const ITEM: &str = "";
const NUMBER: &str = "#";

/// Expands sections into jobs, and remembers the jobs for which the id of such a section stands.
#[derive(Debug, Clone, Default)]
pub(super) struct SectionExpansion {
    /// The ids of the jobs of each section that makes several.
    groups: HashMap<String, Vec<JobKey>>,
}

/// The values of one job of a section, each with its name.
type Binding<'a> = Vec<(String, Node<'a>)>;

impl SectionExpansion {
    /// Calls `take` with the section of each job that a section makes. A section without `matrix` and `for_each` is
    /// passed on as it is.
    pub(super) fn each<'a>(
        &mut self,
        node: Node<'a>,
        folder: Option<&Path>,
        problems: &mut Problems,
        mut take: impl FnMut(Node<'a>, &mut Problems),
    ) {
        if !node.is_map() {
            return take(node, problems);
        }
        let span = node.span;
        let Ok(entries) = node.into_map(problems) else {
            return; // It is a map.
        };
        let is_many = |entry: &Entry<'_>| matches!(&*entry.name, MATRIX | FOR_EACH);
        if !entries.iter().any(is_many) {
            return take(Node::new(Value::Map(entries), span), problems);
        }
        let (mut many, rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_many);
        if let [one, other, ..] = &many[..] {
            let message = "`matrix` and `for_each` both make several jobs";
            let error = Diagnostic::error(other.place, message).other(one.place, "the other one");
            problems.push(error.help("write one of them; a list of `for_each` can have maps"));
            return;
        }
        let Some(entry) = many.pop() else {
            return; // There is one, as was just asked.
        };
        let place = entry.place;
        let bindings = match &*entry.name {
            MATRIX => matrix(entry.node, problems),
            _ => items(entry.node, folder, problems),
        };
        let Some(bindings) = bindings else {
            return;
        };
        if bindings.is_empty() {
            let error = Diagnostic::error(place, "this makes no jobs");
            problems.push(error.help("leave the job out, or give it at least one value"));
            return;
        }
        let names: BTreeSet<&str> = names(&bindings).collect();
        if !names.is_empty() {
            for entry in &rest {
                warn_of_unknown_names(&entry.node, &names, problems);
            }
        }
        let id = rest.iter().find(|entry| entry.name == "id");
        let written = id.and_then(|entry| entry.node.text_or_number().map(str::to_owned));
        let is_named = |name: &str| {
            let written = written.as_deref().unwrap_or_default();
            written.contains(&placeholder(name))
        };
        let id_differs = bindings[0].iter().any(|(name, _)| is_named(name));
        let mut ids = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let mut entries: Vec<Entry<'a>> = rest
                .iter()
                .map(|entry| Entry {
                    name: entry.name.clone(),
                    place: entry.place,
                    node: {
                        let node = match &*entry.name {
                            "run" => in_words(entry.node.clone(), &binding),
                            _ => entry.node.clone(),
                        };
                        fill(node, &binding, entry.name == "input", problems)
                    },
                })
                .collect();
            if let Some(written) = &written {
                let id = if id_differs {
                    fill_text(written, &binding).unwrap_or_else(|| written.clone())
                } else {
                    format!("{written}-{}", suffix(&binding))
                };
                ids.push(JobKey::from(id.as_str()));
                for entry in entries.iter_mut().filter(|entry| entry.name == "id") {
                    let text = Value::Text(Cow::Owned(id.clone()));
                    entry.node = Node::new(text, entry.node.span);
                }
            }
            take(Node::new(Value::Map(entries), span), problems);
        }
        if let Some(written) = written {
            self.groups.entry(written).or_default().extend(ids);
        }
    }

    /// Returns the jobs of the section that has this id and makes several.
    pub(super) fn of(&self, id: &str) -> Option<&[JobKey]> {
        self.groups.get(id).map(Vec::as_slice)
    }

    /// Iterates over the ids of the sections that make several jobs, each with the ids of its jobs.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &[JobKey])> {
        let groups = self.groups.iter();
        groups.map(|(section, ids)| (section.as_str(), &**ids))
    }

    /// Whether no section makes several jobs.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// Returns the suffix by which the jobs of a section differ if their id has no placeholder: the number of the item, or
/// the values.
fn suffix(binding: &Binding<'_>) -> String {
    if let Some((_, number)) = binding.iter().find(|(name, _)| name == NUMBER) {
        return number.text_or_number().unwrap_or_default().to_owned();
    }
    let values = binding.iter();
    let values: Vec<&str> = values
        .map(|(_, value)| value.text_or_number().unwrap_or_default())
        .collect();
    values.join("-")
}

fn placeholder(name: &str) -> String {
    format!("{{{name}}}")
}

/// Splits a command that is written as one text before values are filled in. So a value is always one word, whatever
/// blanks and quotes it has.
fn in_words<'a>(node: Node<'a>, binding: &Binding<'_>) -> Node<'a> {
    let names_any = node
        .text()
        .is_some_and(|text| fill_text(text, binding).is_some());
    match node.text().map(value::split_words) {
        Some(Ok(line)) if names_any => {
            let span = node.span;
            let words = line.words.into_iter();
            let words = words.map(|word| Node::new(Value::Text(Cow::Owned(word)), span));
            Node::new(Value::List(words.collect()), span)
        }
        _ => node,
    }
}

/// Fills the values of a job into a node. With `keeps_types`, a text that consists only of a placeholder becomes the
/// value with its type. Otherwise values become text.
fn fill<'a>(
    node: Node<'a>,
    binding: &Binding<'a>,
    keeps_types: bool,
    problems: &mut Problems,
) -> Node<'a> {
    let span = node.span;
    if node.is_list() {
        let members = node.into_list().unwrap_or_default().into_iter();
        let members = members.map(|member| fill(member, binding, keeps_types, problems));
        return Node::new(Value::List(members.collect()), span);
    }
    if node.is_map() {
        let entries = node.into_map(problems).unwrap_or_default().into_iter();
        let entries = entries.map(|entry| Entry {
            name: fill_text(&entry.name, binding).map_or(entry.name, Cow::Owned),
            place: entry.place,
            node: fill(entry.node, binding, keeps_types, problems),
        });
        return Node::new(Value::Map(entries.collect()), span);
    }
    let Some(text) = node.text() else {
        return node;
    };
    let is_whole = |(name, _): &&(String, Node<'a>)| placeholder(name) == text;
    if let Some((_, value)) = binding.iter().find(is_whole).filter(|_| keeps_types) {
        return Node::new(value.value.clone(), span);
    }
    match fill_text(text, binding) {
        Some(filled) => Node::new(Value::Text(Cow::Owned(filled)), span),
        None => node,
    }
}

/// Fills values into a text. Returns nothing if the text has no placeholder. Values are not searched for placeholders,
/// so they may contain braces.
fn fill_text(text: &str, binding: &Binding<'_>) -> Option<String> {
    if !text.contains('{') {
        return None;
    }
    let mut filled = String::with_capacity(text.len());
    let (mut rest, mut has_any) = (text, false);
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let named = binding.iter().find_map(|(name, value)| {
            let after = rest.strip_prefix(&placeholder(name))?;
            // `${NAME}` is a variable, not a placeholder.
            let is_variable = filled.ends_with('$') && !name.is_empty();
            (!is_variable).then_some((value, after))
        });
        if let Some((value, after)) = named {
            filled.push_str(&shown(value));
            (rest, has_any) = (after, true);
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    has_any.then_some(filled)
}

/// Returns a value as it is written within a text.
fn shown<'n>(value: &'n Node<'_>) -> Cow<'n, str> {
    match &value.value {
        Value::Bool(value) => value.to_string().into(),
        _ => value.text_or_number().unwrap_or_default().into(),
    }
}

/// Whether a value can be filled into a text. If not, this reports it.
fn is_plain(node: &Node<'_>, problems: &mut Problems) -> bool {
    let is_plain = matches!(node.value, Value::Bool(_)) || node.text_or_number().is_some();
    if !is_plain {
        let message = format!("expected a text or a number, found {}", node.kind());
        problems.push(Diagnostic::error(node.span, message));
    }
    is_plain
}

/// Whether a name can be used in braces. If not, this reports it.
fn is_name(name: &str, place: Span, problems: &mut Problems) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    let is_name = !name.is_empty() && name.chars().all(is_letter);
    if !is_name {
        let message = format!("`{name}` cannot be the name of a value");
        let help =
            "a name consists of letters, digits, `_` and `-`, and is written as {NAME} in texts";
        problems.push(Diagnostic::error(place, message).help(help));
    }
    is_name
}

/// Returns the combinations of a matrix: all combinations of its values, without those of `exclude`, and with those of
/// `include`.
fn matrix<'a>(node: Node<'a>, problems: &mut Problems) -> Option<Vec<Binding<'a>>> {
    let span = node.span;
    let Ok(entries) = node.into_map(problems) else {
        let message = "expected a map of lists, as in {os: [linux, mac], size: [1, 2]}";
        problems.push(Diagnostic::error(span, message));
        return None;
    };
    let mut axes: Vec<(String, Vec<Node<'a>>)> = Vec::new();
    let (mut include, mut exclude) = (Vec::new(), Vec::new());
    let before = problems.len();
    for entry in entries {
        let value_span = entry.node.span;
        let Ok(members) = entry.node.into_list() else {
            let message = format!("`{}` of a matrix is a list of values", entry.name);
            problems.push(Diagnostic::error(value_span, message));
            continue;
        };
        match &*entry.name {
            "include" => include = members,
            "exclude" => exclude = members,
            name => {
                if is_name(name, entry.place, problems)
                    && members.iter().all(|value| is_plain(value, problems))
                {
                    axes.push((name.to_owned(), members));
                }
            }
        }
    }
    let mut combinations: Vec<Binding<'a>> = if axes.is_empty() {
        Vec::new()
    } else {
        vec![Vec::new()]
    };
    for (name, values) in &axes {
        if combinations.len().saturating_mul(values.len()) > MOST {
            let message = format!("the matrix makes more than {MOST} jobs");
            problems.push(Diagnostic::error(span, message).help("write the jobs as JSON lines"));
            return None;
        }
        let longer = combinations.iter().flat_map(|combination| {
            values.iter().map(|value| {
                let mut longer = combination.clone();
                longer.push((name.clone(), value.clone()));
                longer
            })
        });
        combinations = longer.collect();
    }
    let excluded: Vec<_> = exclude
        .into_iter()
        .filter_map(|node| combination(node, problems))
        .collect();
    for (named, place) in &excluded {
        let known = |name: &String| axes.iter().any(|(axis, _)| axis == name);
        if let Some(unknown) = named.keys().find(|name| !known(name)) {
            let message = format!("the matrix has no `{unknown}` that could be excluded");
            problems.push(Diagnostic::error(*place, message));
        } else if !combinations.iter().any(|it| matches(it, named)) {
            let error =
                Diagnostic::error(*place, "no combination of the matrix is excluded by this");
            problems.push(error.help("all of its values have to be those of a combination"));
        }
    }
    combinations.retain(|it| !excluded.iter().any(|(named, _)| matches(it, named)));
    for node in include {
        let Some((named, place)) = combination(node, problems) else {
            continue;
        };
        let first = combinations.first();
        let lacks =
            first.and_then(|first| first.iter().find(|(name, _)| !named.contains_key(name)));
        if let Some((name, _)) = lacks {
            let message = format!("this combination has no `{name}`, which the others have");
            problems.push(Diagnostic::error(place, message));
        }
        combinations.push(named.into_iter().collect());
    }
    (problems.len() == before).then_some(combinations)
}

/// Reads a combination that is written out, and returns it with its place.
fn combination<'a>(
    node: Node<'a>,
    problems: &mut Problems,
) -> Option<(BTreeMap<String, Node<'a>>, Span)> {
    let span = node.span;
    let Ok(entries) = node.into_map(problems) else {
        let error = Diagnostic::error(span, "expected a map of values, as in {os: linux, size: 1}");
        problems.push(error);
        return None;
    };
    let mut named = BTreeMap::new();
    for entry in entries {
        if is_name(&entry.name, entry.place, problems) && is_plain(&entry.node, problems) {
            named.insert(entry.name.into_owned(), entry.node);
        }
    }
    Some((named, span))
}

/// Whether a combination has all these values.
fn matches(combination: &Binding<'_>, named: &BTreeMap<String, Node<'_>>) -> bool {
    named.iter().all(|(name, value)| {
        let mut values = combination.iter();
        values.any(|(known, known_value)| known == name && shown(known_value) == shown(value))
    })
}

/// Returns the items of `for_each`: the members of a list, or the lines of a file.
fn items<'a>(
    node: Node<'a>,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> Option<Vec<Binding<'a>>> {
    let span = node.span;
    if let Some(path) = node.text() {
        return lines(path, folder, span, problems);
    }
    let Ok(members) = node.into_list() else {
        let message = "expected a list of items, or the name of a file whose lines are items";
        problems.push(Diagnostic::error(span, message));
        return None;
    };
    let mut bindings = Vec::with_capacity(members.len());
    let mut spans = Vec::with_capacity(members.len());
    for (number, member) in (1_u64..).zip(members) {
        let span = member.span;
        let mut binding: Binding<'a> = vec![(NUMBER.to_owned(), counted(number, member.span))];
        if member.is_map() {
            let (named, _) = combination(member, problems)?;
            binding.extend(named);
        } else if is_plain(&member, problems) {
            binding.push((ITEM.to_owned(), member));
        } else {
            return None;
        }
        bindings.push(binding);
        spans.push(span);
    }
    let names: BTreeSet<&str> = names(&bindings).collect();
    let before = problems.len();
    for (binding, span) in bindings.iter().zip(spans) {
        let has = |name: &str| binding.iter().any(|(known, _)| known == name);
        if let Some(name) = names.iter().find(|name| !has(name)) {
            let message = format!("this item has no `{name}`, which others have");
            let error = Diagnostic::error(span, message);
            problems.push(error.help("give it one, as in {n: 1}; an empty text is written \"\""));
        }
    }
    (problems.len() == before).then_some(bindings)
}

/// Returns the names that the maps among items, or the values of a matrix, have.
fn names<'b>(bindings: &'b [Binding<'_>]) -> impl Iterator<Item = &'b str> {
    let names = bindings.iter().flatten().map(|(name, _)| name.as_str());
    names.filter(|name| !matches!(*name, ITEM | NUMBER))
}

/// Warns of names in braces that no item has. They are not refused, because a command may mean something else by them,
/// as `awk '{print}'` does.
fn warn_of_unknown_names(node: &Node<'_>, names: &BTreeSet<&str>, problems: &mut Problems) {
    match &node.value {
        Value::List(members) => {
            for member in members {
                warn_of_unknown_names(member, names, problems);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                warn_of_unknown_names(&entry.node, names, problems);
            }
        }
        _ => {
            let unknown = node.text().and_then(|text| unknown_name(text, names));
            if let Some(unknown) = unknown {
                let message =
                    format!("there is no value `{unknown}`, so {{{unknown}}} stays as it is");
                let known: Vec<String> = names.iter().map(|name| placeholder(name)).collect();
                let help = match value::closest(unknown, names.iter().copied()) {
                    Some(meant) => format!("did you mean {{{meant}}}?"),
                    None => format!("the values of this section are {}", known.join(", ")),
                };
                problems.push(Diagnostic::warning(node.span, message).help(help));
            }
        }
    }
}

/// Returns the first name in braces in a text that is none of these.
fn unknown_name<'t>(text: &'t str, names: &BTreeSet<&str>) -> Option<&'t str> {
    text.match_indices('{').find_map(|(at, _)| {
        let (name, _) = text[at + 1..].split_once('}')?;
        let begins = name.starts_with(|first: char| first.is_alphabetic() || first == '_');
        let goes_on = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
        // `${NAME}` is a variable, and `{{NAME}}` a placeholder of another program.
        let is_other = text[..at].ends_with(['$', '{']);
        (begins && name.chars().all(goes_on) && !is_other && !names.contains(name)).then_some(name)
    })
}

fn counted<'a>(number: u64, span: Span) -> Node<'a> {
    Node::new(Value::Number(Cow::Owned(number.to_string())), span)
}

/// Returns the lines of a file as items, without blank lines.
fn lines<'a>(
    path: &str,
    folder: Option<&Path>,
    span: Span,
    problems: &mut Problems,
) -> Option<Vec<Binding<'a>>> {
    let file = within(folder, path);
    let mut refuse = |message: String| {
        problems.push(Diagnostic::error(span, message).help("the path is relative to the file"));
        None
    };
    match std::fs::metadata(&file) {
        Ok(found) if found.len() > LARGEST => {
            return refuse(format!(
                "`{path}` is too large: its items would all be in memory"
            ));
        }
        Ok(_) => {}
        Err(error) => return refuse(format!("`{path}` cannot be read: {error}")),
    }
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => return refuse(format!("`{path}` cannot be read: {error}")),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let items = text.lines().filter(|line| !line.trim().is_empty());
    let bindings = (1_u64..).zip(items).map(|(number, line)| {
        let item = Node::new(Value::Text(Cow::Owned(line.to_owned())), span);
        vec![
            (NUMBER.to_owned(), counted(number, span)),
            (ITEM.to_owned(), item),
        ]
    });
    Some(bindings.collect())
}
