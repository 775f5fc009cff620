//! What the documents say of the tree is so, and what was asked for in documents is there, item by item.

mod executor_package;
mod module_layout;
mod parallel_validation;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the words of a text that look like file names with this ending.
fn named<'a>(text: &'a str, ending: &'a str) -> impl Iterator<Item = &'a str> {
    let words = text.split(|letter: char| letter.is_whitespace() || "`(),;:|[]".contains(letter));
    words.filter(move |word| word.ends_with(ending))
}

#[test]
fn every_file_that_the_architecture_names_exists() {
    let text = std::fs::read_to_string(root().join("runtime/ARCHITECTURE.md"));
    let text = text.expect("it is where the README says");
    let mut files = 0;
    for file in named(&text, ".rs") {
        let is_there = ["runtime/src", "cli/src", "cli/input/src", "."]
            .iter()
            .any(|folder| root().join(folder).join(file).is_file());
        assert!(is_there, "there is no {file}");
        files += 1;
    }
    assert!(files > 20, "only {files}");
}

#[test]
fn every_link_of_the_readme_points_to_a_file() {
    let text = include_str!("../../README.md");
    let mut links = 0;
    for (_, rest) in text
        .match_indices("](")
        .map(|(at, _)| text.split_at(at + 2))
    {
        let (link, _) = rest.split_once(')').expect("a link ends");
        // The text behind the name of the file is a place in the file.
        let file = link.split('#').next().unwrap_or(link);
        assert!(root().join(file).exists(), "{link}");
        links += 1;
    }
    assert!(links >= 8, "only {links}");
}
