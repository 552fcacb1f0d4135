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
    ("capitalize", |vm, value, args| text::changed(vm, value, args, case::capitalize)),
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
    ("lower", |vm, value, args| text::changed(vm, value, args, case::lower)),
    ("map", sequence::map),
    ("max", |vm, value, args| sequence::extreme(vm, value, args, Ordering::Greater)),
    ("min", |vm, value, args| sequence::extreme(vm, value, args, Ordering::Less)),
    ("reject", |vm, value, args| sequence::select(vm, value, args, false, false)),
    ("rejectattr", |vm, value, args| sequence::select(vm, value, args, true, false)),
    ("replace", text::replace),
    ("reverse", sequence::reverse),
    ("round", number::round),
    ("safe", text::safe),
    ("select", |vm, value, args| sequence::select(vm, value, args, false, true)),
    ("selectattr", |vm, value, args| sequence::select(vm, value, args, true, true)),
    ("slice", sequence::slice),
    ("sort", sequence::sort),
    ("string", text::stringify),
    ("sum", sequence::sum),
    ("title", |vm, value, args| text::changed(vm, value, args, text::title)),
    ("tojson", text::tojson),
    ("trim", text::trim),
    ("truncate", text::truncate),
    ("unique", sequence::unique),
    ("upper", |vm, value, args| text::changed(vm, value, args, case::upper)),
    ("urlencode", text::urlencode),
    ("wordcount", text::wordcount),
    ("xmlattr", text::xmlattr),
];

/// The number of a filter.
pub fn find(name: &str) -> Option<usize> {
    FILTERS.binary_search_by_key(&name, |(name, _)| name).ok()
}

/// Applies the filter of that number.
pub fn apply(vm: &mut dyn Host, number: usize, value: &Value, args: &Args) -> Result<Value> {
    vm.meter().descend()?;
    (FILTERS[number].1)(vm, value, args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(FILTERS.is_sorted_by_key(|(name, _)| name));
    }
}
