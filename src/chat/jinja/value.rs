//! Values of a template: what Python has, as far as a template can get at it.
//!
//! Strings, lists, tuples and dicts never change once they are made (the sandbox of the reference forbids it), so that
//! values share them. Only a [`Namespace`] changes, and what iterates. What could hold itself (a namespace, a loop) is
//! emptied by the interpreter when it is done with it; what cannot knows how deep it is, which bounds every recursion
//! over values, down to their being dropped.

use super::error::{Error, Quoted, Result, fail};
use super::int::{Int, TooLarge};
use super::meter::{Buffer, Charge, Heap, Items, Meter};
use super::syntax::Symbol;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::mem;
use std::ops::Deref;
use std::rc::Rc;

/// Deepest nesting of lists and dicts.
pub const MAX_DEPTH: u16 = 200;

pub type Str = Rc<Heap<Text>>;
pub type List = Rc<Heap<Seq>>;
pub type Map = Rc<Heap<Dict>>;

#[derive(Clone)]
pub enum Value {
    Undefined(Missing),
    None,
    Bool(bool),
    Int(i64),
    /// Beyond 64 bits; see [`Value::integer`].
    Big(Rc<Heap<Int>>),
    Float(f64),
    Str(Str),
    List(List),
    Tuple(List),
    Dict(Map),
    Range(Rc<Heap<Range>>),
    /// `dict.keys()`, `dict.values()`, `dict.items()`
    View(View, Map),
    /// What can be iterated over once, as generators of Python.
    Stream(Rc<Heap<Stream>>),
    Namespace(Rc<Heap<Namespace>>),
    Macro(Rc<Heap<Macro>>),
    Loop(Rc<Heap<Loop>>),
    Cycler(Rc<Heap<Cycler>>),
    Joiner(Rc<Heap<Joiner>>),
    Function(Function),
    /// A method of a value, not called yet.
    Method(Rc<Heap<(Value, &'static str)>>),
    /// `self`
    Template,
    /// A block of `self`, by its number.
    Block(usize),
}

/// Why a value is undefined, for the message when it is used.
#[derive(Clone, Copy)]
pub enum Missing {
    Name(Symbol),
    Attribute(Kind, Symbol),
    Element(Kind),
    /// A parameter of a macro.
    Parameter(Symbol),
    Because(Reason),
}

/// Why there is no value.
#[derive(Clone, Copy)]
pub enum Reason {
    NoPrevious,
    NoNext,
    NoCaller,
    NoElse,
    Empty,
}

impl Reason {
    /// The reason as a message.
    pub fn text(self) -> &'static str {
        match self {
            Reason::NoPrevious => "there is no previous item",
            Reason::NoNext => "there is no next item",
            Reason::NoCaller => "there is no caller",
            Reason::NoElse => "a condition is false and has no `else`",
            Reason::Empty => "there are no items",
        }
    }
}

/// Types of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Undefined,
    None,
    Bool,
    Int,
    Float,
    Str,
    List,
    Tuple,
    Dict,
    Range,
    View,
    Stream,
    Namespace,
    Macro,
    Loop,
    Cycler,
    Joiner,
    Function,
    Template,
}

impl Kind {
    /// The name that Python has for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Undefined => "Undefined",
            Kind::None => "NoneType",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Float => "float",
            Kind::Str => "str",
            Kind::List => "list",
            Kind::Tuple => "tuple",
            Kind::Dict => "dict",
            Kind::Range => "range",
            Kind::View => "dict view",
            Kind::Stream => "generator",
            Kind::Namespace => "Namespace",
            Kind::Macro => "Macro",
            Kind::Loop => "LoopContext",
            Kind::Cycler => "Cycler",
            Kind::Joiner => "Joiner",
            Kind::Function => "function",
            Kind::Template => "TemplateReference",
        }
    }
}

/// A string.
pub struct Text {
    text: String,
    /// Its length in characters.
    pub chars: usize,
    /// Whether it is `Markup`: safe HTML, into which other text goes escaped.
    pub markup: bool,
}

impl Text {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub fn is_ascii(&self) -> bool {
        self.chars == self.text.len()
    }

