//! Functions that a model may call, as clients offer them, and what their schemas say of the types of values.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Functions of an offer at most.
pub const MOST_FUNCTIONS: usize = 128;

/// Characters of a function's name at most.
const LONGEST_NAME: usize = 64;

/// References that are followed one behind the other at most.
const MOST_REFERENCES: usize = 16;

/// What is wrong with an offer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{at}{}{problem}", if at.is_empty() { "" } else { ": " })]
pub struct OfferError {
    /// The place, as a path into the list: `[2].function.name`.
    pub at: String,
    /// What is wrong there.
    pub problem: String,
}

/// Functions that a model may call.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Offer {
    functions: Vec<Function>,
    /// The list as it was given, for the template.
    list: Vec<Value>,
}

/// A function that a model may call.
#[derive(Clone, PartialEq, Debug)]
pub struct Function {
    /// Its name: letters, digits and `_.:-`.
    pub name: String,
    /// The schema of its arguments, which are an object.
    pub parameters: Value,
    /// Whether its arguments must be as the schema has them, or are not taken at all.
    pub strict: bool,
}

/// The types of values that a schema allows, as far as it says.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Types(u8);

impl Types {
    /// No type.
    pub const NONE: Types = Types(0);
    /// Every type.
    pub const ANY: Types = Types(0x7f);
    /// Texts.
    pub const STRING: Types = Types(1);
    /// Whole numbers.
    pub const INTEGER: Types = Types(2);
    /// Numbers, whole ones too.
    pub const NUMBER: Types = Types(2 | 4);
    const BOOLEAN: Types = Types(8);
    const NULL: Types = Types(16);
    const ARRAY: Types = Types(32);
    const OBJECT: Types = Types(64);

    /// The type of that name in JSON schemas.
    fn named(name: &str) -> Types {
        match name {
            "string" => Types::STRING,
            "integer" => Types::INTEGER,
            "number" => Types::NUMBER,
            "boolean" => Types::BOOLEAN,
            "null" => Types::NULL,
            "array" => Types::ARRAY,
            "object" => Types::OBJECT,
            _ => Types::NONE,
        }
    }

    /// The type of a value; a number is taken for one that need not be whole.
    pub fn of(value: &Value) -> Types {
        match value {
            Value::String(_) => Types::STRING,
            Value::Number(_) => Types(4),
            Value::Bool(_) => Types::BOOLEAN,
            Value::Null => Types::NULL,
            Value::Array(_) => Types::ARRAY,
            Value::Object(_) => Types::OBJECT,
        }
    }

    /// These and those.
    pub fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    /// Whether any of these is among those.
    pub fn meets(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }
}

impl Offer {
    /// The functions of a list of `{"type": "function", "function": {"name", "description", "parameters", "strict"}}`; what is
    /// in `function` may also stand in its place.
    ///
    /// # Errors
    /// It is no such list, or two functions have one name.
    pub fn of(list: &Value) -> Result<Offer, OfferError> {
        let wrong = |at: String, problem: &str| OfferError { at, problem: problem.to_owned() };
        let Value::Array(list) = list else {
            return Err(wrong(String::new(), "expected a list of functions"));
        };
        if list.len() > MOST_FUNCTIONS {
            return Err(wrong(
                String::new(),
                &format!("expected at most {MOST_FUNCTIONS} functions, not {}", list.len()),
            ));
        }
        let mut offer = Offer { functions: Vec::new(), list: list.clone() };
        for (i, tool) in list.iter().enumerate() {
            match tool.get("type").map(Value::as_str) {
                None | Some(Some("function")) => {}
                Some(_) => return Err(wrong(format!("[{i}].type"), "expected function")),
            }
            let (function, at) = match tool.get("function") {
                Some(function) => (function, format!("[{i}].function")),
                None => (tool, format!("[{i}]")),
            };
            let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
            if !is_name(name) {
                let expected = format!("expected 1 to {LONGEST_NAME} letters, digits and _.:-");
                return Err(wrong(format!("{at}.name"), &expected));
            }
            if offer.position(name).is_some() {
                return Err(wrong(format!("{at}.name"), "a function of this name is there already"));
            }
            let parameters = match function.get("parameters") {
                None | Some(Value::Null) => Value::Object(Map::new()),
                Some(parameters @ Value::Object(_)) => parameters.clone(),
                Some(_) => return Err(wrong(format!("{at}.parameters"), "expected a schema, which is an object")),
            };
            let strict = function.get("strict").and_then(Value::as_bool).unwrap_or(false);
            offer.functions.push(Function { name: name.to_owned(), parameters, strict });
        }
        Ok(offer)
    }

