//! The test that compares versions.

use std::cmp::Ordering;

use minijinja::Error;

use super::super::function_arguments::{FunctionArguments, wrong};
use super::super::names::NamedFunctions;
use super::super::values::text_of;

/// Adds the tests.
pub(super) fn add(engine: &mut NamedFunctions) {
    for name in ["version", "version_compare"] {
        engine.question(
            name,
            &["version", "operator", "strict", "version_type"],
            |value, given| {
                let (one, other) = (text_of(value), text_of(given.needed("version")?));
                compare(&one, &other, given)
            },
        );
    }
}

fn compare(one: &str, other: &str, given: &FunctionArguments) -> Result<bool, Error> {
    let strict = given.value("strict").filter(|strict| !strict.is_none());
    let kind = given.text("version_type");
    if strict.is_some() && kind.is_some() {
        return Err(wrong("`strict` and `version_type` exclude each other"));
    }
    if one.is_empty() || other.is_empty() {
        return Err(wrong("a version cannot be empty"));
    }
    let kind = match (strict, kind.as_deref()) {
        (Some(strict), _) if strict.is_true() => "strict",
        (_, Some(kind)) => kind,
        _ => "loose",
    };
    let order = match kind {
        "loose" => loose(one, other)?,
        "strict" => strict_parts(one)?.cmp(&strict_parts(other)?),
        "semver" | "semantic" => semantic_order(&semantic(one)?, &semantic(other)?),
        "pep440" => pep440(one)?.cmp(&pep440(other)?),
        other => {
            let said = format!(
                "unknown type of versions `{other}`; use loose, strict, semver, semantic or pep440"
            );
            return Err(wrong(said));
        }
    };
    let operator = given.text("operator");
    Ok(match operator.as_deref().unwrap_or("eq") {
        "==" | "=" | "eq" => order.is_eq(),
        "!=" | "<>" | "ne" => order.is_ne(),
        "<" | "lt" => order.is_lt(),
        "<=" | "le" => order.is_le(),
        ">" | "gt" => order.is_gt(),
        ">=" | "ge" => order.is_ge(),
        other => {
            return Err(wrong(format!(
                "unknown comparison of versions `{other}`; use ==, !=, <, <=, > or >="
            )));
        }
    })
}

/// A part of a version.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

/// Compares versions of any format. A number cannot be compared with a word in the same position.
fn loose(one: &str, other: &str) -> Result<Ordering, Error> {
    let (first, second) = (loose_parts(one), loose_parts(other));
    for pair in first.iter().zip(&second) {
        match pair {
            (Part::Number(one), Part::Number(other)) if one != other => return Ok(one.cmp(other)),
            (Part::Word(one), Part::Word(other)) if one != other => return Ok(one.cmp(other)),
            (Part::Number(_), Part::Word(_)) | (Part::Word(_), Part::Number(_)) => {
                return Err(wrong(format!("`{one}` and `{other}` cannot be compared")));
            }
            _ => {}
        }
    }
    Ok(first.len().cmp(&second.len()))
}

/// Splits a version: runs of digits are numbers, runs of letters are words, dots separate, and anything else is a word
/// of its own.
fn loose_parts(version: &str) -> Vec<Part> {
    let class = |character: char| match character {
        '0'..='9' => 1,
        'a'..='z' => 2,
        '.' => 3,
        _ => 4,
    };
    let mut parts = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|character| class(character) != class(first));
        let (run, behind) = rest.split_at(end.unwrap_or(rest.len()));
        match class(first) {
            1 => parts.push(Part::Number(run.parse().unwrap_or(u64::MAX))),
            3 => {}
            _ => parts.push(Part::Word(run.to_owned())),
        }
        rest = behind;
    }
    parts
}

/// The numbers of a version, whether it is final, and otherwise its pre-release letter and number.
type Strict = ([u64; 3], (bool, char, u64));

/// Parses a version of two or three numbers, which may end with `a` or `b` and a number.
fn strict_parts(version: &str) -> Result<Strict, Error> {
    let refused = || wrong(format!("`{version}` is not a strict version such as 1.2.3"));
    let end = version.find(['a', 'b']);
    let (numbers, rest) = version.split_at(end.unwrap_or(version.len()));
    let mut parts = [0; 3];
    let read: Vec<&str> = numbers.split('.').collect();
    if !(2..=3).contains(&read.len()) {
        return Err(refused());
    }
    for (part, text) in parts.iter_mut().zip(&read) {
        *part = text.parse().map_err(|_| refused())?;
    }
    // A final version comes after all of its pre-releases.
    let mut characters = rest.chars();
    let before = match characters.next() {
        None => (true, 'z', 0),
        Some(kind) => (
            false,
            kind,
            characters.as_str().parse().map_err(|_| refused())?,
        ),
    };
    Ok((parts, before))
}

