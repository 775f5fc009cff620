//! Filters for paths.

use std::path::{Component, Path, PathBuf};

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::function_arguments::{members, wrong};
use super::super::names::NamedFunctions;
use super::super::values::text_of;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain("basename", &[], |value, _| {
        Ok(Value::from(basename(&text_of(value))))
    });
    engine.plain("dirname", &[], |value, _| {
        Ok(Value::from(dirname(&text_of(value))))
    });
    engine.plain("splitext", &[], |value, _| Ok(Value::from(splitext(value))));
    engine.plain("path_join", &[], |value, _| {
        path_join(value).map(Value::from)
    });
    engine.plain("expanduser", &[], |value, _| {
        Ok(Value::from(expanded_user(&text_of(value))?))
    });
    engine.plain("expandvars", &[], |value, _| {
        Ok(Value::from(expanded_variables(&text_of(value))))
    });
    engine.plain("normpath", &[], |value, _| {
        Ok(Value::from(normal(&text_of(value))))
    });
    engine.plain("realpath", &[], |value, _| {
        real(&text_of(value)).map(Value::from)
    });
    engine.plain("relpath", &["start"], |value, given| {
        let start = given.text("start").unwrap_or_else(|| ".".to_owned());
        relative(&text_of(value), &start).map(Value::from)
    });
    engine.plain("commonpath", &[], |value, _| common(value).map(Value::from));
    engine.plain("fileglob", &[], |value, _| {
        let found = super::super::glob::files(Path::new(&text_of(value)));
        Ok(found
            .into_iter()
            .map(|path| Value::from(path.display().to_string()))
            .collect())
    });
}

fn basename(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn dirname(path: &str) -> &str {
    let Some((head, _)) = path.rsplit_once('/') else {
        return "";
    };
    match head.trim_end_matches('/') {
        "" => &path[..=head.len()],
        folder => folder,
    }
}

fn splitext(value: &Value) -> Vec<String> {
    let path = text_of(value);
    let name = basename(&path);
    let stem = name.trim_start_matches('.');
    let at = stem.rfind('.').map(|at| path.len() - stem.len() + at);
    let (root, end) = path.split_at(at.unwrap_or(path.len()));
    vec![root.to_owned(), end.to_owned()]
}

fn path_join(value: &Value) -> Result<String, Error> {
    let parts = match value.kind() {
        ValueKind::String => return Ok(text_of(value)),
        _ => value.try_iter()?,
    };
    let mut path = Path::new("").to_path_buf();
    for part in parts {
        path.push(text_of(&part));
    }
    Ok(path.display().to_string())
}

/// Returns a path with a leading `~` or `~user` replaced by the home folder of the user.
pub(in crate::templates) fn expanded_user(path: &str) -> Result<String, Error> {
    let Some(behind) = path.strip_prefix('~') else {
        return Ok(path.to_owned());
    };
    let (user, rest) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
    let home = if user.is_empty() {
        std::env::var("HOME").ok()
    } else {
        let users = std::fs::read_to_string("/etc/passwd")
            .map_err(|error| wrong(format!("`/etc/passwd` cannot be read: {error}")))?;
        let mut lines = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let found = lines.find(|fields| fields.first() == Some(&user));
        found.and_then(|fields| fields.get(5).map(|home| (*home).to_owned()))
    };
    Ok(home.map_or_else(
        || path.to_owned(),
        |home| format!("{}{rest}", home.trim_end_matches('/')),
    ))
}

/// Replaces `$NAME` and `${NAME}` by environment variables. Names that are not set are kept.
fn expanded_variables(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        out.push_str(before);
        let inside = behind
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'));
        let plain =
            behind.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        let (name, after, written) = if let Some((name, after)) = inside {
            (name, after, format!("${{{name}}}"))
        } else {
            let (name, after) = behind.split_at(plain.unwrap_or(behind.len()));
            (name, after, format!("${name}"))
        };
        out.push_str(&std::env::var(name).unwrap_or(written));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Normalizes a path: removes `.`, `..` after a name, and doubled slashes.
pub(in crate::templates) fn normal(path: &str) -> String {
    let mut normal = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(normal.components().next_back(), Some(Component::Normal(_))) =>
            {
                normal.pop();
            }
            Component::ParentDir if normal.has_root() => {}
            part => normal.push(part),
        }
    }
    let text = normal.display().to_string();
    // POSIX gives exactly two leading slashes a meaning of their own, so they are kept.
    match text {
        text if text.is_empty() => ".".to_owned(),
        text if path.starts_with("//") && !path.starts_with("///") => format!("/{text}"),
        text => text,
    }
}

/// Makes a path absolute and removes its `.` and `..`, without a look at symbolic links.
fn absolute(path: &str) -> Result<String, Error> {
    let here = std::env::current_dir()
        .map_err(|error| wrong(format!("this folder is unknown: {error}")))?;
    Ok(normal(&here.join(path).display().to_string()))
}

/// Resolves the symbolic links in a path, as far as it exists.
fn real(path: &str) -> Result<String, Error> {
    let mut known = PathBuf::from(absolute_with_links(path)?);
    let mut missing = Vec::new();
    loop {
        if let Ok(real) = known.canonicalize() {
            let joined = missing
                .iter()
                .rev()
                .fold(real, |path, part| path.join(part));
            return Ok(normal(&joined.display().to_string()));
        }
        match (
            known.file_name().map(ToOwned::to_owned),
            known.parent().map(Path::to_path_buf),
        ) {
            (Some(name), Some(parent)) => {
                missing.push(name);
                known = parent;
            }
            _ => return absolute(path),
        }
    }
}

/// Makes a path absolute, and leaves its symbolic links and its `..` as they are.
fn absolute_with_links(path: &str) -> Result<String, Error> {
    let here = std::env::current_dir()
        .map_err(|error| wrong(format!("this folder is unknown: {error}")))?;
    Ok(here.join(path).display().to_string())
}

fn relative(path: &str, start: &str) -> Result<String, Error> {
    if path.is_empty() {
        return Err(wrong("`relpath` of an empty path"));
    }
    let (path, start) = (absolute(path)?, absolute(start)?);
    let parts = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (path, start) = (parts(&path), parts(&start));
    let same = path
        .iter()
        .zip(&start)
        .take_while(|(one, other)| one == other)
        .count();
    let mut steps = vec!["..".to_owned(); start.len() - same];
    steps.extend(path[same..].iter().cloned());
    Ok(if steps.is_empty() {
        ".".to_owned()
    } else {
        steps.join("/")
    })
}

fn common(value: &Value) -> Result<String, Error> {
    let paths: Vec<String> = members(value)?.iter().map(text_of).collect();
    let is_absolute = |path: &String| path.starts_with('/');
    let Some(first) = paths.first() else {
        return Err(wrong("`commonpath` of an empty list"));
    };
    if paths
        .iter()
        .any(|path| is_absolute(path) != is_absolute(first))
    {
        return Err(wrong("`commonpath` of absolute and relative paths"));
    }
    let parts = |path: &String| -> Vec<String> {
        let parts = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".");
        parts.map(str::to_owned).collect()
    };
    let mut common = parts(first);
    for path in &paths[1..] {
        let same = common
            .iter()
            .zip(parts(path))
            .take_while(|(one, other)| *one == other)
            .count();
        common.truncate(same);
    }
    Ok(format!(
        "{}{}",
        if is_absolute(first) { "/" } else { "" },
        common.join("/")
    ))
}
