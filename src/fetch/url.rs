//! Addresses of files: `http://` and `https://`, without user names.

use std::fmt;

/// Bytes of an address at most: those of content networks carry signatures.
const LONGEST: usize = 8 << 10;

/// Where something is, and how it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// Whose it is.
    pub origin: Origin,
    /// Path and query; begins with a slash.
    pub target: String,
}

/// A server: no secret of one goes to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Whether it speaks TLS.
    pub secure: bool,
    /// A name or an address, in small letters; an address of version 6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text that is no address of a file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is no address: expected http:// or https://, a host, and a path of visible ASCII characters")]
pub struct NotAnAddress {
    /// Its beginning.
    pub text: String,
}

impl Url {
    /// The address that a text is; what stands behind a `#` is left out.
    ///
    /// # Errors
    /// If it is none, names a user, or is longer than 8 KiB.
    pub fn parse(text: &str) -> Result<Url, NotAnAddress> {
        parse(text).ok_or_else(|| NotAnAddress { text: text.chars().take(80).collect() })
    }

    /// The address that a redirect from this one leads to.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub fn join(&self, location: &str) -> Result<Url, NotAnAddress> {
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Url::parse(location);
        }
        let scheme = if self.origin.secure { "https:" } else { "http:" };
        if location.starts_with("//") {
            return Url::parse(&format!("{scheme}{location}"));
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let target = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{location}")
        };
        Url::parse(&format!("{}{target}", self.origin))
    }

    /// This address with something behind its path.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub fn below(&self, path: &str) -> Result<Url, NotAnAddress> {
        Url::parse(&format!("{}{}/{path}", self.origin, self.target.trim_end_matches('/')))
    }
}

fn parse(text: &str) -> Option<Url> {
    let sound = text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
    let (scheme, rest) = text.split_once("://").filter(|_| sound)?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let rest = rest.split('#').next()?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(in_host) {
        return None;
    }
    let port = match port {
        None => {
            if secure {
                443
            } else {
                80
            }
        }
        // A sign would be read too.
        Some(port) => port.parse().ok().filter(|&n: &u16| n > 0 && port.bytes().all(|byte| byte.is_ascii_digit()))?,
    };
    let slash = if target.starts_with('/') { "" } else { "/" };
    let origin = Origin { secure, host: host.to_ascii_lowercase(), port };
    Some(Url { origin, target: format!("{slash}{target}") })
}

/// A path with the characters escaped that have a meaning in an address; slashes stay.
pub fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Origin {
    /// Host and port as a request names them.
    pub fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_put_together() {
        for (text, whole, port) in [
            ("https://Hub.example/a/b?c=d#e", "https://hub.example/a/b?c=d", 443),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/", 8080),
            ("http://[::1]:80/x", "http://[::1]/x", 80),
            ("HTTPS://h?x", "https://h/?x", 443),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.origin.port), (whole, port));
        }
        for text in [
            "",
            "hub",
            "ftp://h/",
            "file:///etc/passwd",
            "http://",
            "http://u:p@h/",
            "http://h:/",
            "http://h:0/",
            "http://h:+1/",
            "http://h:99999/",
            "http://a b/",
            "http://h/\r\nx: y",
            "http://[::1/",
            "http://[x]/",
            "http://ü/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_redirect_is_followed_as_it_is_meant() {
        let url = Url::parse("https://h:8/a/b?q=1").unwrap();
        for (location, whole) in [
            ("https://cdn.example/x?y", "https://cdn.example/x?y"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/c", "https://h:8/c"),
            ("c", "https://h:8/a/c"),
            ("?z=http://x", "https://h:8/a/b?z=http://x"),
            ("/c?z=http://x", "https://h:8/c?z=http://x"),
        ] {
            assert_eq!(url.join(location).unwrap().to_string(), whole);
        }
        assert!(url.join("/\r\nx").is_err() && url.join("javascript://x").is_err());
        assert_eq!(Url::parse("https://h/a/").unwrap().below("x?y").unwrap().to_string(), "https://h/a/x?y");
        assert_eq!(escape("a b/ü?.gguf"), "a%20b/%C3%BC%3F.gguf");
    }
}
