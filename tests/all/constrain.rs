//! Answers keep to their schema whatever the model would write, end in the room they have, and are the same in any company.

use crate::support::heldout::{answers_that_keep_to, questions, ready, shuffled};
use crate::support::json_schema::fault;
use crate::support::program::{json as json_of, program, told};
use crate::support::scratch::Scratch;
use qwen_edge::ModelFile;
use qwen_edge::constrain::{Allowed, Constraint, Grammar, SchemaError, Strictness, Vocabulary, check};
use qwen_edge::engine::draft::Draft;
use qwen_edge::sampler::Settings;
use qwen_edge::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");

fn vocabulary() -> Arc<Vocabulary> {
    let file = ModelFile::open(DEMO).unwrap();
    Arc::new(Vocabulary::new(Arc::clone(file.tokenizer())).unwrap())
}

fn schemas() -> Map<String, Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/constrain/schemas.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn strict(schema: &Value, vocabulary: &Arc<Vocabulary>) -> Result<Grammar, SchemaError> {
    Grammar::of_schema(schema, Strictness::Strict, vocabulary)
}

/// Numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// What comes of an answer of at most `n_max` tokens if every token that may come is as likely as any other, and whether it
/// came to its end.
fn babble(constraint: &mut Constraint, n_max: usize, tokenizer: &Tokenizer, numbers: &mut Numbers) -> (String, bool) {
    let mut ids = Vec::new();
    while ids.len() < n_max {
        let chosen = match constraint.allowed().unwrap() {
            Allowed::One(id) => id,
            Allowed::Set(set) => {
                let all: Vec<u32> = (0..tokenizer.n_vocab() as u32).filter(|&id| set.has(id)).collect();
                all[numbers.below(all.len())]
            }
        };
        let id = constraint.take(chosen, n_max - ids.len()).unwrap();
        if tokenizer.is_end(id) {
            return (tokenizer.decode(&ids), true);
        }
        ids.push(id);
        if constraint.is_complete() {
            break;
        }
    }
    (tokenizer.decode(&ids), constraint.may_end())
}

#[test]
fn answers_keep_to_every_schema_and_end_in_the_room_they_have_whatever_is_chosen() {
    let vocabulary = vocabulary();
    let mut numbers = Numbers(1);
    for (name, schema) in &schemas() {
        let grammar = strict(schema, &vocabulary).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(grammar.relaxed().is_empty(), "{name}");
        for _ in 0..20 {
            let n_max = 180 + numbers.below(150);
            let (text, ended) = babble(&mut grammar.constraint(), n_max, vocabulary.tokenizer(), &mut numbers);
            assert!(ended, "{name}: {n_max} tokens do not end: {text}");
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
            assert_eq!(fault(&value, schema, schema), None, "{name}: {text}");
        }
    }
}

#[test]
fn what_must_come_is_known_before_and_is_all_that_may_come() {
    let vocabulary = vocabulary();
    let tokenizer = vocabulary.tokenizer();
    let schema = json!({
        "type": "object", "properties": {"first name": {"const": "Mia"}}, "required": ["first name"], "additionalProperties": false
    });
    let mut constraint = strict(&schema, &vocabulary).unwrap().constraint();
    let forced = constraint.forced();
    let text = r#"{"first name": "Mia"}"#;
    assert!(text.starts_with(&tokenizer.decode(&forced)) && forced.len() >= 3, "{:?}", tokenizer.decode(&forced));
    let (found, ended) = babble(&mut constraint, 100, tokenizer, &mut Numbers(1));
    assert_eq!((found.as_str(), ended), (text, true));
}

