//! `serve`: what programs are told over HTTP, and what nobody can do to others by it.

use crate::support::chats::{demo, demo_forever, forever, random, text, user, with};
use crate::support::http::{PATIENCE, Response, Server};
use crate::support::program::program;
use crate::support::requests_to_end::ask_to_end;
use crate::support::scratch::Scratch;
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Questions that the demo model was taught, asked in several ways.
fn questions() -> Vec<Value> {
    (2..6)
        .flat_map(|n| {
            [
                with(user(&format!("What is {n} + 3?")), json!({"temperature": 0})),
                with(user(&format!("Count from 1 to {n}.")), json!({"seed": n, "temperature": 1.5})),
                with(user(&format!("Count from 1 to {n}.")), json!({"temperature": 0, "stop": ["3,", " 4"]})),
                with(user("Extract name, age as JSON: Mia is 31 years old and lives in Oslo."), json!({"seed": n})),
            ]
        })
        .collect()
}

#[test]
fn streamed_and_whole_answers_are_the_same_alone_and_in_company() {
    let server = Server::start(&demo(), &["--parallel", "8"]);
    let alone: Vec<Value> = questions().iter().map(|question| server.chat(question).json()).collect();
    assert_eq!(alone[0]["choices"][0]["message"]["content"], "2+3=5");
    for (question, whole) in questions().iter().zip(&alone) {
        let options = json!({"stream": true, "stream_options": {"include_usage": true}});
        let streamed = server.chat(&with(question.clone(), options));
        assert!(streamed.head.contains("content-type: text/event-stream"), "{streamed:?}");
        let mut events = streamed.events();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let (last, chunks) = events.split_last().unwrap();
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        assert!(chunks.iter().all(|chunk| chunk["usage"].is_null() && chunk["id"] == chunks[0]["id"]));
        let content: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        let choice = &whole["choices"][0];
        assert_eq!(content, choice["message"]["content"], "{question}");
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], choice["finish_reason"]);
        assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
        assert_eq!(last["choices"], json!([]));
    }
    let together: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            questions().into_iter().map(|question| scope.spawn(|| server.chat(&{ question }).json())).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    for ((question, alone), together) in questions().iter().zip(&alone).zip(&together) {
        assert_eq!(alone["choices"], together["choices"], "{question}");
    }
    // Without being asked for, there is no chunk without choices.
    let plain = server.chat(&with(user("What is 2 + 3?"), json!({"stream": true})));
    assert!(!plain.body.contains("\"choices\":[]") && !plain.body.contains("\"usage\""), "{plain:?}");
}

#[test]
fn several_choices_are_those_of_their_seeds() {
    let server = Server::start(&demo(), &["--parallel", "3"]);
    let question = with(user("Count from 1 to 9."), json!({"temperature": 2, "top_k": 0, "top_p": 1, "seed": 5}));
    let three = server.chat(&with(question.clone(), json!({"n": 3}))).json();
    assert_eq!(three["choices"].as_array().unwrap().len(), 3);
    for (i, choice) in three["choices"].as_array().unwrap().iter().enumerate() {
        let one = server.chat(&with(question.clone(), json!({"seed": 5 + i}))).json();
        assert_eq!(choice["index"], i);
        assert_eq!(choice["message"], one["choices"][0]["message"]);
    }
    let streamed = server.chat(&with(question, json!({"n": 3, "stream": true})));
    let mut contents = vec![String::new(); 3];
    for event in streamed.events().iter().filter(|event| *event != "[DONE]") {
        let choice = &serde_json::from_str::<Value>(event).unwrap()["choices"][0];
        let content = &mut contents[choice["index"].as_u64().unwrap() as usize];
        content.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
    }
    for (i, content) in contents.iter().enumerate() {
        assert_eq!(three["choices"][i]["message"]["content"], content.as_str());
    }
    assert_eq!(server.chat(&with(user("a"), json!({"n": 4}))).json()["error"]["param"], "n");
}

