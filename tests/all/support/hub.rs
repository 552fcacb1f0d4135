//! A hub on loopback that answers as the Hugging Face hub does, or as badly as a test wants: listings, redirects to a second
//! server with links that expire, ranges, and headers that its own client reads.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub range: Option<Range<u64>>,
    pub token: Option<String>,
    /// Whether it was the second server that was asked.
    pub of_content: bool,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes after which the connection is cut.
    pub cut: Option<usize>,
    /// How long is waited before each piece of the body, and the bytes of one.
    pub pace: Option<(Duration, usize)>,
    /// Whether the length is said; it is not where chunks or the end of the connection say it.
    pub framing: Framing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    Length,
    Chunks,
    Close,
}

impl Reply {
    pub fn of(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        let (headers, body) = (Vec::new(), body.into());
        Reply { status, headers, body, cut: None, pace: None, framing: Framing::Length }
    }

    pub fn json(value: &Value) -> Reply {
        Reply::of(200, value.to_string()).with("content-type", "application/json")
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

type Hook = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

/// What both servers know.
struct Shared {
    repo: String,
    files: BTreeMap<String, Vec<u8>>,
    hashes: BTreeMap<String, String>,
    content: SocketAddr,
    hook: Mutex<Box<Hook>>,
    log: Mutex<Vec<Request>>,
    /// Bytes of bodies that were sent.
    sent: AtomicU64,
    closed: AtomicBool,
}

/// The hub, with one repository.
pub struct Hub {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that no block repeats.
pub fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(n + 8);
    while out.len() < n {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(n);
    out
}

impl Hub {
    /// A hub with these files in a repository.
    pub fn start(repo: &str, files: &[(&str, Vec<u8>)]) -> Hub {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, content) = (listen(), listen());
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(path, bytes)| (path.to_string(), bytes.clone())).collect();
        let hashes = files.iter().map(|(path, bytes)| (path.clone(), sha256(bytes))).collect();
        let shared = Arc::new(Shared {
            repo: repo.to_owned(),
            files,
            hashes,
            content: content.local_addr().unwrap(),
            hook: Mutex::new(Box::new(|_, reply| reply)),
            log: Mutex::default(),
            sent: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let address = hub.local_addr().unwrap();
        for (listener, of_content) in [(hub, false), (content, true)] {
            let shared = shared.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.closed.load(Ordering::Relaxed) {
                        return;
                    }
                    let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
                    thread::spawn(move || shared.serve(stream, of_content));
                }
            });
        }
        Hub { address, shared }
    }

    /// Its address, for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of the second server.
    pub fn content(&self) -> SocketAddr {
        self.shared.content
    }

    pub fn hash(&self, path: &str) -> &str {
        &self.shared.hashes[path]
    }

    pub fn bytes(&self, path: &str) -> &[u8] {
        &self.shared.files[path]
    }

    /// The listing of its repository.
    pub fn tree(&self) -> Value {
        self.shared.tree()
    }

    /// From now on every reply goes through `hook`.
    pub fn answer(&self, hook: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Box::new(hook);
    }