#[test]
fn keywords_that_cannot_be_held_are_named_with_their_place() {
    let vocabulary = vocabulary();
    let schema = json!({
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": true, "maxItems": 4},
            "phone": {"type": "string", "format": "phone", "maxLength": 5},
            "either": {"oneOf": [{"type": "integer", "minimum": 3}, {"type": "integer", "maximum": 7}]}
        },
        "required": ["tags"],
        "additionalProperties": false
    });
    let error = check(&schema, Strictness::Strict).unwrap_err();
    assert_eq!(error.to_string(), "the schema's keyword uniqueItems at #/properties/tags cannot be held");
    let grammar = Grammar::of_schema(&schema, Strictness::Lenient, &vocabulary).unwrap();
    let relaxed: Vec<String> = grammar.relaxed().iter().map(ToString::to_string).collect();
    let expected = ["uniqueItems at #/properties/tags", "format at #/properties/phone", "oneOf at #/properties/either"];
    assert_eq!(relaxed, expected);
    let (text, _) = babble(&mut grammar.constraint(), 60, vocabulary.tokenizer(), &mut Numbers(5));
    serde_json::from_str::<Value>(&text).unwrap();

    let either = &schema["properties"]["either"];
    let whole = json!({"type": "object", "properties": {"a": {"type": "array", "items": either}}});
    let error = strict(&whole, &vocabulary).err().unwrap().to_string();
    assert!(error.contains("#/properties/a/items") && error.contains("oneOf"), "{error}");
    // What asks for nothing is no fault.
    let harmless =
        json!({"type": "array", "uniqueItems": false, "then": {"type": "null"}, "deprecated": true, "maxItems": 1});
    strict(&harmless, &vocabulary).unwrap();
}

#[test]
fn schemas_that_make_no_sense_or_are_too_much_give_an_error_soon() {
    let vocabulary = vocabulary();
    let deep =
        (0..55).fold(json!({"type": "null"}), |inner, _| json!({"type": "array", "items": inner, "minItems": 1}));
    let wide: Vec<Value> = (0..100_000).map(|i| json!(format!("value {i}"))).collect();
    let chain: Map<String, Value> = (0..6_000)
        .map(|i| (format!("d{i}"), json!({"properties": {"x": {"$ref": format!("#/$defs/d{}", (i + 1) % 6_000)}}})))
        .collect();
    let unions: Vec<Value> = (0..12)
        .map(|i| json!({"anyOf": (0..12).map(|j| json!({"properties": {format!("p{i}{j}"): {"type": "string"}}})).collect::<Vec<_>>()}))
        .collect();
    let patterns =
        ["(", "[z-a]", "(?<=a)b", "(a*)*$", "(a{1000}){1000}", "^(a|a)*b{500,1000}$", r"\p{Nothing}", "(?=x)y"];
    let mut hostile = vec![
        json!(7),
        json!("object"),
        json!([]),
        json!(false),
        json!({"type": "nothing"}),
        json!({"type": {}}),
        json!({"enum": "a"}),
        json!({"enum": []}),
        json!({"enum": wide}),
        json!({"properties": []}),
        json!({"required": "a"}),
        json!({"minimum": "1"}),
        json!({"minLength": -1}),
        json!({"minLength": 3, "maxLength": 2, "type": "string"}),
        json!({"type": "string", "minLength": 4_000_000_000_u64}),
        json!({"type": "string", "maxLength": 18_446_744_073_709_551_615_u64}),
        json!({"type": "array", "minItems": 1_000_000_000}),
        json!({"type": "array", "maxItems": 1_000_000_000, "items": {"type": "array", "maxItems": 1_000_000_000}}),
        json!({"type": "integer", "multipleOf": 0}),
        json!({"type": "integer", "multipleOf": 1e300}),
        json!({"type": "number", "multipleOf": 1e-300}),
        json!({"type": "integer", "minimum": 1e300}),
        json!({"type": "integer", "minimum": 5, "maximum": 4}),
        json!({"$ref": "#"}),
        json!({"$ref": "#/nowhere"}),
        json!({"$ref": 3}),
        json!({"$ref": "https://example.com/schema"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}, "$ref": "#/$defs/a"}),
        json!({"allOf": unions, "type": "object"}),
        json!({"$defs": chain, "$ref": "#/$defs/d0"}),
        json!({"x-guidance": {"whitespace_pattern": ".*"}, "type": "null"}),
        deep,
    ];
    hostile.extend(patterns.map(|pattern| json!({"type": "string", "pattern": pattern})));
    hostile.push(json!({"type": "string", "pattern": "a".repeat(100_000)}));
    for schema in hostile {
        let told: String = schema.to_string().chars().take(120).collect();
        println!("{told}");
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            let start = Instant::now();
            let grammar = Grammar::of_schema(&schema, strictness, &vocabulary);
            if let Ok(grammar) = grammar {
                babble(&mut grammar.constraint(), 40, vocabulary.tokenizer(), &mut Numbers(3));
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{told}: {:?}", start.elapsed());
        }
    }
}

