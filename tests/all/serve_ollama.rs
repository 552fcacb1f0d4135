//! Ollama's API: what it answers a chat answers too, in lines of JSON and whole, and its clients find a server that they know.

use crate::support::chats::{demo, user, with};
use crate::support::dialects::{Said, said_in_chat};
use crate::support::heldout;
use crate::support::http::{Response, Server};
use crate::support::scratch::Scratch;
use base64::Engine;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// The same question as that of a chat.
fn of_chat(chat: &Value) -> Value {
    let mut body = json!({"model": "any", "messages": chat["messages"], "options": {"temperature": 0}});
    if let Some(tools) = chat.get("tools") {
        body["tools"] = tools.clone();
    }
    if let Some(most) = chat.get("max_tokens") {
        body["options"]["num_predict"] = most.clone();
    }
    body["think"] = (chat["chat_template_kwargs"]["enable_thinking"] == true).into();
    body
}

/// The answer to a body, whole.
fn whole(server: &Server, path: &str, body: &Value) -> Value {
    let response = server.post(path, &with(body.clone(), json!({"stream": false})));
    assert!(response.status == 200 && response.head.contains("content-type: application/json"), "{response:?}");
    response.json()
}

/// The lines of a stream, which it is where nothing is said.
fn lines(server: &Server, path: &str, body: &Value) -> Vec<Value> {
    let response = server.post(path, body);
    assert!(response.status == 200 && response.head.contains("content-type: application/x-ndjson"), "{response:?}");
    assert!(response.body.ends_with('\n'), "{response:?}");
    response.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The answer that the lines of a stream are.
fn joined(lines: &[Value]) -> Value {
    let (last, pieces) = lines.split_last().unwrap();
    let mut whole = last.clone();
    let push = |to: &mut Value, piece: &Value| {
        if let Some(text) = piece.as_str().filter(|text| !text.is_empty()) {
            *to = [to.as_str().unwrap_or_default(), text].concat().into();
        }
    };
    let mut logprobs = Vec::new();
    for piece in pieces {
        assert!(piece["done"] == false && piece.get("done_reason").is_none(), "{piece}");
        assert_eq!(piece["model"], last["model"]);
        for key in ["response", "thinking"].into_iter().filter(|key| piece.get(*key).is_some()) {
            push(&mut whole[key], &piece[key]);
        }
        logprobs.extend(piece["logprobs"].as_array().into_iter().flatten().cloned());
        let Some(message) = piece.get("message") else { continue };
        assert_eq!(message["role"], "assistant");
        for key in ["content", "thinking"].into_iter().filter(|key| message.get(*key).is_some()) {
            push(&mut whole["message"][key], &message[key]);
        }
        if let Some(calls) = message["tool_calls"].as_array() {
            let all = whole["message"].as_object_mut().unwrap().entry("tool_calls").or_insert(json!([]));
            all.as_array_mut().unwrap().extend(calls.iter().cloned());
        }
    }
    if !logprobs.is_empty() {
        whole["logprobs"] = logprobs.into();
    }
    whole
}

/// An answer without what differs from one to the next.
fn comparable(mut answer: Value) -> Value {
    assert!(
        answer["done"] == true && answer["total_duration"].as_u64() >= answer["eval_duration"].as_u64(),
        "{answer}"
    );
    for key in ["created_at", "total_duration", "prompt_eval_duration", "eval_duration"] {
        assert!(!answer[key].take().is_null(), "{key}");
    }
    for call in answer["message"]["tool_calls"].as_array_mut().into_iter().flatten() {
        assert!(call["id"].take().as_str().unwrap().starts_with("call_"));
    }
    answer
}

/// The answer to a body, which is the same as a stream.
fn ask(server: &Server, path: &str, body: &Value) -> Value {
    let whole = whole(server, path, body);
    let streamed = joined(&lines(server, path, body));
    assert_eq!(comparable(streamed), comparable(whole.clone()), "{body}");
    whole
}

/// What an answer says.
fn said(whole: &Value) -> Said {
    let message = &whole["message"];
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    let call =
        |call: &Value| (call["function"]["name"].as_str().unwrap().to_owned(), call["function"]["arguments"].clone());
    let calls = message["tool_calls"].as_array().into_iter().flatten().map(call).collect();
    Said { reasoning: text("thinking"), text: text("content"), calls }
}

fn tools() -> Value {
    heldout::items().into_iter().find(|item| item["id"] == "tools-01").unwrap()["tools"].take()
}

/// Asks every `nth` held-out question of these tasks.
fn ask_held_out(tasks: &[&str], nth: usize) {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    let items = heldout::items();
    for task in tasks {
        for item in items.iter().filter(|item| item["task"] == *task).step_by(nth) {
            let mut chat = json!({"messages": item["messages"], "temperature": 0, "max_tokens": 200,
                "chat_template_kwargs": {"enable_thinking": item["thinking"]}});
            if item.get("tools").is_some() {
                chat["tools"] = item["tools"].clone();
            }
            let answer = ask(&server, "/api/chat", &of_chat(&chat));
            let expected = server.chat(&chat).json();
            assert_eq!(said(&answer), said_in_chat(&expected), "{chat}");
            assert_eq!(item["thinking"] == true, !said(&answer).reasoning.is_empty(), "{answer}");
            assert_eq!(answer["done_reason"], "stop");
            let counts = (&answer["prompt_eval_count"], &answer["eval_count"]);
            assert_eq!(counts, (&expected["usage"]["prompt_tokens"], &expected["usage"]["completion_tokens"]));
        }
    }
}

#[test]
fn held_out_questions_get_the_same_answers_as_in_a_chat() {
    ask_held_out(&["tools", "arithmetic", "counting", "json"], 9);
}

#[test]
#[ignore = "all questions take a minute: a part of `make test-long`"]
fn all_held_out_questions_about_tools_and_json_get_the_same_answers_as_in_a_chat() {
    ask_held_out(&["tools", "arithmetic", "counting", "json"], 1);
}

#[test]
fn an_answer_that_is_cut_says_so_and_has_only_whole_calls() {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    let mut n_whole = 0;
    for (thinks, most) in
        [false, true].into_iter().flat_map(|thinks| (1..32).chain([200]).map(move |most| (thinks, most)))
    {
        let chat = with(
            user("Send Oscar the message: show me"),
            json!({"tools": tools(), "max_tokens": most, "chat_template_kwargs": {"enable_thinking": thinks}}),
        );
        let answer = ask(&server, "/api/chat", &of_chat(&chat));
        let is_cut = answer["done_reason"] == "length";
        assert!(if is_cut { answer["eval_count"] == most } else { said(&answer).calls.len() == 1 }, "{answer}");
        n_whole += said(&answer).calls.len();
    }
    assert!(n_whole > 0);
}

#[test]
fn a_prompt_is_answered_as_a_chat_and_a_raw_one_is_continued() {
    let server = Server::start(&demo(), &["--ctx", "1024"]);
    let generate = |more: Value| {
        let body = with(json!({"prompt": "What is 2 + 3?", "think": false, "options": {"temperature": 0}}), more);
        ask(&server, "/api/generate", &body)
    };
    let plain = generate(json!({"system": "", "context": [1, 2], "template": "", "suffix": ""}));
    assert_eq!((&plain["response"], &plain["done_reason"]), (&json!("2+3=5"), &json!("stop")));
    assert!(plain.get("thinking").is_none() && plain.get("message").is_none(), "{plain}");
    let thought = generate(json!({"prompt": "Calculate 85 minus 54.", "think": "high"}));
    assert!(thought["response"] == "85-54=31" && !thought["thinking"].as_str().unwrap().is_empty(), "{thought}");
    let stopped = generate(json!({"options": {"temperature": 0, "stop": ["="]}}));
    assert_eq!((&stopped["response"], &stopped["done_reason"]), (&json!("2+3"), &json!("stop")));
    let obeying = generate(json!({"system": "Answer in one word."}));
    assert!(obeying["prompt_eval_count"].as_u64() > plain["prompt_eval_count"].as_u64(), "{obeying}");
    for prompt in ["<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n", "One two three"] {
        let raw = generate(json!({"prompt": prompt, "raw": true, "options": {"temperature": 0, "num_predict": 8}}));
        let body = json!({"prompt": prompt, "temperature": 0, "max_tokens": 8});
        let expected = server.post("/v1/completions", &body).json();
        assert_eq!(raw["response"], expected["choices"][0]["text"], "{prompt}");
        assert_eq!(raw["prompt_eval_count"], expected["usage"]["prompt_tokens"]);
    }
}

#[test]
fn pictures_are_seen_in_messages_and_beside_prompts() {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/images/04.png");
    let data = base64::engine::general_purpose::STANDARD.encode(std::fs::read(path).unwrap());
    let expected = "a red triangle, a red triangle, a yellow circle";
    for image in [data.clone(), format!("data:image/png;base64,{data}")] {
        let message = json!({"role": "user", "content": "Describe the image.", "images": [image]});
        let more = json!({"think": false, "options": {"temperature": 0, "num_predict": 60}});
        let answer = ask(&server, "/api/chat", &with(json!({"messages": [message]}), more.clone()));
        assert_eq!(said(&answer).text, expected);
        let prompt = json!({"prompt": "Describe the image.", "images": [image]});
        assert_eq!(ask(&server, "/api/generate", &with(prompt, more))["response"], expected);
    }
}

#[test]
fn a_form_is_kept_beside_thinking() {
    let server = Server::start(&demo(), &["--ctx", "1024"]);
    let schema = json!({
        "type": "object", "properties": {"n": {"type": "integer"}, "of": {"enum": ["a", "b"]}}, "required": ["n", "of"],
        "additionalProperties": false,
    });
    let body = json!({"options": {"temperature": 0, "num_predict": 120}});
    for (thinks, format) in [(false, &schema), (true, &schema), (false, &json!("json"))] {
        let more = json!({"think": thinks, "format": format});
        let chat = with(with(user("Calculate 85 minus 54."), body.clone()), more.clone());
        let answer = ask(&server, "/api/chat", &chat);
        assert_eq!(thinks, !said(&answer).reasoning.is_empty(), "{answer}");
        let prompt = with(with(json!({"prompt": "Calculate 85 minus 54."}), body.clone()), more);
        let response = ask(&server, "/api/generate", &prompt)["response"].take();
        assert_eq!(response, said(&answer).text);
        let object: Value = serde_json::from_str(response.as_str().unwrap()).unwrap();
        assert!(object.is_object(), "{object}");
        if format.is_object() {
            assert!(object["n"].is_i64() && ["a", "b"].contains(&object["of"].as_str().unwrap()), "{object}");
        }
    }
}

#[test]
fn probabilities_come_with_the_text_that_they_are_of() {
    let server = Server::start(&demo(), &["--ctx", "512"]);
    let body = with(
        user("What is 2 + 3?"),
        json!({"think": false, "logprobs": true, "top_logprobs": 2, "options": {"temperature": 0}}),
    );
    let answer = ask(&server, "/api/chat", &body);
    let tokens = answer["logprobs"].as_array().unwrap();
    let text: String = tokens.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(text, said(&answer).text);
    let fits =
        |token: &Value| token["top_logprobs"].as_array().unwrap().len() == 2 && token["logprob"].as_f64() <= Some(0.0);
    assert!(tokens.iter().all(fits), "{answer}");
}

#[test]
fn who_asks_for_nothing_is_told_that_the_model_is_there() {
    let server = Server::start(&demo(), &["--ctx", "512"]);
    for (path, body) in [
        ("/api/chat", json!({"model": "any", "keep_alive": "5m"})),
        ("/api/chat", json!({"messages": [], "stream": true})),
        ("/api/generate", json!({"model": "any", "keep_alive": -1})),
        ("/api/generate", json!({"prompt": ""})),
    ] {
        let answer = server.post(path, &body).json();
        let ended = (&answer["done"], &answer["done_reason"], &answer["eval_count"]);
        assert_eq!(ended, (&json!(true), &json!("load"), &json!(0)), "{answer}");
    }
}

#[test]
fn a_model_stays_as_long_as_it_is_asked_to() {
    let server = Server::start(&demo(), &["--ctx", "512"]);
    let is_loaded = || !server.get("/api/ps").json()["models"].as_array().unwrap().is_empty();
    let leaves = || {
        (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            !is_loaded()
        })
    };
    let ask = |keep_alive: Value| {
        let body = with(
            user("What is 2 + 3?"),
            json!({"think": false, "keep_alive": keep_alive, "options": {"temperature": 0}}),
        );
        assert_eq!(said(&whole(&server, "/api/chat", &body)).text, "2+3=5");
    };
    assert!(is_loaded());
    // One that waits is answered before the model leaves, and one that has left comes back.
    for keep_alive in [json!(0), json!("50ms"), json!("0s")] {
        ask(keep_alive);
        assert!(leaves());
    }
    let unloaded = server.post("/api/generate", &json!({"keep_alive": 0})).json();
    assert_eq!(unloaded["done_reason"], "unload");
    assert!(leaves());
    ask(json!(-1));
    std::thread::sleep(Duration::from_millis(200));
    assert!(is_loaded());
}

