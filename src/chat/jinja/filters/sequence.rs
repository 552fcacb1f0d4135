//! Filters of sequences, and those that look into any value.

use crate::chat::jinja::args::{Args, flag, integer, optional_string, required, string};
use crate::chat::jinja::error::{Quoted, Result, fail};
use crate::chat::jinja::host::Host;
use crate::chat::jinja::meter::{Buffer, Items};
use crate::chat::jinja::ops;
use crate::chat::jinja::print;
use crate::chat::jinja::slice as slices;
use crate::chat::jinja::strings;
use crate::chat::jinja::syntax::Operator;
use crate::chat::jinja::text as case;
use crate::chat::jinja::value::{Key, Missing, Reason, Seq, Str, Text, Value, View};
use std::cmp::Ordering;
use std::collections::HashSet;

/// What an item is looked at by: `a.b` of it, or itself. Parts that are digits are indices.
struct Getter {
    parts: Items<Value>,
    /// Whether letters of strings are made small.
    ignore_case: bool,
    /// Instead of what is undefined.
    default: Option<Value>,
}

impl Getter {
    fn new(host: &dyn Host, attribute: Option<&Value>, ignore_case: bool) -> Result<Self> {
        let mut parts = Items::new(host.meter());
        match attribute {
            None | Some(Value::None) => {}
            Some(Value::Str(path)) => {
                for part in path.split('.') {
                    let digits = !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
                    parts.push(match part.parse() {
                        Ok(index) if digits => Value::Int(index),
                        _ => host.text(part)?,
                    })?;
                }
            }
            Some(index) => parts.push(index.clone())?,
        }
        Ok(Self { parts, ignore_case, default: None })
    }

    fn get(&self, host: &mut dyn Host, item: &Value) -> Result<Value> {
        let mut value = item.clone();
        for part in self.parts.iter() {
            value = host.item(&value, part)?;
            if let (Value::Undefined(_), Some(default)) = (&value, &self.default) {
                value = default.clone();
            }
        }
        match &value {
            Value::Str(text) if self.ignore_case => lowered(host, text).map(Value::Str),
            _ => Ok(value),
        }
    }
}

fn lowered(host: &dyn Host, text: &Str) -> Result<Str> {
    host.meter().work(text.len() / strings::CHARACTERS_PER_STEP)?;
    let mut out = Buffer::new(host.meter());
    case::lower(text, &mut out)?;
    out.finish()
}

pub fn default(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [default, boolean] = args.bind("default", ["default_value", "boolean"])?;
    if value.is_undefined() || (flag(&boolean) && !value.is_true()) {
        return default.map_or_else(|| host.text(""), Ok);
    }
    Ok(value.clone())
}

pub fn attr(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [name] = args.bind("attr", ["name"])?;
    let name = string(&required(name, "attr", "name")?, "attr")?;
    host.defined(value)?;
    let found = host.own_attribute(value, &name)?;
    Ok(found.unwrap_or(Value::Undefined(Missing::Element(value.kind()))))
}

pub fn length(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("length")?;
    let len = match value {
        Value::Loop(_) => {
            let name = Text::new(host.meter(), "length")?;
            return host.attribute(value, &name);
        }
        value => value.len(),
    };
    match len {
        Some(len) => Ok(Value::Int(len as i64)),
        None => fail!("{} has no length", value.kind().name()),
    }
}

pub fn first(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("first")?;
    let found = host.iterate(value)?.next(host.meter())?;
    Ok(found.unwrap_or(Value::Undefined(Missing::Because(Reason::Empty))))
}

pub fn last(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("last")?;
    let found = match value {
        Value::Dict(map) => map.entries().last().map(|(key, _)| key.clone()),
        Value::View(view, map) => match (view, map.entries().last()) {
            (_, None) => None,
            (View::Keys, Some((key, _))) => Some(key.clone()),
            (View::Values, Some((_, value))) => Some(value.clone()),
            (View::Items, Some((key, value))) => Some(Value::pair(host.meter(), key.clone(), value.clone())?),
        },
        Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Range(_) => slices::at(host.meter(), value, -1)?,
        Value::Undefined(_) => None,
        other => fail!("{} cannot be read from its end", other.kind().name()),
    };
    Ok(found.unwrap_or(Value::Undefined(Missing::Because(Reason::Empty))))
}

pub fn list(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("list")?;
    Value::list(host.collect(value)?)
}

