//! Who may ask: the names under which the server is addressed, the pages that may use it, and the key.
//!
//! A page of any site can make a browser send requests to this machine. Two headers that a page cannot forge tell them
//! apart: `Host`, which has the name that was resolved to this address (DNS rebinding), and `Origin`, the page's site.

use super::error::ApiError;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A key as it is compared: by its hash, in the same time whatever is given.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// The key with this text.
    pub fn new(text: &str) -> Key {
        Key(Sha256::digest(text).into())
    }

    fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.iter().zip(given).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

/// Who may ask.
pub(super) struct Access {
    /// Whether the server listens to this machine alone.
    pub loopback: bool,
    /// Names that it is addressed by beside its addresses.
    pub names: Vec<String>,
    /// What must be known.
    pub key: Option<Key>,
}

impl Access {
    /// Whether a request comes under a name of this server. Returns the host that it names.
    ///
    /// # Errors
    /// 400 without a host, 403 otherwise.
    pub fn check_host<'a>(&self, headers: &'a HeaderMap) -> Result<&'a str, ApiError> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => return Err(ApiError::invalid("expected one Host header")),
        };
        if !self.is_ours(name_of(host)) {
            return Err(ApiError::forbidden(
                "this server is not known by the name in the Host header: see --allowed-host",
            ));
        }
        Ok(host)
    }

    /// Whether a request comes from where it may: under a name of this server, and from no page of another site.
    ///
    /// # Errors
    /// 400 without a host, 403 otherwise.
    pub fn check_place(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = self.check_host(headers)?;
        let site = headers.get(HeaderName::from_static("sec-fetch-site")).map(HeaderValue::as_bytes);
        if site.is_some_and(|site| site.eq_ignore_ascii_case(b"cross-site")) || !is_same_site(headers, host) {
            return Err(ApiError::forbidden("pages of other origins may not use this server"));
        }
        Ok(())
    }

    fn is_ours(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        if self.names.iter().any(|ours| ours.eq_ignore_ascii_case(name)) || name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let address = address_of(name);
        if self.loopback {
            return address.is_some_and(|address| address.is_loopback());
        }
        // No name server stands behind an address, and none of the world's knows .local.
        address.is_some() || self.key.is_some() || name.to_ascii_lowercase().ends_with(".local")
    }

    /// Whether a request has the key, if there is one.
    ///
    /// # Errors
    /// 401.
    pub fn check_key(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = &self.key else { return Ok(()) };
        let bearer = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
            let (scheme, rest) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
        });
        let given = bearer.into_iter().chain(headers.get("x-api-key").map(HeaderValue::as_bytes));
        // Clients that have both may have been given one of them for another server.
        let n_right = given.filter(|given| key.is(given)).count();
        if n_right > 0 { Ok(()) } else { Err(ApiError::key()) }
    }
}

/// Whether the body is JSON by its header; in UTF-8, if that says how it is written.
///
/// # Errors
/// 415.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let charset =
        parts.find_map(|part| part.get(..8).filter(|key| key.eq_ignore_ascii_case("charset=")).map(|_| &part[8..]));
    let utf8 = charset.is_none_or(|charset| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"));
    if json && utf8 { Ok(()) } else { Err(ApiError::media_type()) }
}

/// The name in a host, without its port.
fn name_of(host: &str) -> &str {
    match (host.starts_with('['), host.rfind(']'), host.rfind(':')) {
        (true, Some(end), _) => &host[..=end],
        (false, _, Some(port)) => &host[..port],
        _ => host,
    }
}

fn address_of(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Whether a page that asks, if one does, is of this server.
fn is_same_site(headers: &HeaderMap, host: &str) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or_default();
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    site.is_some_and(|site| site.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(loopback: bool, key: Option<&str>) -> Access {
        Access { loopback, names: vec!["box.example".to_owned()], key: key.map(Key::new) }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_of_this_server_are_answered() {
        let status =
            |access: &Access, host: &str| access.check_place(&headers(&[("host", host)])).map_err(|e| e.status);
        let near = access(true, None);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:80",
            "[::1]",
            "localhost.:8080",
            "Box.Example",
        ] {
            assert_eq!(status(&near, host), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.168.1.5",
            "[fe80::1]:80",
            "",
            "127.0.0.1.evil.example",
            "a.local",
        ] {
            assert_eq!(status(&near, host), Err(403), "{host}");
        }
        let wide = access(false, None);
        for (host, expected) in [("192.168.1.5:80", Ok(())), ("pi.local", Ok(())), ("evil.example", Err(403))] {
            assert_eq!(status(&wide, host), expected, "{host}");
        }
        assert_eq!(status(&access(false, Some("k")), "any.example"), Ok(()));
        assert_eq!(near.check_place(&HeaderMap::new()).unwrap_err().status, 400);
        let mut two = headers(&[("host", "localhost")]);
        two.append(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(near.check_place(&two).unwrap_err().status, 400);
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let check =
            |name, value| access(true, None).check_place(&headers(&[("host", "localhost:8080"), (name, value)]));
        assert_eq!(check("origin", "http://localhost:8080"), Ok(()));
        assert_eq!(check("sec-fetch-site", "same-origin"), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:3000", "chrome-extension://abc", ""] {
            assert_eq!(check("origin", origin).unwrap_err().status, 403, "{origin}");
        }
        assert_eq!(check("sec-fetch-site", "cross-site").unwrap_err().status, 403);
    }

    #[test]
    fn the_key_is_wanted_in_one_of_two_headers() {
        let access = access(true, Some("secret"));
        for (name, value) in
            [("authorization", "Bearer secret"), ("authorization", "bearer  secret"), ("x-api-key", "secret")]
        {
            assert_eq!(access.check_key(&headers(&[(name, value)])), Ok(()));
        }
        for (name, value) in [
            ("authorization", "secret"),
            ("authorization", "Bearer secre"),
            ("authorization", "Basic secret"),
            ("x-api-key", ""),
        ] {
            assert_eq!(access.check_key(&headers(&[(name, value)])).unwrap_err().status, 401, "{value}");
        }
        assert_eq!(access.check_key(&HeaderMap::new()).unwrap_err().status, 401);
    }

    #[test]
    fn a_body_is_json_in_utf8() {
        for kind in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert_eq!(check_json(&headers(&[("content-type", kind)])), Ok(()));
        }
        for kind in ["text/plain", "application/json; charset=latin1", "application/x-www-form-urlencoded", "é"] {
            assert_eq!(check_json(&headers(&[("content-type", kind)])).unwrap_err().status, 415);
        }
        assert_eq!(check_json(&HeaderMap::new()).unwrap_err().status, 415);
    }
}
