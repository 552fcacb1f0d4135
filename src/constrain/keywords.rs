//! A look through a JSON schema: which of its keywords can be held, how large it is, and the same schema without the others.

use super::landing::Witnesses;
use super::schema::{Place, SchemaError};
use super::witness;
use serde_json::{Map, Value};
use std::collections::{HashSet, VecDeque};

/// Values in a schema at most.
const MOST_VALUES: usize = 50_000;

/// Bytes of its texts at most.
const MOST_TEXT: usize = 1 << 20;

/// Schemas in it that are reached at most.
const MOST_SCHEMAS: usize = 4_096;

/// Schemas inside each other at most.
const DEEPEST: usize = 60;

/// Branches of one keyword of which every two are compared.
const MOST_BRANCHES: usize = 128;

/// Bytes of one regular expression at most.
const LONGEST_PATTERN: usize = 2_048;

/// Keywords that the grammar holds.
const HELD: [&str; 25] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "type",
];

/// Keywords that ask for something the grammar cannot hold.
const UNHELD: [&str; 16] = [
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "contentSchema",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "format",
];

/// Formats that the grammar holds.
const FORMATS: [&str; 10] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"];

/// A schema with what can be held of it.
pub(super) struct Looked {
    /// The schema, of whose parts those that are reached have no other keywords.
    pub schema: Value,
    /// Where its parts are, the outer before the inner.
    pub places: Vec<String>,
    /// Keywords that were left out, and where they stood.
    pub unheld: Vec<Place>,
    /// Whether a fixed text has control characters that have no short escape.
    pub has_controls: bool,
}

/// Looks through a schema.
///
/// # Errors
/// It is too large, or a reference leads to nothing.
pub(super) fn look(schema: &Value) -> Result<Looked, SchemaError> {
    check_size(schema)?;
    let mut looked =
        Looked { schema: schema.clone(), places: Vec::new(), unheld: Vec::new(), has_controls: has_controls(schema) };
    let (mut seen, mut todo) = (HashSet::new(), VecDeque::from([(String::new(), 0)]));
    while let Some((place, depth)) = todo.pop_front() {
        if !seen.insert(place.clone()) {
            continue;
        }
        if depth > DEEPEST || seen.len() > MOST_SCHEMAS {
            let (what, most) =
                if depth > DEEPEST { ("depth", DEEPEST) } else { ("number of schemas in it", MOST_SCHEMAS) };
            return Err(SchemaError::TooLarge { what, most });
        }
        let root = &mut looked.schema;
        let Some(Value::Object(object)) = root.pointer_mut(&place) else { continue };
        let parts = look_at(object, &place, &mut looked.unheld)?;
        for part in parts {
            match part {
                Part::Inside(inside) => todo.push_back((format!("{place}{inside}"), depth + 1)),
                Part::Elsewhere(at) => {
                    if root.pointer(&at).is_none() {
                        return Err(SchemaError::Invalid {
                            place: place_name(&place),
                            why: format!("$ref leads to #{at}, and there is nothing"),
                        });
                    }
                    todo.push_back((at, 0));
                }
            }
        }
        looked.places.push(place);
    }
    Ok(looked)
}

/// Texts that the patterns, formats and lengths of a schema allow.
pub(super) fn witnesses(looked: &Looked) -> Witnesses {
    let mut witnesses = Witnesses::default();
    for part in looked.places.iter().filter_map(|place| looked.schema.pointer(place)) {
        let text = |keyword| part.get(keyword).and_then(Value::as_str);
        let of_patterns = part.get("patternProperties").and_then(Value::as_object);
        let keys = of_patterns.into_iter().flat_map(Map::keys).map(String::as_str);
        for pattern in text("pattern").into_iter().chain(keys) {
            witness::of_pattern(pattern).iter().for_each(|text| witnesses.add(text));
        }
        text("format").and_then(witness::of_format).into_iter().for_each(|text| witnesses.add(text));
        if let Some(n) = part.get("minLength").and_then(Value::as_u64).filter(|&n| n <= LONGEST_PATTERN as u64) {
            witnesses.add(&"a".repeat(n as usize));
        }
    }
    witnesses
}

/// A schema that belongs to another one.
enum Part {
    /// At this place within it.
    Inside(String),
    /// At this place of the whole.
    Elsewhere(String),
}

