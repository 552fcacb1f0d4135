//! One connection to a server: TCP, with TLS where the address says so, and heads of requests and answers.

use super::error::FetchError;
use super::url::Origin;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Bytes of an answer's head at most.
const LARGEST_HEAD: usize = 64 << 10;

/// Lines of an answer's head at most.
const MOST_HEADERS: usize = 128;

/// What bytes go through.
pub trait Stream: Read + Write + Send {
    /// How long a read or a write waits.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        // Nothing would be forever.
        let patience = Some(patience.max(Duration::from_millis(1)));
        self.set_read_timeout(patience)?;
        self.set_write_timeout(patience)
    }
}

/// A connection that answers are read from.
pub struct Connection {
    /// Whose it is.
    pub origin: Origin,
    stream: BufReader<Box<dyn Stream>>,
    patience: Duration,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Names in small letters, and values.
    headers: Vec<(String, String)>,
    /// Whether the connection stays open by default.
    persistent: bool,
}

impl Head {
    /// The value of a header whose name is given in small letters; the first of several.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the connection can be used again.
    pub fn stays_open(&self) -> bool {
        let says = |word: &str| self.get("connection").is_some_and(|value| value.to_ascii_lowercase().contains(word));
        if self.persistent { !says("close") } else { says("keep-alive") }
    }
}

impl Connection {
    /// A connection over a stream that is open.
    pub fn new(origin: Origin, stream: Box<dyn Stream>, patience: Duration) -> Connection {
        Connection { origin, stream: BufReader::with_capacity(64 << 10, stream), patience }
    }

    /// Sends the head of a request and reads the head of the answer to it.
    pub fn exchange(&mut self, request: &str) -> io::Result<Head> {
        let deadline = Instant::now() + self.patience;
        self.stream.get_ref().set_patience(self.patience)?;
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        loop {
            let head = self.read_head(deadline)?;
            // What is said in advance is no answer.
            if !(100..200).contains(&head.status) {
                return Ok(head);
            }
        }
    }

    fn read_head(&mut self, deadline: Instant) -> io::Result<Head> {
        let mut bytes = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.get_ref().set_patience(left)?;
            let more = self.stream.fill_buf()?;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // A head ends with an empty line; what follows is not taken.
            let before = bytes.len();
            let end = more.iter().position(|&byte| byte == b'\n').map_or(more.len(), |at| at + 1);
            bytes.extend_from_slice(&more[..end]);
            self.stream.consume(end);
            if bytes.len() > LARGEST_HEAD {
                return Err(invalid("a head that is too long"));
            }
            let is_line = bytes.last() == Some(&b'\n');
            if is_line && before > 0 && (bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\n\n")) {
                break;
            }
        }
        self.stream.get_ref().set_patience(self.patience)?;
        parse(&bytes)
    }

    /// Reads some of the body.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// A line of a body in chunks, without its end.
    pub fn read_line(&mut self, longest: u64) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(longest).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(if line.len() as u64 + 1 >= longest {
                invalid("a line that is too long")
            } else {
                io::ErrorKind::UnexpectedEof.into()
            });
        }
        let line = String::from_utf8(line).map_err(|_| invalid("a line that is no text"))?;
        Ok(line.trim_end_matches('\r').to_owned())
    }
}

/// An answer that makes no sense.
pub fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn parse(bytes: &[u8]) -> io::Result<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(invalid("something that is not HTTP")),
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = answer.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect();
    Ok(Head { status: answer.code.unwrap_or(0), headers, persistent: answer.version == Some(1) })
}

/// The error of a connection that a call on it ended with.
pub fn failed(origin: &Origin, error: io::Error) -> FetchError {
    match error.kind() {
        io::ErrorKind::InvalidData => FetchError::answer(origin, error.to_string()),
        _ => FetchError::connection(origin, error),
    }
}