#[test]
fn a_second_turn_reads_only_what_is_new_and_says_the_same() {
    let turns = |n: usize| {
        let mut messages = vec![json!({"role": "system", "content": "You are asked about numbers. ".repeat(12)})];
        for i in 0..n {
            messages.push(json!({"role": "user", "content": format!("What is {} + 3?", i + 2)}));
            messages.push(json!({"role": "assistant", "content": format!("{}+3={}", i + 2, i + 5)}));
        }
        messages.pop();
        json!({"messages": messages, "temperature": 0})
    };
    let server = Server::start(&demo(), &["--parallel", "1"]);
    let first = server.chat(&turns(1)).json();
    let second = server.chat(&turns(2)).json();
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(cached(&first), 0);
    let prompt = first["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(cached(&second) > prompt / 2 && cached(&second) < prompt, "{second}");
    let again = server.chat(&turns(2)).json();
    assert!(cached(&again) > cached(&second), "{again}");
    let fresh = Server::start(&demo(), &["--parallel", "1"]).chat(&turns(2)).json();
    assert_eq!(cached(&fresh), 0);
    assert_eq!((&second["choices"], &again["choices"]), (&fresh["choices"], &fresh["choices"]));
}

#[test]
fn a_prompt_that_an_answer_at_work_has_read_is_not_read_again() {
    let server = Server::start(&demo(), &["--loop-guard", "off", "--parallel", "2"]);
    let short = with(demo_forever(), json!({"frequency_penalty": 0, "max_tokens": 20}));
    let alone = Server::start(&demo(), &["--parallel", "1"]).chat(&short).json();
    let mut running = server.chat_stream(&with(demo_forever(), json!({"stream": true})));
    running.read_exact(&mut [0; 2000]).unwrap();
    let beside = server.chat(&short).json();
    let cached = beside["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached + 20 > beside["usage"]["prompt_tokens"].as_u64().unwrap(), "{beside}");
    assert!(server.get("/metrics").body.contains("requests_processing 1\n"));
    assert_eq!(beside["choices"], alone["choices"]);
}

#[test]
fn an_answer_that_is_begun_is_continued_and_limits_end_one() {
    let server = Server::start(&demo(), &[]);
    let greedy = json!({"temperature": 0});
    let begun =
        json!({"messages": [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "2+3"}]});
    assert_eq!(text(&server.chat(&with(begun, greedy.clone()))), "=5");
    let limited =
        with(user("Count from 1 to 9."), json!({"max_tokens": 3, "max_completion_tokens": null, "temperature": 0}));
    let answer = server.chat(&limited).json();
    assert_eq!(
        (&answer["choices"][0]["finish_reason"], &answer["usage"]["completion_tokens"]),
        (&json!("length"), &json!(3))
    );
    // A late system message is a turn of the user; nulls are nothing; what is not known is ignored.
    let late = json!({
        "messages": [{"role": "user", "content": "Hello."}, {"role": "developer", "content": "What is 2 + 3?"}],
        "model": "gpt-9", "store": true, "metadata": {"a": 1}, "tools": null, "top_p": null,
        "response_format": {"type": "text"},
    });
    assert!(text(&server.chat(&with(late, greedy))).contains('5'));
}

#[test]
fn what_is_wrong_is_said_with_its_field_and_status() {
    let server = Server::start(&demo(), &["--ctx", "512"]);
    let error = |response: Response| {
        let error = response.json()["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "{response:?}");
        }
        (response.status, error)
    };
    let picture = json!({"type": "image_url", "image_url": {"url": "/etc/passwd"}});
    for (more, param) in [
        (json!({"temperature": -1}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"top_p": 1.5}), "top_p"),
        (json!({"top_k": -2}), "top_k"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"stop": [""]}), "stop"),
        (json!({"stop": 7}), "stop"),
        (json!({"n": 0}), "n"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (json!({"tools": [{"type": "function", "function": {"name": "f g"}}]}), "tools[0].function.name"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tools": [{"function": {"name": "f"}}], "tool_choice": {"function": {"name": "g"}}}), "tool_choice"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"chat_template_kwargs": {"messages": []}}), "chat_template_kwargs.messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": [{"role": "user", "content": [picture]}]}), "messages[0].content[0]"),
    ] {
        let (status, error) = error(server.chat(&with(user("Hello."), more)));
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{error}");
    }
    let (status, long) = error(server.chat(&user(&"word ".repeat(2000))));
    assert_eq!((status, &long["code"], &long["n_ctx"]), (400, &json!("context_length_exceeded"), &json!(512)));
    assert!(long["n_prompt_tokens"].as_u64() > Some(512));

    let json_type = "content-type: application/json";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "[]", "{\"messages\": [", "{\"messages\": \"\\ud800\"}", &deep] {
        let (status, error) = error(server.ask("POST /v1/chat/completions", &[json_type], body));
        assert_eq!((status, &error["code"]), (400, &json!("invalid_json")), "{error}");
    }
    for (line, headers, status) in [
        ("POST /v1/chat/completions", vec!["content-type: text/plain"], 415),
        ("GET /v1/chat/completions", vec![], 405),
        ("POST /v1/models", vec![], 405),
        ("GET /v1/models/other", vec![], 404),
        ("GET /v1/../../etc/passwd", vec![], 404),
        ("GET /%2e%2e/%2e%2e/etc/passwd", vec![], 404),
        ("POST /v1/embeddings", vec![json_type], 501),
        ("GET /health", vec!["host: evil.example"], 403),
        ("GET /health", vec!["origin: http://evil.example"], 403),
        ("POST /v1/chat/completions", vec![json_type, "sec-fetch-site: cross-site"], 403),
    ] {
        assert_eq!(error(server.ask(line, &headers, "{}")).0, status, "{line}");
    }
    assert_eq!(Response::read(server.connect(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")).status, 400);
}

#[test]
fn the_model_and_the_counters_are_shown() {
    let server = Server::start(&demo(), &["--alias", "a/b"]);
    server.chat(&with(user("What is 2 + 3?"), json!({"temperature": 0})));
    let models = server.get("/v1/models").json();
    assert_eq!((&models["data"][0]["id"], &models["object"]), (&json!("a-b"), &json!("list")));
    assert_eq!(server.get("/v1/models/a-b").json(), models["data"][0]);
    assert_eq!(models["data"][0]["architecture"]["input_modalities"], json!(["text", "image"]));
    let health = server.get("/health");
    assert_eq!((health.json(), health.status), (json!({"status": "ok"}), 200));
    assert!(health.head.contains("x-request-id: ") && health.head.contains("nosniff"), "{health:?}");
    let metrics = server.get("/metrics").body;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().unwrap()
    };
    assert!(value("llamacpp:prompt_tokens_total") > 5.0 && value("llamacpp:tokens_predicted_total") > 4.0);
    assert_eq!(value("llamacpp:requests_processing"), 0.0);
    assert_eq!(value("qwen_edge_first_token_seconds_count"), 1.0);
    assert_eq!(server.ask("HEAD /", &[], "").status, 200);
    assert_eq!(server.ask("OPTIONS /v1/chat/completions", &[], "").status, 204);
}

#[test]
fn a_client_that_leaves_frees_its_seat_and_a_slow_one_holds_up_nobody() {
    let scratch = Scratch::new("serve");
    let server = Server::start(&random(&scratch), &["--loop-guard", "off", "--parallel", "2", "--ctx", "16k"]);
    // Two that read nothing hold both seats; whatever the first does, the second is whole.
    let stream = with(forever(), json!({"stream": true}));
    let slow = server.chat_stream(&stream);
    let mut gone = server.chat_stream(&stream);
    gone.read_exact(&mut [0; 64]).unwrap();
    let waits = server.chat_stream(&with(user("b"), json!({"max_tokens": 2})));
    let start = Instant::now();
    drop(gone);
    assert_eq!(Response::read(waits).status, 200);
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    // Whole answers are given up as well, and requests that wait.
    let whole = server.chat_stream(&forever());
    let queued = server.chat_stream(&forever());
    std::thread::sleep(Duration::from_millis(200));
    drop((whole, queued, slow));
    assert_eq!(server.chat(&with(user("b"), json!({"n": 2, "max_tokens": 2}))).status, 200);
}

#[test]
fn a_slow_reader_loses_nothing_of_an_answer_that_is_drafted() {
    let server = Server::start(&demo(), &["--loop-guard", "off", "--parallel", "1"]);
    let asked = with(demo_forever(), json!({"max_tokens": 1500}));
    let whole = server.chat(&asked);
    assert!(whole.json()["timings"]["draft_n_accepted"].as_u64() > Some(100), "{whole:?}");
    let plain =
        Server::start(&demo(), &["--loop-guard", "off", "--parallel", "1", "--draft", "off"]).chat(&asked).json();
    assert_eq!(plain["choices"], whole.json()["choices"]);
    assert!(plain["timings"].get("draft_n").is_none() && plain["timings"]["predicted_n"] == 1500);
    let whole = text(&whole);
    // So much a token that what the sockets hold is soon full.
    let streamed = server.chat_stream(&with(asked, json!({"stream": true, "logprobs": true, "top_logprobs": 20})));
    std::thread::sleep(Duration::from_millis(1500));
    let events = Response::read(streamed).events();
    let contents = events.iter().filter(|event| *event != "[DONE]").filter_map(|event| {
        let event: Value = serde_json::from_str(event).unwrap();
        Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())
    });
    assert_eq!(contents.collect::<String>(), whole);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let scratch = Scratch::new("serve");
    let server = Server::start(&random(&scratch), &["--loop-guard", "off", "--parallel", "1", "--ctx", "16k"]);
    let streams: Vec<TcpStream> = (0..30).map(|_| server.chat_stream(&forever())).collect();
    // One has the seat, 20 wait; the others are told at once, whichever they are.
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let (start, mut heads) = (Instant::now(), Vec::new());
    while heads.len() < 9 {
        assert!(start.elapsed() < PATIENCE, "{heads:?}");
        std::thread::sleep(Duration::from_millis(20));
        let mut bytes = [0; 4096];
        heads.extend(streams.iter().filter_map(|mut stream| {
            let n = stream.read(&mut bytes).ok().filter(|&n| n > 0)?;
            Some(String::from_utf8_lossy(&bytes[..n]).to_lowercase())
        }));
    }
    for head in heads {
        assert!(head.starts_with("http/1.1 429") && head.contains("retry-after: "), "{head}");
    }
}