/// Takes out of one schema, which stands at `place`, what cannot be held, and returns its parts.
fn look_at(object: &mut Map<String, Value>, place: &str, unheld: &mut Vec<Place>) -> Result<Vec<Part>, SchemaError> {
    let mut parts = Vec::new();
    let invalid = |why: String| SchemaError::Invalid { place: place_name(place), why };
    let mut out = Vec::new();
    for (key, value) in &*object {
        let inside = |name: &str| Part::Inside(format!("/{key}/{}", escape(name)));
        match (key.as_str(), value) {
            ("items" | "additionalItems" | "additionalProperties", Value::Object(_)) => {
                parts.push(Part::Inside(format!("/{key}")));
            }
            ("items" | "prefixItems" | "allOf" | "anyOf" | "oneOf", Value::Array(branches)) => {
                if key == "oneOf" && branches.len() > MOST_BRANCHES {
                    return Err(SchemaError::TooLarge { what: "number of branches of oneOf", most: MOST_BRANCHES });
                }
                parts.extend((0..branches.len()).map(|i| inside(&i.to_string())));
            }
            ("properties" | "patternProperties", Value::Object(properties)) => {
                if key == "patternProperties" {
                    if properties.len() > MOST_BRANCHES / 4 {
                        let what = "number of patterns of patternProperties";
                        return Err(SchemaError::TooLarge { what, most: MOST_BRANCHES / 4 });
                    }
                    if properties.keys().any(|pattern| pattern.len() > LONGEST_PATTERN) {
                        return Err(SchemaError::TooLarge { what: "length of a pattern", most: LONGEST_PATTERN });
                    }
                }
                parts.extend(properties.keys().map(|name| inside(name)));
            }
            ("pattern", Value::String(pattern)) if pattern.len() > LONGEST_PATTERN => {
                return Err(SchemaError::TooLarge { what: "length of a pattern", most: LONGEST_PATTERN });
            }
            ("$ref", Value::String(target)) => match target.strip_prefix('#') {
                Some("") => parts.push(Part::Elsewhere(String::new())),
                Some(at) if at.starts_with('/') && !at.contains(['~', '%']) => {
                    parts.push(Part::Elsewhere(at.to_owned()));
                }
                _ => out.push((key.clone(), true)),
            },
            ("$ref", _) => return Err(invalid("$ref is no text".to_owned())),
            ("format", Value::String(format)) if FORMATS.contains(&format.as_str()) => {}
            // These ask for nothing.
            ("uniqueItems", Value::Bool(false)) | ("not", Value::Bool(false)) => out.push((key.clone(), false)),
            ("then" | "else", _) if !object.contains_key("if") => out.push((key.clone(), false)),
            ("if", _) if !object.contains_key("then") && !object.contains_key("else") => {
                out.push((key.clone(), false));
            }
            (name, _) if HELD.contains(&name) => {}
            // Targets of references stay; the rest is annotation, or no keyword at all.
            ("$defs" | "definitions", _) => {}
            (name, _) => out.push((key.clone(), UNHELD.contains(&name))),
        }
    }
    let has_open_keys = object.get("additionalProperties") != Some(&Value::Bool(false))
        || object.get("patternProperties").and_then(Value::as_object).is_some_and(|patterns| !patterns.is_empty());
    let n_required = object.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    // A key that the schema does not name may be written twice, and counts once.
    if has_open_keys && object.get("minProperties").and_then(Value::as_u64).is_some_and(|n| n > n_required + 1) {
        out.push(("minProperties".to_owned(), true));
    }
    for (key, is_unheld) in out {
        // What is no keyword may be what a reference leads to.
        if UNHELD.contains(&key.as_str()) || is_unheld || !object[&key].is_object() {
            object.shift_remove(&key);
        }
        if is_unheld {
            unheld.push(Place { keyword: key, at: place_name(place) });
        }
    }
    Ok(parts)
}

/// How a place is told: as a JSON pointer behind `#`.
pub(super) fn place_name(place: &str) -> String {
    format!("#{place}")
}

/// A name as a part of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn check_size(schema: &Value) -> Result<(), SchemaError> {
    let (mut todo, mut n_value, mut n_text) = (vec![schema], 0, 0);
    while let Some(value) = todo.pop() {
        n_value += 1;
        match value {
            Value::String(text) => n_text += text.len(),
            Value::Array(values) => todo.extend(values),
            Value::Object(object) => {
                n_text += object.keys().map(String::len).sum::<usize>();
                todo.extend(object.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        if n_value > MOST_VALUES {
            return Err(SchemaError::TooLarge { what: "number of values in it", most: MOST_VALUES });
        }
        if n_text > MOST_TEXT {
            return Err(SchemaError::TooLarge { what: "bytes of its texts", most: MOST_TEXT });
        }
    }
    Ok(())
}

/// Whether any text of a schema has control characters that JSON writes by their numbers alone.
fn has_controls(schema: &Value) -> bool {
    let mut todo = vec![schema];
    while let Some(value) = todo.pop() {
        match value {
            Value::String(text) => {
                let is_numbered = |c: char| c < ' ' && !matches!(c, '\u{8}' | '\u{c}' | '\n' | '\r' | '\t');
                if text.chars().any(|c| is_numbered(c) || c == '\u{7f}') {
                    return true;
                }
            }
            Value::Array(values) => todo.extend(values),
            Value::Object(object) => todo.extend(object.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    false
}