    /// The offset of the character `at`, or the end.
    pub fn offset(&self, at: usize) -> usize {
        if self.is_ascii() {
            return at.min(self.text.len());
        }
        self.text.char_indices().nth(at).map_or(self.text.len(), |(offset, _)| offset)
    }

    /// The number of characters before `offset`.
    pub fn position(&self, offset: usize) -> usize {
        if self.is_ascii() { offset } else { self.text[..offset].chars().count() }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// The items of a list or a tuple.
pub struct Seq {
    items: Vec<Value>,
    depth: u16,
    /// Whether it is a pair of `groupby`, which has names for its items.
    pub group: bool,
}

impl Deref for Seq {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

/// `range(start, start + len * step, step)`
pub struct Range {
    pub start: i64,
    pub step: i64,
    pub len: usize,
    /// Where it was said to stop, for printing.
    pub stop: i64,
}

impl Range {
    /// The item `at`, which is one of them.
    pub fn item(&self, at: usize) -> i64 {
        self.start.wrapping_add(self.step.wrapping_mul(at as i64))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum View {
    Keys,
    Values,
    Items,
}

/// Items that are taken one after the other.
pub struct Stream {
    pub items: List,
    pub next: Cell<usize>,
    /// Why there are no more items.
    pub failure: Cell<Option<Error>>,
    /// What Python calls it.
    pub name: &'static str,
}

/// `namespace(...)`
pub struct Namespace {
    pub attributes: RefCell<Items<(Str, Value)>>,
}

impl Namespace {
    /// # Errors
    /// The name begins with an underscore, as those of Python's own attributes do.
    pub fn check(name: &str) -> Result<()> {
        if name.starts_with('_') {
            fail!("an attribute of a namespace cannot be called {}", Quoted(name));
        }
        Ok(())
    }

    /// Sets an attribute.
    pub fn set(&self, meter: &Meter, name: Str, value: Value) -> Result<()> {
        let mut attributes = self.attributes.borrow_mut();
        meter.work(attributes.len() / 16)?;
        let old = match attributes.iter_mut().find(|(other, _)| other.is(&name)) {
            Some((_, slot)) => Some(mem::replace(slot, value)),
            None => {
                attributes.push((name, value))?;
                None
            }
        };
        // What was there may hold this namespace.
        drop(attributes);
        drop(old);
        Ok(())
    }
}

/// A macro, or the body of a `call` block.
pub struct Macro {
    /// Its number in the program.
    pub id: usize,
    pub name: Option<Str>,
    /// Where it was defined.
    pub scope: ScopeChain,
}

/// A scope and those around it, from the inside: the place of each on the stack, and its number. One that is no longer
/// there has given its place to another number.
pub type ScopeChain = Vec<(usize, u64)>;

/// The variable `loop`.
pub struct Loop {
    /// Its number in the program.
    pub id: usize,
    /// The scope around it.
    pub scope: (usize, u64),
    pub depth0: usize,
    pub state: RefCell<LoopState>,
}

/// How far a loop is.
#[derive(Default)]
pub struct LoopState {
    pub source: Cursor,
    /// The items that have been begun.
    pub begun: usize,
    /// How many there are, where that is known.
    pub length: Option<usize>,
    /// The next item, or that there is none, where one has looked.
    pub next: Option<Option<Value>>,
    pub current: Option<Value>,
    pub previous: Option<Value>,
    /// The last arguments of `loop.changed`.
    pub changed: Option<Value>,
}

/// `cycler(...)`
pub struct Cycler {
    pub items: List,
    pub at: Cell<usize>,
}

/// `joiner(...)`
pub struct Joiner {
    pub separator: Value,
    pub used: Cell<bool>,
}

/// Functions that every template has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Range,
    Dict,
    FromKeys,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Value::Undefined(_) => Kind::Undefined,
            Value::None => Kind::None,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) | Value::Big(_) => Kind::Int,
            Value::Float(_) => Kind::Float,
            Value::Str(_) => Kind::Str,
            Value::List(_) => Kind::List,
            Value::Tuple(_) => Kind::Tuple,
            Value::Dict(_) => Kind::Dict,
            Value::Range(_) => Kind::Range,
            Value::View(..) => Kind::View,
            Value::Stream(_) => Kind::Stream,
            Value::Namespace(_) => Kind::Namespace,
            Value::Macro(_) => Kind::Macro,
            Value::Loop(_) => Kind::Loop,
            Value::Cycler(_) => Kind::Cycler,
            Value::Joiner(_) => Kind::Joiner,
            Value::Function(_) | Value::Method(_) | Value::Block(_) => Kind::Function,
            Value::Template => Kind::Template,
        }
    }

    pub fn text(meter: &Meter, text: &str) -> Result<Self> {
        Ok(Value::Str(Text::new(meter, text)?))
    }

    pub fn character(meter: &Meter, c: char) -> Result<Self> {
        Self::text(meter, c.encode_utf8(&mut [0; 4]))
    }

    pub fn list(items: Items<Value>) -> Result<Self> {
        Ok(Value::List(Seq::finish(items, false)?))
    }

    pub fn tuple(items: Items<Value>) -> Result<Self> {
        Ok(Value::Tuple(Seq::finish(items, false)?))
    }

    pub fn pair(meter: &Meter, first: Value, second: Value) -> Result<Self> {
        let mut items = Items::new(meter);
        items.reserve(2)?;
        items.push(first)?;
        items.push(second)?;
        Self::tuple(items)
    }

    /// What Python calls a generator: it yields the items, and then fails if there is a failure.
    pub fn stream(items: Items<Value>, failure: Option<Error>, name: &'static str) -> Result<Self> {
        let meter = items.meter().clone();
        let items = Seq::finish(items, false)?;
        Ok(Value::Stream(meter.put(Stream { items, next: Cell::new(0), failure: Cell::new(failure), name }, 0)?))
    }

    /// The shortest form of an integer.
    pub fn integer(meter: &Meter, value: Int) -> Result<Self> {
        match value.to_i64() {
            Some(value) => Ok(Value::Int(value)),
            None => {
                let bytes = 4 * value.len();
                Ok(Value::Big(meter.put(value, bytes)?))
            }
        }
    }

    /// The result of an operation on integers.
    pub fn bounded(meter: &Meter, result: std::result::Result<Int, TooLarge>) -> Result<Self> {
        match result {
            Ok(value) => Self::integer(meter, value),
            Err(TooLarge) => fail!("an integer has too many digits"),
        }
    }

    pub fn method(meter: &Meter, receiver: &Value, name: &'static str) -> Result<Self> {
        check_depth(receiver.depth())?;
        Ok(Value::Method(meter.put((receiver.clone(), name), 0)?))
    }

    pub fn joiner(meter: &Meter, separator: Value) -> Result<Self> {
        check_depth(separator.depth())?;
        Ok(Value::Joiner(meter.put(Joiner { separator, used: Cell::new(false) }, 0)?))
    }

    /// An integer that is no `bool`, or a `bool` as one.
    pub fn as_int(&self) -> Option<Int> {
        match self {
            Value::Bool(value) => Some(Int::from(i64::from(*value))),
            Value::Int(value) => Some(Int::from(*value)),
            Value::Big(value) => Some(Int::clone(value)),
            _ => None,
        }
    }

    /// An integer of 64 bits; larger ones are the largest of their sign.
    pub fn as_clamped(&self) -> Option<i64> {
        match self {
            Value::Bool(value) => Some(i64::from(*value)),
            Value::Int(value) => Some(*value),
            Value::Big(value) => Some(if value.is_negative() { i64::MIN } else { i64::MAX }),
            _ => None,
        }
    }

    /// `float(value)` of a number.
    pub fn to_f64(&self) -> Result<f64> {
        match self {
            Value::Float(value) => Ok(*value),
            Value::Int(value) => Ok(*value as f64),
            Value::Bool(value) => Ok(f64::from(u8::from(*value))),
            Value::Big(value) => match value.to_f64() {
                Some(value) => Ok(value),
                None => fail!("an integer is too large for a float"),
            },
            other => fail!("a number is expected, not {}", other.kind().name()),
        }
    }

    pub fn as_str(&self) -> Option<&Str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_))
    }

    /// `callable(value)`
    pub fn is_callable(&self) -> bool {
        matches!(
            self,
            Value::Undefined(_)
                | Value::Macro(_)
                | Value::Loop(_)
                | Value::Joiner(_)
                | Value::Function(_)
                | Value::Method(_)
                | Value::Block(_)
        )
    }

    /// `bool(value)`
    pub fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            _ => self.len() != Some(0),
        }
    }

    /// `len(value)`, for what has one.
    pub fn len(&self) -> Option<usize> {
        match self {
            Value::Undefined(_) => Some(0),
            Value::Str(text) => Some(text.chars),
            Value::List(items) | Value::Tuple(items) => Some(items.len()),
            Value::Dict(map) | Value::View(_, map) => Some(map.len()),
            Value::Range(range) => Some(range.len),
            _ => None,
        }
    }

    /// How deep containers are nested in it.
    fn depth(&self) -> u16 {
        match self {
            Value::List(items) | Value::Tuple(items) => items.depth,
            Value::Dict(map) | Value::View(_, map) => map.depth,
            Value::Stream(stream) => stream.items.depth,
            Value::Method(method) => method.0.depth() + 1,
            Value::Cycler(cycler) => cycler.items.depth,
            Value::Joiner(joiner) => joiner.separator.depth() + 1,
            _ => 0,
        }
    }

    /// Whether they are the same object (`is` of Python), as far as that can be told.
    pub fn is_same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::None, Value::None) | (Value::Template, Value::Template) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            // Python keeps one object for each of these.
            (Value::Int(a), Value::Int(b)) => a == b && (-5..=256).contains(a),
            (Value::Str(a), Value::Str(b)) => Rc::ptr_eq(a, b) || (a.text == b.text && a.chars <= 1),
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b),
            (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
            (Value::Range(a), Value::Range(b)) => Rc::ptr_eq(a, b),
            (Value::Stream(a), Value::Stream(b)) => Rc::ptr_eq(a, b),
            (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
            (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
            (Value::Cycler(a), Value::Cycler(b)) => Rc::ptr_eq(a, b),
            (Value::Joiner(a), Value::Joiner(b)) => Rc::ptr_eq(a, b),
            (Value::Function(a), Value::Function(b)) => a == b,
            _ => false,
        }
    }
}

