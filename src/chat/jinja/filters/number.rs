//! Filters that make numbers, and one that prints them.

use crate::chat::jinja::args::{Args, flag, integer_or, optional_integer, optional_string};
use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::float as floats;
use crate::chat::jinja::host::Host;
use crate::chat::jinja::int::{Int, MAX_DECIMALS};
use crate::chat::jinja::ops;
use crate::chat::jinja::strings;
use crate::chat::jinja::text::is_space;
use crate::chat::jinja::value::Value;

pub fn abs(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("abs")?;
    match value {
        Value::Float(value) => Ok(Value::Float(value.abs())),
        value => match value.as_int() {
            Some(int) => Value::integer(host.meter(), int.absolute()),
            None => fail!("abs needs a number, not {}", value.kind().name()),
        },
    }
}

pub fn int(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [default, base] = args.bind("int", ["default", "base"])?;
    host.defined(value)?;
    let default = default.unwrap_or(Value::Int(0));
    match value {
        Value::Bool(_) | Value::Int(_) | Value::Big(_) => ops::positive(value),
        Value::Float(float) if float.is_infinite() => fail!("infinity is no integer"),
        Value::Float(float) if float.is_nan() => Ok(default),
        Value::Float(float) => Value::integer(host.meter(), Int::from_f64(*float)),
        Value::Str(text) => {
            // Longer ones are no numbers; Python says so too.
            let base = integer_or(&base, 10, "int")?;
            let text = text.trim_matches(is_space);
            if text.len() > 2 * MAX_DECIMALS {
                return Ok(default);
            }
            host.meter().work(text.len())?;
            if let Some(int) = read_int(text, base)? {
                return Value::integer(host.meter(), int);
            }
            match floats::parse(text) {
                Some(float) if float.is_finite() => Value::integer(host.meter(), Int::from_f64(float)),
                _ => Ok(default),
            }
        }
        _ => Ok(default),
    }
}

/// `int(text, base)`, white space aside; none if it is no integer.
fn read_int(text: &str, base: i64) -> Result<Option<Int>> {
    if base != 0 && !(2..=36).contains(&base) {
        // An error that the filter takes for no integer.
        return Ok(None);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = digits.get(..2).unwrap_or("").to_ascii_lowercase();
    let prefixed = match &*prefix {
        "0b" => 2,
        "0o" => 8,
        "0x" => 16,
        _ => 0,
    };
    let has_prefix = prefixed != 0 && (base == prefixed || base == 0);
    let digits = if has_prefix { digits[2..].strip_prefix('_').unwrap_or(&digits[2..]) } else { digits };
    let base = match base {
        0 if has_prefix => prefixed,
        0 if digits.starts_with('0') && digits.bytes().any(|c| !matches!(c, b'0' | b'_')) => return Ok(None),
        0 => 10,
        base => base,
    };
    let lone = |text: &str| !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    if !lone(digits) {
        return Ok(None);
    }
    let value = Int::parse(&digits.replace('_', ""), base as u32);
    Ok(value.map(|value| if negative { value.negated() } else { value }))
}

pub fn float(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [default] = args.bind("float", ["default"])?;
    host.defined(value)?;
    let default = default.unwrap_or(Value::Float(0.0));
    match value {
        Value::Str(text) => {
            host.meter().work(text.len() / strings::CHARACTERS_PER_STEP)?;
            let text = text.trim_matches(is_space);
            // What it is copied into while it is read.
            let _paid = host.meter().charge(text.len().saturating_mul(3))?;
            Ok(floats::parse(text).map_or(default, Value::Float))
        }
        value if value.is_number() => value.to_f64().map(Value::Float),
        _ => Ok(default),
    }
}

pub fn round(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"])?;
    host.defined(value)?;
    let to_integer = matches!(precision, Some(Value::None));
    let precision = optional_integer(&precision, "round")?.unwrap_or(0);
    let method = optional_string(&method, "round")?;
    match method.as_ref().map_or("common", |method| method.as_str()) {
        "common" => match value {
            Value::Float(value) if to_integer && value.is_finite() => {
                Value::integer(host.meter(), Int::from_f64(value.round_ties_even()))
            }
            Value::Float(value) => ops::round(*value, precision),
            value => match value.as_int() {
                Some(int) => round_int(host, &int, precision),
                None => fail!("round needs a number, not {}", value.kind().name()),
            },
        },
        method @ ("ceil" | "floor") => {
            let unit = 10f64.powi(precision.clamp(-400, 400) as i32);
            let scaled = value.to_f64()? * unit;
            if !scaled.is_finite() || unit == 0.0 {
                fail!("the number is too large to be rounded");
            }
            Ok(Value::Float(if method == "ceil" { scaled.ceil() } else { scaled.floor() } / unit))
        }
        _ => fail!("round rounds by `common`, `ceil` or `floor`"),
    }
}

/// `round(int, places)`
fn round_int(host: &dyn Host, int: &Int, places: i64) -> Result<Value> {
    if places >= 0 {
        return Value::integer(host.meter(), int.clone());
    }
    if places.unsigned_abs() > MAX_DECIMALS as u64 {
        return Ok(Value::Int(0));
    }
    host.meter().work(int.len() * int.len() * 8)?;
    let (Ok(unit), Ok(double)) = (Int::from(10).power(places.unsigned_abs()), int.add(int)) else {
        fail!("an integer has too many digits");
    };
    // To the nearest multiple, to the even one where there are two.
    let Some((quotient, rest)) = double.add(&unit).ok().and_then(|sum| sum.divide(&unit.add(&unit).ok()?)) else {
        return Ok(Value::Int(0));
    };
    let odd = quotient.magnitude(2).ends_with('1');
    let quotient = if rest.is_zero() && odd { quotient.subtract(&Int::from(1)) } else { Ok(quotient) };
    Value::bounded(host.meter(), quotient.and_then(|quotient| quotient.multiply(&unit)))
}

pub fn filesizeformat(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [binary] = args.bind("filesizeformat", ["binary"])?;
    let bytes = match value {
        Value::Str(text) => floats::parse(text.trim_matches(is_space)),
        value => Some(value.to_f64()?),
    };
    let Some(bytes) = bytes else { fail!("filesizeformat needs a number") };
    let (base, names): (f64, [&str; 8]) = if flag(&binary) {
        (1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
    } else {
        (1000.0, ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
    };
    if bytes == 1.0 {
        return host.text("1 Byte");
    }
    if bytes < base {
        return host.text(&format!("{bytes:.0} Bytes", bytes = bytes.trunc()));
    }
    let mut unit = base;
    for (i, name) in names.iter().enumerate() {
        unit *= base;
        if bytes < unit || i + 1 == names.len() {
            return host.text(&format!("{:.1} {name}", base * bytes / unit));
        }
    }
    fail!("filesizeformat needs a number")
}
