//! Items and slices of strings, lists, tuples and ranges.

use super::error::{Result, fail};
use super::meter::{Buffer, Items, Meter};
use super::value::{Range, Value};

/// `value[index]`, counted from the end if it is negative.
pub fn at(meter: &Meter, value: &Value, index: i64) -> Result<Option<Value>> {
    let len = value.len().unwrap_or(0) as i64;
    let index = if index < 0 { index.saturating_add(len) } else { index };
    if !(0..len).contains(&index) {
        return Ok(None);
    }
    let index = index as usize;
    match value {
        Value::List(items) | Value::Tuple(items) => Ok(items.get(index).cloned()),
        Value::Range(range) => Ok(Some(Value::Int(range.item(index)))),
        Value::Str(text) => {
            if !text.is_ascii() {
                meter.scan(text.len())?;
            }
            let c = text[text.offset(index)..].chars().next();
            c.map(|c| Value::character(meter, c)).transpose()
        }
        _ => Ok(None),
    }
}

/// `value[start:stop:step]`
pub fn slice(meter: &Meter, value: &Value, bounds: &[Value; 3]) -> Result<Value> {
    let Some(len) = value.len().filter(|_| !matches!(value, Value::Dict(_) | Value::View(..))) else {
        fail!("{} cannot be sliced", value.kind().name());
    };
    let bound = |value: &Value| match value {
        Value::None => Ok(None),
        value => match value.as_clamped() {
            Some(value) => Ok(Some(value)),
            None => fail!("slices need integers, not {}", value.kind().name()),
        },
    };
    let (start, stop, step) = (bound(&bounds[0])?, bound(&bounds[1])?, bound(&bounds[2])?.unwrap_or(1));
    if step == 0 {
        fail!("the step of a slice cannot be zero");
    }
    let places = Places::new(len as i64, start, stop, step);
    match value {
        Value::Str(text) if step == 1 => {
            if !text.is_ascii() {
                meter.scan(text.len())?;
            }
            let start = text.offset(places.start as usize);
            let mut out = Buffer::new(meter);
            let end = if text.is_ascii() {
                start + places.count
            } else {
                text[start..].char_indices().nth(places.count).map_or(text.len(), |(at, _)| start + at)
            };
            out.push_str(&text[start..end])?;
            out.finish_as(text.markup).map(Value::Str)
        }
        Value::Str(text) => {
            let mut characters = Items::new(meter);
            characters.reserve(text.chars)?;
            meter.scan(text.len())?;
            text.chars().for_each(|c| characters.push_within(c));
            let mut out = Buffer::new(meter);
            meter.work(places.count / 8)?;
            places.iter().try_for_each(|at| out.push(characters[at]))?;
            out.finish_as(text.markup).map(Value::Str)
        }
        Value::List(items) | Value::Tuple(items) => {
            let mut taken = Items::new(meter);
            taken.reserve(places.count)?;
            meter.work(places.count / 4)?;
            places.iter().for_each(|at| taken.push_within(items[at].clone()));
            if matches!(value, Value::List(_)) { Value::list(taken) } else { Value::tuple(taken) }
        }
        Value::Range(range) => {
            let item = |at: i64| range.start.wrapping_add(range.step.wrapping_mul(at));
            let step = range.step.saturating_mul(step);
            let stop = item(places.start.wrapping_add((places.count as i64).wrapping_mul(places.step)));
            let range = Range { start: item(places.start), step, len: places.count, stop };
            Ok(Value::Range(meter.put(range, 0)?))
        }
        other => fail!("{} cannot be sliced", other.kind().name()),
    }
}

/// The places of a slice.
struct Places {
    start: i64,
    step: i64,
    count: usize,
}

impl Places {
    /// `slice(start, stop, step).indices(len)`
    fn new(len: i64, start: Option<i64>, stop: Option<i64>, step: i64) -> Self {
        let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let clamp = |bound: i64| (if bound < 0 { bound.saturating_add(len) } else { bound }).clamp(low, high);
        let start = start.map_or(if step > 0 { low } else { high }, clamp);
        let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
        let distance = if step > 0 { stop - start } else { start - stop };
        let count = if distance > 0 { (distance - 1) / step.saturating_abs() + 1 } else { 0 };
        Self { start: start.max(0), step, count: count as usize }
    }

    fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let (start, step) = (self.start, self.step);
        (0..self.count as i64).map(move |i| (start + i * step) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_those_of_python() {
        let places = |start, stop, step| Places::new(5, start, stop, step).iter().collect::<Vec<_>>();
        assert_eq!(places(None, None, 1), [0, 1, 2, 3, 4]);
        assert_eq!(places(None, None, -1), [4, 3, 2, 1, 0]);
        assert_eq!(places(Some(1), Some(-1), 2), [1, 3]);
        assert_eq!(places(Some(-2), None, 1), [3, 4]);
        assert_eq!(places(Some(9), Some(0), -3), [4, 1]);
        assert_eq!(places(Some(3), Some(1), 1), [0; 0]);
        assert_eq!(places(Some(i64::MIN), Some(i64::MAX), i64::MAX), [0]);
        assert_eq!(places(None, None, i64::MIN), [4]);
    }
}