/// Refuses a container whose deepest item is `depth` deep.
fn check_depth(depth: u16) -> Result<u16> {
    if depth >= MAX_DEPTH {
        fail!("a value is nested too deeply");
    }
    Ok(depth + 1)
}

impl Text {
    pub fn new(meter: &Meter, text: &str) -> Result<Str> {
        meter.scan(text.len())?;
        let inside = meter.charge(text.len())?;
        Self::keep(text.to_owned(), false, inside)
    }

    fn keep(text: String, markup: bool, charge: Charge) -> Result<Str> {
        let chars = text.chars().count();
        Meter::keep(Text { text, chars, markup }, charge)
    }
}

impl Buffer {
    pub fn finish(self) -> Result<Str> {
        let (text, charge) = self.into_parts();
        Text::keep(text, false, charge)
    }

    /// As [`Buffer::finish`], marked as safe HTML or not.
    pub fn finish_as(self, markup: bool) -> Result<Str> {
        let (text, charge) = self.into_parts();
        Text::keep(text, markup, charge)
    }
}

impl Seq {
    pub fn finish(items: Items<Value>, group: bool) -> Result<List> {
        let deepest = items.iter().map(Value::depth).max().unwrap_or(0);
        let depth = check_depth(deepest)?;
        let (items, charge) = items.into_parts();
        Meter::keep(Seq { items, depth, group }, charge)
    }
}

