//! Requests: which server may be asked, where redirects may lead, and who gets the token.

use super::address::is_public;
use super::body::Body;
use super::connection::{Connection, Head, Stream, failed};
use super::error::FetchError;
use super::retry;
use super::url::{Origin, Url};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// Bytes of an error's body that are looked at.
const LARGEST_REFUSAL: usize = 4 << 10;

/// Whom to ask, and how long to wait.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server that the user named, which may be on this machine or in a private network, and then without TLS.
    pub endpoint: Url,
    /// A secret that the endpoint alone is shown.
    pub token: Option<String>,
    /// How long nothing may come.
    pub patience: Duration,
}

/// What all connections to one endpoint, and to where it leads, have in common.
pub struct Client {
    settings: Settings,
    /// Whether the endpoint is in a private network, once that is known.
    private: OnceLock<bool>,
}

/// Connections of one thread: one at a time, which is used again.
pub struct Session<'c> {
    client: &'c Client,
    idle: Option<Connection>,
}

/// An answer whose head is there.
pub struct Answer<'s, 'c> {
    /// Its head.
    pub head: Head,
    /// Where it came from, behind all redirects.
    pub url: Url,
    session: &'s mut Session<'c>,
    connection: Option<Connection>,
    body: Body,
}

impl Client {
    /// A client that has asked nothing yet.
    pub fn new(settings: Settings) -> Client {
        Client { settings, private: OnceLock::new() }
    }

