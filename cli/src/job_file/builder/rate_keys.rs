//! The rate of each rate key, which all jobs with the key have to share.

use std::collections::HashMap;

use ratchet_runtime::{ParallelizationHint, Terms};

use crate::diagnostic::{Diagnostic, Problems, Span};

/// The rate and the burst of each rate key, and the place at which they were written first.
#[derive(Clone, Default)]
pub(super) struct RateKeys(HashMap<String, (f64, u32, Span)>);

impl RateKeys {
    /// Forgets the places that begin at `start` or later: they belong to a text that is replaced by another one.
    pub(super) fn forget_places_from(&mut self, start: usize) {
        for (_, _, first) in self.0.values_mut() {
            if first.start() >= start {
                *first = Span::default();
            }
        }
    }

    /// Reports jobs that share a rate key and set different rates.
    pub(super) fn check(
        &mut self,
        terms: &Terms,
        task: Option<&str>,
        place: Span,
        problems: &mut Problems,
    ) {
        let Some(ParallelizationHint::RateLimited {
            requests_per_second,
            burst,
            key,
        }) = &terms.hint
        else {
            return;
        };
        // A command without a key uses the name of its program. The executor checks that.
        let Some(key) = key.as_deref().or(task) else {
            return;
        };
        match self.0.get(key) {
            None => {
                let figures = (*requests_per_second, *burst, place);
                self.0.insert(key.to_owned(), figures);
            }
            Some((rate, other, first)) => {
                if (rate, other) != (requests_per_second, burst) {
                    let message = format!(
                        "rate key `{key}` is {requests_per_second}/s with burst {burst} here, and {rate}/s with burst {other} elsewhere"
                    );
                    problems.push(
                        Diagnostic::error(place, message)
                            .other(*first, "declared first here")
                            .help("give one of them another `key`"),
                    );
                }
            }
        }
    }
}
