//! llama-server's own endpoints: their answers agree with what the other dialects and the command line say.

use crate::support::chats::{demo, demo_forever, text, user, with};
use crate::support::http::Server;
use crate::support::program::program;
use crate::support::scratch::Scratch;
use serde_json::{Value, json};
use std::io::Read;
use std::time::{Duration, Instant};

/// A chat's prompt as the template writes it.
const PROMPT: &str = "<|im_start|>user\nWhat is 7 plus 5?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

fn server() -> Server {
    Server::start(&demo(), &["--ctx", "1024", "--parallel", "2"])
}

fn greedy(prompt: Value, more: Value) -> Value {
    with(json!({"prompt": prompt, "temperature": 0, "n_predict": 40}), more)
}

#[test]
fn texts_become_tokens_and_tokens_texts() {
    let server = server();
    let tokens = |body: Value| server.post("/tokenize", &body).json()["tokens"].take();
    let said = "Hi <|im_end|> caf\u{e9} \u{1f600}";
    let ids = tokens(json!({"content": said}));
    let scratch = Scratch::new("tokenize");
    let file = scratch.write("text.txt", said);
    let output = program().arg("tokenize").arg(demo()).arg(file).output().unwrap();
    let expected: Vec<u64> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ids, json!(expected));
    assert_eq!(server.post("/detokenize", &json!({"tokens": ids})).json(), json!({"content": said}));
    // As words, a control token is several.
    assert!(tokens(json!({"content": said, "parse_special": false})).as_array().unwrap().len() > expected.len());
    let pieces = tokens(json!({"content": said, "with_pieces": true}));
    let mut bytes = Vec::new();
    for (piece, id) in pieces.as_array().unwrap().iter().zip(&expected) {
        assert_eq!(piece["id"], *id);
        match &piece["piece"] {
            Value::String(text) => bytes.extend(text.bytes()),
            part => bytes.extend(part.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8)),
        }
    }
    assert_eq!(String::from_utf8(bytes).unwrap(), said);
    for (path, body, param) in [
        ("/tokenize", json!({}), "content"),
        ("/tokenize", json!({"content": 1}), "content"),
        ("/detokenize", json!({"tokens": [1 << 30]}), "tokens"),
        ("/detokenize", json!({"tokens": ["a"]}), "tokens"),
    ] {
        let refused = server.post(path, &body);
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)), "{path} {body}");
    }
}

#[test]
fn a_completion_of_a_chats_prompt_is_the_chats_answer() {
    let server = server();
    let chat = with(user("What is 7 plus 5?"), json!({"enable_thinking": false}));
    assert_eq!(server.post("/apply-template", &chat).json(), json!({"prompt": PROMPT}));
    let answer = text(&server.chat(&with(chat, json!({"temperature": 0, "max_tokens": 40}))));
    let whole = server.post("/completion", &greedy(PROMPT.into(), json!({"return_tokens": true}))).json();
    assert_eq!(whole["content"], answer);
    assert_eq!(
        (&whole["stop"], &whole["stop_type"], &whole["truncated"]),
        (&json!(true), &json!("eos"), &json!(false))
    );
    assert_eq!((&whole["prompt"], &whole["generation_settings"]["temperature"]), (&json!(PROMPT), &json!(0.0)));
    // The token that ends it is predicted, and no part of it.
    let ids = whole["tokens"].as_array().unwrap();
    assert_eq!(whole["tokens_predicted"], ids.len() + 1);
    assert_eq!(server.post("/detokenize", &json!({"tokens": ids})).json()["content"], answer);
    // Its tokens are as good a prompt.
    let tokens = server.post("/tokenize", &json!({"content": PROMPT})).json()["tokens"].take();
    assert_eq!(whole["tokens_evaluated"], tokens.as_array().unwrap().len());
    assert_eq!(server.post("/completion", &greedy(tokens, json!({}))).json()["content"], answer);
    // Streamed, the pieces are the whole, and there is no [DONE].
    let streamed = server.post("/completion", &greedy(PROMPT.into(), json!({"stream": true}))).events();
    let events: Vec<Value> = streamed.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (last, pieces) = events.split_last().unwrap();
    assert_eq!(pieces.iter().map(|piece| piece["content"].as_str().unwrap()).collect::<String>(), answer);
    assert!(pieces.iter().all(|piece| piece["stop"] == false));
    assert_eq!((&last["stop"], &last["content"], &last["stop_type"]), (&json!(true), &json!(""), &json!("eos")));
    assert_eq!(last["tokens_predicted"], whole["tokens_predicted"]);
}