#[test]
fn a_signal_ends_streams_with_their_last_event_and_the_server_with_0() {
    let scratch = Scratch::new("serve");
    let mut server = Server::start(&random(&scratch), &["--loop-guard", "off", "--ctx", "16k", "--grace", "1"]);
    let mut stream = server.chat_stream(&with(forever(), json!({"stream": true})));
    let mut first = [0; 256];
    stream.read_exact(&mut first).unwrap();
    let mut quiet = server.connect(b"");
    ask_to_end(&server.child);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.contains("\"stopped\":\"shutdown\""), "{rest}");
    assert!(rest.contains("data: [DONE]\n\n"), "{rest}");
    assert_eq!(quiet.read(&mut [0; 8]).unwrap_or(0), 0);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(server.address).is_err());
    let mut log = String::new();
    server.said.read_to_string(&mut log).unwrap();
    assert!(log.contains("POST /v1/chat/completions 200 "), "{log}");
}

#[test]
fn other_machines_need_a_key_which_is_not_told() {
    let refused = program().arg("serve").arg(demo()).args(["--host", "0.0.0.0", "--port", "0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--api-key-file"), "{refused:?}");
    let scratch = Scratch::new("serve");
    let file = scratch.write("key", "open sesame\n");
    let mut server = Server::start(&demo(), &["--api-key-file", file.to_str().unwrap()]);
    let body = with(user("What is 2 + 3?"), json!({"temperature": 0})).to_string();
    let ask =
        |header: &str| server.ask("POST /v1/chat/completions", &["content-type: application/json", header], &body);
    assert_eq!(text(&ask("authorization: Bearer open sesame")), "2+3=5");
    assert_eq!(text(&ask("x-api-key: open sesame")), "2+3=5");
    let without = ask("authorization: Bearer open sesam");
    assert_eq!((without.status, &without.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    assert!(without.head.contains("www-authenticate: bearer"), "{without:?}");
    assert_eq!(server.get("/v1/models").status, 401);
    let _ = server.child.kill();
    let mut log = String::new();
    server.said.read_to_string(&mut log).unwrap();
    assert!(!log.contains("sesame") && !log.contains("2 + 3"), "{log}");
}

#[test]
fn a_log_of_json_has_an_object_a_line_and_no_content() {
    let mut server = Server::start(&demo(), &["--log", "json", "--ctx-size", "2048", "-fa"]);
    let answer = server.chat(&user("What is 2 + 3?"));
    assert_eq!(text(&answer), "2+3=5");
    assert_eq!(server.get("/v1/nothing?of=this").status, 404);
    ask_to_end(&server.child);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    server.said.read_to_string(&mut log).unwrap();
    assert!(!log.contains("2 + 3") && !log.contains("2+3") && !log.contains("of=this"), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["time"].as_f64().unwrap() > 1.7e9), "{log}");
    let requests: Vec<&Value> = lines.iter().filter(|line| line["path"].is_string()).collect();
    let chat = requests.iter().find(|line| line["path"] == "/v1/chat/completions").unwrap();
    assert_eq!(
        (&chat["method"], &chat["status"], &chat["completion_tokens"]),
        (&json!("POST"), &json!(200), &json!(6))
    );
    assert!(answer.head.contains(&chat["id"].as_str().unwrap().to_lowercase()), "{answer:?}");
    assert!(
        chat["ms"].as_f64().unwrap() > 0.0 && chat["cached_tokens"] == 0 && chat["prompt_tokens"].as_u64() > Some(5)
    );
    assert_eq!(requests.last().unwrap()["status"], 404);
    assert!(lines.iter().any(|line| line["message"].as_str().is_some_and(|text| text.contains("answers at a time"))));
}

#[test]
fn a_fault_ends_one_request_or_pass_and_not_the_server() {
    let mut server = Server::start(&demo(), &["--parallel", "2", "--fault", "mallory"]);
    let question = with(user("What is 2 + 3?"), json!({"temperature": 0}));
    for (name, panics) in [("mallory", 1), ("mallory in a pass", 2), ("mallory in a pass", 3)] {
        let failed = server.chat(&with(question.clone(), json!({"user": name})));
        assert_eq!((failed.status, &failed.json()["error"]["type"]), (500, &json!("server_error")));
        assert_eq!(text(&server.chat(&question)), "2+3=5");
        assert!(server.get("/metrics").body.contains(&format!("\nqwen_edge_panics_total {panics}\n")));
    }
    // Those who are written to while a picture is looked at do not notice.
    let mut running = server.chat_stream(&with(demo_forever(), json!({"stream": true})));
    running.read_exact(&mut [0; 64]).unwrap();
    let failed = server.chat(&with(about(&[picture("00.png")], "?"), json!({"user": "mallory at a picture"})));
    assert_eq!((failed.status, &failed.json()["error"]["type"]), (500, &json!("server_error")));
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("\nqwen_edge_panics_total 4\n") && metrics.contains("requests_processing 1\n"),
        "{metrics}"
    );
    assert!(running.read(&mut [0; 64]).unwrap() > 0);
    drop(running);
    assert_eq!(text(&server.chat(&about(&[picture("00.png")], "Describe the image."))), described("00.png"));
    assert!(server.child.try_wait().unwrap().is_none());
}

