//! As much of a JSON Schema validator as the schemas here need; anything else in them is an error,
//! so that nothing is passed over.

use regex_lite::Regex;
use serde_json::Value;

pub(super) fn is_valid(root: &Value, value: &Value) -> bool {
    holds(root, root, value)
}

#[expect(clippy::too_many_lines, reason = "a line or two a keyword")]
fn holds(root: &Value, schema: &Value, value: &Value) -> bool {
    let schema = schema.as_object().expect("a schema is an object");
    schema.iter().all(|(word, said)| match word.as_str() {
        "$schema" | "title" | "description" | "$defs" => true,
        "$ref" => {
            let pointer = said.as_str().unwrap().strip_prefix('#').unwrap();
            holds(root, root.pointer(pointer).expect("it is defined"), value)
        }
        "type" => match said {
            Value::String(one) => is_type(one, value),
            several => several
                .as_array()
                .unwrap()
                .iter()
                .any(|one| is_type(one.as_str().unwrap(), value)),
        },
        "const" => same(said, value),
        "enum" => said.as_array().unwrap().iter().any(|one| same(one, value)),
        "minimum" => value
            .as_f64()
            .is_none_or(|number| number >= said.as_f64().unwrap()),
        "maximum" => value
            .as_f64()
            .is_none_or(|number| number <= said.as_f64().unwrap()),
        "exclusiveMinimum" => value
            .as_f64()
            .is_none_or(|number| number > said.as_f64().unwrap()),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.chars().count() as u64 >= said.as_u64().unwrap()),
        "pattern" => {
            let pattern = Regex::new(said.as_str().unwrap()).unwrap();
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "minItems" => value
            .as_array()
            .is_none_or(|list| list.len() as u64 >= said.as_u64().unwrap()),
        "prefixItems" => value.as_array().is_none_or(|list| {
            said.as_array()
                .unwrap()
                .iter()
                .zip(list)
                .all(|(schema, value)| holds(root, schema, value))
        }),
        "items" => {
            let before = schema
                .get("prefixItems")
                .map_or(0, |before| before.as_array().unwrap().len());
            value.as_array().is_none_or(|list| {
                list.iter()
                    .skip(before)
                    .all(|value| holds(root, said, value))
            })
        }
        "properties" => value.as_object().is_none_or(|map| {
            said.as_object()
                .unwrap()
                .iter()
                .all(|(name, schema)| map.get(name).is_none_or(|value| holds(root, schema, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let known = |name: &String| {
                schema
                    .get("properties")
                    .is_some_and(|known| known.get(name).is_some())
            };
            map.iter()
                .filter(|(name, _)| !known(name))
                .all(|(_, value)| match said {
                    Value::Bool(allowed) => *allowed,
                    schema => holds(root, schema, value),
                })
        }),
        "propertyNames" => value.as_object().is_none_or(|map| {
            map.keys()
                .all(|name| holds(root, said, &Value::from(name.as_str())))
        }),
        "required" => value.as_object().is_none_or(|map| {
            said.as_array()
                .unwrap()
                .iter()
                .all(|name| map.contains_key(name.as_str().unwrap()))
        }),
        "dependentRequired" => value.as_object().is_none_or(|map| {
            said.as_object()
                .unwrap()
                .iter()
                .filter(|(name, _)| map.contains_key(*name))
                .all(|(_, names)| {
                    names
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|name| map.contains_key(name.as_str().unwrap()))
                })
        }),
        "anyOf" => said
            .as_array()
            .unwrap()
            .iter()
            .any(|schema| holds(root, schema, value)),
        "allOf" => said
            .as_array()
            .unwrap()
            .iter()
            .all(|schema| holds(root, schema, value)),
        "oneOf" => {
            said.as_array()
                .unwrap()
                .iter()
                .filter(|schema| holds(root, schema, value))
                .count()
                == 1
        }
        "not" => !holds(root, said, value),
        other => panic!("the validator does not know `{other}`"),
    })
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        other => panic!("the validator does not know the type `{other}`"),
    }
}

fn same(left: &Value, right: &Value) -> bool {
    left == right
}
