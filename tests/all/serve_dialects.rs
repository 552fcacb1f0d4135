//! The dialects beside chat: what one answers the others answer too, streamed or whole, and everything that goes wrong is said
//! in the words of who asked.

use crate::support::chats::{demo, forever, random, user, with};
use crate::support::dialects::{Dialect, named_events, said_in_chat};
use crate::support::heldout;
use crate::support::http::{Response, Server};
use crate::support::requests_to_end::ask_to_end;
use crate::support::scratch::Scratch;
use base64::Engine;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

fn tools() -> Value {
    heldout::items().into_iter().find(|item| item["id"] == "tools-01").unwrap()["tools"].take()
}

/// Has every dialect give the same answer, streamed and whole, as a chat; the answers.
fn agree(server: &Server, chat: &Value) -> Vec<Value> {
    let said = said_in_chat(&server.chat(chat).json());
    let answer = |dialect: Dialect| {
        let body = dialect.of_chat(chat);
        let whole = dialect.whole(server, &body);
        assert_eq!(dialect.said(&whole), said, "{body}");
        let streamed = dialect.streamed(server, &body);
        assert_eq!(dialect.comparable(streamed), dialect.comparable(whole.clone()), "{body}");
        whole
    };
    Dialect::ALL.map(answer).into()
}

/// Asks every `nth` held-out question about tools, and of the others every `nth` of these tasks.
fn ask_held_out([of_tools, of_others]: [usize; 2]) {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    let items = heldout::items();
    let of_task = |task: &str| items.iter().filter(|item| item["task"] == task).cloned().collect::<Vec<_>>();
    let tools: Vec<Value> = of_task("tools").into_iter().step_by(of_tools).collect();
    let tasks = ["arithmetic", "counting", "json"].iter();
    let others = tasks.flat_map(|task| of_task(task).into_iter().step_by(of_others));
    let mut n_right = 0;
    for item in tools.iter().cloned().chain(others) {
        let mut chat = json!({"messages": item["messages"], "temperature": 0, "max_tokens": 200,
            "chat_template_kwargs": {"enable_thinking": item["thinking"]}});
        if item.get("tools").is_some() {
            chat["tools"] = item["tools"].clone();
        }
        for (dialect, whole) in Dialect::ALL.into_iter().zip(agree(&server, &chat)) {
            let said = dialect.said(&whole);
            assert_eq!(item["thinking"] == true, !said.reasoning.is_empty(), "{whole}");
            let calls: Value =
                said.calls.iter().map(|(name, arguments)| json!({"name": name, "arguments": arguments})).collect();
            n_right += usize::from(item["task"] == "tools" && calls == item["expected"]);
            let ended = if said.calls.is_empty() { "end_turn" } else { "tool_use" };
            assert!(dialect == Dialect::Responses || whole["stop_reason"] == ended, "{whole}");
            assert!(dialect == Dialect::Messages || whole["status"] == "completed", "{whole}");
        }
    }
    // The model itself may be wrong once.
    assert!(n_right + 2 >= 2 * tools.len(), "{n_right} right of {} questions in two dialects", tools.len());
}

#[test]
fn held_out_questions_get_the_same_answers_in_every_dialect() {
    ask_held_out([4, 9]);
}

#[test]
#[ignore = "all questions take a minute: a part of `make test-long`"]
fn all_held_out_questions_about_tools_and_json_get_the_same_answers_in_every_dialect() {
    ask_held_out([1, 1]);
}

#[test]
fn an_answer_that_is_cut_says_so_and_is_as_whole_as_its_stream() {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    for thinks in [false, true] {
        for most in 1..32 {
            let chat = with(
                user("Send Oscar the message: show me"),
                json!({"tools": tools(), "temperature": 0,
                "max_tokens": most, "chat_template_kwargs": {"enable_thinking": thinks}}),
            );
            for dialect in Dialect::ALL {
                let body = dialect.of_chat(&chat);
                let whole = dialect.whole(&server, &body);
                assert_eq!(
                    dialect.comparable(dialect.streamed(&server, &body)),
                    dialect.comparable(whole.clone()),
                    "{body}"
                );
                let is_cut = match dialect {
                    Dialect::Messages => whole["stop_reason"] == "max_tokens",
                    Dialect::Responses => whole["incomplete_details"]["reason"] == "max_output_tokens",
                };
                assert!(
                    is_cut == (whole["usage"]["output_tokens"] == most) || whole["status"] == "completed",
                    "{whole}"
                );
                assert!(!is_cut || dialect == Dialect::Messages || whole["status"] == "incomplete", "{whole}");
            }
        }
    }
}