    /// The functions, in order.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The place of the function of that name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.functions.iter().position(|function| function.name == name)
    }

    /// The list as it was given, which templates take.
    pub fn list(&self) -> &[Value] {
        &self.list
    }

    /// Whether nothing is offered.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
}

impl TryFrom<Value> for Offer {
    type Error = OfferError;

    fn try_from(list: Value) -> Result<Offer, OfferError> {
        Offer::of(&list)
    }
}

impl From<Offer> for Value {
    fn from(offer: Offer) -> Value {
        offer.list.into()
    }
}

/// Whether a function may have this name.
pub fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_plain)
}

impl Function {
    /// The schema of a parameter, if there is one.
    pub fn parameter(&self, name: &str) -> Option<&Value> {
        let object = followed(&self.parameters, &self.parameters);
        object.get("properties").and_then(|properties| properties.get(name)).map(|of| followed(of, &self.parameters))
    }

    /// The types of a parameter; none is said of one that the schema does not have.
    pub fn types(&self, parameter: &str) -> Option<Types> {
        self.parameter(parameter).map(|schema| types(schema, &self.parameters, 0))
    }
}

/// The schema that another one refers to within `root`, or itself.
fn followed<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    for _ in 0..MOST_REFERENCES {
        let reference = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        match reference.and_then(|pointer| root.pointer(pointer)) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

fn types(schema: &Value, root: &Value, depth: usize) -> Types {
    let schema = followed(schema, root);
    let all = |of: &mut dyn Iterator<Item = Types>| of.fold(Types::NONE, Types::or);
    match schema.get("type") {
        Some(Value::String(word)) => return Types::named(word),
        Some(Value::Array(words)) => return all(&mut words.iter().filter_map(Value::as_str).map(Types::named)),
        _ => {}
    }
    let of_value = |value: &Value| if value.is_number() { Types::NUMBER } else { Types::of(value) };
    if let Some(value) = schema.get("const") {
        return of_value(value);
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        return all(&mut values.iter().map(of_value));
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(of)) = schema.get(key).filter(|_| depth < MOST_REFERENCES) {
            return all(&mut of.iter().map(|schema| types(schema, root, depth + 1)));
        }
    }
    Types::ANY
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn function(properties: Value) -> Function {
        let parameters = json!({"type": "object", "properties": properties, "$defs": {"n": {"type": "integer"}}});
        Offer::of(&json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]))
            .unwrap()
            .functions
            .remove(0)
    }

    #[test]
    fn types_are_those_that_the_schema_allows() {
        let function = function(json!({
            "a": {"type": "string"}, "b": {"type": ["integer", "null"]}, "c": {"$ref": "#/$defs/n"},
            "d": {"anyOf": [{"type": "string"}, {"type": "number"}]}, "e": {"enum": ["x", "y"]}, "f": {},
            "g": {"const": 7}, "h": {"$ref": "#/properties/h"},
        }));
        for (name, types) in [
            ("a", Some(Types::STRING)),
            ("b", Some(Types::INTEGER.or(Types::NULL))),
            ("c", Some(Types::INTEGER)),
            ("d", Some(Types::STRING.or(Types::NUMBER))),
            ("e", Some(Types::STRING)),
            ("f", Some(Types::ANY)),
            ("g", Some(Types::NUMBER)),
            ("h", Some(Types::ANY)),
            ("none", None),
        ] {
            assert_eq!(function.types(name), types, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_offer_is_named() {
        for (list, at) in [
            (json!({}), ""),
            (json!([{"type": "web_search"}]), "[0].type"),
            (json!([{"type": "function", "function": {}}]), "[0].function.name"),
            (json!([{"name": "a b"}]), "[0].name"),
            (json!([{"name": "a"}, {"name": "a"}]), "[1].name"),
            (json!([{"name": "a", "parameters": 7}]), "[0].parameters"),
            (json!(vec![json!({"name": "a"}); 129]), ""),
        ] {
            assert_eq!(Offer::of(&list).unwrap_err().at, at, "{list}");
        }
        let offer = Offer::of(&json!([{"name": "a"}, {"type": "function", "function": {"name": "b.c"}}])).unwrap();
        assert_eq!(offer.functions().iter().map(|f| &*f.name).collect::<Vec<_>>(), ["a", "b.c"]);
    }
}
