//! The page for people: a few plain files in the program, and how browsers are told of them.
//!
//! Nothing is opened by a name that a request gives: it is looked for in a list. The files are public and the same for
//! everybody, so that nobody needs a key to see them; the page asks for it.

use crate::hex::Hex;
use hyper::header::{ACCEPT, HeaderMap, IF_NONE_MATCH};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// What the page may do: run and show its own files and talk to this server, and nothing else. Texts never become HTML or
/// scripts.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
pub(super) struct PageFile {
    path: &'static str,
    /// Its type.
    pub kind: &'static str,
    pub bytes: &'static [u8],
    etag: OnceLock<String>,
}

macro_rules! file {
    ($name:literal, $kind:ident) => {
        PageFile { path: concat!("/", $name), kind: $kind, bytes: include_bytes!($name), etag: OnceLock::new() }
    };
}

/// All of them, the page itself first.
static FILES: [PageFile; 24] = [
    file!("index.html", HTML),
    file!("style.css", CSS),
    file!("icon.svg", SVG),
    file!("announcer.js", SCRIPT),
    file!("answer.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("app.js", SCRIPT),
    file!("blocks.js", SCRIPT),
    file!("code.js", SCRIPT),
    file!("composer.js", SCRIPT),
    file!("conversation.js", SCRIPT),
    file!("dialogs.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("markdown.js", SCRIPT),
    file!("pictures.js", SCRIPT),
    file!("request.js", SCRIPT),
    file!("server.js", SCRIPT),
    file!("sidebar.js", SCRIPT),
    file!("spans.js", SCRIPT),
    file!("store.js", SCRIPT),
    file!("strings.js", SCRIPT),
    file!("transfer.js", SCRIPT),
    file!("tree.js", SCRIPT),
    file!("writer.js", SCRIPT),
];

/// The file at a path, if one is there. At `/` it is the page for who takes HTML, as browsers say they do; programs look there
/// whether a server is at work, and are told that.
pub(super) fn find(path: &str, headers: &HeaderMap) -> Option<&'static PageFile> {
    if path == "/" && takes_html(headers) {
        return FILES.first();
    }
    FILES.iter().find(|file| file.path == path)
}

fn takes_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.to_ascii_lowercase().contains("text/html"))
}

impl PageFile {
    /// What tells this version of it from all others: a hash.
    pub fn etag(&self) -> &str {
        self.etag.get_or_init(|| {
            let hash: [u8; 32] = Sha256::digest(self.bytes).into();
            format!("\"{}\"", Hex(&hash[..12]))
        })
    }

    /// Whether the client has this version already, by what it says.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = known.flat_map(|list| list.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag())
    }
}
