//! What a user means by the text that names a picture or a clip: `-`, a data URL, or a path as terminals and file managers
//! paste it, that is quoted or escaped for a shell, as a `file://` URL, or behind `~/`.

use anyhow::bail;
use qwen_edge::percent;
use qwen_edge::platform::files::path_of_url;
use qwen_edge::vision::{Source, data_url};
use std::path::{Path, PathBuf};

/// Longer text is not taken for a path that was mistyped.
const LONGEST_PATH: usize = 1024;

/// The source that `spec` names. A file that has just that name comes first; else what it may stand for.
///
/// # Errors
/// If it is on another machine, or text that is no name.
pub(super) fn source(spec: &str) -> anyhow::Result<Source> {
    let text = spec.trim();
    if text == "-" {
        return Ok(Source::Stdin);
    }
    let is_there = |path: &Path| spec.len() <= LONGEST_PATH && path.exists();
    if is_there(Path::new(spec)) {
        return Ok(Source::File(spec.into()));
    }
    let bare = unquote(text).unwrap_or_else(|| text.to_owned());
    if data_url::is_one(&bare) {
        return Ok(Source::DataUrl(bare));
    }
    if text.len() > LONGEST_PATH || data_url::is_bare(text) {
        bail!(
            "a text of {} characters is no file's name; a picture as text must read data:image/TYPE;base64,DATA",
            text.chars().count()
        );
    }
    let away = |address: &str| anyhow::anyhow!("{address} is on another machine: save it in a file, and give that");
    if let Some(path) = file_url(&bare) {
        return path.map(Source::File).map_err(|host| away(&host));
    }
    let web = ["http://", "https://", "ftp://"];
    if web.iter().any(|scheme| bare.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))) {
        return Err(away(&bare));
    }
    let readings = [text, &bare].into_iter().flat_map(|text| [Some(text.into()), in_home(text)]);
    let readings: Vec<PathBuf> = readings.flatten().collect();
    let found = readings.iter().find(|path| is_there(path)).or(readings.last());
    Ok(Source::File(found.expect("the text itself").clone()))
}

/// `text` as a shell would read it if white space outside quotes were an ordinary character: quotes taken off, escapes
/// resolved. `None` when a quote is not closed.
fn unquote(text: &str) -> Option<String> {
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
fn file_url(text: &str) -> Option<Result<PathBuf, String>> {
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
    Some(Ok(path_of_url(percent::decode(path))))
}

/// The path of `~/…`, in the home directory.
fn in_home(text: &str) -> Option<PathBuf> {
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
        // Where a path may be any bytes.
        if std::path::MAIN_SEPARATOR == '/' {
            let latin1 = file_url("file:///%E4.png").unwrap().unwrap();
            assert_eq!(latin1.as_os_str().as_encoded_bytes(), b"/\xE4.png");
        }
    }

    #[test]
    fn a_path_is_found_however_it_was_pasted_and_a_literal_name_comes_first() {
        // The shells of Unix quote so, and a space at the end is a part of a name there.
        if std::path::MAIN_SEPARATOR != '/' {
            return;
        }
        let dir = std::env::temp_dir().join(format!("qwen-edge-pasted-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        for name in ["a b.png", "it's.png", "'quoted'", "quoted", "100%25.png", "-"] {
            std::fs::write(at(name), b"").unwrap();
        }
        let dir_text = dir.to_str().unwrap();
        let path = |spec: &str| source(&spec.replace("DIR", dir_text)).unwrap();
        for spec in [
            "DIR/a b.png",
            "DIR/a b.png ",
            " 'DIR/a b.png' ",
            "\"DIR/a b.png\"",
            "DIR/a\\ b.png",
            "file://DIR/a%20b.png",
            "file://localhostDIR/a%20b.png\r",
            "'file://DIR/a%20b.png'",
        ] {
            assert_eq!(path(spec), Source::File(at("a b.png")), "{spec}");
        }
        assert_eq!(path("DIR/it's.png"), Source::File(at("it's.png")));
        assert_eq!(path("'DIR/it'\\''s.png'"), Source::File(at("it's.png")));
        assert_eq!(path("DIR/'quoted'"), Source::File(at("'quoted'")));
        assert_eq!(path("DIR/100%25.png"), Source::File(at("100%25.png")));
        assert_eq!(path("'DIR/none.png'"), Source::File(at("none.png")), "what the error is about");
        std::fs::remove_dir_all(&dir).unwrap();
        let home = std::env::home_dir().unwrap();
        assert_eq!(path("~/no such picture.png"), Source::File(home.join("no such picture.png")));
        assert_eq!(path("-"), Source::Stdin);
    }

    #[test]
    fn text_that_is_no_path_is_not_repeated() {
        let base64 = "iVBORw0KGgo/".repeat(1000);
        for (text, n) in [(base64.as_str(), "12000"), (&base64[..60], "60"), (&"x".repeat(5000), "5000")] {
            let error = source(text).unwrap_err().to_string();
            assert!(error.contains(n) && !error.contains("iVBOR") && !error.contains("xx"), "{error}");
        }
        let url = format!("DATA:image/png;base64,{base64}");
        assert_eq!(source(&format!("\"{url}\"")).unwrap(), Source::DataUrl(url));
        for web in ["https://example.org/a.png", "HTTP://x/y", "file://nas/a.png"] {
            assert!(source(web).unwrap_err().to_string().contains("on another machine"), "{web}");
        }
    }
}