#[test]
fn the_tokens_of_an_answer_come_with_their_probabilities() {
    let server = Server::start(&demo(), &[]);
    let asked = with(user("What is 2 + 3?"), json!({"temperature": 0, "logprobs": true, "top_logprobs": 3}));
    let whole = server.chat(&asked).json();
    let tokens = whole["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    let joined: String = tokens.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(joined, "2+3=5");
    for token in &tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["token"], &top[0]["logprob"]), (3, &token["token"], &token["logprob"]));
        let logprobs: Vec<f64> = top.iter().map(|top| top["logprob"].as_f64().unwrap()).collect();
        assert!(logprobs.is_sorted_by(|a, b| a >= b) && logprobs.iter().map(|x| x.exp()).sum::<f64>() < 1.0 + 1e-6);
        assert_eq!(token["bytes"], json!(token["token"].as_str().unwrap().as_bytes()));
    }
    let streamed = server.chat(&with(asked, json!({"stream": true})));
    let streamed: Vec<Value> = streamed
        .events()
        .iter()
        .filter(|event| *event != "[DONE]")
        .filter_map(|event| {
            let event: Value = serde_json::from_str(event).unwrap();
            event["choices"][0]["logprobs"]["content"].as_array().cloned()
        })
        .flatten()
        .collect();
    assert_eq!(streamed, tokens);
}

