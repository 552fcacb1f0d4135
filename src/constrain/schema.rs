//! A JSON schema as a grammar of the answers that it allows.
//!
//! White space is fixed: one blank behind each comma and colon and none elsewhere. A model that may choose it can write lines
//! without end.

use super::constraint::{Constraint, LONGEST_WAY};
use super::keywords::{self, Looked, place_name};
use super::landing::{self, Strings, Witnesses};
use super::vocabulary::{Vocabulary, VocabularyError};
use llguidance::api::TopLevelGrammar;
use llguidance::{JsonCompileOptions, Matcher};
use serde_json::{Map, Value, json};
use std::fmt;
use std::sync::Arc;

/// Stack of the thread that makes a grammar: a schema that leads from part to part takes some of it for each.
const STACK: usize = 64 << 20;

/// Parts of a schema that are tried on their own to find which one is at fault.
const MOST_TRIES: usize = 64;

/// What becomes of keywords that cannot be held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strictness {
    /// A schema that has some is refused.
    Strict,
    /// They are left out, and named by [`Grammar::relaxed`].
    Lenient,
}

/// A keyword of a schema and where it stands, as a JSON pointer behind `#`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The keyword.
    pub keyword: String,
    /// The schema that has it.
    pub at: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.keyword, self.at)
    }
}

/// Why a schema is not held to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// It is more than is taken.
    #[error("the schema is too large: the {what} is more than {most}")]
    TooLarge {
        /// What of it.
        what: &'static str,
        /// How much is taken.
        most: usize,
    },
    /// It has a keyword that cannot be held, and was to be held in full.
    #[error("the schema's keyword {0} cannot be held")]
    Unheld(Place),
    /// It makes no sense, or is too much work, in this part.
    #[error("the schema at {place} cannot be held: {why}")]
    Invalid {
        /// The part, as a JSON pointer behind `#`.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Every text that it allows is too long, if there is any.
    #[error("the schema allows no text of at most {LONGEST_WAY} bytes")]
    Endless,
    /// There is no thread to make a grammar on.
    #[error("there is no memory for a thread that makes the schema into a grammar")]
    NoThread,
    /// No answer of the model can be constrained.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
}

/// A grammar, from which the constraints of answers are made.
pub struct Grammar {
    matcher: Matcher,
    vocabulary: Arc<Vocabulary>,
    witnesses: Arc<Witnesses>,
    way: Vec<u8>,
    relaxed: Vec<Place>,
}

impl Grammar {
    /// Bytes that a grammar and the constraint of an answer take, as far as is planned: most take less, and the lexer's states are
    /// bounded.
    pub const BYTES: u64 = 16 << 20;

    /// Any JSON object.
    ///
    /// # Errors
    /// As [`Grammar::of_schema`].
    pub fn json_object(vocabulary: &Arc<Vocabulary>) -> Result<Grammar, SchemaError> {
        Grammar::of_schema(&json!({"type": "object"}), Strictness::Strict, vocabulary)
    }

    /// The JSON texts that a schema allows.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn of_schema(
        schema: &Value,
        strictness: Strictness,
        vocabulary: &Arc<Vocabulary>,
    ) -> Result<Grammar, SchemaError> {
        let make = || Making { strictness, vocabulary }.make(schema);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("grammar".to_owned()).stack_size(STACK);
            let making = thread.spawn_scoped(scope, make).map_err(|_| SchemaError::NoThread)?;
            making.join().unwrap_or_else(|_| Err(at_root("it is a fault of the program to be stopped by it")))
        })
    }

    /// Keywords that answers may break, each with its place.
    pub fn relaxed(&self) -> &[Place] {
        &self.relaxed
    }

    /// Tokens of the shortest answer, as far as one is known.
    pub fn n_shortest(&self) -> usize {
        self.vocabulary.tokenizer().encode_bytes(&self.way).len()
    }

    /// The constraint of one answer.
    pub fn constraint(&self) -> Constraint {
        let (vocabulary, witnesses) = (Arc::clone(&self.vocabulary), Arc::clone(&self.witnesses));
        Constraint::new(self.matcher.deep_clone(), vocabulary, witnesses, self.way.clone())
    }
}

/// Whether all of a schema's keywords can be held, or may be left out, as far as is known without its grammar.
///
/// # Errors
/// [`SchemaError`].
pub fn check(schema: &Value, strictness: Strictness) -> Result<(), SchemaError> {
    looked(schema, strictness).map(|_| ())
}

fn looked(schema: &Value, strictness: Strictness) -> Result<Looked, SchemaError> {
    let looked = keywords::look(schema)?;
    match looked.unheld.first() {
        Some(place) if strictness == Strictness::Strict => Err(SchemaError::Unheld(place.clone())),
        _ => Ok(looked),
    }
}

