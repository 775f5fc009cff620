//! The terms of jobs that depend on the item: the hint, and the host that the job concerns.

use std::collections::HashMap;
use std::sync::Arc;

use ratchet_runtime::{HostName, ParallelizationHint, Terms};

use super::item::Item;
use super::text_template::TextTemplate;

/// How many different hints are remembered. Jobs with an equal hint share their terms.
const MAX_REMEMBERED: usize = 1024;

/// The parts of a job's terms that depend on its item.
#[derive(Default)]
pub(crate) struct ItemTerms {
    /// The host that a job concerns, from `--host`.
    pub(crate) host: Option<TextTemplate>,
    /// The hint of a job, from `--hint`.
    pub(crate) hint: Option<HintTemplate>,
}

/// A hint that depends on the item.
pub(crate) struct HintTemplate {
    template: TextTemplate,
    parse: fn(&str) -> Result<ParallelizationHint, String>,
    /// The terms of each hint so far.
    known: HashMap<String, Arc<Terms>>,
}

impl HintTemplate {
    /// Makes a hint from a template. `parse` parses its text for each item.
    pub(crate) fn new(
        template: TextTemplate,
        parse: fn(&str) -> Result<ParallelizationHint, String>,
    ) -> Self {
        Self {
            template,
            parse,
            known: HashMap::new(),
        }
    }

    /// Returns the terms with the hint of an item.
    fn terms(
        &mut self,
        usual: &Arc<Terms>,
        item: &Item,
        number: u64,
    ) -> Result<Arc<Terms>, String> {
        let text = text(&self.template, item, number, "--hint")?;
        if let Some(terms) = self.known.get(&text) {
            return Ok(Arc::clone(terms));
        }
        let hint = (self.parse)(&text).map_err(|error| format!("--hint: {error}"))?;
        let terms = Arc::new(Terms {
            hint: Some(hint),
            ..Terms::clone(usual)
        });
        if self.known.len() < MAX_REMEMBERED {
            self.known.insert(text, Arc::clone(&terms));
        }
        Ok(terms)
    }
}

impl ItemTerms {
    /// Returns the host and the terms of the job of an item. `usual` are the terms without a hint of its own.
    pub(super) fn of(
        &mut self,
        usual: &Arc<Terms>,
        item: &Item,
        number: u64,
    ) -> Result<(Option<HostName>, Arc<Terms>), String> {
        let host = match &self.host {
            Some(template) => Some(text(template, item, number, "--host")?),
            None => None,
        };
        if host.as_deref() == Some("") {
            return Err("--host: the name of the host is empty".to_owned());
        }
        let terms = match &mut self.hint {
            Some(hint) => hint.terms(usual, item, number)?,
            None => Arc::clone(usual),
        };
        Ok((host.map(HostName::from), terms))
    }
}

fn text(template: &TextTemplate, item: &Item, number: u64, flag: &str) -> Result<String, String> {
    let text = template.text(item, number).into_string();
    text.map_err(|text| format!("{flag}: `{}` is not UTF-8", text.display()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::map::columns::Columns;

    fn template(text: &str) -> TextTemplate {
        TextTemplate::parse(OsStr::new(text), Columns::ONE).unwrap()
    }

    fn parse(text: &str) -> Result<ParallelizationHint, String> {
        text.parse().map_err(|_| format!("no hint `{text}`"))
    }

    #[test]
    fn jobs_with_equal_hints_share_their_terms_and_each_has_its_host() {
        let mut terms = ItemTerms {
            host: Some(template("web-{}")),
            hint: Some(HintTemplate::new(template("{}"), parse)),
        };
        let usual = Terms::standard();
        let mut of = |item: &str| terms.of(&usual, &Item::from(item), 1);
        let (host, first) = of("alone").unwrap();
        assert_eq!(host.unwrap().as_str(), "web-alone");
        assert_eq!(first.hint, Some(ParallelizationHint::Alone));
        assert!(Arc::ptr_eq(&first, &of("alone").unwrap().1));
        assert_eq!(of("x").unwrap_err(), "--hint: no hint `x`");
    }

    #[test]
    fn without_templates_all_jobs_share_the_usual_terms() {
        let usual = Terms::standard();
        let (host, terms) = ItemTerms::default()
            .of(&usual, &Item::from("a"), 1)
            .unwrap();
        assert!(host.is_none() && Arc::ptr_eq(&terms, &usual));
    }
}