#[test]
fn texts_are_continued_as_they_are() {
    let server = Server::start(&demo(), &["--parallel", "2"]);
    let prompt = "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    let ask = |more: Value| {
        let body = with(json!({"prompt": prompt, "temperature": 0}), more);
        let answer = server.post("/v1/completions", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    let one = ask(json!({})).json();
    assert_eq!((&one["choices"][0]["text"], &one["object"]), (&json!("2+3=5"), &json!("text_completion")));
    let echo = ask(json!({"echo": true, "max_tokens": 0})).json();
    assert_eq!((&echo["choices"][0]["text"], &echo["usage"]["completion_tokens"]), (&json!(prompt), &json!(0)));
    let two = ask(json!({"prompt": [prompt, "Count from"], "n": 2, "max_tokens": 2})).json();
    let texts: Vec<&Value> = two["choices"].as_array().unwrap().iter().map(|choice| &choice["text"]).collect();
    assert!(texts.len() == 4 && texts[0] == texts[1] && texts[2] == texts[3] && texts[0] == "2+", "{two}");
    let streamed = ask(json!({"stream": true, "echo": true}));
    let content: String = streamed
        .events()
        .iter()
        .filter(|event| *event != "[DONE]")
        .map(|event| serde_json::from_str::<Value>(event).unwrap()["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(content, format!("{prompt}2+3=5"));
    let wrong = server.post("/v1/completions", &json!({"prompt": [[1, 99_999_999]]}));
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!("prompt")));
}

/// The arguments of a harness that asks how likely a text is: the sum over all but the first `n_before` tokens and the one
/// written behind it, and whether each was the likeliest.
fn likelihood(choice: &Value, n_before: usize) -> (f64, bool) {
    let logprobs = &choice["logprobs"];
    let list = |name: &str| logprobs[name].as_array().unwrap().clone();
    let (own, top) = (list("token_logprobs"), list("top_logprobs"));
    assert!(own.len() == top.len() && list("tokens").len() == own.len() && list("text_offset").len() == own.len());
    let inside = n_before..own.len() - 1;
    let likeliest =
        |top: &Value| top.as_object().unwrap().values().map(|x| x.as_f64().unwrap()).fold(f64::MIN, f64::max);
    let sum = own[inside.clone()].iter().map(|x| x.as_f64().unwrap()).sum();
    let greedy = inside.into_iter().all(|i| own[i].as_f64() == Some(likeliest(&top[i])));
    (sum, greedy)
}

#[test]
fn a_harness_learns_how_likely_the_tokens_of_a_prompt_are() {
    let server = Server::start(&demo(), &["--parallel", "3"]);
    let question = "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    let ask = |more: Value| {
        let answer = server.post("/v1/completions", &with(json!({"temperature": 0, "logprobs": 1, "seed": 1}), more));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    // What it writes itself, and how likely it says that this is when it is shown it. Written rows and rows of a prompt
    // are rounded differently.
    let written = ask(json!({"prompt": question})).json();
    let logprobs = &written["choices"][0]["logprobs"];
    let of_answer: Vec<f64> =
        logprobs["token_logprobs"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(logprobs["tokens"].as_array().unwrap().last().unwrap(), "<|im_end|>");
    assert_eq!(of_answer.len(), 6, "{written}");
    let n_question = written["usage"]["prompt_tokens"].as_u64().unwrap() as usize;
    let texts = json!([format!("{question}2+3=5<|im_end|>"), format!("{question}2+3=6<|im_end|>"), "2"]);
    let shown = ask(json!({"prompt": texts, "echo": true, "max_tokens": 1})).json();
    let (right, is_greedy) = likelihood(&shown["choices"][0], n_question);
    assert!(is_greedy && (right - of_answer.iter().sum::<f64>()).abs() < 0.05, "{right} {of_answer:?}");
    let (wrong, is_greedy) = likelihood(&shown["choices"][1], n_question);
    assert!(!is_greedy && wrong < right - 1.0, "{wrong} {right}");
    assert_eq!(shown["choices"][2]["logprobs"]["token_logprobs"].as_array().unwrap().len(), 2, "{shown}");
    let first = &shown["choices"][0]["logprobs"];
    assert_eq!((&first["tokens"][0], &first["token_logprobs"][0]), (&json!("<|im_start|>"), &Value::Null));
    let text = shown["choices"][0]["text"].as_str().unwrap();
    for (token, at) in first["tokens"].as_array().unwrap().iter().zip(first["text_offset"].as_array().unwrap()) {
        let behind: String = text.chars().skip(at.as_u64().unwrap() as usize).collect();
        assert!(behind.starts_with(token.as_str().unwrap()) || token == "<|im_end|>", "{token} at {at}");
    }
    // Without an answer, with two, in a stream, and beside others: the same.
    let nothing = ask(json!({"prompt": texts[0], "echo": true, "max_tokens": 0})).json();
    let all = first["token_logprobs"].as_array().unwrap();
    let of = |choice: &Value| choice["logprobs"]["token_logprobs"].as_array().unwrap().clone();
    assert_eq!(of(&nothing["choices"][0]), all[..all.len() - 1]);
    assert_eq!(
        (&nothing["usage"]["completion_tokens"], &nothing["choices"][0]["finish_reason"]),
        (&json!(0), &json!("length"))
    );
    let request = json!({"prompt": texts, "echo": true, "max_tokens": 1, "n": 2});
    let streamed = ask(with(request.clone(), json!({"stream": true})));
    let mut lists = vec![Vec::new(); 6];
    for event in streamed.events().iter().filter(|event| *event != "[DONE]") {
        let choice = &serde_json::from_str::<Value>(event).unwrap()["choices"][0];
        let list = choice["logprobs"]["token_logprobs"].as_array().cloned().unwrap_or_default();
        lists[choice["index"].as_u64().unwrap() as usize].extend(list);
    }
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(request.clone()).json())).collect();
        for answer in asked.into_iter().map(|asked| asked.join().unwrap()) {
            for (i, choice) in answer["choices"].as_array().unwrap().iter().enumerate() {
                assert_eq!(of(choice), of(&shown["choices"][i / 2]));
                assert_eq!(of(choice), lists[i]);
            }
        }
    });
    let long = server.post(
        "/v1/completions",
        &json!({"prompt": "a b c ".repeat(300), "echo": true, "logprobs": 3, "max_tokens": 0}),
    );
    let n = long.json()["usage"]["prompt_tokens"].as_u64().unwrap() as usize;
    assert!(n > 500 && of(&long.json()["choices"][0]).len() == n);
}

