//! Operators: arithmetic, comparison, membership and concatenation, as Python has them.

use super::error::{Error, Result, fail};
use super::float;
use super::format;
use super::int::Int;
use super::meter::{Buffer, Items, Meter};
use super::print;
use super::syntax::Operator;
use super::text::escape_html;
use super::value::{Cursor, Str, Value, View};
use std::cmp::Ordering;
use std::rc::Rc;

/// `a operator b`
pub fn binary(meter: &Meter, operator: Operator, a: &Value, b: &Value) -> Result<Value> {
    if let (Value::Int(a), Value::Int(b)) = (a, b)
        && let Some(value) = small(operator, *a, *b)
    {
        return Ok(Value::Int(value));
    }
    match (operator, a, b) {
        (Operator::Remainder, Value::Str(form), _) => format::percent(meter, form, b),
        (_, Value::Undefined(_), _) | (_, _, Value::Undefined(_)) => fail!("an undefined value is an operand"),
        (Operator::Add, Value::Str(a), Value::Str(b)) => add_text(meter, a, b),
        (Operator::Add, Value::List(a), Value::List(b)) => Value::list(joined(meter, &[(a, 1), (b, 1)])?),
        (Operator::Add, Value::Tuple(a), Value::Tuple(b)) => Value::tuple(joined(meter, &[(a, 1), (b, 1)])?),
        (Operator::Multiply, sequence @ (Value::Str(_) | Value::List(_) | Value::Tuple(_)), count)
        | (Operator::Multiply, count, sequence @ (Value::Str(_) | Value::List(_) | Value::Tuple(_))) => {
            repeat(meter, sequence, count)
        }
        _ if a.is_number() && b.is_number() => arithmetic(meter, operator, a, b),
        _ => fail!("unsupported operands for {}: {} and {}", sign(operator), a.kind().name(), b.kind().name()),
    }
}

fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::FloorDivide => "//",
        Operator::Remainder => "%",
        Operator::Power => "**",
    }
}

/// The result in 64 bits, if it has that many.
fn small(operator: Operator, a: i64, b: i64) -> Option<i64> {
    match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::FloorDivide | Operator::Remainder => {
            let (quotient, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
            let down = rest != 0 && (rest < 0) != (b < 0);
            Some(match operator {
                Operator::FloorDivide => quotient - i64::from(down),
                _ => rest + if down { b } else { 0 },
            })
        }
        Operator::Divide | Operator::Power => None,
    }
}

/// Strings where one is `Markup`: the other goes in escaped.
fn add_text(meter: &Meter, a: &Str, b: &Str) -> Result<Value> {
    let markup = a.markup || b.markup;
    let mut out = Buffer::new(meter);
    for part in [a, b] {
        if markup && !part.markup { escape_html(part, &mut out)? } else { out.push_str(part)? }
    }
    out.finish_as(markup).map(Value::Str)
}

/// Lists one after the other, each so many times.
fn joined(meter: &Meter, parts: &[(&[Value], usize)]) -> Result<Items<Value>> {
    let mut items = Items::new(meter);
    items.reserve(
        parts.iter().fold(0, |sum: usize, (part, times)| sum.saturating_add(part.len().saturating_mul(*times))),
    )?;
    for (part, times) in parts {
        for _ in 0..if part.is_empty() { 0 } else { *times } {
            meter.work(part.len() / 4)?;
            items.extend_from_slice(part);
        }
    }
    Ok(items)
}

fn repeat(meter: &Meter, sequence: &Value, times: &Value) -> Result<Value> {
    let Some(count) = times.as_clamped() else {
        fail!("can't multiply {} by {}", sequence.kind().name(), times.kind().name());
    };
    if matches!(times, Value::Big(_)) {
        fail!("a sequence cannot be repeated so often");
    }
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    match sequence {
        Value::List(items) => Value::list(joined(meter, &[(items, count)])?),
        Value::Tuple(items) => Value::tuple(joined(meter, &[(items, count)])?),
        Value::Str(text) => {
            let mut out = Buffer::new(meter);
            out.repeat(text, count)?;
            out.finish_as(text.markup).map(Value::Str)
        }
        _ => fail!("only sequences can be repeated"),
    }
}

fn arithmetic(meter: &Meter, operator: Operator, a: &Value, b: &Value) -> Result<Value> {
    if let (Some(a), Some(b)) = (a.as_int(), b.as_int()) {
        return integers(meter, operator, &a, &b);
    }
    let (a, b) = (a.to_f64()?, b.to_f64()?);
    if b == 0.0 && matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Remainder) {
        fail!("division by zero");
    }
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::FloorDivide => floor_divide(a, b).0,
        Operator::Remainder => floor_divide(a, b).1,
        Operator::Power => power(a, b)?,
    }))
}

