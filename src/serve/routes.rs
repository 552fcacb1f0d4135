//! From a path to what answers it.

use super::access::check_json;
use super::account::Account;
use super::anthropic::messages;
use super::body::{self, Content, RequestBody};
use super::bounds::CHEAP;
use super::error::{ApiError, shortened};
use super::http::Reply;
use super::llama_cpp::{completion as native, props, slots, tokens};
use super::models::{Held, Listed};
use super::ollama;
use super::openai::{chat, completion, models};
use super::page;
use super::prepared::{Prepared, Received};
use super::queue::Refused;
use super::reply::{Admitted, EventBody, Shape, Usage};
use super::responses::request as responses;
use super::served::Served;
use super::shared::Shared;
use crate::percent;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::time::timeout;

const JSON: &str = "application/json";

/// Methods of what is only read.
const READING: &str = "GET, HEAD, OPTIONS";

/// Paths, without the version, to which bodies are sent.
const POSTED: [&str; 13] = [
    "/api/chat",
    "/api/generate",
    "/api/show",
    "/apply-template",
    "/chat/completions",
    "/completion",
    "/completions",
    "/detokenize",
    "/messages",
    "/messages/count_tokens",
    "/responses",
    "/responses/input_tokens",
    "/tokenize",
];

/// Other paths without the version; those of single models are below `/models/`.
const READ: [&str; 9] =
    ["/", "/api/ps", "/api/tags", "/api/version", "/health", "/metrics", "/models", "/props", "/slots"];

/// The path without the version.
fn unversioned(path: &str) -> &str {
    path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Whose API a path is of: in its words errors are said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Api {
    /// OpenAI's, and whatever is nobody's.
    OpenAi,
    Anthropic,
    Ollama,
}

impl Api {
    /// That of a path.
    pub fn of(path: &str) -> Api {
        let path = unversioned(path);
        let is_of = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_of("/messages") {
            Api::Anthropic
        } else if is_of("/api") {
            Api::Ollama
        } else {
            Api::OpenAi
        }
    }
}

/// Whether a page in a browser may have sent a request.
fn may_be_a_pages(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key(HeaderName::from_static("sec-fetch-site"))
}

/// Answers a request. The account goes with a stream, which is over later.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn reply(
    shared: &Arc<Shared>,
    client: IpAddr,
    request: &Parts,
    body: &mut Incoming,
    account: &mut Option<Account>,
) -> Result<Reply, ApiError> {
    // A link from another site may lead to the page, which is the same for everybody.
    shared.access.check_host(&request.headers)?;
    if let Some(file) = page::find(request.uri.path(), &request.headers) {
        return match request.method {
            Method::GET | Method::HEAD => Ok(Reply::Page { file, is_known: file.is_known(&request.headers) }),
            Method::OPTIONS => Ok(Reply::Allow(READING)),
            _ => Err(ApiError::method(READING)),
        };
    }
    shared.access.check_place(&request.headers)?;
    let path = unversioned(request.uri.path());
    let post = POSTED.contains(&path);
    let get = READ.contains(&path) || path.starts_with("/models/");
    let allow = if post { "POST, OPTIONS" } else { READING };
    match request.method {
        Method::OPTIONS if get || post => return Ok(Reply::Allow(allow)),
        Method::GET | Method::HEAD if get => {}
        Method::POST if post => {}
        _ if get || post => return Err(ApiError::method(allow)),
        _ => return Err(absent(path)),
    }
    if path == "/health" {
        shared.models.check_ready()?;
        return Ok(Reply::Text(JSON, json!({"status": "ok"}).to_string()));
    }
    shared.access.check_key(&request.headers)?;
    match path {
        // Some of Ollama's clients look for this; people have got the page.
        "/" => Ok(Reply::Text("text/plain", "Ollama is running".to_owned())),
        "/metrics" => {
            let text = shared.metrics.render(shared.models.n_waiting());
            Ok(Reply::Text("text/plain; version=0.0.4", text))
        }
        "/models" => Ok(Reply::Text(JSON, models::list(&shared.models)?.to_string())),
        "/props" => Ok(Reply::Text(JSON, props::props(&meant(shared, request)?).to_string())),
        "/slots" => {
            let must = query(request, "fail_on_no_slot").is_some_and(|value| value != "0");
            Ok(Reply::Text(JSON, slots::slots(&meant(shared, request)?, must)?.to_string()))
        }
        "/tokenize" => tell(shared, (request, body), tokens::tokenize).await,
        "/detokenize" => tell(shared, (request, body), tokens::detokenize).await,
        "/apply-template" => tell(shared, (request, body), tokens::apply_template).await,
        "/completion" => complete(shared, client, (request, body), account, native::prepare).await,
        "/chat/completions" => complete(shared, client, (request, body), account, chat::prepare).await,
        "/completions" => complete(shared, client, (request, body), account, completion::prepare).await,
        "/messages" => complete(shared, client, (request, body), account, messages::prepare).await,
        "/responses" => complete(shared, client, (request, body), account, responses::prepare).await,
        "/responses/input_tokens" => tell(shared, (request, body), responses::count).await,
        "/messages/count_tokens" => tell(shared, (request, body), messages::count).await,
        "/api/version" => Ok(Reply::Text(JSON, ollama::models::version().to_string())),
        "/api/tags" => Ok(Reply::Text(JSON, ollama::models::tags(&shared.models)?.to_string())),
        "/api/ps" => Ok(Reply::Text(JSON, ollama::models::running(&shared.models)?.to_string())),
        "/api/show" => {
            check_type(request)?;
            let RequestBody { bytes, .. } = body::read(shared, body).await?;
            Ok(Reply::Text(JSON, ollama::models::show(bytes, &shared.models)?.to_string()))
        }
        "/api/chat" => complete(shared, client, (request, body), account, ollama::chat::prepare).await,
        "/api/generate" => complete(shared, client, (request, body), account, ollama::generate::prepare).await,
        path => {
            let id = path.strip_prefix("/models/").unwrap_or_default();
            Ok(Reply::Text(JSON, models::one(&shared.models, &decoded(id))?.to_string()))
        }
    }
}