#[test]
fn answers_of_random_weights_are_the_same_streamed_and_whole() {
    let scratch = Scratch::new("serve-dialects");
    let server = Server::start(&random(&scratch), &["--ctx", "1024", "--loop-guard", "off"]);
    for (seed, offers) in (0..24).zip([false, true].into_iter().cycle()) {
        let mut chat = with(forever(), json!({"seed": seed, "temperature": 1.5, "max_tokens": 40}));
        if offers {
            chat["tools"] = tools();
        }
        for dialect in Dialect::ALL {
            let mut body = dialect.of_chat(&chat);
            // The hottest that this dialect has.
            if dialect == Dialect::Messages {
                body["temperature"] = 1.into();
            }
            let whole = dialect.whole(&server, &body);
            assert_eq!(dialect.comparable(dialect.streamed(&server, &body)), dialect.comparable(whole), "{body}");
        }
    }
}

#[test]
fn a_loop_of_calls_reads_nothing_twice_in_either_dialect() {
    let server = Server::start(&demo(), &["--ctx", "4096"]);
    for (text, thinks) in [("Weather in Zurich?", false), ("Weather in Oslo?", true)] {
        for dialect in Dialect::ALL {
            let chat = with(
                user(text),
                json!({"tools": tools(), "temperature": 0,
                "chat_template_kwargs": {"enable_thinking": thinks}}),
            );
            let mut body = dialect.of_chat(&chat);
            body["include"] = json!(["reasoning.encrypted_content"]);
            let first = dialect.whole(&server, &body);
            assert_eq!(dialect.said(&first).calls[0].0, "get_weather", "{first}");
            let usage = &first["usage"];
            let (known, key) = match dialect {
                Dialect::Messages => {
                    let back = first["content"].as_array().unwrap().clone();
                    let id = back.last().unwrap()["id"].clone();
                    let result = json!({"type": "tool_result", "tool_use_id": id, "content": "Sunny."});
                    let messages = body["messages"].as_array_mut().unwrap();
                    messages.push(json!({"role": "assistant", "content": back}));
                    messages.push(json!({"role": "user", "content": [result]}));
                    let cached = usage["cache_read_input_tokens"].as_u64().unwrap();
                    (cached + usage["input_tokens"].as_u64().unwrap(), "/usage/cache_read_input_tokens")
                }
                Dialect::Responses => {
                    let mut back = first["output"].as_array().unwrap().clone();
                    // As Codex sends it: the thinking in its other form alone.
                    for item in back.iter_mut().filter(|item| item["type"] == "reasoning") {
                        assert!(item["encrypted_content"].is_string());
                        item["content"].take();
                    }
                    let id = back.last().unwrap()["call_id"].clone();
                    back.push(json!({"type": "function_call_output", "call_id": id, "output": "Sunny."}));
                    body["input"].as_array_mut().unwrap().extend(back);
                    (usage["input_tokens"].as_u64().unwrap(), "/usage/input_tokens_details/cached_tokens")
                }
            };
            let known = known + usage["output_tokens"].as_u64().unwrap();
            let second = dialect.whole(&server, &body);
            let cached = second.pointer(key).unwrap().as_u64().unwrap();
            assert!(cached + 4 >= known, "{dialect:?}, thinking {thinks}: {cached} of {known} tokens");
        }
    }
}

#[test]
fn what_is_counted_is_what_is_read() {
    let server = Server::start(&demo(), &["--ctx", "1024"]);
    let chat = with(user("What is 2 + 3?"), json!({"tools": tools(), "temperature": 0}));
    for (dialect, path) in
        Dialect::ALL.into_iter().zip(["/v1/messages/count_tokens?beta=true", "/v1/responses/input_tokens"])
    {
        let body = dialect.of_chat(&chat);
        let usage = dialect.comparable(dialect.whole(&server, &body))["usage"].take();
        let mut counted = body.clone();
        counted.as_object_mut().unwrap().remove("max_tokens");
        assert_eq!(server.post(path, &counted).json()["input_tokens"], usage["input_tokens"]);
        // More than fits is counted, and not answered.
        let long = dialect.of_chat(&user(&"word ".repeat(1200)));
        assert!(server.post(path, &long).json()["input_tokens"].as_u64() > Some(1200));
        assert_eq!(server.post(dialect.path(), &long).status, 400);
    }
}