#[test]
fn answers_that_keep_to_a_schema_are_the_same_with_drafts_and_without_alone_and_in_company() {
    let vocabulary = vocabulary();
    let grammars: Vec<Grammar> =
        ["nested objects", "a report", "anyOf", "array of objects", "open object", "enum of everything"]
            .iter()
            .map(|name| strict(&schemas()[*name], &vocabulary).unwrap())
            .collect();
    let constraint = |i: usize| Some(grammars[i % grammars.len()].constraint());
    let chance = Settings { temperature: 1.0, presence_penalty: 0.5, ..Settings::default() };
    let mut plain = ready(Draft::Off, 1);
    let prompts = questions(&mut plain, 40);
    let order: Vec<usize> = (0..prompts.len()).collect();
    for how in [(Settings::greedy(), 0), (chance, 7)] {
        let expected = answers_that_keep_to(&mut plain, &prompts, &order, 1, how, constraint);
        for (draft, seats) in [(Draft::Auto, 1), (Draft::Fixed(3), 1), (Draft::Auto, 8)] {
            let mut other = ready(draft, 2);
            let order = if seats == 1 { order.clone() } else { shuffled(prompts.len()) };
            let found = answers_that_keep_to(&mut other, &prompts, &order, seats, how, constraint);
            assert!(found == expected, "{draft:?}, {seats} seats");
        }
        for (i, answer) in expected.iter().enumerate() {
            let text = plain.tokenizer.decode(&answer.ids);
            assert_eq!(answer.stop, "end", "{text}");
            let answer = text.rsplit("</think>\n\n").next().unwrap();
            serde_json::from_str::<Value>(answer).unwrap_or_else(|error| panic!("{i}: {error}: {text}"));
        }
    }
}

#[test]
fn run_keeps_to_the_schema_of_a_file_and_refuses_one_that_cannot_be_held() {
    let scratch = Scratch::new("schema");
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 40}},
        "required": ["name", "age"],
        "additionalProperties": false
    });
    let file = scratch.write("schema.json", schema.to_string());
    let question = "Extract name, age as JSON: Mia is 31 years old and lives in Oslo.";
    for thinking in ["on", "off"] {
        let run = program()
            .args(["run", DEMO, "--greedy", "--json", "-n", "200", "--think", thinking, "-p", question, "--schema"])
            .arg(&file)
            .output()
            .unwrap();
        let answer = json_of(&run);
        let value: Value = serde_json::from_str(answer["text"].as_str().unwrap()).unwrap();
        assert_eq!((fault(&value, &schema, &schema), &value["name"]), (None, &json!("Mia")), "{answer}");
        assert_eq!(answer["stop"], "end");
    }
    let refused = scratch.write("refused.json", json!({"properties": {"a": {"not": {"type": "null"}}}}).to_string());
    let run = program().args(["run", DEMO, "-p", "x", "--schema"]).arg(&refused).output().unwrap();
    assert!(!run.status.success());
    assert!(told(&run).contains("keyword not at #/properties/a cannot be held"), "{}", told(&run));
}
