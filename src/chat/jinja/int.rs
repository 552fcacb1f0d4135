//! Integers of any size, as Python has them, up to a bound that keeps every operation short.
//!
//! Sign and magnitude; the magnitude is in digits of 32 bits, the lowest first, without zeros at the top. Templates
//! rarely leave 64 bits, so that the schoolbook ways do.

use std::cmp::Ordering;

/// Bits of the largest magnitude. Python prints integers of up to 4300 decimal digits, which are fewer.
const MAX_BITS: usize = 1 << 14;

/// Decimal digits of the longest integer that Python reads or prints.
pub const MAX_DECIMALS: usize = 4300;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Int {
    negative: bool,
    digits: Vec<u32>,
}

/// The result has more than [`MAX_BITS`].
#[derive(Debug)]
pub struct TooLarge;

impl From<i64> for Int {
    fn from(value: i64) -> Self {
        let magnitude = value.unsigned_abs();
        Self::new(value < 0, vec![magnitude as u32, (magnitude >> 32) as u32])
    }
}

impl Int {
    fn new(negative: bool, mut digits: Vec<u32>) -> Self {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Self { negative: negative && !digits.is_empty(), digits }
    }

    fn bounded(self) -> Result<Self, TooLarge> {
        if self.bits() > MAX_BITS { Err(TooLarge) } else { Ok(self) }
    }

    /// Digits of 32 bits, a measure of the work that it makes.
    pub fn len(&self) -> usize {
        self.digits.len()
    }

    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// `int.bit_length`.
    pub fn bits(&self) -> usize {
        self.digits.last().map_or(0, |top| self.digits.len() * 32 - top.leading_zeros() as usize)
    }

    pub fn to_i64(&self) -> Option<i64> {
        if self.digits.len() > 2 {
            return None;
        }
        let magnitude = i128::from(self.low(0)) | i128::from(self.low(1)) << 32;
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }

    fn low(&self, i: usize) -> u32 {
        self.digits.get(i).copied().unwrap_or(0)
    }

    /// The integer part of a finite number.
    pub fn from_f64(value: f64) -> Self {
        let bits = value.abs().to_bits();
        let exponent = (bits >> 52) as i32 - 1075;
        let mantissa = (bits & ((1 << 52) - 1)) | 1 << 52;
        let magnitude = Self::from((mantissa >> (-exponent).clamp(0, 63)) as i64);
        Self { negative: value < 0.0, ..magnitude.shifted(exponent.max(0) as usize) }.normal()
    }

    fn normal(self) -> Self {
        Self::new(self.negative, self.digits)
    }

    fn shifted(&self, bits: usize) -> Self {
        let mut digits = vec![0; bits / 32];
        let mut carry = 0u64;
        for &digit in &self.digits {
            carry |= u64::from(digit) << (bits % 32);
            digits.push(carry as u32);
            carry >>= 32;
        }
        digits.push(carry as u32);
        Self::new(self.negative, digits)
    }

    /// The nearest number, to even when there are two; `None` if it is larger than all.
    pub fn to_f64(&self) -> Option<f64> {
        let below = self.bits().saturating_sub(64);
        let mut top = 0u64;
        for i in 0..3 {
            let digit = u128::from(self.low(below / 32 + i)) << (32 * i);
            top |= (digit >> (below % 32)) as u64;
        }
        // A bit for all that is below, so that halves are told from what is more.
        let rest = (0..below).any(|bit| self.digits[bit / 32] >> (bit % 32) & 1 == 1);
        let magnitude = (top | u64::from(rest)) as f64 * 2f64.powi(below as i32);
        magnitude.is_finite().then_some(if self.negative { -magnitude } else { magnitude })
    }

