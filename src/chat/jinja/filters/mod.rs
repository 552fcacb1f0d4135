//! Filters: what stands after `|`.

mod number;
mod sequence;
mod text;

use super::args::Args;
use super::error::Result;
use super::host::Host;
use super::text as case;
use super::value::Value;
use std::cmp::Ordering;

type Filter = fn(&mut dyn Host, &Value, &Args) -> Result<Value>;

/// The filters, in order of their names.
const FILTERS: [(&str, Filter); 49] = [
    ("abs", number::abs),
    ("attr", sequence::attr),
    ("batch", sequence::batch),
    ("capitalize", |host, value, args| text::changed(host, value, args, case::capitalize)),
    ("center", text::center),
    ("count", sequence::length),
    ("d", sequence::default),
    ("default", sequence::default),
    ("dictsort", sequence::dictsort),
    ("e", text::escape),
    ("escape", text::escape),
    ("filesizeformat", number::filesizeformat),
    ("first", sequence::first),
    ("float", number::float),
    ("forceescape", text::force_escape),
    ("format", text::formatted),
    ("groupby", sequence::groupby),
    ("indent", text::indent),
    ("int", number::int),
    ("items", sequence::items),
    ("join", sequence::join),
    ("last", sequence::last),
    ("length", sequence::length),
    ("list", sequence::list),
    ("lower", |host, value, args| text::changed(host, value, args, case::lower)),
    ("map", sequence::map),
    ("max", |host, value, args| sequence::extreme(host, value, args, Ordering::Greater)),
    ("min", |host, value, args| sequence::extreme(host, value, args, Ordering::Less)),
    ("reject", |host, value, args| sequence::select(host, value, args, false, false)),
    ("rejectattr", |host, value, args| sequence::select(host, value, args, true, false)),
    ("replace", text::replace),
    ("reverse", sequence::reverse),
    ("round", number::round),
    ("safe", text::safe),
    ("select", |host, value, args| sequence::select(host, value, args, false, true)),
    ("selectattr", |host, value, args| sequence::select(host, value, args, true, true)),
    ("slice", sequence::slice),
    ("sort", sequence::sort),
    ("string", text::stringify),
    ("sum", sequence::sum),
    ("title", |host, value, args| text::changed(host, value, args, text::title)),
    ("tojson", text::tojson),
    ("trim", text::trim),
    ("truncate", text::truncate),
    ("unique", sequence::unique),
    ("upper", |host, value, args| text::changed(host, value, args, case::upper)),
    ("urlencode", text::urlencode),
    ("wordcount", text::wordcount),
    ("xmlattr", text::xmlattr),
];

/// The number of a filter.
pub fn find(name: &str) -> Option<usize> {
    FILTERS.binary_search_by_key(&name, |(name, _)| name).ok()
}

/// Applies the filter of that number.
pub fn apply(host: &mut dyn Host, number: usize, value: &Value, args: &Args) -> Result<Value> {
    host.meter().descend()?;
    (FILTERS[number].1)(host, value, args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(FILTERS.is_sorted_by_key(|(name, _)| name));
    }
}