#[test]
fn biases_make_tokens_likelier_and_ban_them() {
    let server = Server::start(&demo(), &[]);
    let greedy = with(user("What is 2 + 3?"), json!({"temperature": 0, "logprobs": true, "max_tokens": 3}));
    let plain = server.chat(&greedy).json();
    // Which number a token has, a text of one token tells.
    let number = |token: &str| {
        (0..2000).find(|id| {
            let echo = json!({"prompt": [[*id]], "echo": true, "max_tokens": 0});
            server.post("/v1/completions", &echo).json()["choices"][0]["text"] == token
        })
    };
    let two = number("2").unwrap().to_string();
    let banned = server.chat(&with(greedy.clone(), json!({"logit_bias": {&two: -100}})));
    assert!(!text(&banned).contains('2') && text(&server.chat(&greedy)).contains('2'), "{banned:?}");
    let forced = server.chat(&with(greedy.clone(), json!({"logit_bias": {&two: 100}}))).json();
    assert_eq!(forced["choices"][0]["message"]["content"], "222");
    // The probabilities are the model's own.
    let first = |answer: &Value| answer["choices"][0]["logprobs"]["content"][0].clone();
    assert_eq!(first(&forced), first(&plain));
    for (bias, param) in [
        (json!({"x": 1}), "logit_bias.x"),
        (json!({"99999999": 1}), "logit_bias.99999999"),
        (json!({"5": 101}), "logit_bias.5"),
    ] {
        let wrong = server.chat(&with(greedy.clone(), json!({"logit_bias": bias})));
        assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!(param)));
    }
}

