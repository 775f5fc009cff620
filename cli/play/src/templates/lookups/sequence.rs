//! The lookup of sequences of numbers.

use minijinja::{Error, Value};

use super::super::filters::percent_format;
use super::super::function_arguments::{FunctionArguments, wrong};
use super::super::values::text_of;
use super::inline_options;

/// A range of numbers, and their format.
struct Sequence {
    start: i64,
    end: Option<i64>,
    stride: i64,
    count: Option<i64>,
    format: String,
}

/// Returns the numbers of a term such as `5`, `2-10/2`, `4:host%02d`, or `start=1 end=9`.
pub(super) fn sequence(terms: &[Value], given: &FunctionArguments) -> Result<Vec<Value>, Error> {
    let mut numbers = Vec::new();
    let only = [Value::from("")];
    let has_options = ["start", "end", "stride", "count", "format"]
        .iter()
        .any(|name| given.value(name).is_some());
    let terms = if terms.is_empty() && has_options {
        &only
    } else {
        terms
    };
    for term in terms {
        let mut sequence = Sequence {
            start: 1,
            end: None,
            stride: 1,
            count: None,
            format: "%d".to_owned(),
        };
        for name in ["start", "end", "stride", "count", "format"] {
            if let Some(value) = given.value(name).filter(|value| !value.is_none()) {
                sequence.set(name, &text_of(value))?;
            }
        }
        let term = text_of(term);
        if !sequence.shortcut(term.trim())? {
            let (rest, options) = inline_options(&term);
            if !rest.is_empty() {
                return Err(wrong(format!(
                    "`{term}` is not a sequence such as `1-5` or `start=1 end=5`"
                )));
            }
            for (name, value) in options {
                sequence.set(&name, &value)?;
            }
        }
        sequence.count(&mut numbers)?;
    }
    Ok(numbers)
}

impl Sequence {
    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match name {
            "start" => self.start = whole(value)?,
            "end" => self.end = Some(whole(value)?),
            "stride" => self.stride = whole(value)?,
            "count" => self.count = Some(whole(value)?),
            "format" => value.clone_into(&mut self.format),
            other => return Err(wrong(format!("`sequence` has no argument `{other}`"))),
        }
        Ok(())
    }

    /// Parses the short form, `[start-]end[/stride][:format]`, if the term has it.
    fn shortcut(&mut self, term: &str) -> Result<bool, Error> {
        if term.is_empty() || term.contains('=') {
            return Ok(false);
        }
        let (numbers, format) = term
            .split_once(':')
            .map_or((term, None), |(numbers, format)| (numbers, Some(format)));
        let (range, stride) = numbers
            .split_once('/')
            .map_or((numbers, None), |(range, stride)| (range, Some(stride)));
        let split = range
            .char_indices()
            .skip(1)
            .find(|(_, character)| *character == '-');
        if let Some((at, _)) = split {
            self.start = whole(&range[..at])?;
            self.end = Some(whole(&range[at + 1..])?);
        } else {
            self.end = Some(whole(range)?);
        }
        if let Some(stride) = stride {
            self.stride = whole(stride)?;
        }
        if let Some(format) = format {
            format.clone_into(&mut self.format);
        }
        Ok(true)
    }

    fn count(&self, numbers: &mut Vec<Value>) -> Result<(), Error> {
        let end = match (self.count, self.end) {
            (None, None) => return Err(wrong("`sequence` needs `count` or `end`")),
            (Some(_), Some(_)) => return Err(wrong("`sequence` takes `count` or `end`, not both")),
            (Some(0), None) => return Ok(()),
            (Some(count), None) => {
                let length = count
                    .checked_mul(self.stride)
                    .and_then(|length| self.start.checked_add(length));
                length.ok_or_else(|| wrong("the sequence is too long"))? - 1
            }
            (None, Some(end)) => end,
        };
        if self.stride == 0 {
            return Ok(());
        }
        if self.stride > 0 && end < self.start {
            return Err(wrong("to count backwards, write a negative `stride`"));
        }
        if self.stride < 0 && end > self.start {
            return Err(wrong("to count forwards, write a positive `stride`"));
        }
        if self.format.matches('%').count() != 1 {
            return Err(wrong(format!(
                "`{}` is not a format of one number",
                self.format
            )));
        }
        let format = Value::from(self.format.as_str());
        let mut number = self.start;
        while if self.stride > 0 {
            number <= end
        } else {
            number >= end
        } {
            numbers.push(percent_format(&format, &Value::from(number))?);
            let Some(next) = number.checked_add(self.stride) else {
                break;
            };
            number = next;
        }
        Ok(())
    }
}

/// Parses an integer, which may be octal (`0644`) or hexadecimal (`0x1f`).
fn whole(text: &str) -> Result<i64, Error> {
    let text = text.trim();
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or((1, text), |digits| (-1, digits));
    let read = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(digits), _) => i64::from_str_radix(digits, 16),
        (None, Some(octal)) if !octal.is_empty() => {
            i64::from_str_radix(octal.trim_start_matches('o'), 8)
        }
        _ => digits.parse(),
    };
    read.map(|number| sign * number)
        .map_err(|_| wrong(format!("`{text}` is not a whole number")))
}
