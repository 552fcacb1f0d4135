//! A client of HTTP as small as the tests need: one request a connection, and a server to ask.

use super::program::program;
use super::requests_to_end;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Longer than any answer takes here on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server; ended with the test.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    /// What it says after it listens, the log among it.
    pub said: BufReader<std::process::ChildStderr>,
}

impl Server {
    /// Serves a model with two threads at a free port; returns once it is loaded.
    pub fn start(model: &Path, args: &[&str]) -> Server {
        Server::start_with(&[model.as_os_str()], args)
    }

    /// The same, of models that are given in another way.
    pub fn start_with(models: &[&OsStr], args: &[&str]) -> Server {
        Server::start_in(models, args, &[])
    }

    /// The same with these variables in the environment.
    pub fn start_in(models: &[&OsStr], args: &[&str], variables: &[(&str, &str)]) -> Server {
        let mut command = program();
        command.envs(variables.iter().copied());
        command.arg("serve").args(models).args(["--port", "0", "-t", "2"]).args(args);
        requests_to_end::prepare(&mut command);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        // In words, or in JSON; notes on arguments may come before it.
        let address = loop {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it does not listen");
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address;
            }
        };
        let address = address.trim_end().trim_end_matches("\"}");
        let server = Server { address: address.parse().unwrap(), child, said };
        while server.get("/health").status == 503 {
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Sends what is given, and nothing else.
    pub fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // One that is turned away may be closed already.
        let _ = stream.write_all(bytes);
        stream
    }

    /// Sends a request with these headers and a body, and does not wait.
    pub fn send(&self, line: &str, headers: &[&str], body: &str) -> TcpStream {
        let host = if headers.iter().any(|header| header.starts_with("host:")) { "" } else { "host: localhost\r\n" };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        self.connect(
            format!("{line} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
                .as_bytes(),
        )
    }

    pub fn ask(&self, line: &str, headers: &[&str], body: &str) -> Response {
        Response::read(self.send(line, headers, body))
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path}"), &[], "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.ask(&format!("POST {path}"), &["content-type: application/json"], &body.to_string())
    }

    /// The answer to a chat.
    pub fn chat(&self, body: &Value) -> Response {
        self.post("/v1/chat/completions", body)
    }

    /// A stream that is being written.
    pub fn chat_stream(&self, body: &Value) -> TcpStream {
        self.send("POST /v1/chat/completions", &["content-type: application/json"], &body.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server says.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// In small letters.
    pub head: String,
    pub body: String,
}

impl Response {
    /// Reads all that comes. A connection that is closed without a word has status 0.
    pub fn read(mut stream: TcpStream) -> Response {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = if head.contains("transfer-encoding: chunked") { whole(body) } else { body.to_owned() };
        Response { status, head, body }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The events of a stream, without the comments.
    pub fn events(&self) -> Vec<String> {
        self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// A body of chunks, whole.
fn whole(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&rest[..size]);
        chunks = &rest[size + 2..];
    }
    body
}