/// A dict, in the order of insertion.
pub struct Dict {
    entries: Items<(Value, Value)>,
    /// Where the keys are, once they are more than [`FEW`].
    index: HashMap<Key, usize>,
    index_charge: Charge,
    depth: u16,
}

/// Entries of a dict that are looked through one by one.
const FEW: usize = 8;

/// Bytes that a hash map takes for an entry at most.
const INDEX_BYTES: usize = 3 * size_of::<(Key, usize)>();

impl Dict {
    pub fn new(meter: &Meter) -> Result<Self> {
        Ok(Self { entries: Items::new(meter), index: HashMap::new(), index_charge: meter.charge(0)?, depth: 1 })
    }

    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of a string.
    pub fn get_str(&self, key: &Str) -> Option<&Value> {
        self.find(&Key(Value::Str(key.clone()))).map(|at| &self.entries[at].1)
    }

    /// # Errors
    /// The key is of a type that cannot be one.
    pub fn get(&self, meter: &Meter, key: &Value) -> Result<Option<&Value>> {
        Ok(self.find(&Key::of(meter, key)?).map(|at| &self.entries[at].1))
    }

    fn find(&self, key: &Key) -> Option<usize> {
        if self.index.is_empty() {
            return self.entries.iter().position(|(other, _)| same_key(&key.0, other));
        }
        self.index.get(key).copied()
    }