    /// What was asked so far.
    pub fn log(&self) -> MutexGuard<'_, Vec<Request>> {
        self.shared.log.lock().unwrap()
    }

    /// Bytes of bodies that were sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        for address in [self.address, self.shared.content] {
            drop(TcpStream::connect(address));
        }
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, of_content: bool) {
        let _ = stream.set_nodelay(true);
        let mut reader = BufReader::new(stream);
        while let Some(request) = read(&mut reader, of_content) {
            let reply = if of_content { self.content(&request) } else { self.hub(&request) };
            let reply = (self.hook.lock().unwrap())(&request, reply);
            self.log.lock().unwrap().push(request.clone());
            if self.write(reader.get_mut(), &request, &reply).is_err() {
                return;
            }
        }
    }

    fn hub(&self, request: &Request) -> Reply {
        let path = request.target.split('?').next().unwrap();
        let repo = &self.repo;
        let missing = || Reply::of(404, "{\"error\": \"not found\"}").with("x-error-code", "RepoNotFound");
        if path == format!("/api/models/{repo}/refs") {
            return Reply::json(
                &json!({"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}]}),
            );
        }
        if path == format!("/api/models/{repo}/tree/{COMMIT}") || path == format!("/api/models/{repo}/tree/main") {
            return Reply::json(&self.tree());
        }
        if path == format!("/api/models/{repo}") || path == format!("/api/models/{repo}/revision/main") {
            let siblings: Vec<Value> = self.files.keys().map(|path| json!({"rfilename": path})).collect();
            return Reply::json(
                &json!({"id": repo, "modelId": repo, "sha": COMMIT, "private": false, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}),
            );
        }
        let resolve = |revision: &str| path.strip_prefix(&format!("/{repo}/resolve/{revision}/"));
        let Some(file) = resolve(COMMIT).or_else(|| resolve("main")) else { return missing() };
        let Some(bytes) = self.files.get(file) else {
            return Reply::of(404, "").with("x-error-code", "EntryNotFound").with("x-repo-commit", COMMIT);
        };
        let hash = &self.hashes[file];
        Reply::of(302, "Found. Redirecting")
            .with("location", format!("http://{}/blob/{file}?key=1", self.content))
            .with("x-repo-commit", COMMIT)
            .with("etag", "\"0123456789abcdef\"")
            .with("x-linked-etag", format!("\"{hash}\""))
            .with("x-linked-size", bytes.len())
    }

    fn tree(&self) -> Value {
        let file = |(path, bytes): (&String, &Vec<u8>)| {
            let (size, oid) = (bytes.len(), &self.hashes[path]);
            let lfs = json!({"oid": oid, "size": size, "pointerSize": 134});
            json!({"type": "file", "oid": "0".repeat(40), "size": size, "path": path, "lfs": lfs})
        };
        self.files.iter().map(file).collect()
    }

    fn content(&self, request: &Request) -> Reply {
        let path = request.target.split('?').next().unwrap();
        let Some(bytes) = path.strip_prefix("/blob/").and_then(|path| self.files.get(path)) else {
            return Reply::of(404, "");
        };
        match &request.range {
            None => Reply::of(200, bytes.clone()).with("accept-ranges", "bytes"),
            Some(range) if range.start < bytes.len() as u64 => {
                let (start, end, all) = (range.start, range.end.min(bytes.len() as u64), bytes.len());
                let part = &bytes[start as usize..end as usize];
                Reply::of(206, part).with("content-range", format!("bytes {start}-{}/{all}", end - 1))
            }
            Some(_) => Reply::of(416, ""),
        }
    }

    fn write(&self, stream: &mut TcpStream, request: &Request, reply: &Reply) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} x\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let said = reply.headers.iter().any(|(name, _)| name == "content-length");
        match reply.framing {
            Framing::Length if !said => head.push_str(&format!("content-length: {}\r\n", reply.body.len())),
            Framing::Length => {}
            Framing::Chunks => head.push_str("transfer-encoding: chunked\r\n"),
            Framing::Close => head.push_str("connection: close\r\n"),
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if request.method == "HEAD" {
            return Ok(());
        }
        let body = &reply.body[..reply.cut.unwrap_or(usize::MAX).min(reply.body.len())];
        let (wait, piece) = reply.pace.unwrap_or((Duration::ZERO, 64 << 10));
        for piece in body.chunks(piece) {
            thread::sleep(wait);
            match reply.framing {
                Framing::Chunks => {
                    stream.write_all(format!("{:x};name=value\r\n", piece.len()).as_bytes())?;
                    stream.write_all(piece)?;
                    stream.write_all(b"\r\n")?;
                }
                _ => stream.write_all(piece)?,
            }
            self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        if reply.framing == Framing::Chunks {
            stream.write_all(b"0\r\ntrailer: x\r\n\r\n")?;
        }
        match reply.cut.is_some() || reply.framing == Framing::Close {
            true => Err(std::io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>, of_content: bool) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, target, range: None, token: None, of_content };
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { return Some(request) };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.token = Some(value.trim().to_owned()),
            "range" => {
                let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
                let end = last.parse::<u64>().map_or(u64::MAX, |last| last + 1);
                request.range = Some(first.parse().ok()?..end);
            }
            _ => {}
        }
    }
}
