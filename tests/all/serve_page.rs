//! The page for people, as browsers get it. What it does is tried in a browser: `tests/page/drive.py`.

use crate::support::chats::demo;
use crate::support::http::{Response, Server};
use crate::support::scratch::Scratch;
use std::fs;
use std::path::{Path, PathBuf};

const AS_BROWSER: &str = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// Bytes of all files together, at most.
const MOST_BYTES: usize = 150_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/page")
}

/// Names and texts of the files.
fn files() -> Vec<(String, String)> {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files = names.filter(|name| name != "mod.rs");
    files.map(|name| (name.clone(), fs::read_to_string(folder().join(name)).unwrap())).collect()
}

/// The value of a header, in small letters.
fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn browsers_get_the_page_and_all_its_files_without_a_key_and_others_what_they_got() {
    let server = Server::start(&demo(), &["--api-key", "secret"]);
    let page = server.ask("GET /", &[AS_BROWSER], "");
    assert_eq!((page.status, header(&page, "content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.body, fs::read_to_string(folder().join("index.html")).unwrap());
    for (name, text) in files() {
        let file = server.get(&format!("/{name}"));
        let kind = match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        };
        assert_eq!((file.status, header(&file, "content-type")), (200, Some(kind)), "{name}");
        assert_eq!(file.body, text, "{name}");
        for (header_name, value) in [
            ("cache-control", "no-cache"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(header(&file, header_name), Some(value), "{name}");
        }
        let policy = header(&file, "content-security-policy").unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|given| given == rule), "{rule}: {policy}");
        }
    }
    let head = server.ask("HEAD /", &[AS_BROWSER], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(header(&head, "content-length"), Some(page.body.len().to_string().as_str()));
    let posted = server.ask("POST /app.js", &[], "");
    assert_eq!((posted.status, header(&posted, "allow")), (405, Some("get, head, options")));
    // Who takes anything, as curl does, is a program.
    for accept in ["accept: */*", "accept: application/json"] {
        let told = server.ask("GET /", &[accept, "x-api-key: secret"], "");
        assert_ne!(header(&told, "content-type"), Some("text/html; charset=utf-8"), "{accept}");
    }
    assert_eq!(server.get("/v1/models").status, 401);
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let server = Server::start(&demo(), &[]);
    let etag = |response: &Response| header(response, "etag").unwrap().to_owned();
    let (script, style) = (server.get("/app.js"), server.get("/style.css"));
    assert_ne!(etag(&script), etag(&style));
    for known in [etag(&script), format!("W/{}", etag(&script)), format!("\"a\", {}", etag(&script)), "*".to_owned()] {
        let again = server.ask("GET /app.js", &[&format!("if-none-match: {known}")], "");
        assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
        assert_eq!(etag(&again), etag(&script));
    }
    for other in [etag(&style), "\"\"".to_owned(), etag(&script).replace('"', "")] {
        let again = server.ask("GET /app.js", &[&format!("if-none-match: {other}")], "");
        assert_eq!((again.status, &again.body), (200, &script.body), "{other}");
    }
}

#[test]
fn the_page_is_for_names_of_this_server_and_no_path_leads_out_of_it() {
    let server = Server::start(&demo(), &[]);
    assert_eq!(server.ask("GET /", &[AS_BROWSER, "host: evil.example"], "").status, 403);
    assert_eq!(server.ask("GET /app.js", &["host: evil.example"], "").status, 403);
    // A link may lead here from anywhere; the API is for the page alone.
    let from_outside = ["sec-fetch-site: cross-site", "sec-fetch-mode: navigate"];
    assert_eq!(server.ask("GET /", &[&[AS_BROWSER][..], &from_outside[..]].concat(), "").status, 200);
    assert_eq!(server.ask("GET /v1/models", &from_outside, "").status, 403);
    for path in [
        "/mod.rs",
        "/APP.JS",
        "/app.js/",
        "//app.js",
        "/./app.js",
        "/page/app.js",
        "/v1/app.js",
        "/../page/app.js",
        "/../mod.rs",
        "/../../../Cargo.toml",
        "/%2e%2e/mod.rs",
        "/%61pp.js",
        "/app.js%00",
        "/..\\mod.rs",
        "/etc/passwd",
    ] {
        let answer = server.get(path);
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
}

#[test]
fn the_files_are_small_and_never_make_html_or_scripts_of_a_text() {
    let files = files();
    let n_byte: usize = files.iter().map(|(_, text)| text.len()).sum();
    assert!(n_byte <= MOST_BYTES, "{n_byte} bytes");
    assert!(files.len() > 5);
    for (name, text) in &files {
        for banned in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "createContextualFragment",
            "DOMParser",
            "setHTML",
            "parseHTML",
            "srcdoc",
            "eval(",
            "new Function",
            "createPolicy",
            "javascript:",
            "localStorage",
        ] {
            assert!(!text.contains(banned), "{name}: {banned}");
        }
        // Nothing comes from elsewhere.
        let mut addresses = text.lines().filter(|line| line.contains("://"));
        let foreign = addresses.find(|line| !line.contains("http://www.w3.org/2000/svg"));
        assert!(foreign.is_none(), "{name}: {foreign:?}");
    }
}

#[test]
#[cfg(unix)]
fn the_browser_is_opened_at_the_page() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("open");
    let opened = scratch.0.join("opened");
    let script = scratch.write("xdg-open", format!("#!/bin/sh\nprintf '%s' \"$1\" > {}\n", opened.display()));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", scratch.0.display(), std::env::var("PATH").unwrap_or_default());
    let server =
        Server::start_in(&[demo().as_os_str()], &["--open", "--host", "0.0.0.0", "--no-key"], &[("PATH", &path)]);
    let told = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        fs::read_to_string(&opened).ok().filter(|told| !told.is_empty())
    });
    assert_eq!(told, Some(format!("http://127.0.0.1:{}/", server.address.port())));
}
