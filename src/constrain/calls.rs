//! The form of a call as a grammar: from behind `<tool_call>` to before `</tool_call>`, of functions on offer, with the arguments
//! that their schemas ask for.
//!
//! ```text
//! <function=NAME>
//! <parameter=KEY>
//! VALUE
//! </parameter>
//! </function>
//! ```
//!
//! Parameters come in the order of their schema; those that are not required may be left out. The value of a text is any text up to
//! the line that ends it, that of another type the JSON that its schema allows.

use super::keywords::{self, place_name};
use super::schema::{Making, Place, SchemaError, json_options};
use crate::chat::offer::{Function, Types};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Parameters of all functions at most.
const MOST_PARAMETERS: usize = 512;

/// A grammar's source, and what it does not hold.
pub(super) struct Source {
    pub lark: String,
    pub relaxed: Vec<Place>,
}

/// The grammar of a call of one of these functions.
///
/// # Errors
/// There are too many parameters.
pub(super) fn source(functions: &[&Function], making: &Making<'_>) -> Result<Source, SchemaError> {
    let mut source = Source { lark: String::new(), relaxed: Vec::new() };
    let rules: Vec<String> = (0..functions.len()).map(|i| format!("f{i}")).collect();
    // A string cannot fail to be written to.
    let _ = writeln!(source.lark, r#"start: "\n" ({}) "</function>\n""#, rules.join(" | "));
    let mut n_parameter = 0;
    for (i, function) in functions.iter().enumerate() {
        n_parameter += source.function(i, function, making);
        if n_parameter > MOST_PARAMETERS {
            return Err(SchemaError::TooLarge { what: "number of parameters of the functions", most: MOST_PARAMETERS });
        }
    }
    Ok(source)
}

/// A text as Lark writes one.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl Source {
    /// Writes the rules of a function, and returns how many parameters it has.
    fn function(&mut self, i: usize, function: &Function, making: &Making<'_>) -> usize {
        let name = quoted(&format!("<function={}>\n", function.name));
        let schema = function.arguments();
        let properties = schema.get("properties").and_then(Value::as_object);
        let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
            let any = if schema.get("additionalProperties") == Some(&Value::Bool(false)) { "" } else { " any*" };
            let _ = writeln!(self.lark, "f{i}: {name}{any}");
            if !any.is_empty() && !self.lark.contains("\nany:") {
                self.lark.push_str("any: \"<parameter=\" /[^<>\\n]+/ \">\\n\" text \"\\n\"\n");
                self.lark.push_str("text[suffix=\"\\n</parameter>\"]: /(?s:.*)/\n");
            }
            return 0;
        };
        let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let part = |(j, key): (usize, &String)| {
            let is_required = required.iter().any(|name| name == key.as_str());
            format!("f{i}p{j}{}", if is_required { "" } else { "?" })
        };
        let parts: Vec<String> = properties.keys().enumerate().map(part).collect();
        let _ = writeln!(self.lark, "f{i}: {name} {}", parts.join(" "));
        for (j, key) in properties.keys().enumerate() {
            let _ = writeln!(self.lark, "f{i}p{j}: {} f{i}p{j}v \"\\n\"", quoted(&format!("<parameter={key}>\n")));
            self.value(&format!("f{i}p{j}v"), function, key, making);
        }
        properties.len()
    }

    /// Writes the rule of a value, up to the end of `</parameter>`.
    fn value(&mut self, rule: &str, function: &Function, key: &str, making: &Making<'_>) {
        let at = format!("{}{}", function.name, place_name(&format!("/properties/{key}")));
        let schema = function.parameter(key).cloned().unwrap_or(Value::Bool(true));
        let types = function.types(key).unwrap_or(Types::ANY);
        let mut relaxed = |keyword: &str| self.relaxed.push(Place { keyword: keyword.to_owned(), at: at.clone() });
        let fixed = match (schema.get("const"), schema.get("enum")) {
            (Some(value), _) => Some(std::slice::from_ref(value)),
            (None, Some(Value::Array(values))) => Some(&values[..]),
            _ => None,
        };
        let lark = match fixed {
            Some(values) if !values.is_empty() => {
                let raw = |value: &Value| quoted(value.as_str().map_or(value.to_string(), str::to_owned).as_str());
                let values: Vec<String> = values.iter().map(raw).collect();
                format!("{rule}: ({}) \"\\n</parameter>\"\n", values.join(" | "))
            }
            _ if types.meets(Types::STRING) => {
                let held = ["type", "minLength", "maxLength"];
                let annotations = ["title", "description", "default", "examples", "deprecated"];
                for keyword in schema.as_object().into_iter().flat_map(Map::keys) {
                    if !held.contains(&keyword.as_str()) && !annotations.contains(&keyword.as_str()) {
                        relaxed(keyword);
                    }
                }
                let bound = |keyword| schema.get(keyword).and_then(Value::as_u64).filter(|&n| n <= u64::from(u16::MAX));
                // Of a value that need not be a text, the characters are not those of one.
                let bounds =
                    if types == Types::STRING { (bound("minLength"), bound("maxLength")) } else { (None, None) };
                let characters = match bounds {
                    (None, None) => "(?s:.*)".to_owned(),
                    (least, most) => {
                        let most = most.map_or(String::new(), |most| most.to_string());
                        format!("(?s:.{{{},{most}}})", least.unwrap_or(0))
                    }
                };
                format!("{rule}[suffix=\"\\n</parameter>\"]: /{characters}/\n")
            }
            _ => {
                let mut schema = match schema {
                    Value::Object(schema) => schema,
                    _ => Map::new(),
                };
                for definitions in ["$defs", "definitions"] {
                    if let Some(found) = function.parameters.get(definitions) {
                        schema.entry(definitions).or_insert_with(|| found.clone());
                    }
                }
                let looked = keywords::look(&Value::Object(schema)).ok();
                let looked = looked.filter(|looked| making.matcher(&looked.schema, true, looked.has_controls).is_ok());
                let schema = match looked {
                    Some(looked) => {
                        looked.unheld.iter().for_each(|place| relaxed(&place.keyword));
                        let mut schema = looked.schema;
                        json_options(true, looked.has_controls).apply_to(&mut schema);
                        schema
                    }
                    None => {
                        relaxed("the schema");
                        let mut any = Value::Object(Map::new());
                        json_options(true, false).apply_to(&mut any);
                        any
                    }
                };
                format!("{rule}: {rule}j \"\\n</parameter>\"\n{rule}j: %json {schema}\n")
            }
        };
        self.lark.push_str(&lark);
    }
}
