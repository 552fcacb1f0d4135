//! The system's `curl` as a stream: what is written is a request, what is read the answer as it came. Each request is a
//! process of its own, which gets its headers in a pipe, where other users do not see them.

use super::connection::Stream;
use super::url::Origin;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Way {
    /// At this address, and no other.
    Address(SocketAddr),
    /// Through this proxy, which finds the address.
    Proxy(String),
}

/// A server that `curl` is to talk to.
pub struct Curl {
    origin: Origin,
    /// Where it is to find it.
    way: Way,
    patience: Duration,
    /// Why it is asked.
    why: &'static str,
    request: Vec<u8>,
    running: Option<(Child, ChildStdout)>,
}

impl Curl {
    /// Nothing runs yet.
    pub fn new(origin: &Origin, way: Way, patience: Duration, why: &'static str) -> Curl {
        Curl { origin: origin.clone(), way, patience, why, request: Vec::new(), running: None }
    }

    /// Ends it, once it has ended by itself where that is waited for; the error that it ended with.
    fn end(&mut self, wait: bool) -> Option<io::Error> {
        let (mut child, stdout) = self.running.take()?;
        drop(stdout);
        if !wait {
            // One that has ended already does not mind.
            let _ = child.kill();
        }
        let status = child.wait().ok().filter(|_| wait)?;
        let said = match status.code() {
            None | Some(0) => return None,
            Some(5..=7) => "it cannot connect",
            Some(35) => "TLS cannot be agreed on",
            Some(28) => return Some(io::ErrorKind::TimedOut.into()),
            Some(51 | 58..=60 | 77 | 82 | 83 | 90 | 91) => {
                let what = "curl does not believe the server's certificate";
                return Some(io::Error::new(io::ErrorKind::PermissionDenied, what));
            }
            Some(_) => "the connection ended too early",
        };
        Some(io::Error::other(format!("curl ({status}): {said}")))
    }

    fn start(&mut self, request: &str) -> io::Result<()> {
        let mut lines = request.split("\r\n");
        let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("/");
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let origin = &self.origin;
        let mut config = format!("url = \"{}\"\n", quoted(&format!("{origin}{target}")));
        match &self.way {
            Way::Address(address) => {
                config.push_str("noproxy = \"*\"\n");
                // An address is its own.
                if origin.host.parse::<IpAddr>().is_err() {
                    let ip = if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() };
                    config.push_str(&format!("resolve = \"{}:{}:{ip}\"\n", origin.host, origin.port));
                }
            }
            Way::Proxy(proxy) => config.push_str(&format!("noproxy = \"\"\nproxy = \"{}\"\n", quoted(proxy))),
        }
        for line in lines.filter(|line| !line.is_empty()) {
            config.push_str(&format!("header = \"{}\"\n", quoted(line)));
        }
        let seconds = self.patience.as_secs().max(1).to_string();
        let mut child = Command::new("curl")
            // -q: no file of the user's changes what comes.
            .args(["-q", "--silent", "--http1.1", "--include", "--raw", "--globoff", "--path-as-is", "--no-buffer"])
            .arg("--suppress-connect-headers")
            .args(["--proto", "=https", "--max-redirs", "0", "--tlsv1.2", "--connect-timeout", &seconds])
            .args(["--speed-limit", "1", "--speed-time", &seconds, "--config", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    let why = format!("curl is needed for TLS and is not installed: {}", self.why);
                    io::Error::new(io::ErrorKind::NotFound, why)
                }
                _ => error,
            })?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(config.as_bytes())?;
        }
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        self.running = Some((child, stdout));
        Ok(())
    }
}

impl Stream for Curl {
    fn set_patience(&self, _: Duration) -> io::Result<()> {
        // It has its own.
        Ok(())
    }
}

impl Write for Curl {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end(false);
        let request = std::mem::take(&mut self.request);
        let request = String::from_utf8(request).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.start(&request)
    }
}

impl Read for Curl {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((_, stdout)) = &mut self.running else { return Ok(0) };
        match stdout.read(buffer)? {
            0 if !buffer.is_empty() => match self.end(true) {
                Some(error) => Err(error),
                None => Ok(0),
            },
            n => Ok(n),
        }
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        self.end(false);
    }
}
