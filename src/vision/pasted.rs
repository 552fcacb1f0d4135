//! Paths as terminals and file managers paste them: quoted or escaped for a shell, as `file://` URLs, behind `~/`.

use super::percent;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// `text` as a shell would read it if white space outside quotes were an ordinary character: quotes taken off, escapes
/// resolved. `None` when a quote is not closed.
pub(super) fn unquote(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next()? {
                    '\'' => break,
                    c => out.push(c),
                }
            },
            '"' => loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => match chars.next()? {
                        c @ ('"' | '\\' | '$' | '`') => out.push(c),
                        c => out.extend(['\\', c]),
                    },
                    c => out.push(c),
                }
            },
            '\\' => out.push(chars.next().unwrap_or('\\')),
            c => out.push(c),
        }
    }
    Some(out)
}

/// The path of a `file:` URL of this machine; an error with the host's name for one of another, `None` for what is no
/// such URL.
pub(super) fn file_url(text: &str) -> Option<Result<PathBuf, String>> {
    let (scheme, rest) = text.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("file") || !rest.starts_with('/') {
        return None;
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
        return Some(Err(host.to_owned()));
    }
    Some(Ok(OsString::from_vec(percent::decode(path)).into()))
}

/// The path of `~/…`, in the home directory.
pub(super) fn in_home(text: &str) -> Option<PathBuf> {
    let rest = text.strip_prefix("~/")?;
    Some(std::env::home_dir()?.join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_are_resolved_as_a_shell_does() {
        for (text, expected) in [
            ("'a b.png'", "a b.png"),
            ("\"a b.png\"", "a b.png"),
            ("a\\ b\\(1\\).png", "a b(1).png"),
            ("'it'\\''s.png'", "it's.png"),
            ("\"say \\\"hi\\\" \\n.png\"", "say \"hi\" \\n.png"),
            ("/home/x/'a b'.png", "/home/x/a b.png"),
            ("a b.png", "a b.png"),
            ("ends in \\", "ends in \\"),
            ("''", ""),
        ] {
            assert_eq!(unquote(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(unquote("it's.png"), None);
        assert_eq!(unquote("\"half"), None);
        assert_eq!(unquote("\"half\\"), None);
    }

    #[test]
    fn file_urls_are_paths_of_this_machine() {
        for (url, path) in [
            ("file:///a/b%20c.png", "/a/b c.png"),
            ("file://localhost/a.png", "/a.png"),
            ("FILE:///a.png", "/a.png"),
            ("file:/a.png", "/a.png"),
            ("file:///%C3%A4.png", "/ä.png"),
        ] {
            assert_eq!(file_url(url), Some(Ok(path.into())), "{url}");
        }
        assert_eq!(file_url("file://nas/a.png"), Some(Err("nas".into())));
        for other in ["file.png", "file:a.png", "http://x/a.png", "/a.png", ""] {
            assert_eq!(file_url(other), None, "{other}");
        }
        let latin1 = file_url("file:///%E4.png").unwrap().unwrap();
        assert_eq!(latin1.as_os_str().as_encoded_bytes(), b"/\xE4.png");
    }
}
