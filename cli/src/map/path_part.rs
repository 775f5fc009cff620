//! The parts of an item that is a path.

/// The part of an item that a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathPart {
    /// `{}`: the whole item.
    Whole,
    /// `{.}`: the item without its extension.
    Stem,
    /// `{/}`: the last component of the path.
    Name,
    /// `{//}`: the folder of the path.
    Folder,
    /// `{/.}`: the last component without its extension.
    NameStem,
}

impl PathPart {
    /// Returns the part that a suffix in a placeholder stands for.
    pub(super) fn from_suffix(suffix: &[u8]) -> Option<Self> {
        Some(match suffix {
            b"" => Self::Whole,
            b"." => Self::Stem,
            b"/" => Self::Name,
            b"//" => Self::Folder,
            b"/." => Self::NameStem,
            _ => return None,
        })
    }

    /// Returns the part of an item's path.
    pub(super) fn of(self, item: &[u8]) -> &[u8] {
        match self {
            Self::Whole => item,
            Self::Stem => stem(item),
            Self::Name => name(item),
            Self::Folder => folder(item),
            Self::NameStem => stem(name(item)),
        }
    }
}

/// Returns the path without its extension. A dot at the beginning of a name makes it hidden and begins no extension.
fn stem(path: &[u8]) -> &[u8] {
    let start = path.len() - name(path).len();
    match path.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > start => &path[..dot],
        _ => path,
    }
}

/// Returns the part of a path after the last slash.
fn name(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => &path[slash + 1..],
        None => path,
    }
}

/// Returns the part of a path before the last slash, as `dirname` prints it.
fn folder(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) => b"/",
        Some(slash) => &path[..slash],
        None => b".",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_paths_as_people_expect() {
        let parts = [
            PathPart::Stem,
            PathPart::Name,
            PathPart::Folder,
            PathPart::NameStem,
        ];
        for (path, expected) in [
            ("a.png", ["a", "a.png", ".", "a"]),
            (
                "dir.d/a.tar.gz",
                ["dir.d/a.tar", "a.tar.gz", "dir.d", "a.tar"],
            ),
            ("dir.d/a", ["dir.d/a", "a", "dir.d", "a"]),
            (".bashrc", [".bashrc", ".bashrc", ".", ".bashrc"]),
            ("x/.bashrc", ["x/.bashrc", ".bashrc", "x", ".bashrc"]),
            ("/a.png", ["/a", "a.png", "/", "a"]),
            ("dir/", ["dir/", "", "dir", ""]),
            ("", ["", "", ".", ""]),
        ] {
            let got = parts.map(|part| part.of(path.as_bytes()));
            assert_eq!(got, expected.map(str::as_bytes), "{path}");
        }
    }
}
