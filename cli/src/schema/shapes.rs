//! Shapes as schemas.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::DRAFT;
use crate::document::{Section, Shape};
use crate::job_file::JOB;

/// A whole schema: sections stand in `$defs`, each once.
pub(super) fn document(title: &str, shape: &Shape) -> Value {
    let mut definitions = Definitions::default();
    let mut schema = definitions.schema(shape);
    if let Value::Object(schema) = &mut schema {
        schema.insert("$schema".to_owned(), DRAFT.into());
        schema.insert("title".to_owned(), title.into());
        schema.insert("$defs".to_owned(), Value::Object(definitions.all));
    }
    schema
}

#[derive(Default)]
struct Definitions {
    all: Map<String, Value>,
    begun: BTreeSet<&'static str>,
}

const DURATION: &str = r"^\s*([0-9]+\.?[0-9]*|\.[0-9]+)(d|h|m|s|ms|us|µs|μs|ns)(([0-9]+\.?[0-9]*|\.[0-9]+)(h|m|s|ms|us|µs|μs|ns))*\s*$";

/// One that is not all noughts.
const SPAN: &str = r"^[^1-9]*[1-9]";

const SIZE: &str = r"^\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB|K|M|G)\s*$";

const FREQUENCY: &str = r"^\s*[0-9]*\.?[0-9]+\s*/\s*[0-9]*(d|h|m|s|ms|ns)\s*$";

impl Definitions {
    fn schema(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Any => json!({}),
            Shape::Text => json!({"type": "string", "minLength": 1}),
            Shape::Plain => json!({"type": ["string", "number", "boolean"]}),
            Shape::Id => json!({"anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "integer", "minimum": 0},
            ]}),
            Shape::Word(words) => json!({"enum": words}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Just(value) => json!({"const": value}),
            Shape::Count(least) => {
                json!({"type": "integer", "minimum": least, "maximum": u32::MAX})
            }
            Shape::Version => json!({"const": 1}),
            Shape::Rate => json!({"type": "number", "exclusiveMinimum": 0}),
            Shape::Factor => json!({"type": "number", "minimum": 1}),
            Shape::Duration => json!({"type": "string", "pattern": DURATION}),
            Shape::Span => {
                json!({"type": "string", "allOf": [{"pattern": DURATION}, {"pattern": SPAN}]})
            }
            Shape::Size => {
                json!({"type": "string", "allOf": [{"pattern": SIZE}, {"pattern": SPAN}]})
            }
            Shape::Frequency => {
                json!({"type": "string", "allOf": [{"pattern": FREQUENCY}, {"pattern": SPAN}]})
            }
            Shape::Prefetch => json!({"anyOf": [
                {"type": "integer", "minimum": 0, "maximum": u32::MAX},
                {"type": "string", "pattern": "^\\s*(auto|[0-9]{1,9})\\s*$"},
            ]}),
            Shape::Amount => json!({"anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^\\s*([0-9]+|([0-9]{1,2}(\\.[0-9]*)?|100(\\.0*)?)\\s*%)\\s*$"},
            ]}),
            Shape::Command => json!({"anyOf": [
                {"type": "string", "pattern": "\\S"},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": ["string", "number"]},
                    "prefixItems": [{"anyOf": [{"type": "string", "minLength": 1}, {"type": "number"}]}],
                },
            ]}),
            Shape::List(of) => json!({"type": "array", "items": self.schema(of)}),
            Shape::Map(of) => json!({
                "type": "object",
                "propertyNames": {"minLength": 1},
                "additionalProperties": self.schema(of),
            }),
            Shape::Section(section) => self.section(section),
            Shape::Either(shapes) => {
                let all: Vec<_> = shapes.iter().map(|shape| self.schema(shape)).collect();
                json!({"anyOf": all})
            }
        }
    }

    /// A reference to a section, which is written once.
    fn section(&mut self, section: &'static Section) -> Value {
        let name = section.name.replace(' ', "-");
        let reference = json!({"$ref": format!("#/$defs/{name}")});
        if !self.begun.insert(section.name) {
            return reference;
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for key in section.keys {
            let mut schema = self.schema(&key.shape);
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".to_owned(), key.about.into());
            }
            properties.insert(key.name.to_owned(), schema);
            if key.required {
                required.push(key.name);
            }
        }
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        if let Value::Object(schema) = &mut schema
            && std::ptr::eq(section, &raw const JOB)
        {
            // What its keys alone do not say.
            schema.insert(
                "oneOf".to_owned(),
                json!([{"required": ["task"]}, {"required": ["run"]}]),
            );
            schema.insert(
                "dependentRequired".to_owned(),
                json!({"env": ["run"], "cwd": ["run"], "input": ["task"]}),
            );
        }
        self.all.insert(name, schema);
        reference
    }
}