    /// Reads digits of the given base, 2 to 36, without sign, prefix or separators.
    pub fn parse(text: &str, base: u32) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_BITS || (base == 10 && text.len() > MAX_DECIMALS) {
            return None;
        }
        let mut value = Self::default();
        for c in text.chars() {
            value.multiply_add(base, c.to_digit(base)?);
        }
        value.bounded().ok()
    }

    fn multiply_add(&mut self, factor: u32, mut carry: u32) {
        for digit in &mut self.digits {
            let product = u64::from(*digit) * u64::from(factor) + u64::from(carry);
            (*digit, carry) = (product as u32, (product >> 32) as u32);
        }
        if carry != 0 {
            self.digits.push(carry);
        }
    }

    /// Divides by `divisor`; returns the remainder.
    fn divide_small(&mut self, divisor: u32) -> u32 {
        let mut rest = 0u64;
        for digit in self.digits.iter_mut().rev() {
            let part = rest << 32 | u64::from(*digit);
            *digit = (part / u64::from(divisor)) as u32;
            rest = part % u64::from(divisor);
        }
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        rest as u32
    }

    /// The magnitude in base 2, 8, 10 or 16, in small letters.
    pub fn magnitude(&self, base: u32) -> String {
        // As many digits at once as 32 bits hold.
        let group = match base {
            2 => 16,
            8 => 10,
            16 => 7,
            _ => 9,
        };
        let (mut rest, mut groups) = (self.clone(), Vec::new());
        while !rest.is_zero() {
            groups.push(rest.divide_small(base.pow(group)));
        }
        let mut text = Vec::new();
        for (i, mut value) in groups.iter().copied().enumerate() {
            let last = i + 1 == groups.len();
            let mut digits = 0;
            while if last { value > 0 } else { digits < group } {
                text.push(char::from_digit(value % base, base).unwrap_or('0') as u8);
                value /= base;
                digits += 1;
            }
        }
        if text.is_empty() {
            text.push(b'0');
        }
        text.iter().rev().map(|&digit| char::from(digit)).collect()
    }

    pub fn negated(self) -> Self {
        Self::new(!self.negative, self.digits)
    }

    pub fn add(&self, other: &Self) -> Result<Self, TooLarge> {
        if self.negative == other.negative {
            return Self::new(self.negative, sum(&self.digits, &other.digits)).bounded();
        }
        Ok(match compare(&self.digits, &other.digits) {
            Ordering::Less => Self::new(other.negative, difference(&other.digits, &self.digits)),
            _ => Self::new(self.negative, difference(&self.digits, &other.digits)),
        })
    }

    pub fn subtract(&self, other: &Self) -> Result<Self, TooLarge> {
        self.add(&other.clone().negated())
    }

    pub fn multiply(&self, other: &Self) -> Result<Self, TooLarge> {
        if self.bits() + other.bits() > MAX_BITS + 1 {
            return Err(TooLarge);
        }
        let mut digits = vec![0u32; self.len() + other.len()];
        for (i, &a) in self.digits.iter().enumerate() {
            let mut carry = 0u64;
            for (j, &b) in other.digits.iter().enumerate() {
                carry += u64::from(a) * u64::from(b) + u64::from(digits[i + j]);
                digits[i + j] = carry as u32;
                carry >>= 32;
            }
            digits[i + other.len()] = carry as u32;
        }
        Self::new(self.negative != other.negative, digits).bounded()
    }

    /// Quotient and remainder, the quotient rounded down; `None` for a divisor of zero.
    pub fn divide(&self, divisor: &Self) -> Option<(Self, Self)> {
        if divisor.is_zero() {
            return None;
        }
        let (quotient, rest) = divide(&self.digits, &divisor.digits);
        let quotient = Self::new(self.negative != divisor.negative, quotient);
        let rest = Self::new(self.negative, rest);
        if rest.is_zero() || self.negative == divisor.negative {
            return Some((quotient, rest));
        }
        // Both sums are within the bounds of what was divided.
        Some((quotient.add(&Self::from(-1)).ok()?, rest.add(divisor).ok()?))
    }

    pub fn power(&self, exponent: u64) -> Result<Self, TooLarge> {
        let small = self.bits() <= 1;
        if !small && (self.bits() as u64 - 1).saturating_mul(exponent) > MAX_BITS as u64 {
            return Err(TooLarge);
        }
        if small {
            // 0, 1 and -1
            let odd = exponent % 2 == 1;
            return Ok(if exponent == 0 {
                Self::from(1)
            } else if odd {
                self.clone()
            } else {
                self.absolute()
            });
        }
        let (mut result, mut square, mut rest) = (Self::from(1), self.clone(), exponent);
        while rest > 0 {
            if rest % 2 == 1 {
                result = result.multiply(&square)?;
            }
            rest /= 2;
            if rest > 0 {
                square = square.multiply(&square)?;
            }
        }
        Ok(result)
    }

    pub fn absolute(&self) -> Self {
        Self { negative: false, digits: self.digits.clone() }
    }

    /// `self / divisor`, correctly rounded; `None` for a divisor of zero or a quotient that is too large.
    pub fn ratio(&self, divisor: &Self) -> Option<f64> {
        if divisor.is_zero() {
            return None;
        }
        // A quotient of at least 66 bits, whose lowest bit stands for all that is below.
        let shift = 66 + divisor.bits() as i64 - self.bits() as i64;
        let (up, down) = (shift.max(0) as usize, (-shift).max(0) as usize);
        let (quotient, rest) = divide(&self.shifted(up).digits, &divisor.shifted(down).digits);
        let mut quotient = Self::new(self.negative != divisor.negative, quotient);
        if rest.iter().any(|&digit| digit != 0)
            && let Some(lowest) = quotient.digits.first_mut()
        {
            *lowest |= 1;
        }
        let exponent = -(shift as i32);
        let value = quotient.to_f64()?;
        // In two steps: the power alone may be out of range.
        let result = value * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
        result.is_finite().then_some(result)
    }
}

impl PartialOrd for Int {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Int {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => compare(&self.digits, &other.digits),
            (true, true) => compare(&other.digits, &self.digits),
        }
    }
}

fn compare(a: &[u32], b: &[u32]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.iter().rev().cmp(b.iter().rev()))
}

