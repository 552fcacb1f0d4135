//! The dialects of the server as their clients read them: a stream is put together to the answer that it is, and an answer to
//! what it says.

use super::http::{Response, Server};
use serde_json::{Value, json};

/// A dialect of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    Messages,
    Responses,
}

/// What an answer says, whatever the dialect.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Said {
    pub reasoning: String,
    pub text: String,
    /// Names and arguments.
    pub calls: Vec<(String, Value)>,
}

/// What an answer of a chat says.
pub fn said_in_chat(whole: &Value) -> Said {
    let message = &whole["choices"][0]["message"];
    let call = |call: &Value| named(&call["function"]["name"], &parsed(&call["function"]["arguments"]));
    Said {
        reasoning: message["reasoning_content"].as_str().unwrap_or_default().to_owned(),
        text: message["content"].as_str().unwrap_or_default().to_owned(),
        calls: message["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
    }
}

fn named(name: &Value, arguments: &Value) -> (String, Value) {
    (name.as_str().unwrap().to_owned(), arguments.clone())
}

fn parsed(json: &Value) -> Value {
    serde_json::from_str(json.as_str().unwrap()).unwrap()
}

impl Dialect {
    pub const ALL: [Dialect; 2] = [Dialect::Messages, Dialect::Responses];

    pub fn path(self) -> &'static str {
        match self {
            Dialect::Messages => "/v1/messages",
            Dialect::Responses => "/v1/responses",
        }
    }

    /// The same question as that of a chat.
    pub fn of_chat(self, chat: &Value) -> Value {
        let mut body = chat.clone();
        let fields = body.as_object_mut().unwrap();
        let tools = fields.remove("tools");
        let thinks = fields.remove("chat_template_kwargs").is_some_and(|kwargs| kwargs["enable_thinking"] == true);
        let most = fields.remove("max_tokens").unwrap_or(200.into());
        let tools = tools.iter().flat_map(|tools| tools.as_array().unwrap()).map(|tool| {
            let mut tool = tool["function"].clone();
            match self {
                Dialect::Messages => tool["input_schema"] = tool.as_object_mut().unwrap().remove("parameters").unwrap(),
                Dialect::Responses => tool["type"] = "function".into(),
            }
            tool
        });
        let tools = tools.collect();
        fields.insert("tools".to_owned(), tools);
        match self {
            Dialect::Messages => {
                fields.insert("max_tokens".to_owned(), most);
                fields.insert("thinking".to_owned(), json!({"type": if thinks { "adaptive" } else { "disabled" }}));
            }
            Dialect::Responses => {
                fields.insert("max_output_tokens".to_owned(), most);
                fields.insert("reasoning".to_owned(), json!({"effort": if thinks { "high" } else { "none" }}));
                let messages = fields.remove("messages").unwrap();
                fields.insert("input".to_owned(), messages);
            }
        }
        body
    }

    /// The answer to a body, whole.
    pub fn whole(self, server: &Server, body: &Value) -> Value {
        let response = server.post(self.path(), body);
        assert_eq!(response.status, 200, "{body}: {response:?}");
        response.json()
    }

    /// The answer to a body, put together from its stream, which must be as the dialect has it.
    pub fn streamed(self, server: &Server, body: &Value) -> Value {
        let mut body = body.clone();
        body["stream"] = true.into();
        let response = server.post(self.path(), &body);
        assert!(response.status == 200 && response.head.contains("content-type: text/event-stream"), "{response:?}");
        match self {
            Dialect::Messages => message_of(&named_events(&response)),
            Dialect::Responses => response_of(&named_events(&response)),
        }
    }

    /// What an answer says.
    pub fn said(self, whole: &Value) -> Said {
        let mut said = Said::default();
        let parts = if self == Dialect::Messages { &whole["content"] } else { &whole["output"] };
        for part in parts.as_array().unwrap() {
            match part["type"].as_str().unwrap() {
                "thinking" => said.reasoning += part["thinking"].as_str().unwrap(),
                "text" => said.text += part["text"].as_str().unwrap(),
                "tool_use" => said.calls.push(named(&part["name"], &part["input"])),
                "reasoning" => said.reasoning += part["content"][0]["text"].as_str().unwrap(),
                "message" => said.text += part["content"][0]["text"].as_str().unwrap(),
                "function_call" => said.calls.push(named(&part["name"], &parsed(&part["arguments"]))),
                kind => panic!("{kind}: {whole}"),
            }
        }
        said
    }

    /// An answer without what differs from one to the next: names, times, and which tokens were read before.
    pub fn comparable(self, mut whole: Value) -> Value {
        whole["id"].take();
        match self {
            Dialect::Messages => {
                let usage = &mut whole["usage"];
                let cached = usage["cache_read_input_tokens"].take().as_u64().unwrap();
                usage["input_tokens"] = (usage["input_tokens"].as_u64().unwrap() + cached).into();
                for block in whole["content"].as_array_mut().unwrap() {
                    block.as_object_mut().unwrap().remove("id");
                }
            }
            Dialect::Responses => {
                whole["created_at"].take();
                whole["usage"]["input_tokens_details"].take();
                for item in whole["output"].as_array_mut().unwrap() {
                    assert!(item["id"].take().as_str().unwrap().contains('_'));
                    item.as_object_mut().unwrap().remove("call_id");
                }
            }
        }
        whole
    }
}