#[test]
fn what_changes_with_every_request_is_no_part_of_the_prompt() {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    let ask = |nonce: &str| {
        let header = format!("x-anthropic-billing-header: cc_version=2.1.36; cch={nonce};");
        let rules = "You are asked about numbers. ".repeat(12);
        let system = json!([{"type": "text", "text": header}, {"type": "text", "text": rules, "cache_control": {"type": "ephemeral"}}]);
        let body = with(user("What is 2 + 3?"), json!({"system": system, "max_tokens": 20, "temperature": 0}));
        Dialect::Messages.whole(&server, &body)["usage"].take()
    };
    let (first, second) = (ask("00000"), ask("f3a91"));
    assert_eq!(first["cache_read_input_tokens"], 0);
    let read = |usage: &Value| usage["input_tokens"].as_u64().unwrap();
    assert_eq!(read(&second) + second["cache_read_input_tokens"].as_u64().unwrap(), read(&first));
    assert!(4 * read(&second) < read(&first) && second["cache_creation_input_tokens"] == 0, "{first} {second}");
}

#[test]
fn messages_end_as_their_api_says() {
    let server = Server::start(&demo(), &["--ctx", "512", "--think", "on"]);
    let ask = |text: &str, more: Value| {
        let body = with(with(user(text), json!({"temperature": 0, "max_tokens": 100})), more);
        let whole = Dialect::Messages.whole(&server, &body);
        let streamed = Dialect::Messages.streamed(&server, &body);
        assert_eq!(Dialect::Messages.comparable(streamed), Dialect::Messages.comparable(whole.clone()));
        whole
    };
    let stopped = ask("Count from 1 to 5.", json!({"stop_sequences": ["never", "3"]}));
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!("3")));
    let text = stopped["content"][0]["text"].as_str().unwrap();
    assert!(text.contains('2') && !text.contains('3'), "{stopped}");
    // Where nothing is said of thinking there is none, whatever the server is told.
    let plain = ask("What is 2 + 3?", json!({}));
    assert_eq!(
        (&plain["content"], &plain["stop_reason"]),
        (&json!([{"type": "text", "text": "2+3=5"}]), &json!("end_turn"))
    );
    let thought = ask("Calculate 85 minus 54.", json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}));
    assert_eq!(thought["content"][0]["type"], "thinking");
    assert!(!thought["content"][0]["signature"].as_str().unwrap().is_empty());
    let budget = ask("Calculate 85 minus 54.", json!({"thinking": {"type": "enabled", "budget_tokens": 3}}));
    assert_eq!((&budget["content"][0]["type"], &budget["content"][1]["type"]), (&json!("thinking"), &json!("text")));
    assert!(budget["content"][0]["thinking"].as_str().unwrap().len() < 8, "{budget}");
    let begun =
        json!({"messages": [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "2+3"}]});
    assert_eq!(ask("", begun)["content"][0]["text"], "=5");
    let scratch = Scratch::new("serve-dialects");
    let endless = Server::start(&random(&scratch), &["--ctx", "256", "--loop-guard", "off"]);
    let body = with(forever(), json!({"max_tokens": 1000}));
    assert_eq!(Dialect::Messages.whole(&endless, &body)["stop_reason"], "model_context_window_exceeded");
}

#[test]
fn what_a_service_would_do_itself_is_left_out_and_named() {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    let chat = with(user("Weather in Zurich?"), json!({"tools": tools(), "temperature": 0}));
    for (dialect, other) in Dialect::ALL.into_iter().zip([
        json!({"type": "web_search_20250305", "name": "web_search"}),
        json!({"type": "web_search", "external_web_access": false}),
    ]) {
        let mut body = dialect.of_chat(&chat);
        let expected = dialect.said(&dialect.whole(&server, &body));
        body["tools"].as_array_mut().unwrap().insert(0, other.clone());
        let response = server.post(dialect.path(), &body);
        let header = format!("x-qwen-edge-ignored: {}\r\n", other["type"].as_str().unwrap());
        assert!(response.head.contains(&header), "{response:?}");
        assert_eq!(dialect.said(&response.json()), expected);
    }
}

