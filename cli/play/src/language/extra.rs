//! The variables of the command line: `name=value`, a map in YAML or JSON, or `@file`.

use std::path::Path;

use ratchet_input::InputError;

use super::PlaybookReader;
use super::arguments::named_words;
use crate::data::{Data, Entry, Value};

impl PlaybookReader {
    /// Adds the variables of one `-e`.
    pub(super) fn extra_variables(
        &mut self,
        text: &str,
        all: &mut Vec<Entry>,
    ) -> Result<(), InputError> {
        let refused = |reason: &str| InputError::new(format!("-e {text}: {reason}"));
        if let Some(path) = text.strip_prefix('@') {
            let file = self.files.open(Path::new(path)).map_err(InputError::new)?;
            return match self.parsed(file) {
                Some(data) => variables(data, all).map_err(|reason| refused(&reason)),
                None => Ok(()),
            };
        }
        let file = self.files.add_text("-e", text.to_owned());
        if text.trim_start().starts_with(['{', '[']) {
            return match self.parsed(file) {
                Some(data) => variables(data, all).map_err(|reason| refused(&reason)),
                None => Ok(()),
            };
        }
        let words = named_words(text).map_err(|reason| refused(&reason))?;
        let place = Data::null(file).place;
        let entries = words
            .into_iter()
            .map(|(name, value)| Entry::new(name, place, Data::of_text(value, place)));
        all.extend(entries);
        Ok(())
    }
}

fn variables(data: Data, all: &mut Vec<Entry>) -> Result<(), String> {
    let kind = data.kind();
    match data.value {
        Value::Map(entries) => {
            all.extend(entries);
            Ok(())
        }
        Value::Null => Ok(()),
        _ => Err(format!("expected a map of variables, found {kind}")),
    }
}
