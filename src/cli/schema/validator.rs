//! The part of JSON Schema that our own schemas use, for tests; a keyword it does not know fails the test.

use serde_json::{Map, Value};

/// Whether the schema takes the value; `root` is where `$ref` points into.
pub(super) fn takes(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(schema) = schema else { panic!("no schema: {schema}") };
    schema.iter().all(|(keyword, rule)| keyword_takes(root, schema, keyword, rule, value))
}

fn keyword_takes(root: &Value, schema: &Map<String, Value>, keyword: &str, rule: &Value, value: &Value) -> bool {
    let number = || rule.as_f64().unwrap();
    let most = || rule.as_u64().unwrap() as usize;
    let all =
        |rule: &Value, mut test: Box<dyn FnMut(&Value) -> bool + '_>| rule.as_array().unwrap().iter().all(&mut test);
    match (keyword, value) {
        ("$schema" | "$defs" | "title" | "description" | "default" | "format" | "contentEncoding" | "then", _) => true,
        ("$ref", _) => takes(root, root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value),
        ("type", _) => match rule {
            Value::Array(kinds) => kinds.iter().any(|kind| is_a(kind, value)),
            kind => is_a(kind, value),
        },
        ("enum", _) => rule.as_array().unwrap().contains(value),
        ("oneOf", _) => rule.as_array().unwrap().iter().filter(|schema| takes(root, schema, value)).count() == 1,
        ("not", _) => !takes(root, rule, value),
        ("if", _) => !takes(root, rule, value) || takes(root, &schema["then"], value),
        ("minimum", Value::Number(found)) => found.as_f64().unwrap() >= number(),
        ("maximum", Value::Number(found)) => found.as_f64().unwrap() <= number(),
        ("exclusiveMinimum", Value::Number(found)) => found.as_f64().unwrap() > number(),
        ("minLength", Value::String(text)) => text.chars().count() >= most(),
        ("maxLength", Value::String(text)) => text.chars().count() <= most(),
        ("minItems", Value::Array(items)) => items.len() >= most(),
        ("maxItems", Value::Array(items)) => items.len() <= most(),
        ("items", Value::Array(items)) => items.iter().all(|item| takes(root, rule, item)),
        ("maxProperties", Value::Object(members)) => members.len() <= most(),
        ("required", Value::Object(members)) => {
            all(rule, Box::new(|name| members.contains_key(name.as_str().unwrap())))
        }
        ("propertyNames", Value::Object(members)) => {
            members.keys().all(|name| takes(root, rule, &name.as_str().into()))
        }
        ("properties", Value::Object(members)) => members
            .iter()
            .filter_map(|(name, member)| rule.get(name).map(|schema| (schema, member)))
            .all(|(schema, member)| takes(root, schema, member)),
        ("additionalProperties", Value::Object(members)) => {
            let known = |name: &str| schema.get("properties").is_some_and(|known| known.get(name).is_some());
            members.iter().filter(|(name, _)| !known(name)).all(|(_, member)| match rule {
                Value::Bool(allowed) => *allowed,
                schema => takes(root, schema, member),
            })
        }
        (
            "minimum"
            | "maximum"
            | "exclusiveMinimum"
            | "minLength"
            | "maxLength"
            | "minItems"
            | "maxItems"
            | "items"
            | "maxProperties"
            | "required"
            | "propertyNames"
            | "properties"
            | "additionalProperties",
            _,
        ) => true,
        _ => panic!("the keyword {keyword} is not known here"),
    }
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        kind => panic!("the type {kind} is not known here"),
    }
}
