//! The key `stdin`: what the program of a job reads.

use std::path::Path;

use ratchet_runtime::JobKey;
use ratchet_runtime::process::{InputBytes, ProgramInput};

use super::paths::within;
use super::spec::StdinSpec;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Either, Field, Spanned};

/// The input of a program, as far as it is known without the rest of the file.
pub(super) enum JobInput {
    /// The program reads this input.
    Known(ProgramInput),
    /// The program reads the output of this job.
    Of(Spanned<JobKey>),
}

/// Reads the key `stdin` of a job.
pub(super) fn input(
    stdin: Field<Either<String, StdinSpec>>,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> Option<JobInput> {
    let place = stdin.key()?;
    let text =
        |text: String| JobInput::Known(ProgramInput::Bytes(InputBytes::new(text.into_bytes())));
    let spec = match stdin.into_value()? {
        Either::First(written) => return Some(text(written)),
        Either::Second(spec) => spec,
    };
    let keys = [spec.text.key(), spec.file.key(), spec.job.key()];
    let mut written = keys.into_iter().flatten();
    match (written.next(), written.next()) {
        (Some(_), None) => {}
        (Some(first), Some(second)) => {
            let error = Diagnostic::error(second, "a program has one stdin");
            problems.push(error.other(first, "the other one"));
            return None;
        }
        (None, _) => {
            // An unknown key was reported, and was probably meant to be one of these.
            if !spec.place.has_unknown {
                let error = Diagnostic::error(place, "this `stdin` has no text, file or job");
                problems.push(error.help("write a text, {file: PATH} or {job: ID}"));
            }
            return None;
        }
    }
    let span = spec.job.span();
    if let (Some(value), Some(span)) = (spec.job.into_value(), span) {
        return Some(JobInput::Of(Spanned { value, span }));
    }
    if let Some(written) = spec.text.into_value() {
        return Some(text(written));
    }
    let path = within(folder, spec.file.into_value()?);
    Some(JobInput::Known(ProgramInput::File(path)))
}