    /// Sets the value of a key, which keeps its place if it is there already.
    ///
    /// # Errors
    /// The key is of a type that cannot be one; or as [`Meter::charge`].
    pub fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        let key = Key::of(self.entries.meter(), &key)?;
        self.depth = self.depth.max(check_depth(value.depth().max(key.0.depth()))?);
        if let Some(at) = self.find(&key) {
            self.entries[at].1 = value;
            return self.entries.meter().work(1);
        }
        let at = self.entries.len();
        if at >= FEW {
            self.index_charge.grow((at + 1) * INDEX_BYTES)?;
            if at == FEW {
                self.index = self.entries.iter().enumerate().map(|(at, (key, _))| (Key(key.clone()), at)).collect();
            }
            self.index.insert(key.clone(), at);
        }
        self.entries.push((key.0, value))
    }

    pub fn finish(self) -> Result<Value> {
        let meter = self.entries.meter().clone();
        Ok(Value::Dict(meter.put(self, 0)?))
    }
}

/// A value that can be the key of a dict. Numbers that are equal are the same key, whatever their types.
#[derive(Clone)]
pub struct Key(Value);

impl Key {
    /// # Errors
    /// The value cannot be a key.
    pub fn of(meter: &Meter, value: &Value) -> Result<Self> {
        check_key(meter, value)?;
        Ok(Self(value.clone()))
    }
}

/// Pays for what a look at the key takes.
fn check_key(meter: &Meter, value: &Value) -> Result<()> {
    match value {
        Value::List(_) | Value::Dict(_) | Value::View(View::Keys | View::Items, _) => {
            fail!("unhashable type: {}", value.kind().name())
        }
        Value::Tuple(items) => {
            meter.work(items.len())?;
            items.iter().try_for_each(|item| check_key(meter, item))
        }
        Value::Str(text) => meter.scan(text.len()),
        _ => Ok(()),
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        same_key(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_key(&self.0, state);
    }
}

fn same_key(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => a.text == b.text,
        (Value::Undefined(_), Value::Undefined(_)) => true,
        (Value::Tuple(a), Value::Tuple(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_key(a, b)),
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Float(float), int) | (int, Value::Float(float)) => {
            float.fract() == 0.0 && int.as_int().is_some_and(|int| int == Int::from_f64(*float))
        }
        (Value::Range(a), Value::Range(b)) => {
            a.len == b.len && (a.len == 0 || (a.start == b.start && (a.len == 1 || a.step == b.step)))
        }
        _ if a.is_number() && b.is_number() => a.as_int() == b.as_int(),
        _ => a.is_same(b),
    }
}

fn hash_key<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::Str(text) => text.text.hash(state),
        Value::Bool(value) => i64::from(*value).hash(state),
        Value::Int(value) => value.hash(state),
        Value::Big(value) => Int::hash(value, state),
        Value::Float(value) if value.fract() == 0.0 => {
            let int = Int::from_f64(*value);
            match int.to_i64() {
                Some(value) => value.hash(state),
                None => int.hash(state),
            }
        }
        Value::Float(value) => value.to_bits().hash(state),
        Value::Tuple(items) => items.iter().for_each(|item| hash_key(item, state)),
        other => (other.kind() as u8).hash(state),
    }
}

/// Goes through what can be iterated over.
#[derive(Clone, Default)]
pub enum Cursor {
    #[default]
    Empty,
    Text(Str, usize),
    List(List, usize),
    Range(Rc<Heap<Range>>, usize),
    Dict(View, Map, usize),
    Stream(Rc<Heap<Stream>>),
}