    /// Whom it asks.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A thread's own connections.
    pub fn session(&self) -> Session<'_> {
        Session { client: self, idle: None }
    }

    /// Whether a server may be asked at this address.
    fn check(&self, origin: &Origin, address: IpAddr) -> Result<(), FetchError> {
        let public = is_public(address);
        let named = *origin == self.settings.endpoint.origin;
        if named {
            // A race sets the same value.
            let _ = self.private.set(!public);
        }
        let from_private = self.private.get() == Some(&true);
        if !public && !named && !from_private {
            return Err(FetchError::Private { url: origin.clone(), address });
        }
        if !origin.secure && (public || !(named || from_private)) {
            return Err(FetchError::Insecure { url: origin.clone() });
        }
        Ok(())
    }

    fn connect(&self, origin: &Origin) -> Result<Connection, FetchError> {
        let host = || origin.host.clone();
        let resolve = |reason| FetchError::Resolve { host: host(), reason };
        let addresses: Vec<SocketAddr> =
            (origin.host.as_str(), origin.port).to_socket_addrs().map_err(resolve)?.collect();
        let mut last = resolve(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
        for address in addresses {
            // The address that is connected to is the one that was looked at.
            let tried = self.check(origin, address.ip()).and_then(|()| {
                let connect = |reason| FetchError::Connect { host: host(), reason };
                let stream = TcpStream::connect_timeout(&address, self.settings.patience).map_err(connect)?;
                stream.set_patience(self.settings.patience).map_err(connect)?;
                stream.set_nodelay(true).map_err(connect)?;
                self.secure(origin, stream)
            });
            match tried {
                Ok(stream) => return Ok(Connection::new(origin.clone(), stream, self.settings.patience)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The stream, within TLS where the address says so.
    fn secure(&self, origin: &Origin, stream: TcpStream) -> Result<Box<dyn Stream>, FetchError> {
        if origin.secure { Err(FetchError::NoTls { url: origin.clone() }) } else { Ok(Box::new(stream)) }
    }
}

impl<'c> Session<'c> {
    /// Asks for what is at an address, or a range of its bytes, and follows redirects. The answer has a good status.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses, or leads where it may not.
    pub fn get<'s>(&'s mut self, url: &Url, range: Option<&Range<u64>>) -> Result<Answer<'s, 'c>, FetchError> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let (connection, head) = self.ask(&url, range)?;
            let body = Body::of(&head, false).map_err(|error| failed(&url.origin, error))?;
            let mut answer = Answer { head, url: url.clone(), session: &mut *self, connection: Some(connection), body };
            match answer.head.status {
                301 | 302 | 303 | 307 | 308 => {
                    let location = answer.head.get("location");
                    let location = location.ok_or_else(|| FetchError::answer(&url.origin, "a redirect to nowhere"))?;
                    let next = url.join(location)?;
                    // The rest of a short body is cheaper than a new connection.
                    let _ = answer.read_to_end(LARGEST_REFUSAL);
                    url = next;
                }
                200..=299 => {
                    let Answer { head, connection, body, .. } = answer;
                    return Ok(Answer { head, url, session: self, connection, body });
                }
                _ => return Err(answer.refusal()),
            }
        }
        Err(FetchError::answer(&url.origin, "one redirect after another"))
    }

    /// What is at an address, whole, of at most `most` bytes, and its answer's head and place. What may pass is tried again;
    /// `tell` hears why and how long is waited before.
    ///
    /// # Errors
    /// As [`Session::get`], and if there is more.
    pub fn get_whole(
        &mut self,
        url: &Url,
        most: usize,
        tell: &mut dyn FnMut(&FetchError, Duration),
    ) -> Result<(Vec<u8>, Head, Url), FetchError> {
        let mut tried = 0;
        loop {
            let result = self.get(url, None).and_then(|mut answer| {
                let bytes = answer.read_to_end(most)?;
                let Answer { head, url, .. } = answer;
                Ok((bytes, head, url))
            });
            let error = match result {
                Ok(whole) => return Ok(whole),
                Err(error) => error,
            };
            tried += 1;
            let Some(wait) = retry::pause(&error, tried, self.client.settings.patience) else { return Err(error) };
            tell(&error, wait);
            std::thread::sleep(wait);
        }
    }

    /// Asks one server once; a second time where the connection from before is gone.
    fn ask(&mut self, url: &Url, range: Option<&Range<u64>>) -> Result<(Connection, Head), FetchError> {
        let request = self.request(url, range);
        if let Some(mut connection) = self.idle.take().filter(|connection| connection.origin == url.origin)
            && let Ok(head) = connection.exchange(&request)
        {
            return Ok((connection, head));
        }
        let mut connection = self.client.connect(&url.origin)?;
        let head = connection.exchange(&request).map_err(|error| failed(&url.origin, error))?;
        Ok((connection, head))
    }

    fn request(&self, url: &Url, range: Option<&Range<u64>>) -> String {
        let (target, host) = (&url.target, url.origin.authority());
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nhost: {host}\r\nuser-agent: qwen-edge/{}\r\naccept: */*\r\n\
             accept-encoding: identity\r\n",
            env!("CARGO_PKG_VERSION")
        );
        if let Some(range) = range {
            request.push_str(&format!("range: bytes={}-{}\r\n", range.start, range.end.saturating_sub(1)));
        }
        let settings = self.client.settings();
        if let Some(token) = settings.token.as_ref().filter(|_| url.origin == settings.endpoint.origin) {
            request.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        request.push_str("\r\n");
        request
    }
}

impl<'s, 'c> Answer<'s, 'c> {
    /// Reads some of the body; 0 bytes at its end.
    ///
    /// # Errors
    /// If the connection ends before the body does, or the body is none.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        let Some(connection) = &mut self.connection else { return Ok(0) };
        let n = self.body.read(connection, buffer).map_err(|error| {
            self.connection = None;
            failed(&self.url.origin, error)
        })?;
        if self.body == Body::Ended {
            let connection = self.connection.take();
            self.session.idle = connection.filter(|_| self.head.stays_open());
        }
        Ok(n)
    }

    /// The whole body.
    ///
    /// # Errors
    /// If it is longer than `most` bytes, or takes longer than three times the client's patience.
    pub fn read_to_end(&mut self, most: usize) -> Result<Vec<u8>, FetchError> {
        let deadline = Instant::now() + 3 * self.session.client.settings.patience;
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            let n = self.read(&mut buffer)?;
            if n == 0 {
                return Ok(bytes);
            }
            if bytes.len() + n > most {
                return Err(FetchError::answer(&self.url.origin, format!("more than {most} bytes")));
            }
            bytes.extend_from_slice(&buffer[..n]);
            if Instant::now() > deadline {
                return Err(FetchError::connection(&self.url.origin, io::ErrorKind::TimedOut.into()));
            }
        }
    }

    /// The length of the body, if its head says it.
    pub fn length(&self) -> Option<u64> {
        match self.body {
            Body::Sized(length) => Some(length),
            Body::Ended => Some(0),
            Body::Chunked(_) | Body::Open => None,
        }
    }

    /// The error that an answer of a bad status is.
    fn refusal(mut self) -> FetchError {
        let said = self.read_to_end(LARGEST_REFUSAL).unwrap_or_default();
        let json: Option<serde_json::Value> = serde_json::from_slice(&said).ok();
        let of_json = json.as_ref().and_then(|json| json["error"].as_str());
        let message = self.head.get("x-error-message").or(of_json).unwrap_or_default();
        let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
        FetchError::Status {
            host: self.url.origin.host.clone(),
            status: self.head.status,
            code: self.head.get("x-error-code").map(str::to_owned),
            message: message.trim().trim_end_matches('.').to_owned(),
            retry_after: retry::asked_for(&self.head),
        }
    }
}
