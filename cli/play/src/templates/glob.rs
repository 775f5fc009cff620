//! Glob patterns of file names.

use std::path::{Path, PathBuf};

/// Returns the files that a pattern matches, in alphabetical order. `*`, `?` and `[..]` match within a name, and `**`
/// matches any folders.
pub(super) fn files(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str().to_string_lossy();
        let has_pattern = part.contains(['*', '?', '[']);
        let mut next = Vec::new();
        for path in found {
            if part == "**" {
                add_folders(&path, &mut next);
            } else if has_pattern {
                next.extend(entries(&path).into_iter().filter(|entry| {
                    let name = entry
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned();
                    // A pattern matches hidden names, which begin with a dot, only if it begins with a dot itself.
                    (part.starts_with('.') || !name.starts_with('.')) && matches(&part, &name)
                }));
            } else {
                let path = path.join(&*part);
                next.extend((path == Path::new("/") || path.exists()).then_some(path));
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort_unstable();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let shown = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let entries = std::fs::read_dir(shown).into_iter().flatten().flatten();
    entries
        .map(|entry| folder.join(entry.file_name()))
        .collect()
}

fn add_folders(folder: &Path, found: &mut Vec<PathBuf>) {
    found.push(folder.to_path_buf());
    for entry in entries(folder) {
        if entry.is_dir() && !entry.is_symlink() {
            add_folders(&entry, found);
        }
    }
}

/// Whether a pattern matches a name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    matches_from(&pattern, &name)
}

fn matches_from(pattern: &[char], name: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return name.is_empty();
    };
    match first {
        '*' => (0..=name.len()).any(|skipped| matches_from(rest, &name[skipped..])),
        '?' => !name.is_empty() && matches_from(rest, &name[1..]),
        '[' => {
            let close = rest
                .iter()
                .skip(1)
                .position(|character| *character == ']')
                .map(|at| at + 1);
            match (close, name.split_first()) {
                (Some(close), Some((character, name))) => {
                    is_in_set(&rest[..close], *character) && matches_from(&rest[close + 1..], name)
                }
                (None, Some(('[', name))) => matches_from(rest, name),
                _ => false,
            }
        }
        other => name.first() == Some(other) && matches_from(rest, &name[1..]),
    }
}

fn is_in_set(set: &[char], character: char) -> bool {
    let (is_negated, set) = match set.split_first() {
        Some(('!', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut at = 0;
    let mut is_in = false;
    while at < set.len() {
        if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
            is_in |= (set[at]..=set[at + 2]).contains(&character);
            at += 3;
        } else {
            is_in |= set[at] == character;
            at += 1;
        }
    }
    is_in != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_the_names_that_a_shell_finds_for_them() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a?c", "abc", true),
            ("a[0-9]", "a5", true),
            ("a[!0-9]", "a5", false),
            ("a[", "a[", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
