//! Attributes and items of values, and what else functions of templates ask for.

use super::Vm;
use crate::chat::jinja::args::Args;
use crate::chat::jinja::error::{Error, Quoted, Result};
use crate::chat::jinja::filters;
use crate::chat::jinja::host::Host;
use crate::chat::jinja::meter::{Heap, Items, Meter};
use crate::chat::jinja::methods;
use crate::chat::jinja::ops;
use crate::chat::jinja::predicates;
use crate::chat::jinja::slice;
use crate::chat::jinja::syntax::Comparison;
use crate::chat::jinja::value::{Function, Kind, Macro, Missing, Namespace, Str, Value};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

impl Vm<'_> {
    /// `value.name`: an attribute, or else an item.
    pub(super) fn find_attribute(&mut self, value: &Value, name: &Str) -> Result<Option<Value>> {
        self.defined(value)?;
        if let Some(found) = self.own_attribute(value, name)? {
            return Ok(Some(found));
        }
        Ok(match value {
            Value::Dict(map) => {
                self.meter.scan(name.len())?;
                map.get_str(name).cloned()
            }
            _ => None,
        })
    }

    #[inline(never)]
    fn macro_attribute(&mut self, macro_: &Heap<Macro>, name: &str) -> Result<Option<Value>> {
        let body = &self.program.macros[macro_.id];
        Ok(match name {
            "name" => Some(macro_.name.clone().map_or(Value::None, Value::Str)),
            "arguments" => {
                let mut names = Items::new(&self.meter);
                for (parameter, _) in &body.parameters {
                    names.push(Value::Str(self.names[parameter.0 as usize].clone()))?;
                }
                Some(Value::tuple(names)?)
            }
            "caller" => Some(Value::Bool(body.uses.caller)),
            "catch_kwargs" => Some(Value::Bool(body.uses.kwargs)),
            "catch_varargs" => Some(Value::Bool(body.uses.varargs)),
            "explicit_caller" => Some(Value::Bool(body.parameters.iter().any(|(p, _)| self.name(*p) == "caller"))),
            _ => None,
        })
    }
}

impl Host for Vm<'_> {
    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn defined(&self, value: &Value) -> Result<()> {
        let Value::Undefined(missing) = value else { return Ok(()) };
        let object = |kind: Kind| match kind {
            Kind::None => "None".to_owned(),
            kind => format!("{} object", kind.name()),
        };
        Err(match missing {
            Missing::Name(symbol) => Error::failed(format_args!("{} is undefined", Quoted(self.name(*symbol)))),
            Missing::Attribute(kind, symbol) => {
                let name = Quoted(self.name(*symbol));
                Error::failed(format_args!("`{}` has no attribute {name}", object(*kind)))
            }
            Missing::Element(kind) => Error::failed(format_args!("`{}` has no such element", object(*kind))),
            Missing::Parameter(symbol) => {
                Error::failed(format_args!("the parameter {} was not given", Quoted(self.name(*symbol))))
            }
            Missing::Because(reason) => Error::failed(reason.text()),
        })
    }

    fn item(&mut self, value: &Value, key: &Value) -> Result<Value> {
        self.defined(value)?;
        let found = match (value, key) {
            // What cannot be a key is not there.
            (Value::Dict(map), key) => match map.get(&self.meter, key) {
                Err(error) if error.is_failure() => None,
                found => found?.cloned(),
            },
            (Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Range(_), key) => match key.as_clamped() {
                Some(index) => slice::at(&self.meter, value, index)?,
                None => None,
            },
            _ => None,
        };
        let found = match (found, key) {
            (None, Value::Str(name)) => self.own_attribute(value, name)?,
            (found, _) => found,
        };
        Ok(found.unwrap_or(Value::Undefined(Missing::Element(value.kind()))))
    }

    fn attribute(&mut self, value: &Value, name: &Str) -> Result<Value> {
        let found = self.find_attribute(value, name)?;
        Ok(found.unwrap_or(Value::Undefined(Missing::Element(value.kind()))))
    }

    fn own_attribute(&mut self, value: &Value, name: &str) -> Result<Option<Value>> {
        if let Some(method) = methods::find(value.kind(), name) {
            return Value::method(&self.meter, value, method).map(Some);
        }
        Ok(match value {
            Value::Namespace(namespace) => {
                let attributes = namespace.attributes.borrow();
                self.meter.work(attributes.len() / 16)?;
                attributes.iter().find(|(other, _)| other.is(name)).map(|(_, value)| value.clone())
            }
            Value::Loop(loop_) => self.loop_attribute(loop_, name)?,
            Value::Function(Function::Dict) if name == "fromkeys" => Some(Value::Function(Function::FromKeys)),
            Value::Tuple(items) if items.group => match name {
                "grouper" => items.first().cloned(),
                "list" => items.get(1).cloned(),
                _ => None,
            },
            Value::Macro(macro_) => self.macro_attribute(macro_, name)?,
            Value::Cycler(cycler) if name == "current" => cycler.items.get(cycler.at.get()).cloned(),
            Value::Template => {
                self.meter.work(self.program.blocks.len() / 16)?;
                let block = self.program.blocks.iter().position(|block| self.name(block.name) == name);
                block.map(Value::Block)
            }
            Value::Range(range) => match name {
                "start" => Some(Value::Int(range.start)),
                "stop" => Some(Value::Int(range.stop)),
                "step" => Some(Value::Int(range.step)),
                _ => None,
            },
            Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_) => match (name, value) {
                ("real", value) | ("numerator", value @ (Value::Bool(_) | Value::Int(_) | Value::Big(_))) => {
                    Some(ops::positive(value)?)
                }
                ("imag", Value::Float(_)) => Some(Value::Float(0.0)),
                ("imag", _) => Some(Value::Int(0)),
                ("denominator", Value::Bool(_) | Value::Int(_) | Value::Big(_)) => Some(Value::Int(1)),
                _ => None,
            },
            _ => None,
        })
    }

    fn holds(&self, comparison: Comparison, a: &Value, b: &Value) -> Result<bool> {
        let meter = &self.meter;
        let order = |accept: fn(Ordering) -> bool| {
            self.defined(a)?;
            self.defined(b)?;
            Ok(ops::order(meter, a, b)?.is_some_and(accept))
        };
        match comparison {
            Comparison::Equal => ops::equal(meter, a, b),
            Comparison::NotEqual => Ok(!ops::equal(meter, a, b)?),
            Comparison::Less => order(Ordering::is_lt),
            Comparison::LessOrEqual => order(Ordering::is_le),
            Comparison::Greater => order(Ordering::is_gt),
            Comparison::GreaterOrEqual => order(Ordering::is_ge),
            Comparison::In => ops::contains(meter, b, a),
            Comparison::NotIn => Ok(!ops::contains(meter, b, a)?),
        }
    }

    fn filter(&mut self, name: &str, value: &Value, args: &Args) -> Result<Option<Value>> {
        filters::find(name).map(|number| filters::apply(self, number, value, args)).transpose()
    }

    fn test(&mut self, name: &str, value: &Value, args: &Args) -> Result<Option<bool>> {
        predicates::find(name).map(|number| predicates::apply(self, number, value, args)).transpose()
    }

    fn has_filter(&self, name: &str) -> bool {
        filters::find(name).is_some()
    }

    fn new_namespace(&mut self) -> Result<Rc<Heap<Namespace>>> {
        let namespace = self.meter.put(Namespace { attributes: RefCell::new(Items::new(&self.meter)) }, 0)?;
        self.namespaces.push(namespace.clone())?;
        Ok(namespace)
    }
}
