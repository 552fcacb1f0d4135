//! Arguments of a call, and their parameters.

use super::error::{Error, Quoted, Result, fail};
use super::meter::{Items, Meter};
use super::value::{Str, Value};

/// Arguments of a call.
pub struct Args {
    pub positional: Items<Value>,
    pub named: Items<(Str, Value)>,
}

impl Args {
    pub fn new(meter: &Meter) -> Self {
        Self { positional: Items::new(meter), named: Items::new(meter) }
    }

    /// The arguments of the parameters `names`, in their order. A parameter that begins with `/` has no name.
    ///
    /// # Errors
    /// An argument has no parameter, or a parameter two arguments.
    pub fn bind<const N: usize>(&self, function: &str, names: [&str; N]) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            fail!("{function} takes at most {N} arguments, not {}", self.positional.len());
        }
        let mut values = [const { None }; N];
        for (slot, value) in values.iter_mut().zip(self.positional.iter()) {
            *slot = Some(value.clone());
        }
        for (name, value) in self.named.iter() {
            let known: &str = name;
            match names.iter().position(|name| *name == known) {
                Some(at) if values[at].is_none() => values[at] = Some(value.clone()),
                Some(_) => fail!("{function} got two values for {}", Quoted(name)),
                None => fail!("{function} has no argument {}", Quoted(name)),
            }
        }
        Ok(values)
    }

    /// # Errors
    /// There are arguments.
    pub fn none(&self, function: &str) -> Result<()> {
        self.bind::<0>(function, []).map(|_| ())
    }
}

/// An argument that must be there.
pub fn required(value: Option<Value>, function: &str, name: &str) -> Result<Value> {
    value.ok_or_else(|| Error::failed(format_args!("{function} needs the argument `{name}`")))
}

/// A string.
pub fn string(value: &Value, function: &str) -> Result<Str> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        other => fail!("{function} needs a string, not {}", other.kind().name()),
    }
}

/// An integer; a larger one is the largest of its sign.
pub fn integer(value: &Value, function: &str) -> Result<i64> {
    match value.as_clamped() {
        Some(value) => Ok(value),
        None => fail!("{function} needs an integer, not {}", value.kind().name()),
    }
}

/// An integer, or `default` where there is no argument.
pub fn integer_or(value: &Option<Value>, default: i64, function: &str) -> Result<i64> {
    value.as_ref().map_or(Ok(default), |value| integer(value, function))
}

/// An integer, if there is an argument that is not `none`.
pub fn optional_integer(value: &Option<Value>, function: &str) -> Result<Option<i64>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => integer(value, function).map(Some),
    }
}

/// A string, if there is an argument that is not `none`.
pub fn optional_string(value: &Option<Value>, function: &str) -> Result<Option<Str>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => string(value, function).map(Some),
    }
}

/// Whether an argument is there and true.
pub fn flag(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(Value::is_true)
}