/// What a request's query says of this name. A plus is one: names of models have some, and no blanks.
fn query(request: &Parts, name: &str) -> Option<String> {
    let mut pairs = request.uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
}

/// A part of an address as a text.
fn decoded(part: &str) -> String {
    String::from_utf8_lossy(&percent::decode(part)).into_owned()
}

/// The model that a query means.
///
/// # Errors
/// There is none of that name, or the first one is being loaded.
fn meant(shared: &Shared, request: &Parts) -> Result<Listed, ApiError> {
    let model = shared.models.find(query(request, "model").as_deref())?;
    Ok(shared.models.list().swap_remove(model))
}

/// What is said of paths that lead nowhere.
fn absent(path: &str) -> ApiError {
    let others = ["/embeddings", "/rerank", "/audio/", "/images/"];
    if others.iter().any(|other| path.starts_with(other)) {
        return ApiError::not_implemented(
            "this model writes text: it makes no embeddings, rankings, sounds or pictures",
        );
    }
    if Api::of(path) == Api::Ollama {
        return ApiError::not_implemented(
            "models are fetched and removed where this server runs, and make no embeddings: there are /api/chat, \
             /api/generate, /api/tags, /api/show, /api/ps and /api/version",
        );
    }
    if path.starts_with("/responses/") {
        return ApiError::not_found(
            "this server keeps no responses: the whole conversation comes in the input of every POST /v1/responses",
        );
    }
    ApiError::not_found(
        "nothing is here: there are /v1/chat/completions, /v1/responses, /v1/messages, /v1/completions, /v1/models, \
         /completion, /tokenize, /detokenize, /apply-template, /props, /slots, /api/chat, /api/generate, /api/tags, \
         /health and /metrics",
    )
}