#[test]
fn a_schema_is_kept_in_every_dialect_and_not_in_the_thinking() {
    let server = Server::start(&demo(), &["--ctx", "1024"]);
    let schema = json!({
        "type": "object", "properties": {"n": {"type": "integer"}, "of": {"enum": ["a", "b"]}}, "required": ["n", "of"],
        "additionalProperties": false,
    });
    for (dialect, thinks) in Dialect::ALL.into_iter().flat_map(|dialect| [(dialect, false), (dialect, true)]) {
        let mut body = dialect.of_chat(&with(
            user("Calculate 85 minus 54."),
            json!({"temperature": 0, "max_tokens": 120,
            "chat_template_kwargs": {"enable_thinking": thinks}}),
        ));
        let format = json!({"type": "json_schema", "name": "numbers", "schema": schema, "strict": true});
        match dialect {
            Dialect::Messages => body["output_config"] = json!({ "format": format }),
            Dialect::Responses => body["text"] = json!({ "format": format }),
        }
        let whole = dialect.whole(&server, &body);
        assert!(dialect == Dialect::Messages || whole["text"]["format"] == format, "{whole}");
        let streamed = dialect.streamed(&server, &body);
        assert_eq!(dialect.comparable(streamed), dialect.comparable(whole.clone()));
        let said = dialect.said(&whole);
        assert_eq!(thinks, !said.reasoning.is_empty(), "{whole}");
        let object: Value = serde_json::from_str(&said.text).unwrap();
        assert!(object["n"].is_i64() && ["a", "b"].contains(&object["of"].as_str().unwrap()), "{object}");
    }
}

