//! Answers that keep to a schema, through the server: of every model, in company, streamed and whole, beside thinking and calls.

use crate::support::chats::{demo, random, text, user, with};
use crate::support::http::Server;
use crate::support::json_schema::fault;
use crate::support::scratch::Scratch;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

fn schemas() -> Map<String, Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/constrain/schemas.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn format(schema: &Value, strict: bool) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": strict, "schema": schema}})
}

#[test]
fn answers_of_random_weights_keep_to_their_schemas_streamed_and_whole() {
    let scratch = Scratch::new("schemas");
    let server = Server::start(&random(&scratch), &["--parallel", "4", "--ctx", "2048"]);
    std::thread::scope(|scope| {
        for (i, (name, schema)) in schemas().into_iter().enumerate() {
            let server = &server;
            let ask = move || {
                let body = with(
                    user("Say something."),
                    json!({"temperature": 1.5, "seed": i, "max_tokens": 250, "response_format": format(&schema, true)}),
                );
                let whole = server.chat(&body);
                assert_eq!(whole.json()["choices"][0]["finish_reason"], "stop", "{name}: {whole:?}");
                assert!(!whole.head.contains("x-qwen-edge-relaxed"));
                let whole = text(&whole);
                let value: Value =
                    serde_json::from_str(&whole).unwrap_or_else(|error| panic!("{name}: {error}: {whole}"));
                assert_eq!(fault(&value, &schema, &schema), None, "{name}: {whole}");
                let stream = server.chat(&with(body, json!({"stream": true})));
                let events = stream.events();
                let deltas = events.iter().filter(|event| *event != "[DONE]").map(|event| {
                    let event: Value = serde_json::from_str(event).unwrap();
                    event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
                });
                assert_eq!(deltas.collect::<String>(), whole, "{name}");
            };
            match i % 4 {
                3 => ask(),
                _ => _ = scope.spawn(ask),
            }
        }
    });
}

#[test]
fn a_schema_holds_behind_the_thinking_which_leaves_room_for_it() {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    let schema = json!({
        "type": "object", "properties": {"answer": {"type": "string", "maxLength": 20}, "sure": {"type": "boolean"}},
        "required": ["answer", "sure"], "additionalProperties": false
    });
    for max_tokens in [80, 400] {
        for thinking in [false, true] {
            let response = server.chat(&with(
                user("What is 2 + 3?"),
                json!({
                    "temperature": 1.5, "seed": 3, "max_tokens": max_tokens, "enable_thinking": thinking,
                    "response_format": format(&schema, true)
                }),
            ));
            let message = response.json()["choices"][0]["message"].clone();
            let value: Value = serde_json::from_str(message["content"].as_str().unwrap()).unwrap();
            assert_eq!(fault(&value, &schema, &schema), None, "{message}");
            let thought = message["reasoning_content"].as_str().unwrap_or_default();
            assert_eq!(thought.is_empty(), !thinking, "{message}");
        }
    }
    let object = server.chat(&with(
        user("Extract name, age as JSON: Mia is 31 years old and lives in Oslo."),
        json!({"temperature": 0, "max_tokens": 200, "response_format": {"type": "json_object"}}),
    ));
    assert_eq!(serde_json::from_str::<Value>(&text(&object)).unwrap(), json!({"name": "Mia", "age": 31}));
}

#[test]
fn what_cannot_be_held_is_refused_where_it_was_to_be_and_named_where_not() {
    let server = Server::start(&demo(), &["--ctx", "2048", "--log", "json"]);
    let schema = json!({
        "type": "object", "properties": {"tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": true, "maxItems": 2}},
        "required": ["tags"], "additionalProperties": false
    });
    let ask = |format: Value| server.chat(&with(user("Hi"), json!({"max_tokens": 60, "response_format": format})));
    let error = ask(format(&schema, true));
    assert_eq!(error.status, 400, "{error:?}");
    let error = &error.json()["error"];
    assert_eq!(error["code"], "invalid_schema");
    assert_eq!(error["param"], "response_format.json_schema.schema");
    assert!(error["message"].as_str().unwrap().contains("uniqueItems at #/properties/tags"), "{error}");
    let relaxed = ask(format(&schema, false));
    assert!(relaxed.head.contains("x-qwen-edge-relaxed: uniqueitems at #/properties/tags"), "{}", relaxed.head);
    serde_json::from_str::<Value>(&text(&relaxed)).unwrap();

    for (format, status, param) in [
        (json!({"type": "json_schema"}), 400, "response_format.json_schema"),
        (json!({"type": "json_schema", "json_schema": {"name": "x"}}), 400, "response_format.json_schema.schema"),
        (json!({"type": "xml"}), 400, "response_format.type"),
        (
            json!({"type": "json_schema", "json_schema": {"schema": {"type": "nothing"}}}),
            400,
            "response_format.json_schema.schema",
        ),
        (
            json!({"type": "json_schema", "json_schema": {"schema": {"$ref": "#/a\r\nb"}}}),
            400,
            "response_format.json_schema.schema",
        ),
        (json!({"type": "text"}), 200, ""),
    ] {
        let response = ask(format.clone());
        assert_eq!(response.status, status, "{format}: {response:?}");
        if status == 400 {
            assert_eq!(response.json()["error"]["param"], param, "{format}");
        }
    }
}

#[test]
fn an_answer_that_keeps_to_a_schema_may_be_a_call_instead() {
    let scratch = Scratch::new("schema-or-call");
    let server = Server::start(&random(&scratch), &["--ctx", "2048"]);
    let schema = json!({"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": false});
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    let mut began = BTreeSet::new();
    for (seed, bias) in [(1, -100.0), (2, 100.0)] {
        let tokenize = qwen_edge::ModelFile::open(scratch.0.join("model.gguf")).unwrap();
        let mark = tokenize.tokenizer().added_token("<tool_call>").unwrap().to_string();
        let response = server.chat(&with(
            user("a"),
            json!({
                "seed": seed, "max_tokens": 60, "tools": tools, "logit_bias": {mark: bias},
                "response_format": format(&schema, true)
            }),
        ));
        assert_eq!(response.status, 200, "{response:?}");
        let content = response.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        began.insert(
            serde_json::from_str::<Value>(&content).is_ok_and(|value| fault(&value, &schema, &schema).is_none()),
        );
    }
    assert_eq!(began, BTreeSet::from([false, true]));
}