pub fn items(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("items")?;
    generator(host, "generator object do_items", |host, items| {
        let Value::Dict(map) = value else {
            if value.is_undefined() {
                return Ok(());
            }
            fail!("items needs a dict, not {}", value.kind().name());
        };
        let mut cursor = host.iterate(&Value::View(View::Items, map.clone()))?;
        while let Some(pair) = cursor.next(host.meter())? {
            items.push(pair)?;
        }
        Ok(())
    })
}

pub fn join(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [separator, attribute] = args.bind("join", ["d", "attribute"])?;
    let separator = match separator {
        Some(separator) => host.text_of(&separator)?,
        None => Text::new(host.meter(), "")?,
    };
    let getter = Getter::new(host, attribute.as_ref(), false)?;
    let mut cursor = host.iterate(value)?;
    let mut out = Buffer::new(host.meter());
    let mut first = true;
    while let Some(item) = cursor.next(host.meter())? {
        out.push_str(if first { "" } else { &separator })?;
        first = false;
        print::text(&getter.get(host, &item)?, &mut out)?;
    }
    out.finish().map(Value::Str)
}

pub fn reverse(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("reverse")?;
    let name = match value {
        Value::Str(_) => {
            return slices::slice(host.meter(), value, &[Value::None, Value::None, Value::Int(-1)]);
        }
        Value::List(_) => "list_reverseiterator object",
        Value::Tuple(_) | Value::Undefined(_) => "reversed object",
        Value::Dict(_) | Value::View(..) => "dict_reversekeyiterator object",
        Value::Range(_) => "range_iterator object",
        _ => "",
    };
    let mut items = host.collect(value)?;
    host.meter().work(items.len() / 8)?;
    items.reverse();
    if name.is_empty() { Value::list(items) } else { Value::stream(items, None, name) }
}