fn sum(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (long, short) = if a.len() < b.len() { (b, a) } else { (a, b) };
    let mut digits = Vec::with_capacity(long.len() + 1);
    let mut carry = 0u64;
    for (i, &digit) in long.iter().enumerate() {
        carry += u64::from(digit) + u64::from(short.get(i).copied().unwrap_or(0));
        digits.push(carry as u32);
        carry >>= 32;
    }
    digits.push(carry as u32);
    digits
}

/// `a - b`, where `a` is no less.
fn difference(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut borrow = 0i64;
    let digits = a.iter().enumerate().map(|(i, &digit)| {
        borrow += i64::from(digit) - i64::from(b.get(i).copied().unwrap_or(0));
        let low = borrow as u32;
        borrow >>= 32;
        low
    });
    digits.collect()
}

/// Quotient and remainder of magnitudes, by bits: it is only used beyond 64 of them.
fn divide(a: &[u32], b: &[u32]) -> (Vec<u32>, Vec<u32>) {
    if let [small] = *b {
        let mut quotient = Int { negative: false, digits: a.to_vec() };
        let rest = quotient.divide_small(small);
        return (quotient.digits, vec![rest]);
    }
    let mut quotient = vec![0u32; a.len()];
    let mut rest: Vec<u32> = Vec::with_capacity(b.len() + 1);
    for bit in (0..a.len() * 32).rev() {
        let mut carry = a[bit / 32] >> (bit % 32) & 1;
        for digit in &mut rest {
            (*digit, carry) = (*digit << 1 | carry, *digit >> 31);
        }
        if carry != 0 {
            rest.push(carry);
        }
        if compare(&rest, b) != Ordering::Less {
            rest = Int::new(false, difference(&rest, b)).digits;
            quotient[bit / 32] |= 1 << (bit % 32);
        }
    }
    (quotient, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(text: &str) -> Int {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let value = Int::parse(digits, 10).unwrap();
        if negative { value.negated() } else { value }
    }

    fn show(value: &Int) -> String {
        format!("{}{}", if value.is_negative() { "-" } else { "" }, value.magnitude(10))
    }

    const A: &str = "123456789012345678901234567890123456789";
    const B: &str = "-987654321098765432109876543";

    #[test]
    fn arithmetic_is_that_of_python() {
        let (a, b) = (int(A), int(B));
        assert_eq!(show(&a.add(&b).unwrap()), "123456789011358024580135802458013580246");
        assert_eq!(show(&b.subtract(&a).unwrap()), "-123456789013333333222333333322233333332");
        assert_eq!(
            show(&a.multiply(&b).unwrap()),
            "-121932631137021795226185032707818930270769699763964487123185200427"
        );
        let (quotient, rest) = a.divide(&b).unwrap();
        assert_eq!((&*show(&quotient), &*show(&rest)), ("-124999998861", "-61728381006172811727160734"));
        assert_eq!(quotient.multiply(&b).unwrap().add(&rest).unwrap(), a);
        assert_eq!(show(&Int::from(-7).divide(&Int::from(2)).unwrap().0), "-4");
        assert_eq!(show(&Int::from(3).power(100).unwrap()), "515377520732011331036461129765621272702107522001");
        assert_eq!(show(&Int::from(-1).power(u64::MAX).unwrap()), "-1");
        assert!(Int::from(2).power(1 << 40).is_err());
        assert!(Int::from(2).power(MAX_BITS as u64).is_err());
        assert!(a.divide(&Int::default()).is_none());
        assert_eq!(int("255").magnitude(16) + &int("8").magnitude(2) + &int("0").magnitude(8), "ff10000");
        assert_eq!(int(A).magnitude(16), "5ce0e9a56015fec5aadfa328ae398115");
    }

    #[test]
    fn conversions_are_exact_or_rounded_to_nearest() {
        assert_eq!(Int::from(i64::MIN).to_i64(), Some(i64::MIN));
        assert_eq!(int("9223372036854775808").to_i64(), None);
        assert_eq!(show(&Int::from_f64(1e22)), "10000000000000000000000");
        assert_eq!(show(&Int::from_f64(-0.9)) + &show(&Int::from_f64(-3.99)) + &show(&Int::from_f64(5e-324)), "0-30");
        // 2^53 + 1 is halfway, and to even.
        assert_eq!(int("9007199254740993").to_f64(), Some(9007199254740992.0));
        assert_eq!(int("9007199254740995").to_f64(), Some(9007199254740996.0));
        assert_eq!(int("147573952589676412929").to_f64(), Some(147573952589676412928.0));
        assert_eq!(int(&"9".repeat(400)).to_f64(), None);
        assert_eq!(int(A).ratio(&int(B)), Some(-124999998860.9375));
        assert_eq!(Int::from(1).ratio(&Int::from(3)), Some(1.0 / 3.0));
        assert_eq!(
            int(&("1".to_owned() + &"0".repeat(400))).ratio(&int(&("3".to_owned() + &"0".repeat(399)))),
            Some(10.0 / 3.0)
        );
    }
}
