//! What filters, tests, methods and functions need of the interpreter that calls them.

use super::args::Args;
use super::error::Result;
use super::meter::{Buffer, Heap, Items, Meter};
use super::print;
use super::syntax::Comparison;
use super::value::{Cursor, Namespace, Str, Value, collect};
use std::rc::Rc;

/// The interpreter.
pub trait Host {
    fn meter(&self) -> &Meter;

    /// # Errors
    /// The value is undefined; the message says why.
    fn defined(&self, value: &Value) -> Result<()>;

    /// `value[key]`: an item, or else an attribute; undefined if there is neither.
    fn item(&mut self, value: &Value, key: &Value) -> Result<Value>;

    /// `value.name`: an attribute, or else an item; undefined if there is neither.
    fn attribute(&mut self, value: &Value, name: &Str) -> Result<Value>;

    /// `getattr(value, name)`
    fn own_attribute(&mut self, value: &Value, name: &str) -> Result<Option<Value>>;

    /// Whether a comparison is true.
    fn holds(&self, comparison: Comparison, a: &Value, b: &Value) -> Result<bool>;

    /// Applies a filter; none if there is none of that name.
    fn filter(&mut self, name: &str, value: &Value, args: &Args) -> Result<Option<Value>>;

    /// Applies a test; none if there is none of that name.
    fn test(&mut self, name: &str, value: &Value, args: &Args) -> Result<Option<bool>>;

    fn has_filter(&self, name: &str) -> bool;

    fn new_namespace(&mut self) -> Result<Rc<Heap<Namespace>>>;

    /// Goes through a value.
    fn iterate(&self, value: &Value) -> Result<Cursor> {
        Cursor::new(value)
    }

    /// All items of a value.
    fn collect(&self, value: &Value) -> Result<Items<Value>> {
        collect(self.meter(), value)
    }

    /// A new string.
    fn text(&self, text: &str) -> Result<Value> {
        Value::text(self.meter(), text)
    }

    /// `str(value)`; a string is itself.
    fn text_of(&self, value: &Value) -> Result<Str> {
        match value {
            Value::Str(text) => Ok(text.clone()),
            value => {
                let mut out = Buffer::new(self.meter());
                print::text(value, &mut out)?;
                out.finish()
            }
        }
    }
}