/// The events of a stream, each named by its type.
pub fn named_events(response: &Response) -> Vec<Value> {
    let events = response.body.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["type"], name);
        value
    };
    events.map(event).collect()
}

/// The message that a stream makes.
fn message_of(events: &[Value]) -> Value {
    let mut events = events.iter().filter(|event| event["type"] != "ping");
    let start = events.next().unwrap();
    assert_eq!(start["type"], "message_start");
    let mut message = start["message"].clone();
    assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
    let mut blocks: Vec<Value> = Vec::new();
    let (mut open, mut json) = (None, String::new());
    for event in events {
        let index = event["index"].as_u64().map(|index| index as usize);
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(blocks.len())), "{event}");
                open = index;
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert!(open.is_some() && open == index, "{event}");
                let (block, delta) = (blocks.last_mut().unwrap(), &event["delta"]);
                match (block["type"].as_str().unwrap(), delta["type"].as_str().unwrap()) {
                    ("thinking", "thinking_delta") => push(&mut block["thinking"], &delta["thinking"]),
                    ("thinking", "signature_delta") => push(&mut block["signature"], &delta["signature"]),
                    ("text", "text_delta") => push(&mut block["text"], &delta["text"]),
                    ("tool_use", "input_json_delta") => json += delta["partial_json"].as_str().unwrap(),
                    _ => panic!("{event} in {block}"),
                }
            }
            "content_block_stop" => {
                assert!(open.is_some() && open == index, "{event}");
                open = None;
                let block = blocks.last_mut().unwrap();
                if block["type"] == "tool_use" {
                    assert_eq!(block["input"], json!({}));
                    block["input"] = members(&std::mem::take(&mut json));
                }
            }
            "message_delta" => {
                assert!(open.is_none() && message["stop_reason"].is_null());
                for (key, value) in event["delta"].as_object().unwrap() {
                    message[key] = value.clone();
                }
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => {
                assert!(!message["stop_reason"].is_null());
                message["content"] = blocks.into();
                return message;
            }
            kind => panic!("{kind}"),
        }
    }
    panic!("a stream without an end")
}

fn push(whole: &mut Value, piece: &Value) {
    *whole = [whole.as_str().unwrap(), piece.as_str().unwrap()].concat().into();
}

/// The members of an object that are whole, where it may have been cut.
fn members(json: &str) -> Value {
    let mut ends: Vec<usize> = json.match_indices(',').map(|(at, _)| at).collect();
    ends.extend([1.min(json.len()), json.len()]);
    let beginnings = ends.iter().rev().flat_map(|&end| [json[..end].to_owned(), format!("{}}}", &json[..end])]);
    let mut found: Vec<Value> = beginnings.filter_map(|beginning| serde_json::from_str(&beginning).ok()).collect();
    found.sort_by_key(|value| value.as_object().unwrap().len());
    found.pop().unwrap_or_else(|| json!({}))
}

/// The response that a stream makes.
fn response_of(events: &[Value]) -> Value {
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], n, "{event}");
    }
    let (last, events) = events.split_last().unwrap();
    for (event, kind) in events.iter().zip(["response.created", "response.in_progress"]) {
        assert_eq!(event["type"], kind);
        assert_eq!((&event["response"]["status"], &event["response"]["output"]), (&json!("in_progress"), &json!([])));
    }
    let mut output: Vec<Value> = Vec::new();
    let mut item: Option<Value> = None;
    for event in &events[2..] {
        let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
        if kind == "in_progress" {
            continue;
        }
        assert_eq!(event["output_index"], output.len(), "{event}");
        if kind == "output_item.added" {
            assert!(item.is_none() && event["item"]["status"] == "in_progress");
            item = Some(event["item"].clone());
            continue;
        }
        let open = item.as_mut().unwrap();
        if kind == "output_item.done" {
            let done = event["item"].clone();
            for key in ["id", "type", "role", "content", "call_id", "name", "arguments"] {
                assert_eq!(done.get(key), open.get(key), "{key}");
            }
            output.push(done);
            item = None;
            continue;
        }
        assert_eq!(event["item_id"], open["id"], "{event}");
        let name = if open["type"] == "reasoning" { "reasoning_text" } else { "output_text" };
        match kind.strip_prefix(name).unwrap_or(kind) {
            "content_part.added" => {
                assert_eq!((&open["content"], &event["part"]["type"]), (&json!([]), &json!(name)));
                open["content"] = json!([event["part"]]);
            }
            ".delta" => push(&mut open["content"][0]["text"], &event["delta"]),
            ".done" => assert_eq!(event["text"], open["content"][0]["text"]),
            "content_part.done" => {
                assert_eq!(event["part"]["text"], open["content"][0]["text"]);
                open["content"] = json!([event["part"]]);
            }
            "function_call_arguments.delta" => push(&mut open["arguments"], &event["delta"]),
            "function_call_arguments.done" => {
                assert_eq!((&event["arguments"], &event["name"]), (&open["arguments"], &open["name"]));
            }
            _ => panic!("{event}"),
        }
    }
    assert!(item.is_none());
    let response = &last["response"];
    assert_eq!(last["type"], format!("response.{}", response["status"].as_str().unwrap()));
    assert_eq!(response["output"], Value::from(output));
    assert_eq!(response["id"], events[0]["response"]["id"]);
    response.clone()
}