#[test]
fn what_ends_a_completion_is_said() {
    let server = server();
    let ended = |more: Value| {
        let whole = server.post("/completion", &greedy(PROMPT.into(), more)).json();
        (whole["stop_type"].as_str().unwrap().to_owned(), whole["stopping_word"].as_str().unwrap().to_owned(), whole)
    };
    let (kind, word, whole) = ended(json!({"stop": ["12"]}));
    assert_eq!((&*kind, &*word), ("word", "12"), "{whole}");
    let (kind, word, whole) = ended(json!({"n_predict": 2}));
    assert_eq!((&*kind, &*word, &whole["tokens_predicted"]), ("limit", "", &json!(2)), "{whole}");
    assert_eq!(ended(json!({"n_predict": 0})).2["content"], "");
    let (_, _, whole) = ended(json!({"json_schema": {"type": "object", "properties": {"sum": {"type": "integer"}},
        "required": ["sum"], "additionalProperties": false}, "n_predict": 60}));
    let made: Value = serde_json::from_str(whole["content"].as_str().unwrap()).unwrap();
    assert!(made["sum"].is_i64(), "{made}");
    let (_, _, whole) = ended(json!({"n_probs": 3}));
    let first = &whole["completion_probabilities"][0];
    assert_eq!(first["top_logprobs"].as_array().unwrap().len(), 3);
    // Greedy: the likeliest.
    assert_eq!(
        (&first["id"], &first["logprob"]),
        (&first["top_logprobs"][0]["id"], &first["top_logprobs"][0]["logprob"])
    );
    for (more, param) in [
        (json!({"prompt": ["a", "b"]}), "prompt"),
        (json!({"prompt": {"prompt_string": "a", "multimodal_data": []}}), "prompt"),
        (json!({"n_probs": 99}), "n_probs"),
        (json!({"input_suffix": "a"}), "input_suffix"),
        (json!({"n_predict": -7}), "max_tokens"),
    ] {
        let refused = server.post("/completion", &greedy("a".into(), more));
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)), "{refused:?}");
    }
}

#[test]
fn properties_and_slots_tell_what_is_and_not_what_is_said() {
    // Answers that go on for long.
    let server = Server::start(&demo(), &["--ctx", "16384", "--parallel", "2", "--loop-guard", "off"]);
    let props = server.get("/props").json();
    assert_eq!((&props["model_path"], &props["model_alias"]), (&json!("demo-q8_0.gguf"), &json!("demo-q8_0")));
    assert_eq!((&props["total_slots"], &props["is_sleeping"]), (&json!(2), &json!(false)));
    let defaults = &props["default_generation_settings"];
    assert_eq!(defaults["n_ctx"], 16_384);
    for (name, least, most) in [("temperature", 0.0, 1.5), ("top_p", 0.1, 1.0), ("repeat_penalty", 1.0, 1.0)] {
        let value = defaults["params"][name].as_f64().unwrap();
        assert!((least..=most).contains(&value), "{name}: {value}");
    }
    assert!(props["chat_template"].as_str().unwrap().contains("<|im_start|>"));
    assert_eq!(props["modalities"]["vision"], true);

    let slots = || server.get("/slots").json();
    assert!(slots().as_array().unwrap().iter().all(|slot| slot["is_processing"] == false && slot["n_ctx"] == 16_384));
    let mut stream = server.chat_stream(&with(demo_forever(), json!({"stream": true, "user": "secret"})));
    let mut begun = [0; 512];
    assert!(stream.read(&mut begun).unwrap() > 0);
    let busy = |all: &Value| all.as_array().unwrap().iter().filter(|slot| slot["is_processing"] == true).count();
    let during = slots();
    assert_eq!(busy(&during), 1, "{during}");
    let slot = during.as_array().unwrap().iter().find(|slot| slot["is_processing"] == true).unwrap();
    assert!(slot["n_prompt_tokens"].as_u64() > Some(300), "{slot}");
    assert!(!during.to_string().contains("a a"), "{during}");
    assert_eq!(server.get("/slots?fail_on_no_slot=1").status, 200);
    let second = server.chat_stream(&with(demo_forever(), json!({"stream": true})));
    let start = Instant::now();
    while server.get("/slots?fail_on_no_slot=1").status != 503 {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", slots());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop((stream, second));
    let start = Instant::now();
    while busy(&slots()) > 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", slots());
        std::thread::sleep(Duration::from_millis(5));
    }
}
