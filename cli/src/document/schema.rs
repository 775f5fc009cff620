//! JSON Schemas (draft 2020-12) of what a document can say.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::from_node::FromNode;

/// The draft that all schemas here are of.
pub(crate) const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schemas of sections, each of which is written once and then referred to.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    all: Map<String, Json>,
    begun: BTreeSet<&'static str>,
}

impl Schemas {
    /// A reference to a section, whose schema is made where it is the first.
    pub(crate) fn section(
        &mut self,
        title: &'static str,
        make: impl FnOnce(&mut Self) -> Json,
    ) -> Json {
        let name = title.replace(' ', "-");
        if self.begun.insert(title) {
            let schema = make(self);
            self.all.insert(name.clone(), schema);
        }
        serde_json::json!({"$ref": format!("#/$defs/{name}")})
    }
}

/// A whole schema.
pub(crate) fn document_schema<T: FromNode>(title: &str) -> Json {
    let mut schemas = Schemas::default();
    let mut schema = T::schema(&mut schemas);
    if let Json::Object(schema) = &mut schema {
        schema.insert("$schema".to_owned(), DRAFT.into());
        schema.insert("title".to_owned(), title.into());
        schema.insert("$defs".to_owned(), Json::Object(schemas.all));
    }
    schema
}