/// Quotient and remainder as `divmod` has them for floats.
fn floor_divide(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0f64.copysign(b);
    } else if (rest < 0.0) != (b < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0f64.copysign(a / b), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

fn power(a: f64, b: f64) -> Result<f64> {
    if a == 0.0 && b < 0.0 {
        fail!("zero cannot be raised to a negative power");
    }
    if a < 0.0 && a.is_finite() && b.is_finite() && b.fract() != 0.0 {
        fail!("complex numbers are not supported");
    }
    let result = a.powf(b);
    if result.is_infinite() && a.is_finite() && b.is_finite() {
        fail!("the result is too large for a float");
    }
    Ok(result)
}

fn integers(meter: &Meter, operator: Operator, a: &Int, b: &Int) -> Result<Value> {
    // Products and quotients by schoolbook; powers end with one of half their length.
    meter.work(
        a.len() * b.len() * if matches!(operator, Operator::FloorDivide | Operator::Remainder) { 8 } else { 1 },
    )?;
    let division = |part: fn((Int, Int)) -> Int| match a.divide(b) {
        Some(result) => Value::integer(meter, part(result)),
        None => fail!("division by zero"),
    };
    match operator {
        Operator::Add => Value::bounded(meter, a.add(b)),
        Operator::Subtract => Value::bounded(meter, a.subtract(b)),
        Operator::Multiply => Value::bounded(meter, a.multiply(b)),
        Operator::FloorDivide => division(|(quotient, _)| quotient),
        Operator::Remainder => division(|(_, rest)| rest),
        Operator::Divide if b.is_zero() => fail!("division by zero"),
        Operator::Divide => match a.ratio(b) {
            Some(value) => Ok(Value::Float(value)),
            None => fail!("the quotient is too large for a float"),
        },
        Operator::Power if b.is_negative() => match (a.to_f64(), b.to_f64()) {
            (Some(a), Some(b)) => power(a, b).map(Value::Float),
            _ => fail!("an integer is too large for a float"),
        },
        Operator::Power => {
            let exponent = b.to_i64().and_then(|exponent| u64::try_from(exponent).ok()).unwrap_or(u64::MAX);
            let bits = (a.bits() as u64).saturating_mul(exponent).min(1 << 14);
            meter.work((bits / 32 * bits / 32) as usize)?;
            Value::bounded(meter, a.power(exponent))
        }
    }
}

/// `-value`
pub fn negative(meter: &Meter, value: &Value) -> Result<Value> {
    match value {
        Value::Float(value) => Ok(Value::Float(-value)),
        value => match value.as_int() {
            Some(int) => Value::integer(meter, int.negated()),
            None => fail!("bad operand for -: {}", value.kind().name()),
        },
    }
}

/// `+value`
pub fn positive(value: &Value) -> Result<Value> {
    match value {
        Value::Bool(value) => Ok(Value::Int(i64::from(*value))),
        value if value.is_number() => Ok(value.clone()),
        value => fail!("bad operand for +: {}", value.kind().name()),
    }
}

/// `a == b`
pub fn equal(meter: &Meter, a: &Value, b: &Value) -> Result<bool> {
    meter.work(1)?;
    Ok(match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            meter.scan(a.len().min(b.len()))?;
            a.as_bytes() == b.as_bytes()
        }
        (Value::Undefined(_), Value::Undefined(_)) => true,
        _ if a.is_number() && b.is_number() => numbers(a, b) == Some(Ordering::Equal),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            if Rc::ptr_eq(a, b) {
                return Ok(true);
            }
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(meter, a, b)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if Rc::ptr_eq(a, b) {
                return Ok(true);
            }
            if a.len() != b.len() {
                return Ok(false);
            }
            for (key, value) in a.entries() {
                match b.get(meter, key)? {
                    Some(other) if equal(meter, value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::View(View::Keys, a), Value::View(View::Keys, b)) => {
            let mut same = a.len() == b.len();
            for (key, _) in a.entries() {
                same = same && b.get(meter, key)?.is_some();
            }
            same
        }
        (Value::Range(a), Value::Range(b)) => {
            a.len == b.len && (a.len == 0 || (a.start == b.start && (a.len == 1 || a.step == b.step)))
        }
        (Value::Method(a), Value::Method(b)) => a.1 == b.1 && a.0.is_same(&b.0),
        _ => a.is_same(b),
    })
}

/// How two values compare; none if neither is less, as with NaN.
///
/// # Errors
/// They are of types without an order.
pub fn order(meter: &Meter, a: &Value, b: &Value) -> Result<Option<Ordering>> {
    meter.work(1)?;
    Ok(match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            meter.scan(a.len().min(b.len()))?;
            Some(a.as_bytes().cmp(b.as_bytes()))
        }
        _ if a.is_number() && b.is_number() => numbers(a, b),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(meter, a, b)? {
                    return order(meter, a, b);
                }
            }
            Some(a.len().cmp(&b.len()))
        }
        _ => fail!("{} and {} cannot be put in order", a.kind().name(), b.kind().name()),
    })
}