#[test]
fn pictures_are_seen_in_every_dialect() {
    let server = Server::start(&demo(), &["--ctx", "2048"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/images/04.png");
    let data = base64::engine::general_purpose::STANDARD.encode(std::fs::read(path).unwrap());
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}});
    let content = json!([picture, {"type": "text", "text": "Describe the image."}]);
    let body = json!({"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 60});
    let expected = "a red triangle, a red triangle, a yellow circle";
    assert_eq!(Dialect::Messages.said(&Dialect::Messages.whole(&server, &body)).text, expected);
    let url = format!("data:image/png;base64,{data}");
    let content =
        json!([{"type": "input_image", "image_url": url}, {"type": "input_text", "text": "Describe the image."}]);
    let body = json!({"input": [{"role": "user", "content": content}], "temperature": 0});
    assert_eq!(Dialect::Responses.said(&Dialect::Responses.whole(&server, &body)).text, expected);
}

#[test]
fn what_coding_agents_send_is_answered() {
    let server = Server::start(&demo(), &["--ctx", "16k"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients");
    for (dialect, file, ignored) in [
        (Dialect::Messages, "claude-code.jsonl", None),
        (Dialect::Responses, "codex.jsonl", Some("x-qwen-edge-ignored: namespace, web_search\r\n")),
    ] {
        let bodies = std::fs::read_to_string(folder.join(file)).unwrap();
        let mut n_before = None;
        for line in bodies.lines() {
            let mut body: Value = serde_json::from_str(line).unwrap();
            body[if dialect == Dialect::Messages { "max_tokens" } else { "max_output_tokens" }] = 4.into();
            let answer = dialect.streamed(&server, &body);
            let usage = &answer["usage"];
            let (n_read, n_cached) = match dialect {
                Dialect::Messages => (&usage["input_tokens"], &usage["cache_read_input_tokens"]),
                Dialect::Responses => (&usage["input_tokens"], &usage["input_tokens_details"]["cached_tokens"]),
            };
            let (n_read, n_cached) = (n_read.as_u64().unwrap(), n_cached.as_u64().unwrap());
            // A turn is the one before and what became of its calls.
            if let Some(n_before) = n_before.take() {
                assert!(10 * n_cached >= 9 * n_before, "{file}: {n_cached} of {n_before} tokens");
            } else {
                n_before = Some(if dialect == Dialect::Messages { n_read + n_cached } else { n_read });
            }
            assert!(n_read + n_cached > 1000, "{usage}");
            body["stream"] = false.into();
            let whole = server.post(dialect.path(), &body);
            assert_eq!(whole.status, 200, "{whole:?}");
            assert!(ignored.is_none_or(|ignored| whole.head.contains(ignored)), "{}", whole.head);
        }
    }
}

/// The error of a response in Anthropic's shape.
fn error(response: &Response) -> (u16, String, String) {
    let whole = response.json();
    assert_eq!(whole["type"], "error", "{response:?}");
    let id = whole["request_id"].as_str().unwrap();
    assert!(response.head.contains(&format!("\r\nrequest-id: {}", id.to_lowercase())), "{response:?}");
    let text = |key: &str| whole["error"][key].as_str().unwrap().to_owned();
    (response.status, text("type"), text("message"))
}

#[test]
fn errors_are_said_in_the_words_of_who_asked() {
    let scratch = Scratch::new("serve-dialects");
    let file = scratch.write("key", "open sesame");
    let server =
        Server::start(&demo(), &["--ctx", "512", "--api-key-file", file.to_str().unwrap(), "--max-body", "100k"]);
    let (json_type, key) = ("content-type: application/json", "x-api-key: open sesame");
    let post = |path: &str, headers: &[&str], body: &str| {
        server.ask(&format!("POST {path}"), &[&[json_type][..], headers].concat(), body)
    };
    let hello = json!({"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 10});
    assert_eq!(post("/v1/messages", &[key], &hello.to_string()).status, 200);
    assert_eq!(post("/v1/messages", &[key, "authorization: Bearer sk-other"], &hello.to_string()).status, 200);
    let kinds = [
        (post("/v1/messages", &[], &hello.to_string()), 401, "authentication_error"),
        (post("/v1/messages", &[key, "origin: http://evil.example"], "{}"), 403, "permission_error"),
        (post("/v1/messages/batches", &[key], "{}"), 404, "not_found_error"),
        (server.ask("GET /v1/messages", &[key], ""), 405, "invalid_request_error"),
        (post("/v1/messages", &[key], &" ".repeat(200_000)), 413, "request_too_large"),
        (post("/v1/messages/count_tokens", &[key], "{"), 400, "invalid_request_error"),
    ];
    for (response, status, kind) in kinds {
        let (found, word, _) = error(&response);
        assert_eq!((found, &*word), (status, kind), "{response:?}");
    }
    for (more, field) in [
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"temperature": 1.5}), "temperature"),
        (json!({"thinking": {"type": "some"}}), "thinking.type"),
        (json!({"thinking": {"budget_tokens": 1024}}), "thinking"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "user", "content": [{"type": "document"}]}]}), "messages[0].content[0]"),
        (json!({"tools": [{"name": "f g"}]}), "tools[0].name"),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice"),
        (json!({"output_config": {"format": {"type": "json_schema"}}}), "output_config.format"),
        (json!({"messages": [{"role": "user", "content": "word ".repeat(900)}]}), "the prompt has"),
    ] {
        let response = post("/v1/messages", &[key], &with(hello.clone(), more).to_string());
        let (status, kind, message) = error(&response);
        assert_eq!((status, &*kind), (400, "invalid_request_error"), "{response:?}");
        assert!(message.starts_with(field), "{message}");
    }
    for (more, param) in [
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"input": [{"type": "item_reference", "id": "a"}]}), "input[0]"),
        (json!({"tools": [{"type": "function", "name": "f", "parameters": 7}]}), "tools[0].parameters"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
    ] {
        let response = post("/v1/responses", &[key], &with(json!({"input": "Hello."}), more).to_string());
        assert_eq!((response.status, &response.json()["error"]["param"]), (400, &json!(param)), "{response:?}");
    }
    for line in [
        "GET /v1/responses/resp_1",
        "DELETE /v1/responses/resp_1",
        "POST /v1/responses/resp_1/cancel",
        "POST /v1/responses/compact",
    ] {
        let response = server.ask(line, &[key], "");
        let error = response.json()["error"].take();
        assert_eq!((response.status, &error["type"]), (404, &json!("not_found_error")), "{line}");
        assert!(error["message"].as_str().unwrap().contains("keeps no responses"), "{error}");
    }
}

