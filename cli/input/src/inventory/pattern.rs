//! Patterns that select hosts of an inventory, as in `web:&prod:!db`, `web[0]` and `db*.example`.

use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::path::Path;

use super::{ALL, GroupIndex, HostIndex, Inventory};

/// Selects hosts of an inventory.
///
/// The parts are joined by commas or colons. `!` removes the hosts of a part, `&` keeps only those, and all other parts
/// add theirs. A part is a group, a host, or either with `*`, `?` and `[..]`; `@` before a name restricts it to groups,
/// and `[2]`, `[-1]` or `[0:3]` after it select hosts by their index. `~` begins a regular expression, which groups and
/// hosts match at their beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

/// One part of a pattern: its name or glob, and how it changes the selection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    effect: Effect,
    name: String,
    /// The indices of the hosts that are selected from the part; `None` for all.
    places: Option<Places>,
}

/// The effect of a part on the selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// `web`: its hosts are added to the selection.
    Add,
    /// `&web`: only its hosts stay in the selection.
    Keep,
    /// `!web`: its hosts are removed from the selection.
    Remove,
}

/// The indices of the selected hosts of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Places {
    /// One host, counted from the end if it is negative.
    One(i64),
    /// The hosts from a first to a last index, or to the end.
    Range(usize, Option<usize>),
}

impl Pattern {
    /// Parses a pattern, or returns why it is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        for word in split(text) {
            let word = word.trim();
            if word.is_empty() {
                continue;
            }
            let (effect, name) = match word.as_bytes()[0] {
                b'!' => (Effect::Remove, &word[1..]),
                b'&' => (Effect::Keep, &word[1..]),
                _ => (Effect::Add, word),
            };
            let (name, places) = if is_expression(name) {
                NameMatcher::of(name)?;
                (name, None)
            } else {
                subscript(name)
            };
            if name.is_empty() {
                return Err(format!("`{word}` names no host"));
            }
            parts.push(Part {
                effect,
                name: name.to_owned(),
                places,
            });
        }
        if parts.is_empty() {
            return Err("the pattern contains no name".to_owned());
        }
        // The order in which the parts are written does not matter: hosts are added first, and removed last.
        parts.sort_by_key(|part| part.effect);
        if parts[0].effect != Effect::Add {
            let name = ALL.to_owned();
            let places = None;
            let effect = Effect::Add;
            parts.insert(
                0,
                Part {
                    effect,
                    name,
                    places,
                },
            );
        }
        Ok(Self { parts })
    }

    /// Returns the selected hosts, each once, or the name of a part that is not in the inventory.
    pub fn select(&self, inventory: &Inventory) -> Result<Vec<HostIndex>, String> {
        let (selected, mut unknown) = self.select_known(inventory);
        match unknown.drain(..).next() {
            Some(name) => Err(name),
            None => Ok(selected),
        }
    }

    /// Returns the selected hosts, each once, and the names of the parts that are not in the inventory, which select no
    /// host.
    pub fn select_known(&self, inventory: &Inventory) -> (Vec<HostIndex>, Vec<String>) {
        let mut selected: Vec<HostIndex> = Vec::new();
        let mut unknown = Vec::new();
        for part in &self.parts {
            let hosts = part.hosts(inventory).unwrap_or_else(|name| {
                unknown.push(name);
                Vec::new()
            });
            match part.effect {
                Effect::Add => selected.extend(hosts),
                Effect::Keep | Effect::Remove => {
                    let hosts: HashSet<HostIndex> = hosts.into_iter().collect();
                    let keeps = part.effect == Effect::Keep;
                    selected.retain(|host| hosts.contains(host) == keeps);
                }
            }
        }
        (each_once(selected), unknown)
    }
}

impl Part {
    fn hosts(&self, inventory: &Inventory) -> Result<Vec<HostIndex>, String> {
        let (name, is_group) = match self.name.strip_prefix('@') {
            Some(name) => (name, true),
            None => (self.name.as_str(), false),
        };
        let matcher = NameMatcher::of(name)?;
        let mut hosts: Vec<HostIndex> = Vec::new();
        let groups = 0..inventory.groups.len();
        let groups: Vec<GroupIndex> = groups
            .map(GroupIndex)
            .filter(|group| matcher.matches(&inventory.get_group(*group).name))
            .collect();
        hosts.extend(groups.iter().flat_map(|group| inventory.hosts_of(*group)));
        let may_mean_hosts = is_expression(name) || name.contains(['.', '?', '*', '[']);
        let hosts_too = !is_group && (groups.is_empty() || may_mean_hosts);
        let known = if hosts_too { inventory.hosts.len() } else { 0 };
        let known = (0..known).map(HostIndex);
        let known: Vec<HostIndex> = known
            .filter(|host| matcher.matches(&inventory.get_host(*host).name))
            .collect();
        if groups.is_empty() && known.is_empty() {
            return Err(self.name.clone());
        }
        hosts.extend(known);
        let once = each_once(hosts);
        Ok(match self.places {
            None => once,
            Some(places) => places.of(&once),
        })
    }
}

/// Whether the name of a part is a regular expression.
fn is_expression(name: &str) -> bool {
    name.starts_with('~')
}

/// Decides which names a part means.
enum NameMatcher<'a> {
    Glob(&'a str),
    Expression(fancy_regex::Regex),
}

