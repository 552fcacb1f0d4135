//! Functions that every template has: those of the language, and the two that the libraries of the model's publishers
//! add.

use super::args::{Args, integer, required, string};
use super::error::{Cause, Error, Result, fail};
use super::host::Host;
use super::meter::Items;
use super::methods;
use super::value::{Cycler, Dict, Function, Namespace, Range, Seq, Value};
use crate::chat::time;
use std::cell::Cell;

/// Items of the longest `range`, as in the sandbox of the reference.
const MAX_RANGE: i64 = 100_000;

/// Characters of the longest message of an error; the rest is cut.
const MAX_MESSAGE: usize = 10_000;

/// Bytes of the longest format of a date.
const MAX_FORMAT: usize = 1000;

/// The function of a name.
pub fn global(name: &str) -> Option<Value> {
    Some(Value::Function(match name {
        "range" => Function::Range,
        "dict" => Function::Dict,
        "namespace" => Function::Namespace,
        "cycler" => Function::Cycler,
        "joiner" => Function::Joiner,
        "raise_exception" => Function::RaiseException,
        "strftime_now" => Function::StrftimeNow,
        _ => return None,
    }))
}

pub fn call(host: &mut dyn Host, function: Function, args: &Args) -> Result<Value> {
    match function {
        Function::Range => range(host, args),
        Function::Dict => {
            let mut dict = Dict::new(host.meter())?;
            for (key, value) in pairs(host, args, "dict")?.iter() {
                dict.insert(key.clone(), value.clone())?;
            }
            dict.finish()
        }
        Function::FromKeys => methods::from_keys(host, args),
        Function::Namespace => {
            let pairs = pairs(host, args, "namespace")?;
            let namespace = host.new_namespace()?;
            for (name, value) in pairs.iter() {
                let name = string(name, "namespace")?;
                Namespace::check(&name)?;
                namespace.set(host.meter(), name, value.clone())?;
            }
            Ok(Value::Namespace(namespace))
        }
        Function::Cycler => {
            if args.positional.is_empty() || !args.named.is_empty() {
                fail!("cycler needs at least one item, and no names");
            }
            let mut items = Items::new(host.meter());
            for item in args.positional.iter() {
                items.push(item.clone())?;
            }
            let items = Seq::finish(items, false)?;
            Ok(Value::Cycler(host.meter().put(Cycler { items, at: Cell::new(0) }, 0)?))
        }
        Function::Joiner => {
            let [separator] = args.bind("joiner", ["sep"])?;
            let separator = separator.map_or_else(|| host.text(", "), Ok)?;
            Value::joiner(host.meter(), separator)
        }
        Function::RaiseException => {
            let [message] = args.bind("raise_exception", ["message"])?;
            let message = host.text_of(&required(message, "raise_exception", "message")?)?;
            Err(Error::new(Cause::Raised(message[..message.offset(MAX_MESSAGE)].to_owned())))
        }
        Function::StrftimeNow => {
            let [format] = args.bind("strftime_now", ["format"])?;
            let format = string(&required(format, "strftime_now", "format")?, "strftime_now")?;
            if format.len() > MAX_FORMAT {
                fail!("the format of a date is longer than {MAX_FORMAT} bytes");
            }
            host.text(&time::strftime_now(&format))
        }
    }
}

/// `range(stop)` or `range(start, stop, step)`
fn range(host: &dyn Host, args: &Args) -> Result<Value> {
    let [first, second, step] = args.bind("range", ["/start", "/stop", "/step"])?;
    let first = integer(&required(first, "range", "stop")?, "range")?;
    let (start, stop) = match second {
        Some(stop) => (first, integer(&stop, "range")?),
        None => (0, first),
    };
    let step = step.map_or(Ok(1), |step| integer(&step, "range"))?;
    if step == 0 {
        fail!("the step of a range cannot be zero");
    }
    let distance = if step > 0 { i128::from(stop) - i128::from(start) } else { i128::from(start) - i128::from(stop) };
    let len = if distance > 0 { (distance - 1) / i128::from(step.unsigned_abs()) + 1 } else { 0 };
    if len > i128::from(MAX_RANGE) {
        fail!("a range has {len} items; at most {MAX_RANGE} are allowed");
    }
    Ok(Value::Range(host.meter().put(Range { start, step, len: len as usize, stop }, 0)?))
}

/// The entries that the arguments of `dict` make: those of another dict, or pairs, and the named ones.
fn pairs(host: &mut dyn Host, args: &Args, function: &str) -> Result<Items<(Value, Value)>> {
    let mut pairs = Items::new(host.meter());
    match &args.positional[..] {
        [] => {}
        [Value::Dict(map)] => {
            for entry in map.entries() {
                pairs.push(entry.clone())?;
            }
        }
        [Value::Namespace(_)] => fail!("{function} cannot be made of a namespace"),
        [items] => {
            let mut cursor = host.iterate(items)?;
            while let Some(pair) = cursor.next(host.meter())? {
                let pair = host.collect(&pair)?;
                let [key, value] = &pair[..] else { fail!("{function} needs pairs") };
                pairs.push((key.clone(), value.clone()))?;
            }
        }
        _ => fail!("{function} takes one argument without a name"),
    }
    for (name, value) in args.named.iter() {
        pairs.push((Value::Str(name.clone()), value.clone()))?;
    }
    Ok(pairs)
}
