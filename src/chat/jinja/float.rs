//! Floats as text: `repr`, and the conversions of `%` and `format`.

/// Digits after the point beyond which every float has only zeros.
const EXACT: usize = 1100;

/// `repr`: the shortest digits that read back as the same number, with an exponent below -4 and from 16 on.
pub fn repr(value: f64) -> String {
    if let Some(name) = special(value) {
        return name.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    format!("{digits}{}", exponent_text(exponent))
}

/// The names of what is no number.
pub fn special(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("nan"),
        f64::INFINITY => Some("inf"),
        f64::NEG_INFINITY => Some("-inf"),
        _ => None,
    }
}

fn exponent_text(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", exponent.abs())
}

/// The digits of a magnitude, before zeros that are missing from a precision beyond [`EXACT`].
pub struct Digits {
    /// With the point.
    pub before: String,
    /// Zeros that go here.
    pub zeros: usize,
    /// The exponent.
    pub after: String,
}

/// `f`: `precision` digits after the point. The value is finite and not negative, here and below.
pub fn fixed(value: f64, precision: usize, keep_point: bool) -> Digits {
    let exact = precision.min(EXACT);
    let point = if keep_point && precision == 0 { "." } else { "" };
    Digits { before: format!("{value:.exact$}{point}"), zeros: precision - exact, after: String::new() }
}

/// `e`: one digit before the point and `precision` after it.
pub fn exponential(value: f64, precision: usize, keep_point: bool) -> Digits {
    let exact = precision.min(EXACT);
    let scientific = format!("{value:.exact$e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let point = if keep_point && precision == 0 { "." } else { "" };
    let after = exponent_text(exponent.parse().unwrap_or(0));
    Digits { before: format!("{digits}{point}"), zeros: precision - exact, after }
}

/// `g`: `precision` significant digits, without zeros at the end unless they are to be kept.
pub fn general(value: f64, precision: usize, keep_zeros: bool) -> Digits {
    let precision = precision.max(1);
    let exact = precision.min(EXACT);
    let scientific = format!("{value:.*e}", exact - 1);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (mut before, after) = if exponent < -4 || exponent as i64 >= precision as i64 {
        (digits.to_owned(), exponent_text(exponent))
    } else {
        (format!("{value:.*}", (exact as i64 - 1 - i64::from(exponent)).max(0) as usize), String::new())
    };
    if keep_zeros {
        if !before.contains('.') {
            before.push('.');
        }
        return Digits { before, zeros: precision - exact, after };
    }
    if before.contains('.') {
        before.truncate(before.trim_end_matches('0').trim_end_matches('.').len());
    }
    Digits { before, zeros: 0, after }
}

/// `round(value, places)`: to the nearest with so many decimals, where two are as near to the even one.
pub fn round(value: f64, places: i64) -> Option<f64> {
    // No float has decimals beyond these, and none is as large as half of ten to that power.
    if !value.is_finite() || places > 330 {
        return Some(value);
    }
    if places < -308 {
        return Some(0f64.copysign(value));
    }
    if places >= 0 {
        return format!("{value:.*}", places as usize).parse().ok();
    }
    let unit = 10f64.powi(-places as i32);
    let quotient = value / unit;
    let rounded = quotient.round_ties_even() * unit;
    rounded.is_finite().then_some(rounded)
}

/// Reads a float as `float` does, white space aside.
pub fn parse(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let magnitude = match digits.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => f64::INFINITY,
        "nan" => f64::NAN,
        digits if digits.starts_with(['-', '+']) => return None,
        digits => {
            // Single underscores may stand between digits.
            let bytes = digits.as_bytes();
            let lone = |i: usize| {
                let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
                digit(i.checked_sub(1)) && digit(Some(i + 1))
            };
            let separated = bytes.iter().enumerate().all(|(i, &byte)| byte != b'_' || lone(i));
            if !separated || !bytes.iter().all(|byte| byte.is_ascii_digit() || b"._e+-".contains(byte)) {
                return None;
            }
            digits.replace('_', "").parse().ok()?
        }
    };
    Some(sign * magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(digits: Digits) -> String {
        digits.before + &"0".repeat(digits.zeros) + &digits.after
    }

    #[test]
    fn repr_is_that_of_python() {
        let cases = [(0.1, "0.1"), (1e16, "1e+16"), (1e15, "1000000000000000.0"), (-0.0, "-0.0"), (1e-5, "1e-05")];
        for (value, expected) in cases.into_iter().chain([(123456789.125, "123456789.125"), (f64::NAN, "nan")]) {
            assert_eq!(repr(value), expected);
        }
    }

    #[test]
    fn conversions_are_those_of_c() {
        assert_eq!(text(fixed(2.675, 2, false)) + " " + &text(fixed(0.5, 0, true)), "2.67 0.");
        assert_eq!(text(exponential(12345.678, 2, false)) + " " + &text(exponential(0.0, 0, false)), "1.23e+04 0e+00");
        let general = |value, precision| text(super::general(value, precision, false));
        assert_eq!(general(1e6, 6) + " " + &general(999999.5, 6) + " " + &general(0.0001, 6), "1e+06 1e+06 0.0001");
        assert_eq!(general(100.0, 3) + " " + &general(0.00001234, 2) + " " + &general(0.0, 0), "100 1.2e-05 0");
        assert_eq!(text(super::general(1.0, 3, true)), "1.00");
        assert_eq!(text(fixed(0.1, 2000, false)).len(), 2002);
    }

    #[test]
    fn rounding_and_reading() {
        assert_eq!([round(2.5, 0), round(2.675, 2), round(1234.5, -2)], [Some(2.0), Some(2.67), Some(1200.0)]);
        assert_eq!([round(1e300, 400), round(1e300, -400), round(f64::MAX, -308)], [Some(1e300), Some(0.0), None]);
        assert_eq!(
            [parse("1_0.5"), parse("-1e3"), parse("1__0"), parse("0x1"), parse("_1")].map(|v| v.unwrap_or(9.0)),
            [10.5, -1000.0, 9.0, 9.0, 9.0]
        );
        assert_eq!(parse("1e400"), Some(f64::INFINITY));
    }
}
