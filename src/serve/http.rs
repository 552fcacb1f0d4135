//! Connections: accepted by hand, so that every wait has a limit, and ended one by one.

use super::account::Account;
use super::anthropic;
use super::body::{self, Content, ResponseBody};
use super::error::ApiError;
use super::ollama;
use super::page::{self, PageFile};
use super::patient::{Answering, Patience, Patient};
use super::routes::{self, Api};
use super::shared::Shared;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, EXPECT, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Bytes of a header at most.
pub(super) const LARGEST_HEADER: usize = 32 << 10;

/// Headers of a request at most.
pub(super) const MOST_HEADERS: usize = 100;

/// Time for the last bytes once all answers are ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves until the server ends: all connections are closed then.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.shutdown.begun() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= shared.bounds.connections => turn_away(&stream),
                Ok((stream, peer)) => _ = connections.spawn(connection(stream, peer, Arc::clone(&shared))),
                // Out of descriptors, or a connection that has gone: what is open may end meanwhile.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
        }
        shared.metrics.connections.store(connections.len() as u64, Ordering::Relaxed);
    }
    drop(listener);
    let mut closed = pin!(async { while connections.join_next().await.is_some() {} });
    if timeout(shared.bounds.grace, &mut closed).await.is_err() {
        shared.shutdown.end();
        let _ = timeout(LAST_WORDS, closed).await;
    }
    shared.shutdown.end();
}

/// Says that there are too many, without waiting for anything.
fn turn_away(stream: &TcpStream) {
    let _ = stream.try_write(bare(&ApiError::unavailable("too many connections")).as_bytes());
}

/// An error as it is said where no request was read, and the end of the connection.
pub(super) fn bare(error: &ApiError) -> String {
    let body = error.to_json().to_string();
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let retry_after = error.retry_after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry_after}connection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    // Events are small, and someone waits for each.
    let _ = stream.set_nodelay(true);
    let patience = Patience { header: shared.bounds.header_time, write: shared.bounds.write_time };
    let answering = Answering::default();
    let io = TokioIo::new(Patient::new(stream, patience, answering.clone()));
    let service = service_fn(|request| {
        let answered = answering.begin();
        let (shared, place) = (Arc::clone(&shared), peer);
        async move {
            let response = respond(shared, place, request).await;
            Ok::<_, Infallible>(response.map(|content| ResponseBody::new(content, answered)))
        }
    });
    let mut builder = http1::Builder::new();
    // What a client sends too early of a header counts as a part of this time.
    builder.timer(TokioTimer::new()).header_read_timeout(shared.bounds.idle_time);
    builder.max_buf_size(LARGEST_HEADER).max_headers(MOST_HEADERS);
    let mut connection = pin!(builder.serve_connection(io, service));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shared.shutdown.begun() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// What is said to a request.
pub(super) enum Reply {
    /// A text of this type.
    Text(&'static str, String),
    /// A file of the page; nothing of it where the client has it.
    Page { file: &'static PageFile, is_known: bool },
    /// An answer of the model, and what else the client is told.
    Answer { content: Content, headers: Vec<(&'static str, String)> },
    /// Methods that are understood.
    Allow(&'static str),
}

async fn respond(shared: Arc<Shared>, peer: SocketAddr, request: Request<Incoming>) -> Response<Content> {
    let account = Account::new(&shared, request.method().as_str(), request.uri().path());
    let id = account.line.id.clone();
    let mut account = Some(account);
    let (request, mut body) = request.into_parts();
    let reply = routes::reply(&shared, peer.ip(), &request, &mut body, &mut account).await;
    // Who waits to be asked for the body sends none.
    if reply.as_ref().is_err_and(|error| error.status != 408) && !request.headers.contains_key(EXPECT) {
        body::drain(&mut body).await;
    }
    let mut response = Response::new(Content::Whole(Bytes::new()));
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("x-request-id", &id);
    let api = Api::of(request.uri.path());
    if api == Api::Anthropic {
        // Where its clients look for the same.
        set("request-id", &id);
    }
    set("x-content-type-options", "nosniff");
    set("referrer-policy", "no-referrer");
    set("cross-origin-resource-policy", "same-origin");
    match reply {
        Ok(Reply::Text(kind, text)) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            *response.body_mut() = Content::Whole(text.into());
        }
        Ok(Reply::Page { file, is_known }) => {
            set("etag", file.etag());
            set("content-security-policy", page::POLICY);
            // Asked for each time, and mostly known: a new program has a new page at once.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(VARY, HeaderValue::from_static("accept"));
            if is_known {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
            } else {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
                *response.body_mut() = Content::Whole(Bytes::from_static(file.bytes));
            }
        }
        Ok(Reply::Allow(methods)) => {
            set("allow", methods);
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        Ok(Reply::Answer { content, headers: more }) => {
            more.iter().for_each(|(name, value)| set(name, value));
            if let Content::Events(events) = &content {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(events.media_type()));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            } else {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            *response.body_mut() = content;
        }
        Err(error) => {
            if let Some(seconds) = error.retry_after {
                set("retry-after", &seconds.to_string());
            }
            if let Some(methods) = error.allow {
                set("allow", methods);
            }
            if error.status == 401 {
                set("www-authenticate", "Bearer");
            }
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let (status, said) = match api {
                Api::OpenAi => (error.status, error.to_json()),
                Api::Anthropic => (anthropic::error::status(&error), anthropic::error::to_json(&error, Some(&id))),
                Api::Ollama => (error.status, ollama::error::to_json(&error)),
            };
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            *response.body_mut() = Content::Whole(said.to_string().into());
        }
    }
    if let Some(account) = &mut account {
        account.line.status = response.status().as_u16();
    }
    response
}
