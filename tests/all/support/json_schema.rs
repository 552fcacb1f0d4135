//! A small judge of JSON against a schema, which knows nothing of the grammars: types, bounds, lengths, unions and references.
//! Patterns and formats are not looked at.

use serde_json::{Map, Value};

/// What is wrong with a value, if anything is; `root` is what references lead into.
pub fn fault(value: &Value, schema: &Value, root: &Value) -> Option<String> {
    let Value::Object(keywords) = schema else {
        return (schema == &Value::Bool(false)).then(|| "nothing is allowed".to_owned());
    };
    let fails = |keyword: &str, asked: &Value| !holds(keyword, asked, value, keywords, root);
    keywords
        .iter()
        .find(|(keyword, asked)| fails(keyword, asked))
        .map(|(keyword, asked)| format!("{value} breaks {keyword}: {asked}"))
}

fn holds(keyword: &str, asked: &Value, value: &Value, keywords: &Map<String, Value>, root: &Value) -> bool {
    let valid = |value: &Value, schema: &Value| fault(value, schema, root).is_none();
    let n_valid = || asked.as_array().unwrap().iter().filter(|branch| valid(value, branch)).count();
    let bound = |holds: fn(f64, f64) -> bool| match (value.as_f64(), asked.as_f64()) {
        (Some(value), Some(asked)) => holds(value, asked),
        _ => true,
    };
    let length = |length: Option<usize>, holds: fn(usize, usize) -> bool| {
        length.is_none_or(|n| holds(n, asked.as_u64().unwrap() as usize))
    };
    let (text, list, object) = (value.as_str(), value.as_array(), value.as_object());
    let fixed = keywords.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
    match keyword {
        "type" => match asked {
            Value::Array(types) => types.iter().any(|asked| is_of(value, asked.as_str().unwrap())),
            asked => is_of(value, asked.as_str().unwrap()),
        },
        "const" => same(value, asked),
        "enum" => asked.as_array().unwrap().iter().any(|asked| same(value, asked)),
        "minimum" => bound(|value, asked| value >= asked),
        "maximum" => bound(|value, asked| value <= asked),
        "exclusiveMinimum" => bound(|value, asked| value > asked),
        "exclusiveMaximum" => bound(|value, asked| value < asked),
        "multipleOf" => match value.as_number().and_then(|value| remainder(&value.to_string(), asked)) {
            Some(rest) => rest == 0,
            None => bound(|value, asked| value % asked == 0.0),
        },
        "minLength" => length(text.map(|text| text.chars().count()), |n, asked| n >= asked),
        "maxLength" => length(text.map(|text| text.chars().count()), |n, asked| n <= asked),
        "minItems" => length(list.map(Vec::len), |n, asked| n >= asked),
        "maxItems" => length(list.map(Vec::len), |n, asked| n <= asked),
        "minProperties" => length(object.map(Map::len), |n, asked| n >= asked),
        "maxProperties" => length(object.map(Map::len), |n, asked| n <= asked),
        "required" => object.is_none_or(|object| {
            asked.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "properties" => object.is_none_or(|object| {
            asked
                .as_object()
                .unwrap()
                .iter()
                .all(|(name, schema)| object.get(name).is_none_or(|value| valid(value, schema)))
        }),
        "additionalProperties" if !keywords.contains_key("patternProperties") => object.is_none_or(|object| {
            let named = keywords.get("properties").and_then(Value::as_object);
            let is_named = |name: &str| named.is_some_and(|named| named.contains_key(name));
            object.iter().all(|(name, value)| is_named(name) || valid(value, asked))
        }),
        "prefixItems" => list
            .is_none_or(|list| list.iter().zip(asked.as_array().unwrap()).all(|(value, schema)| valid(value, schema))),
        "items" => list.is_none_or(|list| list.iter().skip(fixed).all(|value| valid(value, asked))),
        "anyOf" => n_valid() > 0,
        "oneOf" => n_valid() == 1,
        "allOf" => n_valid() == asked.as_array().unwrap().len(),
        "$ref" => valid(value, root.pointer(&asked.as_str().unwrap()[1..]).unwrap()),
        _ => true,
    }
}

/// What is left of an integer of any length behind the division by another one.
fn remainder(value: &str, divisor: &Value) -> Option<u64> {
    let divisor = divisor.as_u64()?;
    let mut digits = value.trim_start_matches('-').chars().map(|digit| digit.to_digit(10));
    digits.try_fold(0, |rest, digit| Some((rest * 10 + u64::from(digit?)) % divisor))
}

/// Whether two values are the same, numbers by what they amount to.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|value| value.fract() == 0.0),
        _ => panic!("type {kind}"),
    }
}