impl<'a> NameMatcher<'a> {
    /// Makes the matcher of a name in a pattern, or returns why it cannot be one.
    fn of(name: &'a str) -> Result<Self, String> {
        let Some(expression) = name.strip_prefix('~') else {
            return Ok(Self::Glob(name));
        };
        if expression.is_empty() {
            return Err("`~` is followed by no regular expression".to_owned());
        }
        let compiled = fancy_regex::Regex::new(&format!("^(?:{expression})"));
        compiled
            .map(Self::Expression)
            .map_err(|error| format!("`{name}` is not a regular expression: {error}"))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Glob(pattern) => matches(name, pattern),
            // An expression that takes too long to match a name of a few characters does not match it.
            Self::Expression(expression) => expression.is_match(name).unwrap_or(false),
        }
    }
}

/// Replaces each `@FILE` of a limit, as in `web,@failed.retry`, by the patterns in the lines of the file. A part that
/// names no file stays as it is, because it may be a group.
pub fn with_files(text: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    for part in split(text) {
        let path = part.trim().strip_prefix('@').map(Path::new);
        let Some(path) = path.filter(|path| path.is_file()) else {
            parts.push(part.to_owned());
            continue;
        };
        let lines = std::fs::read_to_string(path)
            .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        let before = parts.len();
        parts.extend(lines.map(str::to_owned));
        if parts.len() == before {
            return Err(format!("`{}` names no host", path.display()));
        }
    }
    Ok(parts.join(","))
}

impl Places {
    fn of(self, hosts: &[HostIndex]) -> Vec<HostIndex> {
        let chosen = match self {
            Self::One(place) => {
                let from_end = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
                let place = if place < 0 {
                    hosts.len().checked_sub(from_end)
                } else {
                    Some(from_end)
                };
                place
                    .and_then(|place| hosts.get(place))
                    .map(std::slice::from_ref)
            }
            Self::Range(first, last) => {
                let end = last.map_or(hosts.len(), |last| last.saturating_add(1).min(hosts.len()));
                hosts.get(first.min(end)..end)
            }
        };
        chosen.unwrap_or_default().to_vec()
    }
}

fn each_once(mut hosts: Vec<HostIndex>) -> Vec<HostIndex> {
    let mut seen = HashSet::with_capacity(hosts.len());
    hosts.retain(|host| seen.insert(*host));
    hosts
}

/// Splits a pattern into its parts at commas, or at colons if there is no comma.
fn split(text: &str) -> Vec<&str> {
    if text.contains(',') || text.parse::<Ipv6Addr>().is_ok() {
        return text.split(',').collect();
    }
    let mut is_inside = false;
    text.split(|character| {
        match character {
            '[' => is_inside = true,
            ']' => is_inside = false,
            _ => {}
        }
        character == ':' && !is_inside
    })
    .collect()
}

/// Splits a name from the index or range that follows it.
fn subscript(name: &str) -> (&str, Option<Places>) {
    let read = || {
        let (name, inside) = name.strip_suffix(']')?.rsplit_once('[')?;
        if let Ok(place) = inside.parse() {
            return Some((name, Places::One(place)));
        }
        let (first, last) = inside.split_once([':', '-'])?;
        let last = match last {
            "" => None,
            last => Some(last.parse().ok()?),
        };
        Some((name, Places::Range(first.parse().ok()?, last)))
    };
    match read() {
        Some((name, places)) => (name, Some(places)),
        None => (name, None),
    }
}

/// Whether a name matches a pattern with `*`, `?`, `[..]` and `[!..]`.
fn matches(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) =
        (name.chars().collect(), pattern.chars().collect());
    // The position of the last `*`, and the position in the name up to which it matched then.
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < name.len() {
        let found = match pattern.get(of) {
            Some('*') => {
                star = Some((of, at));
                of += 1;
                continue;
            }
            Some('?') => Some(of + 1),
            Some('[') => match set(&pattern[of..]) {
                Some((members, length)) => members(name[at]).then_some(of + length),
                None => (name[at] == '[').then_some(of + 1),
            },
            Some(character) => (*character == name[at]).then_some(of + 1),
            None => None,
        };
        match (found, star) {
            (Some(next), _) => {
                of = next;
                at += 1;
            }
            (None, Some((place, stood_for))) => {
                star = Some((place, stood_for + 1));
                at = stood_for + 1;
                of = place + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[of..].iter().all(|character| *character == '*')
}

/// Returns the set at the beginning of a pattern, and its length; `None` if it is not closed.
fn set(pattern: &[char]) -> Option<(impl Fn(char) -> bool, usize)> {
    let is_not = pattern.get(1) == Some(&'!');
    let first = if is_not { 2 } else { 1 };
    // A closing bracket in the first place is a member.
    let length = pattern.iter().skip(first + 1).position(|it| *it == ']')?;
    let members = pattern[first..=first + length].to_vec();
    let contains = move |wanted: char| {
        let mut rest = members.as_slice();
        let mut is_in = false;
        while let [from, more @ ..] = rest {
            if let ['-', to, more @ ..] = more {
                is_in |= (*from..=*to).contains(&wanted);
                rest = more;
            } else {
                is_in |= *from == wanted;
                rest = more;
            }
        }
        is_in != is_not
    };
    Some((contains, first + length + 2))
}