/// A semantic version: three numbers, and a pre-release.
struct Semantic {
    core: [u64; 3],
    before: Vec<Part>,
}

fn semantic(version: &str) -> Result<Semantic, Error> {
    let refused = || {
        wrong(format!(
            "`{version}` is not a semantic version such as 1.2.3"
        ))
    };
    let (rest, _) = version.split_once('+').unwrap_or((version, ""));
    let (numbers, before) = match rest.split_once('-') {
        Some((numbers, before)) => (numbers, Some(before)),
        None => (rest, None),
    };
    let numbers: Vec<&str> = numbers.split('.').collect();
    let mut core = [0; 3];
    if numbers.len() != 3 {
        return Err(refused());
    }
    for (part, text) in core.iter_mut().zip(numbers) {
        let has_zero = text.len() > 1 && text.starts_with('0');
        *part = text
            .parse()
            .ok()
            .filter(|_| !has_zero)
            .ok_or_else(refused)?;
    }
    let parts = before.into_iter().flat_map(|before| before.split('.'));
    let parts = parts.map(|part| match part.parse() {
        Ok(number) => Part::Number(number),
        Err(_) => Part::Word(part.to_owned()),
    });
    Ok(Semantic {
        core,
        before: parts.collect(),
    })
}

fn semantic_order(one: &Semantic, other: &Semantic) -> Ordering {
    one.core
        .cmp(&other.core)
        .then_with(|| match (one.before.is_empty(), other.before.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => one.before.cmp(&other.before),
        })
}

/// A version of a Python package, in the order of its parts: epoch, release, pre-release, post-release, development
/// release and local version.
type Package = (u64, Vec<u64>, (i8, u64), i64, (i8, u64), Vec<Part>);

fn pep440(version: &str) -> Result<Package, Error> {
    let refused = || wrong(format!("`{version}` is not a version of a Python package"));
    let text = version.trim().to_lowercase();
    let text = text.strip_prefix('v').unwrap_or(&text);
    let (text, local) = text.split_once('+').unwrap_or((text, ""));
    let (epoch, text) = text.split_once('!').unwrap_or(("0", text));
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (numbers, mut rest) = text.split_at(end.unwrap_or(text.len()));
    let mut release = Vec::new();
    for number in numbers.trim_end_matches('.').split('.') {
        release.push(number.parse().map_err(|_| refused())?);
    }
    while release.len() > 1 && release.last() == Some(&0) {
        release.pop();
    }
    let (mut pre, mut post, mut dev) = (None, None, None);
    while !rest.is_empty() {
        rest = rest.trim_start_matches(['.', '-', '_']);
        let end = rest.find(|character: char| !character.is_ascii_alphabetic());
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        let behind = behind.trim_start_matches(['.', '-', '_']);
        let digits = behind.find(|character: char| !character.is_ascii_digit());
        let (number, behind) = behind.split_at(digits.unwrap_or(behind.len()));
        let number: u64 = if number.is_empty() {
            0
        } else {
            number.parse().map_err(|_| refused())?
        };
        match word {
            "a" | "alpha" => pre = Some((0, number)),
            "b" | "beta" => pre = Some((1, number)),
            "c" | "rc" | "pre" | "preview" => pre = Some((2, number)),
            "post" | "rev" | "r" | "" => post = Some(i64::try_from(number).map_err(|_| refused())?),
            "dev" => dev = Some(number),
            _ => return Err(refused()),
        }
        rest = behind;
    }
    // A development version of a release comes before all of its other versions.
    let pre = match (pre, post, dev) {
        (Some((kind, number)), _, _) => (kind, number),
        (None, None, Some(_)) => (-1, 0),
        _ => (3, 0),
    };
    let epoch = epoch.parse().map_err(|_| refused())?;
    Ok((
        epoch,
        release,
        pre,
        post.unwrap_or(-1),
        dev.map_or((1, 0), |dev| (0, dev)),
        loose_parts(local),
    ))
}