/// How two numbers compare, exactly.
fn numbers(a: &Value, b: &Value) -> Option<Ordering> {
    let with_float = |int: &Value, float: f64| {
        if float.is_nan() {
            return None;
        }
        if float.is_infinite() {
            return 0.0.partial_cmp(&float);
        }
        let whole = Int::from_f64(float);
        let order = int.as_int()?.cmp(&whole);
        Some(if order.is_eq() { 0.0.partial_cmp(&float.fract())? } else { order })
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (int, Value::Float(float)) => with_float(int, *float),
        (Value::Float(float), int) => with_float(int, *float).map(Ordering::reverse),
        _ => Some(a.as_int()?.cmp(&b.as_int()?)),
    }
}

/// `item in container`
pub fn contains(meter: &Meter, container: &Value, item: &Value) -> Result<bool> {
    match container {
        Value::Str(text) => match item {
            Value::Str(part) => {
                meter.scan(text.len() + part.len())?;
                let part: &str = part;
                Ok(text.contains(part))
            }
            other => fail!("a string cannot contain {}", other.kind().name()),
        },
        Value::Dict(map) | Value::View(View::Keys, map) => Ok(map.get(meter, item)?.is_some()),
        Value::Range(range) if item.is_number() => {
            let item = match item {
                Value::Float(float) if float.fract() == 0.0 => Int::from_f64(*float).to_i64(),
                item => item.as_int().and_then(|item| item.to_i64()),
            };
            let distance = item.and_then(|item| item.checked_sub(range.start));
            Ok(distance.is_some_and(|distance| {
                distance % range.step == 0 && usize::try_from(distance / range.step).is_ok_and(|at| at < range.len)
            }))
        }
        Value::List(items) | Value::Tuple(items) => {
            for other in items.iter() {
                if equal(meter, other, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => {
            let mut cursor = Cursor::new(other)?;
            while let Some(other) = cursor.next(meter)? {
                if equal(meter, &other, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// The texts of values, one after the other.
pub fn concat<'a>(meter: &Meter, values: impl IntoIterator<Item = &'a Value>) -> Result<Value> {
    let mut out = Buffer::new(meter);
    for value in values {
        print::text(value, &mut out)?;
    }
    out.finish().map(Value::Str)
}

/// `round(value, places)` of a float.
pub fn round(value: f64, places: i64) -> Result<Value> {
    float::round(value, places).map(Value::Float).ok_or_else(|| Error::failed("the number is too large to be rounded"))
}

/// The values in order, those that are equal in the order in which they are; each by its key.
///
/// # Errors
/// Keys have no order.
pub fn sorted(meter: &Meter, items: Items<(Value, Value)>, reverse: bool) -> Result<Items<(Value, Value)>> {
    let mut places: Items<usize> = Items::new(meter);
    places.reserve(items.len())?;
    (0..items.len()).for_each(|at| places.push_within(at));
    let mut merged: Items<usize> = Items::new(meter);
    merged.reserve(items.len())?;
    // Where one goes before the other, though it comes after it.
    let before = |b: usize, a: usize| -> Result<bool> {
        let (a, b) = if reverse { (b, a) } else { (a, b) };
        Ok(order(meter, &items[b].0, &items[a].0)? == Some(Ordering::Less))
    };
    let mut run = 1;
    while run < items.len() {
        merged.clear();
        for start in (0..items.len()).step_by(2 * run) {
            let middle = (start + run).min(items.len());
            let end = (middle + run).min(items.len());
            let (mut left, mut right) = (start, middle);
            while left < middle || right < end {
                let take_right = left == middle || (right < end && before(places[right], places[left])?);
                let from = if take_right { &mut right } else { &mut left };
                let place = places[*from];
                *from += 1;
                merged.push_within(place);
            }
        }
        std::mem::swap(&mut places, &mut merged);
        run *= 2;
    }
    let mut result = Items::new(meter);
    result.reserve(items.len())?;
    for &at in places.iter() {
        result.push(items[at].clone())?;
    }
    Ok(result)
}
