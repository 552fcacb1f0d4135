//! Tests: what stands after `is`.

use super::args::{Args, required};
use super::error::{Result, fail};
use super::host::Host;
use super::ops;
use super::syntax::{Comparison, Operator};
use super::text;
use super::value::{Cursor, Key, Value};

/// What a test does.
#[derive(Clone, Copy)]
enum Predicate {
    /// Of the value alone.
    Plain(fn(&mut dyn Host, &Value) -> Result<bool>),
    Compare(Comparison),
    /// Whether the remainder by a number is zero.
    DivisibleBy,
    SameAs,
}

/// The tests, in order of their names.
const TESTS: [(&str, Predicate); 39] = [
    ("!=", Predicate::Compare(Comparison::NotEqual)),
    ("<", Predicate::Compare(Comparison::Less)),
    ("<=", Predicate::Compare(Comparison::LessOrEqual)),
    ("==", Predicate::Compare(Comparison::Equal)),
    (">", Predicate::Compare(Comparison::Greater)),
    (">=", Predicate::Compare(Comparison::GreaterOrEqual)),
    ("boolean", Predicate::Plain(|_, value| Ok(matches!(value, Value::Bool(_))))),
    ("callable", Predicate::Plain(|_, value| Ok(value.is_callable()))),
    ("defined", Predicate::Plain(|_, value| Ok(!value.is_undefined()))),
    ("divisibleby", Predicate::DivisibleBy),
    ("eq", Predicate::Compare(Comparison::Equal)),
    ("equalto", Predicate::Compare(Comparison::Equal)),
    ("escaped", Predicate::Plain(|_, value| Ok(value.as_str().is_some_and(|text| text.markup)))),
    ("even", Predicate::Plain(|host, value| rest_is(host, value, &Value::Int(2), 0))),
    ("false", Predicate::Plain(|_, value| Ok(matches!(value, Value::Bool(false))))),
    ("filter", Predicate::Plain(|host, value| known(host, value, |host, name| host.has_filter(name)))),
    ("float", Predicate::Plain(|_, value| Ok(matches!(value, Value::Float(_))))),
    ("ge", Predicate::Compare(Comparison::GreaterOrEqual)),
    ("greaterthan", Predicate::Compare(Comparison::Greater)),
    ("gt", Predicate::Compare(Comparison::Greater)),
    ("in", Predicate::Compare(Comparison::In)),
    ("integer", Predicate::Plain(|_, value| Ok(matches!(value, Value::Int(_) | Value::Big(_))))),
    (
        "iterable",
        Predicate::Plain(
            |_, value| Ok(matches!(value, Value::Loop(_) | Value::Template) || Cursor::new(value).is_ok()),
        ),
    ),
    ("le", Predicate::Compare(Comparison::LessOrEqual)),
    ("lessthan", Predicate::Compare(Comparison::Less)),
    ("lower", Predicate::Plain(|host, value| cased(host, value, text::is_lower))),
    ("lt", Predicate::Compare(Comparison::Less)),
    ("mapping", Predicate::Plain(|_, value| Ok(matches!(value, Value::Dict(_))))),
    ("ne", Predicate::Compare(Comparison::NotEqual)),
    ("none", Predicate::Plain(|_, value| Ok(matches!(value, Value::None)))),
    ("number", Predicate::Plain(|_, value| Ok(value.is_number()))),
    ("odd", Predicate::Plain(|host, value| rest_is(host, value, &Value::Int(2), 1))),
    ("sameas", Predicate::SameAs),
    ("sequence", Predicate::Plain(|_, value| Ok(value.len().is_some() && !matches!(value, Value::View(..))))),
    ("string", Predicate::Plain(|_, value| Ok(value.as_str().is_some()))),
    ("test", Predicate::Plain(|host, value| known(host, value, |_, name| find(name).is_some()))),
    ("true", Predicate::Plain(|_, value| Ok(matches!(value, Value::Bool(true))))),
    ("undefined", Predicate::Plain(|_, value| Ok(value.is_undefined()))),
    ("upper", Predicate::Plain(|host, value| cased(host, value, text::is_upper))),
];

/// The number of a test.
pub fn find(name: &str) -> Option<usize> {
    TESTS.binary_search_by_key(&name, |(name, _)| name).ok()
}

/// Whether a value passes the test of that number.
pub fn apply(host: &mut dyn Host, number: usize, value: &Value, args: &Args) -> Result<bool> {
    host.meter().work(1)?;
    let (name, predicate) = &TESTS[number];
    match predicate {
        Predicate::Plain(test) => {
            args.none(name)?;
            test(host, value)
        }
        Predicate::Compare(comparison) => {
            let [other] = args.bind(name, ["other"])?;
            let other = required(other, name, "other")?;
            host.holds(*comparison, value, &other)
        }
        Predicate::DivisibleBy => {
            let [number] = args.bind(name, ["num"])?;
            rest_is(host, value, &required(number, name, "num")?, 0)
        }
        Predicate::SameAs => {
            let [other] = args.bind(name, ["other"])?;
            Ok(value.is_same(&required(other, name, "other")?))
        }
    }
}

/// Whether a value is a name that is known.
fn known(host: &mut dyn Host, value: &Value, knows: fn(&dyn Host, &str) -> bool) -> Result<bool> {
    Key::of(host.meter(), value)?;
    Ok(value.as_str().is_some_and(|name| knows(host, name)))
}

fn rest_is(host: &mut dyn Host, value: &Value, divisor: &Value, wanted: i64) -> Result<bool> {
    host.defined(value)?;
    host.defined(divisor)?;
    if let Value::Str(_) = value {
        fail!("a number is expected, not str");
    }
    let rest = ops::binary(host.meter(), Operator::Remainder, value, divisor)?;
    ops::equal(host.meter(), &rest, &Value::Int(wanted))
}

fn cased(host: &mut dyn Host, value: &Value, test: fn(&str) -> bool) -> Result<bool> {
    let text = host.text_of(value)?;
    host.meter().work(text.len() / super::strings::CHARACTERS_PER_STEP)?;
    Ok(test(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(TESTS.is_sorted_by_key(|(name, _)| name));
    }
}
