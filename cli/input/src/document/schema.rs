//! Builds JSON Schemas (draft 2020-12) of documents.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

/// The draft of all schemas.
pub const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schemas of sections. Each is defined once and then referred to.
#[derive(Debug, Default)]
pub struct Schemas {
    /// The schemas by the names of their sections.
    pub(super) all: Map<String, Json>,
    begun: BTreeSet<&'static str>,
}

impl Schemas {
    /// Returns a reference to the schema of a section, which is made on the first call.
    pub fn section(&mut self, title: &'static str, make: impl FnOnce(&mut Self) -> Json) -> Json {
        let name = title.replace(' ', "-");
        if self.begun.insert(title) {
            let schema = make(self);
            self.all.insert(name.clone(), schema);
        }
        serde_json::json!({"$ref": format!("#/$defs/{name}")})
    }
}