#[test]
fn options_are_taken_from_the_environment_too() {
    let given = program()
        .arg("serve")
        .arg(demo())
        .env("QWEN_EDGE_HOST", "0.0.0.0")
        .env("QWEN_EDGE_PORT", "0")
        .env("QWEN_EDGE_QUIET", "yes")
        .output()
        .unwrap();
    assert_eq!(given.status.code(), Some(2), "{given:?}");
    let wrong = program().arg("serve").arg(demo()).env("QWEN_EDGE_PORT", "x").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let named =
        program().arg("serve").env("QWEN_EDGE_MODEL", demo()).args(["--host", "evil.example"]).output().unwrap();
    assert!(!named.status.success() && String::from_utf8_lossy(&named.stderr).contains("an address"), "{named:?}");
}

fn picture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/images").join(name)).unwrap()
}

/// A question about pictures, which come first.
fn about(pictures: &[Vec<u8>], question: &str) -> Value {
    use base64::Engine;
    let base64 = |bytes: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
    let part = |bytes: &Vec<u8>| json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{}", base64(bytes))}});
    let mut parts: Vec<Value> = pictures.iter().map(part).collect();
    parts.push(json!({"type": "text", "text": question}));
    json!({"messages": [{"role": "user", "content": parts}], "temperature": 0})
}

