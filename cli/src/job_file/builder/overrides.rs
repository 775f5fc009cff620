//! The overrides of a file: terms of the jobs whose ids match a pattern.

use ratchet_runtime::Job;

use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Field, Spanned};
use crate::job_file::folders::FileFolders;
use crate::job_file::job::JobPlaces;
use crate::job_file::selection::JobPattern;
use crate::job_file::spec::{OverrideSpec, TermsSpec};
use crate::job_file::terms::PartialTerms;

/// The overrides, in the order of the file.
#[derive(Clone)]
pub(super) struct Overrides(Vec<Override>);

/// The terms of the jobs that a pattern matches.
#[derive(Clone)]
struct Override {
    pattern: JobPattern,
    place: Span,
    terms: PartialTerms,
    is_used: bool,
}

impl Overrides {
    /// Reads the overrides. `check` reports names in their terms that are not declared.
    pub(super) fn read(
        section: Field<Vec<Spanned<OverrideSpec>>>,
        folders: &FileFolders,
        check: impl Fn(&TermsSpec, &mut Problems),
        problems: &mut Problems,
    ) -> Self {
        let mut overrides = Vec::new();
        for Spanned { value: spec, span } in section.into_value().unwrap_or_default() {
            let place = spec.pattern.span().unwrap_or(span);
            let terms = *spec.terms.unwrap_or_default();
            check(&terms, problems);
            let terms = PartialTerms::from_spec(terms, folders.at(span), problems);
            let Some(pattern) = spec.pattern.into_value() else {
                continue;
            };
            match pattern.parse() {
                Ok(pattern) => overrides.push(Override {
                    pattern,
                    place,
                    terms,
                    is_used: false,
                }),
                Err(message) => problems.push(Diagnostic::error(place, message)),
            }
        }
        Self(overrides)
    }

    /// Returns the terms of a job with those of the overrides that match it, or nothing if no override does.
    pub(super) fn terms_of(&mut self, job: &Job, places: &JobPlaces) -> Option<PartialTerms> {
        let mut terms: Option<PartialTerms> = None;
        for one in &mut self.0 {
            if one.pattern.matches(job, places.group.as_deref()) {
                one.is_used = true;
                terms = Some(match terms {
                    None => one.terms.clone(),
                    Some(terms) => terms.or(&one.terms),
                });
            }
        }
        let own = places.terms.as_ref().map(|own| &*own.terms);
        match (own, terms) {
            (Some(own), Some(terms)) => Some(own.clone().or(&terms)),
            (_, terms) => terms,
        }
    }

    /// Warns of overrides that match no job of the file.
    pub(super) fn warn_of_unused(&self, problems: &mut Problems) {
        for unused in self.0.iter().filter(|one| !one.is_used) {
            let warning = Diagnostic::warning(unused.place, "this matches no job");
            problems.push(warning.help("a pattern is compared with whole ids; `*` is any text"));
        }
    }
}