/// A grammar in the making.
struct Making<'a> {
    strictness: Strictness,
    vocabulary: &'a Arc<Vocabulary>,
}

impl Making<'_> {
    fn make(&self, schema: &Value) -> Result<Grammar, SchemaError> {
        let is_lenient = self.strictness == Strictness::Lenient;
        let looked = looked(schema, self.strictness)?;
        let mut matcher =
            self.matcher(&looked.schema, is_lenient, looked.has_controls).map_err(|why| self.blame(&looked, why))?;
        let warned = is_lenient && !matcher.grammar_warnings().is_empty();
        let tokenizer = self.vocabulary.tokenizer();
        let witnesses = Arc::new(keywords::witnesses(&looked));
        let way = landing::search(&matcher, Strings::default(), LONGEST_WAY, &witnesses, tokenizer);
        let way = way.ok_or(SchemaError::Endless)?;
        let mut relaxed = looked.unheld.clone();
        if warned {
            relaxed.extend(self.relaxed(&looked));
        }
        Ok(Grammar { matcher, vocabulary: Arc::clone(self.vocabulary), witnesses, way, relaxed })
    }

    /// What follows a schema, or why nothing does.
    fn matcher(&self, schema: &Value, is_lenient: bool, has_controls: bool) -> Result<Matcher, String> {
        let options = JsonCompileOptions {
            item_separator: ", ".to_owned(),
            key_separator: ": ".to_owned(),
            whitespace_flexible: false,
            lenient: is_lenient,
            // A key by its number would be the same as one that the schema names, and not be held to it.
            json_allowed_escapes: (!has_controls).then(|| r#"nrbtf\""#.to_owned()),
            ..JsonCompileOptions::default()
        };
        let mut schema = match schema {
            Value::Object(_) => schema.clone(),
            _ => json!({"allOf": [schema]}),
        };
        options.apply_to(&mut schema);
        let parser = self.vocabulary.factory().create_parser(TopLevelGrammar::from_json_schema(schema));
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(error.lines().next().unwrap_or_default().to_owned()),
            None => Ok(matcher),
        }
    }

    /// The part of a schema at the deepest place that is at fault on its own.
    fn blame(&self, looked: &Looked, why: String) -> SchemaError {
        let (mut at, mut why, mut tries) = (String::new(), why, 0);
        'deeper: loop {
            for place in looked.places.iter().filter(|place| is_child(place, &at)) {
                tries += 1;
                if tries > MOST_TRIES {
                    break 'deeper;
                }
                if let Some(Err(error)) = self.alone(looked, place, self.strictness == Strictness::Lenient) {
                    (at, why) = (place.clone(), error);
                    continue 'deeper;
                }
            }
            break;
        }
        SchemaError::Invalid { place: place_name(&at), why }
    }

    /// Whether the part of a schema at `place` makes a grammar on its own, if it is one that may not.
    fn alone(&self, looked: &Looked, place: &str, is_lenient: bool) -> Option<Result<(), String>> {
        let Some(Value::Object(part)) = looked.schema.pointer(place) else { return None };
        let mut whole: Map<String, Value> = part.clone();
        for definitions in ["$defs", "definitions"] {
            if let Some(found) = looked.schema.get(definitions) {
                whole.insert(definitions.to_owned(), found.clone());
            }
        }
        Some(self.matcher(&Value::Object(whole), is_lenient, looked.has_controls).map(|_| ()))
    }

    /// Keywords that the grammar holds only for some schemas, and not for this one.
    fn relaxed(&self, looked: &Looked) -> Vec<Place> {
        let mut relaxed = Vec::new();
        for (place, keyword) in looked
            .places
            .iter()
            .flat_map(|place| ["oneOf", "minProperties", "maxProperties"].map(|keyword| (place, keyword)))
        {
            let has = looked.schema.pointer(place).and_then(|part| part.get(keyword)).is_some();
            if has && (relaxed.len() >= MOST_TRIES || !matches!(self.alone(looked, place, false), Some(Ok(())))) {
                relaxed.push(Place { keyword: keyword.to_owned(), at: place_name(place) });
            }
        }
        relaxed
    }
}

/// Whether `place` is that of a part of what is at `at`, with no part between.
fn is_child(place: &str, at: &str) -> bool {
    // A keyword, and the name or number behind it if it has several.
    place.strip_prefix(at).is_some_and(|rest| rest.starts_with('/') && (1..=2).contains(&rest.matches('/').count()))
}

fn at_root(why: &str) -> SchemaError {
    SchemaError::Invalid { place: place_name(""), why: why.to_owned() }
}
