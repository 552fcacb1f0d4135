//! From a path to what answers it.

use super::access::check_json;
use super::account::Account;
use super::body;
use super::bounds::CHEAP;
use super::error::ApiError;
use super::http::Reply;
use super::openai::prepared::Prepared;
use super::openai::{chat, completion, models};
use super::queue::Refused;
use super::reply::{Admitted, EventBody, Shape};
use super::shared::{Served, Shared};
use super::shutdown::Phase;
use hyper::Method;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout;

const JSON: &str = "application/json";

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
    shared.access.check_place(&request.headers)?;
    let path = request.uri.path();
    let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let post = matches!(path, "/chat/completions" | "/completions");
    let get = matches!(path, "/" | "/health" | "/metrics" | "/models") || path.starts_with("/models/");
    let allow = if post { "POST, OPTIONS" } else { "GET, HEAD, OPTIONS" };
    match request.method {
        Method::OPTIONS if get || post => return Ok(Reply::Allow(allow)),
        Method::GET | Method::HEAD if get => {}
        Method::POST if post => {}
        _ if get || post => return Err(ApiError::method(allow)),
        _ => return Err(absent(path)),
    }
    if path == "/health" {
        served(shared)?;
        return Ok(Reply::Text(JSON, json!({"status": "ok"}).to_string()));
    }
    shared.access.check_key(&request.headers)?;
    match path {
        "/" => Ok(Reply::Text(JSON, json!({"name": "qwen-edge", "version": env!("CARGO_PKG_VERSION")}).to_string())),
        "/metrics" => {
            let text = shared.metrics.render(shared.queue.len());
            Ok(Reply::Text("text/plain; version=0.0.4", text))
        }
        "/models" => Ok(Reply::Text(JSON, models::list(&*served(shared)?).to_string())),
        "/chat/completions" => complete(shared, client, (request, body), account, chat::prepare).await,
        "/completions" => complete(shared, client, (request, body), account, completion::prepare).await,
        path => {
            let id = path.strip_prefix("/models/").unwrap_or_default();
            Ok(Reply::Text(JSON, models::one(&*served(shared)?, id)?.to_string()))
        }
    }
}

/// What is said of paths that lead nowhere.
fn absent(path: &str) -> ApiError {
    let others = ["/embeddings", "/rerank", "/audio/", "/images/"];
    if others.iter().any(|other| path.starts_with(other)) {
        return ApiError::not_implemented(
            "this model writes text: it makes no embeddings, rankings, sounds or pictures",
        );
    }
    ApiError::not_found(
        "nothing is here: there are /v1/chat/completions, /v1/completions, /v1/models, /health and /metrics",
    )
}

fn served(shared: &Shared) -> Result<Arc<Served>, ApiError> {
    if shared.shutdown.phase() > Phase::Running {
        return Err(ApiError::unavailable("the server ends"));
    }
    shared.served.get().cloned().ok_or_else(|| ApiError::unavailable("the model is being loaded"))
}

/// Makes jobs of a body.
type Prepare = fn(Vec<u8>, &Served, IpAddr, Instant) -> Result<Prepared, ApiError>;

async fn complete(
    shared: &Arc<Shared>,
    client: IpAddr,
    (request, body): (&Parts, &mut Incoming),
    account: &mut Option<Account>,
    prepare: Prepare,
) -> Result<Reply, ApiError> {
    let since = Instant::now();
    check_json(&request.headers)?;
    let served = served(shared)?;
    let body = body::read(shared, body).await?;
    // A long prompt takes its time, and others are served meanwhile.
    let turn = match body.cost.total() > CHEAP {
        true => Arc::clone(&shared.dear).acquire_owned().await.ok(),
        false => None,
    };
    let prepared = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let body::RequestBody { bytes, memory, .. } = body;
        let mut prepared = prepare(bytes, &served, client, since)?;
        // Pictures wait as they came, and are as large.
        if let Some(job) = prepared.jobs.iter_mut().find(|job| !job.pictures.files.is_empty()) {
            job.pictures.memory = memory;
        }
        Ok(prepared)
    })
    .await;
    let Prepared { jobs, events, dialect, stream } = match prepared {
        Ok(prepared) => prepared?,
        Err(_) => {
            shared.metrics.panics.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Err(ApiError::server("a fault of the program ended this request"));
        }
    };
    let shape = Shape { n_prompt: jobs.len(), n: jobs.first().map_or(1, |job| job.n) };
    for job in jobs {
        shared.queue.push(job).map_err(|refused| match refused {
            Refused::Full(n) => ApiError::queue_full(shared.metrics.seconds_of(n)),
            Refused::Closed => ApiError::unavailable("the server ends"),
        })?;
    }
    let admitted = timeout(shared.bounds.queue_time, Admitted::wait(events, shape, dialect)).await;
    let admitted =
        admitted.map_err(|_| ApiError::unavailable("no answer of those before it came to its end in time"))??;
    if stream {
        let account = account.take().expect("an account until it is given away");
        return Ok(Reply::Events(Box::new(EventBody::new(admitted, account))));
    }
    let (answer, usage) = admitted.whole().await?;
    if let Some(account) = account {
        account.line.tokens = Some(usage.tokens());
    }
    Ok(Reply::Text(JSON, answer.to_string()))
}