/// What `run` says of a picture.
fn described(name: &str) -> String {
    let file = format!("{}/models/demo/images/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut run = program();
    run.arg("run").arg(demo()).args(["--image", &file, "-p", "Describe the image.", "--greedy", "-q"]);
    String::from_utf8(run.output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn a_picture_in_a_request_gives_the_text_that_run_gives_and_is_read_once() {
    let server = Server::start(&demo(), &["--parallel", "4"]);
    for name in ["00.png", "04.png"] {
        let run = described(name);
        let question = about(&[picture(name)], "Describe the image.");
        let first = server.chat(&question);
        assert_eq!(text(&first), run);
        // The same again is known, all but the turn of the answer; another picture of that size is not.
        let again = server.chat(&with(question, json!({"n": 2}))).json();
        assert_eq!(again["choices"][1]["message"]["content"], run);
        let prompt = again["usage"]["prompt_tokens"].as_u64().unwrap();
        let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        assert!(cached + 20 > prompt && prompt > 64, "{cached} of {prompt}");
        let cached = &first.json()["usage"]["prompt_tokens_details"]["cached_tokens"];
        assert!(cached.as_u64().unwrap() < 20, "{cached}");
    }
    let two = server.chat(&about(&[picture("00.png"), picture("04.png")], "Describe the image."));
    assert!(two.json()["usage"]["prompt_tokens"].as_u64().unwrap() > 128);
}

#[test]
fn pictures_that_cannot_be_looked_at_are_refused_and_fetch_nothing() {
    let server = Server::start(&demo(), &["--parallel", "2", "--ctx", "512"]);
    let whole = picture("00.png");
    let refused = |body: &Value, param: &str, says: &str| {
        let response = server.chat(body);
        let error = &response.json()["error"];
        assert_eq!((response.status, &error["param"]), (400, &json!(param)), "{response:?}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    };
    let part = "messages[0].content[0]";
    refused(&about(&[whole[..20].to_vec()], "?"), part, "PNG");
    refused(&about(&[whole[..whole.len() / 2].to_vec()], "?"), part, "PNG");
    refused(&about(&[b"GIF".to_vec()], "?"), part, "not a JPEG");
    for url in ["http://127.0.0.1:1/a.png", "file:///etc/passwd", "/etc/passwd"] {
        let content = json!([{"type": "image_url", "image_url": url}]);
        refused(&json!({"messages": [{"role": "user", "content": content}]}), part, "fetches nothing");
    }
    refused(&about(&vec![whole.clone(); 65], "?"), "messages", "at most 64");
    // Counted before one is decoded.
    refused(&about(&vec![whole.clone(); 20], "?"), "messages", "tokens");
    let mut system = about(std::slice::from_ref(&whole), "?");
    system["messages"][0]["role"] = "system".into();
    refused(&system, "messages[0]", "by the user");
    assert_eq!(server.chat(&about(&[whole], "Describe the image.")).status, 200);
    let blind = Server::start(&demo(), &["--parallel", "1", "--no-mmproj"]);
    let error = blind.chat(&about(&[picture("00.png")], "?")).json();
    assert!(error["error"]["message"].as_str().unwrap().contains("no vision file"), "{error}");
}
