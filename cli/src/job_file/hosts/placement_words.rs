//! The words of an `on`, by which jobs and workers are placed.

use super::{HostRegistry, OWN_HOST};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Either, Field, Spanned};

/// Returns the words of a field that is a word or a list of words, each with its place.
pub(in crate::job_file) fn words_of(
    on: &Field<Either<String, Vec<Spanned<String>>>>,
) -> Vec<Spanned<String>> {
    let span = on.span().unwrap_or_default();
    match on.get() {
        None => Vec::new(),
        Some(Either::First(word)) => vec![Spanned {
            value: word.clone(),
            span,
        }],
        Some(Either::Second(words)) => words.clone(),
    }
}

/// Reports an `on` that is an empty list, or that has an unknown word.
pub(in crate::job_file) fn check_on(
    table: &HostRegistry,
    on: &Field<Either<String, Vec<Spanned<String>>>>,
    problems: &mut Problems,
) {
    let words = words_of(on);
    if let (true, Some(Either::Second(_)), Some(place)) = (words.is_empty(), on.get(), on.span()) {
        let message = "`on`: the list is empty, so nothing could run";
        problems.push(
            Diagnostic::error(place, message).help("name a host or a group, or leave `on` out"),
        );
    }
    check_words(table, &words, problems);
}

/// Reports words of an `on` that are unknown, and a `host` beside other words.
pub(in crate::job_file) fn check_words(
    table: &HostRegistry,
    words: &[Spanned<String>],
    problems: &mut Problems,
) {
    for Spanned { value: word, span } in words {
        if word == OWN_HOST {
            if words.len() > 1 {
                let message = "`host` means the host that a job names, and cannot be combined with other names";
                problems.push(Diagnostic::error(*span, message));
            }
        } else if !table.knows(word) {
            let error = Diagnostic::error(*span, format!("there is no host `{word}`"));
            let error = error.help("declare it, as in `hosts: {web1: {ssh: deploy@web1.example}}`");
            problems.push(error.did_you_mean(word, table.words(), "known hosts and groups"));
        }
    }
}