#[test]
fn the_server_is_known_for_what_it_has() {
    let server = Server::start(&demo(), &["--ctx", "512", "--alias", "small"]);
    let tags = server.get("/api/tags").json();
    let model = &tags["models"][0];
    assert_eq!((&model["name"], &model["model"]), (&json!("small:latest"), &json!("small:latest")));
    assert_eq!(model["details"]["quantization_level"], "Q8_0");
    assert_eq!(model["size"], json!(std::fs::metadata(demo()).unwrap().len()));
    assert!(model["digest"].as_str().is_some_and(|digest| digest.len() == 64), "{model}");
    let running = server.get("/api/ps").json()["models"][0].take();
    assert_eq!((&running["digest"], &running["context_length"]), (&model["digest"], &json!(512)));
    for (key, name) in [("model", "small"), ("name", "small:latest"), ("model", "Small:latest")] {
        let shown = server.post("/api/show", &json!({ key: name })).json();
        assert_eq!(shown["capabilities"], json!(["completion", "tools", "thinking", "vision"]));
        assert_eq!(shown["model_info"]["qwen35.context_length"], 512);
        assert!(shown["model_info"]["general.parameter_count"].as_u64() > Some(5_000_000), "{shown}");
        assert!(shown["template"].as_str().unwrap().contains("<|im_start|>"));
    }
    let version = server.get("/api/version").json()["version"].take();
    assert!(version.as_str().unwrap().split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
    for line in ["GET /", "HEAD /"] {
        let response = server.ask(line, &["accept: */*"], "");
        assert_eq!((response.status, &*response.body), (200, if line == "GET /" { "Ollama is running" } else { "" }));
        let response = server.ask(line, &["accept: text/html,application/xhtml+xml,*/*;q=0.8"], "");
        assert!(response.status == 200 && !response.body.contains("Ollama"), "{response:?}");
    }
    // Whatever name is asked for, the one model answers.
    let answer = whole(&server, "/api/chat", &with(user("What is 2 + 3?"), json!({"model": "llama3", "think": false})));
    assert_eq!(answer["model"], "small:latest");
}

/// The text of an error.
fn error(response: &Response) -> (u16, String) {
    let whole = response.json();
    assert_eq!(whole.as_object().unwrap().len(), 1, "{whole}");
    (response.status, whole["error"].as_str().unwrap().to_owned())
}

#[test]
fn errors_are_a_text() {
    let scratch = Scratch::new("serve-ollama");
    let file = scratch.write("key", "open sesame");
    let server =
        Server::start(&demo(), &["--ctx", "512", "--api-key-file", file.to_str().unwrap(), "--fault", "mallory"]);
    let key = "authorization: Bearer open sesame";
    let post = |path: &str, body: &Value| server.ask(&format!("POST {path}"), &[key], &body.to_string());
    let hello = user("What is 2 + 3?");
    for (path, more, begins) in [
        ("/api/chat", json!({"options": {"temperature": 3}}), "temperature"),
        ("/api/chat", json!({"options": {"num_predict": 0}}), "options.num_predict"),
        ("/api/chat", json!({"options": []}), "options"),
        ("/api/chat", json!({"think": "much"}), "think"),
        ("/api/chat", json!({"format": 7}), "format"),
        ("/api/chat", json!({"keep_alive": "long"}), "keep_alive"),
        ("/api/chat", json!({"top_logprobs": 21, "logprobs": true}), "top_logprobs"),
        ("/api/chat", json!({"tools": [{"type": "function", "function": {"name": "f g"}}]}), "tools[0].function.name"),
        ("/api/chat", json!({"messages": [{"role": "user", "content": "word ".repeat(900)}]}), "the prompt has"),
        ("/api/generate", json!({"prompt": "a", "suffix": "b"}), "suffix"),
        ("/api/generate", json!({"prompt": "a", "template": "b"}), "template"),
        ("/api/generate", json!({"prompt": "a", "raw": true, "images": ["AAAA"]}), "images"),
        ("/api/show", json!({}), "model"),
    ] {
        let (status, text) = error(&post(path, &with(hello.clone(), more)));
        assert!(status == 400 && text.starts_with(begins), "{begins}: {status} {text}");
    }
    assert_eq!(error(&post("/api/show", &json!({"model": "llama3"}))).0, 404);
    assert_eq!(error(&server.post("/api/chat", &hello)).0, 401);
    assert_eq!(error(&server.ask("GET /api/chat", &[key], "")).0, 405);
    for line in
        ["POST /api/pull", "POST /api/embed", "DELETE /api/delete", "POST /api/create", "HEAD /api/blobs/sha256:0"]
    {
        let response = server.ask(line, &[key], "");
        assert_eq!(response.status, 501, "{response:?}");
    }
    assert!(error(&server.ask("POST /api/pull", &[key], "")).1.contains("where this server runs"));
    // A page must say what it sends, and be of this server.
    let origin = format!("origin: http://{}", server.address);
    let host = format!("host: {}", server.address);
    let from_page = |origin: &str| error(&server.ask("POST /api/chat", &[key, &host, origin], &hello.to_string())).0;
    assert_eq!((from_page(&origin), from_page("origin: http://evil.example")), (415, 403));
    // What goes wrong in a stream is its last line.
    let body = with(user("Count from 1 to 9."), json!({"options": {"user": "mallory in a pass"}}));
    let response = post("/api/chat", &body);
    let last: Value = serde_json::from_str(response.body.lines().last().unwrap()).unwrap();
    assert!(last["error"].as_str().is_some_and(|text| text.contains("a fault of the program")), "{response:?}");
}

#[test]
fn a_loop_of_calls_reads_nothing_twice() {
    let server = Server::start(&demo(), &["--ctx", "4096"]);
    for (text, thinks) in [("Weather in Zurich?", false), ("Weather in Oslo?", true)] {
        let chat = with(user(text), json!({"tools": tools(), "chat_template_kwargs": {"enable_thinking": thinks}}));
        let mut body = of_chat(&chat);
        let first = whole(&server, "/api/chat", &body);
        assert_eq!(said(&first).calls[0].0, "get_weather", "{first}");
        let result = json!({"role": "tool", "tool_name": "get_weather", "content": "Sunny."});
        body["messages"].as_array_mut().unwrap().extend([first["message"].clone(), result]);
        let before = server.get("/metrics").body;
        let second = whole(&server, "/api/chat", &body);
        let after = server.get("/metrics").body;
        let read = |metrics: &str| {
            let line = metrics.lines().find(|line| line.starts_with("llamacpp:prompt_tokens_total ")).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        let known = first["prompt_eval_count"].as_f64().unwrap() + first["eval_count"].as_f64().unwrap();
        let n_read = read(&after) - read(&before);
        let n_new = second["prompt_eval_count"].as_f64().unwrap() - known;
        assert!(n_read <= n_new + 4.0, "{n_read} tokens read, {n_new} new");
    }
}

#[test]
fn of_several_models_the_name_chooses_with_its_tag_or_without() {
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-q4_k_m.gguf");
    let server = Server::start(&demo(), &[other.to_str().unwrap(), "--ctx", "512"]);
    let names = |path: &str| {
        let listed = server.get(path).json();
        let names = listed["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let [large, small] = ["demo-q8_0:latest", "demo-q4_k_m:latest"];
    assert_eq!(
        (names("/api/tags"), names("/api/ps")),
        (vec![large.to_owned(), small.to_owned()], vec![large.to_owned()])
    );
    let ask = |model: &str, more: Value| {
        let body = with(user("What is 2 + 3?"), json!({"model": model, "think": false, "options": {"temperature": 0}}));
        whole(&server, "/api/chat", &with(body, more))["model"].take()
    };
    for model in [small, "demo-q4_k_m", "Demo-Q4_K_M:latest"] {
        assert_eq!(ask(model, json!({})), small);
    }
    assert_eq!(names("/api/ps").len(), 2);
    let shown = server.post("/api/show", &json!({"model": small})).json();
    assert_eq!(shown["details"]["quantization_level"], "Q4_K_M");
    // How long one stays says nothing of the other, and nothing of the next request.
    assert_eq!(ask(small, json!({"keep_alive": 0})), small);
    let start = Instant::now();
    while names("/api/ps") != [large] {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ask(small, json!({})), small);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(names("/api/ps").len(), 2);
    let absent = server.post("/api/chat", &with(user("a"), json!({"model": "llama3"})));
    assert!(error(&absent).0 == 404 && error(&absent).1.contains("there is no model llama3"), "{absent:?}");
}
