//! Methods of values, as Python has them. Those that would change a list or a dict do not exist here, as they do not in
//! the sandbox of the reference.

use super::args::{Args, integer, required};
use super::error::{Result, fail};
use super::host::Host;
use super::meter::Items;
use super::ops;
use super::strings;
use super::value::{Dict, Kind, Map, Value, View};

const LIST: [&str; 3] = ["copy", "count", "index"];
const TUPLE: [&str; 2] = ["count", "index"];
const DICT: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const CYCLER: [&str; 2] = ["next", "reset"];

/// The name of a method, if values of a kind have it.
pub fn find(kind: Kind, name: &str) -> Option<&'static str> {
    let names: &[&'static str] = match kind {
        Kind::Str => &strings::METHODS,
        Kind::List => &LIST,
        Kind::Tuple | Kind::Range => &TUPLE,
        Kind::Dict => &DICT,
        Kind::Cycler => &CYCLER,
        Kind::Bool | Kind::Int => &["bit_length"],
        Kind::Float => &["is_integer"],
        _ => &[],
    };
    names.binary_search(&name).ok().map(|at| names[at])
}

/// Calls a method that [`find`] has found, or one of `loop`.
pub fn call(host: &mut dyn Host, receiver: &Value, name: &'static str, args: &Args) -> Result<Value> {
    match receiver {
        Value::Str(text) => strings::call(host, text, name, args),
        Value::List(_) | Value::Tuple(_) | Value::Range(_) => sequence(host, receiver, name, args),
        Value::Dict(map) => dict(host, receiver, map, name, args),
        Value::Cycler(cycler) => {
            args.none(name)?;
            let at = cycler.at.get();
            let next = if name == "next" { (at + 1) % cycler.items.len() } else { 0 };
            cycler.at.set(next);
            Ok(if name == "next" { cycler.items[at].clone() } else { Value::None })
        }
        Value::Loop(loop_) => {
            if !args.named.is_empty() {
                fail!("loop.{name} has no named arguments");
            }
            if name == "cycle" {
                let at = loop_.state.borrow().begun.saturating_sub(1);
                return match args.positional.len() {
                    0 => fail!("loop.cycle needs something to cycle through"),
                    len => Ok(args.positional[at % len].clone()),
                };
            }
            let mut values = Items::new(host.meter());
            for value in args.positional.iter() {
                values.push(value.clone())?;
            }
            let values = Value::tuple(values)?;
            let before = loop_.state.borrow_mut().changed.take();
            let same = match &before {
                Some(before) => ops::equal(host.meter(), before, &values)?,
                None => false,
            };
            loop_.state.borrow_mut().changed = Some(values);
            Ok(Value::Bool(!same))
        }
        Value::Float(value) => {
            args.none(name)?;
            Ok(Value::Bool(value.fract() == 0.0))
        }
        value => match value.as_int() {
            Some(int) => {
                args.none(name)?;
                Ok(Value::Int(int.bits() as i64))
            }
            None => fail!("{} has no method {name}", value.kind().name()),
        },
    }
}

fn sequence(host: &mut dyn Host, receiver: &Value, name: &str, args: &Args) -> Result<Value> {
    match name {
        "copy" => args.none(name).map(|()| receiver.clone()),
        "count" => {
            let [value] = args.bind(name, ["/value"])?;
            let value = required(value, name, "value")?;
            let mut cursor = host.iterate(receiver)?;
            let mut count = 0;
            while let Some(item) = cursor.next(host.meter())? {
                count += i64::from(ops::equal(host.meter(), &item, &value)?);
            }
            Ok(Value::Int(count))
        }
        _ => {
            let [value, start, stop] = args.bind(name, ["/value", "/start", "/stop"])?;
            let value = required(value, name, "value")?;
            let len = receiver.len().unwrap_or(0) as i64;
            let place = |bound: i64| if bound < 0 { bound.saturating_add(len).max(0) } else { bound };
            let start = start.map_or(Ok(0), |start| integer(&start, name)).map(place)?;
            let stop = stop.map_or(Ok(len), |stop| integer(&stop, name)).map(place)?;
            let mut cursor = host.iterate(receiver)?;
            let mut at = 0;
            while let Some(item) = cursor.next(host.meter())? {
                if at >= start && at < stop && ops::equal(host.meter(), &item, &value)? {
                    return Ok(Value::Int(at));
                }
                at += 1;
            }
            fail!("the value is not in the {}", receiver.kind().name())
        }
    }
}

fn dict(host: &mut dyn Host, receiver: &Value, map: &Map, name: &str, args: &Args) -> Result<Value> {
    match name {
        "get" => {
            let [key, default] = args.bind(name, ["/key", "/default"])?;
            let found = map.get(host.meter(), &required(key, name, "key")?)?;
            Ok(found.cloned().or(default).unwrap_or(Value::None))
        }
        "items" => args.none(name).map(|()| Value::View(View::Items, map.clone())),
        "keys" => args.none(name).map(|()| Value::View(View::Keys, map.clone())),
        "values" => args.none(name).map(|()| Value::View(View::Values, map.clone())),
        "copy" => args.none(name).map(|()| receiver.clone()),
        _ => from_keys(host, args),
    }
}

/// `dict.fromkeys(keys, value)`
pub fn from_keys(host: &mut dyn Host, args: &Args) -> Result<Value> {
    let [keys, value] = args.bind("fromkeys", ["/keys", "/value"])?;
    let keys = required(keys, "fromkeys", "keys")?;
    host.defined(&keys)?;
    let value = value.unwrap_or(Value::None);
    let mut map = Dict::new(host.meter())?;
    let mut cursor = host.iterate(&keys)?;
    while let Some(key) = cursor.next(host.meter())? {
        map.insert(key, value.clone())?;
    }
    map.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        for names in [&LIST[..], &TUPLE, &DICT, &CYCLER, &strings::METHODS] {
            assert!(names.is_sorted());
        }
    }
}