impl Cursor {
    /// # Errors
    /// The value cannot be iterated over.
    pub fn new(value: &Value) -> Result<Self> {
        Ok(match value {
            Value::Undefined(_) => Cursor::Empty,
            Value::Str(text) => Cursor::Text(text.clone(), 0),
            Value::List(items) | Value::Tuple(items) => Cursor::List(items.clone(), 0),
            Value::Range(range) => Cursor::Range(range.clone(), 0),
            Value::Dict(map) => Cursor::Dict(View::Keys, map.clone(), 0),
            Value::View(view, map) => Cursor::Dict(*view, map.clone(), 0),
            Value::Stream(stream) => Cursor::Stream(stream.clone()),
            other => fail!("{} is not iterable", other.kind().name()),
        })
    }

    /// The next item; a step of work.
    pub fn next(&mut self, meter: &Meter) -> Result<Option<Value>> {
        meter.work(1)?;
        let item = match self {
            Cursor::Empty => None,
            Cursor::Text(text, at) => {
                let c = text[*at..].chars().next();
                *at += c.map_or(0, char::len_utf8);
                return c.map(|c| Value::character(meter, c)).transpose();
            }
            Cursor::List(items, at) => advance(at, items.len()).map(|at| items[at].clone()),
            Cursor::Range(range, at) => advance(at, range.len).map(|at| Value::Int(range.item(at))),
            Cursor::Dict(view, map, at) => {
                let Some(at) = advance(at, map.len()) else { return Ok(None) };
                let (key, value) = &map.entries[at];
                Some(match view {
                    View::Keys => key.clone(),
                    View::Values => value.clone(),
                    View::Items => Value::pair(meter, key.clone(), value.clone())?,
                })
            }
            Cursor::Stream(stream) => {
                let mut at = stream.next.get();
                let item = advance(&mut at, stream.items.len()).map(|at| stream.items[at].clone());
                stream.next.set(at);
                match stream.failure.take() {
                    Some(failure) if item.is_none() => return Err(failure),
                    failure => stream.failure.set(failure),
                }
                item
            }
        };
        Ok(item)
    }
}

/// The place `at`, if it is before `len`; moves it on.
fn advance(at: &mut usize, len: usize) -> Option<usize> {
    let place = *at;
    (place < len).then(|| {
        *at += 1;
        place
    })
}

/// All items of what can be iterated over.
pub fn collect(meter: &Meter, value: &Value) -> Result<Items<Value>> {
    let mut items = Items::new(meter);
    if !value.is_undefined() {
        items.reserve(value.len().unwrap_or(0))?;
    }
    let mut cursor = Cursor::new(value)?;
    while let Some(item) = cursor.next(meter)? {
        items.push(item)?;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::jinja::meter::Limits;

    fn meter() -> Meter {
        Meter::new(Limits { work: 1 << 20, memory: 1 << 20 })
    }

    #[test]
    fn a_value_is_two_words() {
        assert_eq!(size_of::<Value>(), 16);
    }

    #[test]
    fn dicts_of_any_size_keep_their_order_and_know_their_keys() {
        let meter = meter();
        for count in [1, 3, FEW, FEW + 1, 1000] {
            let mut dict = Dict::new(&meter).unwrap();
            for i in 0..count {
                dict.insert(Value::Int(i as i64), Value::None).unwrap();
                dict.insert(Value::text(&meter, &i.to_string()).unwrap(), Value::Int(i as i64)).unwrap();
            }
            dict.insert(Value::Float(0.0), Value::Bool(true)).unwrap();
            assert_eq!(dict.len(), 2 * count);
            assert!(dict.entries()[0].1.is_true(), "0 and 0.0 are one key");
            for i in 0..count {
                let text = Text::new(&meter, &i.to_string()).unwrap();
                assert!(matches!(dict.get_str(&text), Some(Value::Int(value)) if *value == i as i64));
                assert!(dict.get(&meter, &Value::Float(i as f64)).unwrap().is_some());
            }
            assert!(dict.get(&meter, &Value::Int(-1)).unwrap().is_none());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let meter = meter();
        let mut value = Value::None;
        let mut depth = 0;
        let refused = loop {
            let mut items = Items::new(&meter);
            items.push(value.clone()).unwrap();
            match Value::list(items) {
                Ok(list) => value = list,
                Err(error) => break error,
            }
            depth += 1;
        };
        assert_eq!(depth, MAX_DEPTH);
        assert!(format!("{refused:?}").contains("nested too deeply"));
    }
}
