//! Arguments of calls: the model writes them as text, and the schema says what value the text stands for.

use super::offer::Types;
use serde_json::Value;

/// The value of an argument that was written as `raw`, as JSON. `types` are those that its schema allows; where the schema
/// does not know the parameter, there are none.
///
/// A text whose parameter may be a string alone is that string. Of several types the others are tried first. Where the
/// schema is silent, what would be written the same way again is taken for the value it spells, and all else for a string.
/// What cannot be read as its type is a string too: the call is not lost.
pub fn value(raw: &str, types: Option<Types>) -> Value {
    let text = || Value::String(raw.to_owned());
    let allowed = types.unwrap_or(Types::ANY);
    if allowed == Types::STRING {
        return text();
    }
    let Some(value) = parsed(raw.trim()) else { return text() };
    // A number that should be whole and is not is still a number.
    let kind = if value.is_number() { Types::NUMBER } else { Types::of(&value) };
    let fits = match types {
        Some(types) if types != Types::ANY => !value.is_string() && kind.meets(types),
        _ => !value.is_string() && !value.is_null() && is_written(&value, raw),
    };
    match fits {
        true if !allowed.meets(Types::of(&value)) => whole(value),
        true => value,
        false => text(),
    }
}

/// Whether a value is written so.
fn is_written(value: &Value, raw: &str) -> bool {
    let written = value.to_string();
    written == raw
}

/// The value that a text spells, in JSON or in Python's words.
fn parsed(text: &str) -> Option<Value> {
    match text {
        "True" => Some(true.into()),
        "False" => Some(false.into()),
        "None" => Some(Value::Null),
        _ => serde_json::from_str(text).ok(),
    }
}

/// A number without a fraction of zeros, where there is one.
fn whole(value: Value) -> Value {
    let text = value.to_string();
    match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => {
            serde_json::from_str(whole).unwrap_or(value)
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_of_the_type_that_its_schema_says() {
        let string = Some(Types::STRING);
        for raw in ["02134", "true", "1e5", "", "null", "{\"a\": 1}", " x\n", "\"q\""] {
            assert_eq!(value(raw, string), json!(raw));
        }
        let (integer, number) = (Some(Types::INTEGER), Some(Types::NUMBER));
        assert_eq!(value("5", integer).to_string(), "5");
        assert_eq!(value(" 5.0\n", integer).to_string(), "5");
        assert_eq!(value("5.0", number).to_string(), "5.0");
        assert_eq!(value("5.5", integer).to_string(), "5.5");
        assert_eq!(value("five", integer), json!("five"));
        assert_eq!(value("True", integer), json!("True"));
        let of = |words: Value| {
            let list = json!([{"name": "f", "parameters": {"properties": {"a": {"type": words}}}}]);
            super::super::offer::Offer::of(&list).unwrap().functions()[0].types("a")
        };
        for word in ["True", "true"] {
            assert_eq!(value(word, of(json!("boolean"))), json!(true));
        }
        assert_eq!(value("[1, 2]", of(json!("array"))), json!([1, 2]));
        assert_eq!(value("{\"b\": {\"a\": []}}", of(json!("object"))), json!({"b": {"a": []}}));
        assert_eq!(value("{broken", of(json!("object"))), json!("{broken"));
        // Of several types the strings come last.
        let several = of(json!(["string", "null", "integer"]));
        assert_eq!(value("None", several), Value::Null);
        assert_eq!(value("7", several), json!(7));
        assert_eq!(value("07", several), json!("07"));
        assert_eq!(value("[7]", several), json!("[7]"));
        assert_eq!(value("\"7\"", several), json!("\"7\""));
    }

    #[test]
    fn where_the_schema_is_silent_only_what_is_written_alike_is_no_string() {
        for types in [None, Some(Types::ANY)] {
            assert_eq!(value("7", types), json!(7));
            assert_eq!(value("[1,true]", types), json!([1, true]));
            for raw in ["07", " 7", "[1, true]", "null", "True", "\"a\"", "a"] {
                assert_eq!(value(raw, types), json!(raw), "{raw}");
            }
        }
    }
}