#[test]
fn a_server_that_ends_ends_every_stream_with_its_dialects_last_event() {
    let scratch = Scratch::new("serve-dialects");
    for dialect in Dialect::ALL {
        let args = ["--loop-guard", "off", "--ctx", "16k", "--grace", "1"];
        let mut server = Server::start(&random(&scratch), &args);
        let mut body = dialect.of_chat(&with(forever(), json!({"max_tokens": 100_000})));
        let json_type = "content-type: application/json";
        let line = format!("POST {}", dialect.path());
        let whole = server.send(&line, &[json_type], &body.to_string());
        body["stream"] = true.into();
        let mut stream = server.send(&line, &[json_type], &body.to_string());
        stream.read_exact(&mut [0; 2000]).unwrap();
        ask_to_end(&server.child);
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        let last = rest.rsplit("event: ").next().unwrap();
        let whole = Response::read(whole);
        match dialect {
            Dialect::Messages => {
                assert!(last.starts_with("error\ndata: {\"type\":\"error\""), "{last}");
                assert_eq!((whole.status, &*error(&whole).1), (503, "api_error"));
            }
            Dialect::Responses => {
                assert!(last.starts_with("response.failed\n") && last.contains("the server ends"), "{last}");
                assert_eq!((&whole.json()["status"], whole.status), (&json!("failed"), 200));
            }
        }
        assert_eq!(server.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_fault_ends_a_stream_with_its_dialects_last_event() {
    let server = Server::start(&demo(), &["--parallel", "2", "--fault", "mallory"]);
    for (dialect, last) in Dialect::ALL.into_iter().zip(["error", "response.failed"]) {
        let body =
            dialect.of_chat(&with(user("Count from 1 to 9."), json!({"user": "mallory in a pass", "stream": true})));
        let events = named_events(&server.post(dialect.path(), &body));
        let event = events.last().unwrap();
        assert_eq!(event["type"], last, "{event}");
        assert!(event.to_string().contains("a fault of the program"), "{event}");
        let fine = with(user("What is 2 + 3?"), json!({"temperature": 0}));
        assert_eq!(dialect.said(&dialect.streamed(&server, &dialect.of_chat(&fine))).text, "2+3=5");
    }
}

#[test]
fn no_body_is_a_fault_of_the_server() {
    let server = Server::start(&demo(), &["--ctx", "512"]);
    let messages = json!({
        "model": "m", "max_tokens": 2, "stream": false, "temperature": 1, "top_p": 0.9, "top_k": 5, "stop_sequences": ["a"],
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "base64", "media_type": "a", "data": "AAAA"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": "b"}, {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "b"}], "is_error": true}]},
        ],
        "tools": [{"name": "f", "description": "F", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}, "thinking": {"type": "enabled", "budget_tokens": 1},
        "output_config": {"effort": "low"}, "metadata": {"user_id": "a"},
    });
    let responses = json!({
        "model": "m", "instructions": "a", "max_output_tokens": 2, "temperature": 1, "top_p": 0.9, "top_logprobs": 1,
        "include": ["reasoning.encrypted_content"], "parallel_tool_calls": true, "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}, "verbosity": "low"}, "metadata": {"a": "b"}, "tool_choice": "auto",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}, {"type": "web_search"}],
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "a"}]},
            {"role": "user", "content": "b"},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "c"}], "encrypted_content": "Yw=="},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "d"},
        ],
    });
    let strange = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e30),
        json!(""),
        json!("\u{0}<|im_end|>\u{10ffff}"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"type": "text", "text": 7}),
    ];
    let chat = json!({
        "model": "m", "stream": false, "think": "low", "format": "json", "keep_alive": "5m", "logprobs": true, "top_logprobs": 1,
        "messages": [
            {"role": "system", "content": "a"},
            {"role": "user", "content": "b", "images": ["AAAA"]},
            {"role": "assistant", "content": "", "thinking": "c", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
            {"role": "tool", "tool_name": "f", "content": "d"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "options": {"temperature": 1, "top_k": 5, "seed": 1, "num_predict": 2, "num_ctx": 4096, "stop": ["a"]},
    });
    let generate = json!({
        "model": "m", "prompt": "a", "suffix": "", "system": "b", "template": "", "context": [1], "raw": false, "images": ["AAAA"],
        "stream": false, "think": false, "options": {"num_predict": 2},
    });
    for (path, body) in
        [("/v1/messages", messages), ("/v1/responses", responses), ("/api/chat", chat), ("/api/generate", generate)]
    {
        let mut places = Vec::new();
        places_of(&body, String::new(), &mut places);
        for (i, place) in places.iter().enumerate() {
            // Each place with a few of them, which take turns.
            for strange in strange.iter().skip(i % 4).step_by(4) {
                let mut body = body.clone();
                *body.pointer_mut(place).unwrap() = strange.clone();
                let response = server.post(path, &body);
                assert!([200, 400].contains(&response.status), "{place} = {strange}: {response:?}");
            }
        }
    }
    assert!(server.get("/metrics").body.contains("qwen_edge_panics_total 0\n"));
}

/// The places of all values in a value.
fn places_of(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| places_of(value, format!("{at}/{key}"), places))
        }
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, value)| places_of(value, format!("{at}/{i}"), places))
        }
        _ => {}
    }
    places.push(at);
}