pub fn batch(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [count, fill] = args.bind("batch", ["linecount", "fill_with"])?;
    let count = integer(&required(count, "batch", "linecount")?, "batch")?;
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    generator(host, "generator object do_batch", |host, batches| {
        let mut cursor = host.iterate(value)?;
        let mut batch = Items::new(host.meter());
        while let Some(item) = cursor.next(host.meter())? {
            if batch.len() as i64 == count {
                let full = std::mem::replace(&mut batch, Items::new(host.meter()));
                batches.push(Value::list(full)?)?;
            }
            batch.push(item)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(fill) = fill {
            let missing = usize::try_from(count - batch.len() as i64).unwrap_or(0);
            batch.reserve(missing)?;
            for _ in 0..missing {
                batch.push(fill.clone())?;
            }
        }
        batches.push(Value::list(batch)?)
    })
}

pub fn slice(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [count, fill] = args.bind("slice", ["slices", "fill_with"])?;
    let count = integer(&required(count, "slice", "slices")?, "slice")?;
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    generator(host, "generator object sync_do_slice", |host, slices| {
        let all = host.collect(value)?;
        let len = all.len() as i64;
        let (Some(each), Some(longer)) = (len.checked_div(count), len.checked_rem(count)) else {
            fail!("a sequence cannot be cut into no slices");
        };
        let (each, longer) = (each.max(0) as usize, longer.max(0) as usize);
        let count = usize::try_from(count).unwrap_or(0);
        let mut from = 0;
        for i in 0..count {
            let to = from + each + usize::from(i < longer);
            let mut slice = Items::new(host.meter());
            for item in &all[from..to] {
                slice.push(item.clone())?;
            }
            if let (Some(fill), true) = (&fill, i >= longer) {
                slice.push(fill.clone())?;
            }
            slices.push(Value::list(slice)?)?;
            from = to;
        }
        Ok(())
    })
}

pub fn map(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    generator(host, "generator object sync_do_map", |host, results| {
        if !value.is_true() {
            return Ok(());
        }
        let mut cursor = host.iterate(value)?;
        if args.positional.is_empty() && args.named.iter().any(|(name, _)| name.is("attribute")) {
            let [attribute, default] = args.bind("map", ["attribute", "default"])?;
            let default = default.filter(|default| !matches!(default, Value::None));
            let getter = Getter { default, ..Getter::new(host, attribute.as_ref(), false)? };
            while let Some(item) = cursor.next(host.meter())? {
                results.push(getter.get(host, &item)?)?;
            }
            return Ok(());
        }
        let (name, rest) = shifted(host, args, 1)?;
        let Some(name) = name else { fail!("map needs the name of a filter, or `attribute`") };
        let name = string(&name, "map")?;
        while let Some(item) = cursor.next(host.meter())? {
            match host.filter(&name, &item, &rest)? {
                Some(result) => results.push(result)?,
                None => fail!("there is no filter {}", Quoted(&name)),
            }
        }
        Ok(())
    })
}

/// Items that `make` makes. The reference makes them when they are taken, so that a failure counts only then.
fn generator(
    host: &mut dyn Host,
    name: &'static str,
    make: impl FnOnce(&mut dyn Host, &mut Items<Value>) -> Result<()>,
) -> Result<Value> {
    let mut items = Items::new(host.meter());
    match make(host, &mut items) {
        Ok(()) => Value::stream(items, None, name),
        Err(error) if error.is_failure() => Value::stream(items, Some(error), name),
        Err(error) => Err(error),
    }
}

/// The argument before `count`, and what follows it.
fn shifted(host: &dyn Host, args: &Args, count: usize) -> Result<(Option<Value>, Args)> {
    let mut rest = Args::new(host.meter());
    for value in args.positional.iter().skip(count) {
        rest.positional.push(value.clone())?;
    }
    for argument in args.named.iter() {
        rest.named.push(argument.clone())?;
    }
    Ok((args.positional.get(count - 1).cloned(), rest))
}

pub fn select(host: &mut dyn Host, value: &Value, args: &Args, by_attribute: bool, wanted: bool) -> Result<Value> {
    generator(host, "generator object select_or_reject", |host, kept| {
        if !value.is_true() {
            return Ok(());
        }
        let mut cursor = host.iterate(value)?;
        let attribute = args.positional.first().filter(|_| by_attribute);
        if by_attribute && attribute.is_none() {
            fail!("the name of an attribute is missing");
        }
        let getter = Getter::new(host, attribute, false)?;
        let (test, rest) = shifted(host, args, 1 + usize::from(by_attribute))?;
        while let Some(item) = cursor.next(host.meter())? {
            let looked = getter.get(host, &item)?;
            let passes = match &test {
                None => looked.is_true(),
                Some(test) => {
                    let test = string(test, "a selection")?;
                    match host.test(&test, &looked, &rest)? {
                        Some(passes) => passes,
                        None => fail!("there is no test {}", Quoted(&test)),
                    }
                }
            };
            if passes == wanted {
                kept.push(item)?;
            }
        }
        Ok(())
    })
}

pub fn sum(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"])?;
    let getter = Getter::new(host, attribute.as_ref(), false)?;
    let mut total = start.unwrap_or(Value::Int(0));
    if let Value::Str(_) = total {
        fail!("sum does not add strings");
    }
    let mut cursor = host.iterate(value)?;
    while let Some(item) = cursor.next(host.meter())? {
        let item = getter.get(host, &item)?;
        host.defined(&item)?;
        total = ops::binary(host.meter(), Operator::Add, &total, &item)?;
    }
    Ok(total)
}

/// Whether the order is to be the other way round, which `sorted` takes from numbers alone.
fn is_reverse(value: &Option<Value>) -> Result<bool> {
    match value {
        Some(other) if !other.is_number() => fail!("`reverse` is true or false, not {}", other.kind().name()),
        value => Ok(flag(value)),
    }
}

/// The items of a value, each with what it is put in order by.
fn keyed(host: &mut dyn Host, value: &Value, getter: &Getter) -> Result<Items<(Value, Value)>> {
    let mut cursor = host.iterate(value)?;
    let mut items = Items::new(host.meter());
    while let Some(item) = cursor.next(host.meter())? {
        let key = getter.get(host, &item)?;
        items.push((key, item))?;
    }
    Ok(items)
}

/// The items in order, without their keys.
fn ordered(host: &dyn Host, items: Items<(Value, Value)>, reverse: bool) -> Result<Items<Value>> {
    let sorted = ops::sorted(host.meter(), items, reverse)?;
    let mut items = Items::new(host.meter());
    items.reserve(sorted.len())?;
    for (_, item) in sorted.iter() {
        items.push(item.clone())?;
    }
    Ok(items)
}

pub fn sort(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [reverse, case_sensitive, attribute] = args.bind("sort", ["reverse", "case_sensitive", "attribute"])?;
    let ignore_case = !flag(&case_sensitive);
    let getters = match &attribute {
        Some(Value::Str(paths)) => {
            let mut getters = Items::new(host.meter());
            for path in paths.split(',') {
                let path = host.text(path)?;
                getters.push(Getter::new(host, Some(&path), ignore_case)?)?;
            }
            getters
        }
        attribute => {
            let mut getters = Items::new(host.meter());
            getters.push(Getter::new(host, attribute.as_ref(), ignore_case)?)?;
            getters
        }
    };
    let mut cursor = host.iterate(value)?;
    let mut items = Items::new(host.meter());
    while let Some(item) = cursor.next(host.meter())? {
        let key = match &getters[..] {
            // In the reference all keys are lists, whose items are compared only where they are not equal.
            [getter] => match getter.get(host, &item)? {
                key if key.is_number() || key.as_str().is_some() => key,
                key => {
                    let mut keys = Items::new(host.meter());
                    keys.push(key)?;
                    Value::list(keys)?
                }
            },
            getters => {
                let mut keys = Items::new(host.meter());
                for getter in getters {
                    keys.push(getter.get(host, &item)?)?;
                }
                Value::list(keys)?
            }
        };
        items.push((key, item))?;
    }
    Value::list(ordered(host, items, is_reverse(&reverse)?)?)
}

pub fn dictsort(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [case_sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
    let place = match optional_string(&by, "dictsort")? {
        None => 0,
        Some(by) if by.is("key") => 0,
        Some(by) if by.is("value") => 1,
        Some(_) => fail!("dictsort sorts by `key` or by `value`"),
    };
    let Value::Dict(map) = value else { fail!("dictsort needs a dict, not {}", value.kind().name()) };
    let getter = Getter::new(host, Some(&Value::Int(place)), !flag(&case_sensitive))?;
    let items = keyed(host, &Value::View(View::Items, map.clone()), &getter)?;
    Value::list(ordered(host, items, is_reverse(&reverse)?)?)
}

pub fn extreme(host: &mut dyn Host, value: &Value, args: &Args, wanted: Ordering) -> Result<Value> {
    let [case_sensitive, attribute] = args.bind("the filter", ["case_sensitive", "attribute"])?;
    let getter = Getter::new(host, attribute.as_ref(), !flag(&case_sensitive))?;
    let mut cursor = host.iterate(value)?;
    let mut best: Option<(Value, Value)> = None;
    while let Some(item) = cursor.next(host.meter())? {
        let key = getter.get(host, &item)?;
        let better = match &best {
            None => true,
            Some((other, _)) => ops::order(host.meter(), &key, other)? == Some(wanted),
        };
        if better {
            best = Some((key, item));
        }
    }
    let none = Value::Undefined(Missing::Because(Reason::Empty));
    Ok(best.map_or(none, |(_, item)| item))
}

#[allow(clippy::mutable_key_type, reason = "what changes in a value is no part of it as a key")]
pub fn unique(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [case_sensitive, attribute] = args.bind("unique", ["case_sensitive", "attribute"])?;
    let getter = Getter::new(host, attribute.as_ref(), !flag(&case_sensitive))?;
    generator(host, "generator object sync_do_unique", |host, kept| {
        let mut cursor = host.iterate(value)?;
        let mut seen = HashSet::new();
        let mut paid = host.meter().charge(0)?;
        while let Some(item) = cursor.next(host.meter())? {
            let key = getter.get(host, &item)?;
            let key = Key::of(host.meter(), &key)?;
            paid.grow((seen.len() + 1) * 4 * size_of::<Key>())?;
            if seen.insert(key) {
                kept.push(item)?;
            }
        }
        Ok(())
    })
}

pub fn groupby(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [attribute, default, case_sensitive] = args.bind("groupby", ["attribute", "default", "case_sensitive"])?;
    let attribute = required(attribute, "groupby", "attribute")?;
    let default = default.filter(|default| !matches!(default, Value::None));
    let getter = Getter { default: default.clone(), ..Getter::new(host, Some(&attribute), !flag(&case_sensitive))? };
    let exact = Getter { default, ..Getter::new(host, Some(&attribute), false)? };
    let keyed = keyed(host, value, &getter)?;
    let sorted = ops::sorted(host.meter(), keyed, false)?;
    let mut groups = Items::new(host.meter());
    let mut from = 0;
    while from < sorted.len() {
        let mut members = Items::new(host.meter());
        let mut to = from;
        while to < sorted.len() && ops::equal(host.meter(), &sorted[from].0, &sorted[to].0)? {
            members.push(sorted[to].1.clone())?;
            to += 1;
        }
        // What is not equal to itself is a group of its own.
        if members.is_empty() {
            members.push(sorted[from].1.clone())?;
        }
        from += members.len();
        let key = exact.get(host, &members[0])?;
        let mut pair = Items::new(host.meter());
        pair.push(key)?;
        pair.push(Value::list(members)?)?;
        groups.push(Value::Tuple(Seq::finish(pair, true)?))?;
    }
    Value::list(groups)
}