/// Makes jobs of a body.
type Prepare = fn(Received<'_>) -> Result<Prepared, ApiError>;

/// Says something of a body without the engine, such as its tokens.
type Tell = fn(Vec<u8>, &Served) -> Result<Value, ApiError>;

/// The field of a body that says which model is meant.
#[derive(Deserialize)]
struct NamesModel {
    #[serde(default)]
    model: Option<String>,
}

/// Whether a body is JSON by its header.
///
/// # Errors
/// It is not.
fn check_type(request: &Parts) -> Result<(), ApiError> {
    // Who follows the examples of Ollama's API does not say. That is well where no page can have sent it, since pages of
    // other sites may send what has another type without asking first.
    let may_be_silent = Api::of(request.uri.path()) == Api::Ollama && !may_be_a_pages(&request.headers);
    if may_be_silent { Ok(()) } else { check_json(&request.headers) }
}

/// Reads a body, has the model loaded that it means, and makes something of both.
async fn parse<T: Send + 'static>(
    shared: &Arc<Shared>,
    (request, body): (&Parts, &mut Incoming),
    make: impl FnOnce(RequestBody, &Arc<Held>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    check_type(request)?;
    shared.models.check_ready()?;
    let mut body = body::read(shared, body).await?;
    // A long prompt takes its time, and others are served meanwhile.
    let turn = match body.cost.total() > CHEAP {
        true => Arc::clone(&shared.dear).acquire_owned().await.ok(),
        false => None,
    };
    let name = if shared.models.is_one() {
        None
    } else {
        let bytes = std::mem::take(&mut body.bytes);
        // What is wrong with it is said where all of it is read.
        let find = move || (serde_json::from_slice(&bytes).map_or(None, |NamesModel { model }| model), bytes);
        let (name, bytes) = beside(shared, find).await?;
        body.bytes = bytes;
        name
    };
    let model = shared.models.find(name.as_deref())?;
    let held = timeout(shared.bounds.queue_time, shared.models.hold(model)).await;
    let held = Arc::new(held.map_err(|_| ApiError::unavailable("the model was not loaded in time"))??);
    beside(shared, move || {
        let _turn = turn;
        make(body, &held)
    })
    .await?
}

/// Does something that may take long on another thread.
///
/// # Errors
/// It panics.
async fn beside<T: Send + 'static>(shared: &Shared, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        shared.metrics.panics.fetch_add(1, Ordering::Relaxed);
        ApiError::server("a fault of the program ended this request")
    })
}

async fn tell(shared: &Arc<Shared>, asked: (&Parts, &mut Incoming), tell: Tell) -> Result<Reply, ApiError> {
    let said = parse(shared, asked, move |body, held| tell(body.bytes, held)).await?;
    Ok(Reply::Text(JSON, said.to_string()))
}

async fn complete(
    shared: &Arc<Shared>,
    client: IpAddr,
    asked: (&Parts, &mut Incoming),
    account: &mut Option<Account>,
    prepare: Prepare,
) -> Result<Reply, ApiError> {
    let since = Instant::now();
    let prepared = parse(shared, asked, move |body, held| {
        let mut prepared = prepare(Received { body: body.bytes, client, since, served: held })?;
        prepared.jobs.iter_mut().for_each(|job| job.held = Some(Arc::clone(held)));
        // Pictures wait as they came, and are as large.
        if let Some(job) = prepared.jobs.iter_mut().find(|job| !job.pictures.files.is_empty()) {
            job.pictures.memory = body.memory;
        }
        held.keep(prepared.keep_alive);
        Ok((prepared, Arc::clone(&held.queue)))
    });
    let (prepared, queue) = prepared.await?;
    let Prepared { jobs, events, mut dialect, mut headers, stream, .. } = prepared;
    if jobs.is_empty() {
        let said = dialect.whole(&[], &Usage::default())?;
        return Ok(Reply::Answer { content: Content::Whole(said.to_string().into()), headers });
    }
    let grammars = jobs.iter().flat_map(|job| [&job.grammar, &job.call_grammar]).flatten();
    let relaxed = grammars.flat_map(|grammar| grammar.relaxed());
    let relaxed: Vec<String> = relaxed.map(|place| plain(&place.to_string())).collect();
    if !relaxed.is_empty() {
        headers.push(("x-qwen-edge-relaxed", shortened(relaxed.join(", "))));
    }
    account.iter_mut().for_each(|account| account.line.relaxed.clone_from(&relaxed));
    let shape = Shape { n_prompt: jobs.len(), n: jobs.first().map_or(1, |job| job.n) };
    for job in jobs {
        queue.push(job).map_err(|refused| match refused {
            Refused::Full(n) => ApiError::queue_full(shared.metrics.seconds_of(n)),
            Refused::Closed => ApiError::unavailable("the server ends"),
        })?;
    }
    let admitted = timeout(shared.bounds.queue_time, Admitted::wait(events, shape, dialect)).await;
    let admitted =
        admitted.map_err(|_| ApiError::unavailable("no answer of those before it came to its end in time"))??;
    if stream {
        let account = account.take().expect("an account until it is given away");
        let content = Content::Events(Box::new(EventBody::new(admitted, account)));
        return Ok(Reply::Answer { content, headers });
    }
    let (answer, usage) = admitted.whole().await?;
    if let Some(account) = account {
        account.line.tokens = Some(usage.tokens());
    }
    Ok(Reply::Answer { content: Content::Whole(answer.to_string().into()), headers })
}

/// A text as a header and a line of the log may hold it: other characters than those of ASCII as `?`.
fn plain(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}
