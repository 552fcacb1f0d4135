//! Bodies: those of requests, read within bounds of size, time and memory, and those of responses.

use super::bounds::{BODY_UNIT, Bounds, VALUES};
use super::error::ApiError;
use super::json_cost::JsonCost;
use super::patient::Answered;
use super::reply::EventBody;
use super::shared::Shared;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// Bytes a second that a body must have at least, once its first seconds are over.
const LEAST_RATE: usize = 8 << 10;

/// The first bytes of a body, which every connection has memory for: a large request keeps out no small one.
const FREE: usize = 32 << 10;

/// Time in which the rest of a body is taken that was refused.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Bytes of such a rest at most.
const MOST_DRAINED: usize = 256 << 20;

/// The body of a request, and its share of the memory for bodies.
pub(super) struct RequestBody {
    pub bytes: Vec<u8>,
    /// Given back with the body.
    pub memory: Option<OwnedSemaphorePermit>,
    /// What parsing it takes.
    pub cost: JsonCost,
}

/// Reads a body.
///
/// # Errors
/// It is too large, comes too slowly or not at all, or there is no memory for it.
pub(super) async fn read(shared: &Arc<Shared>, body: &mut Incoming) -> Result<RequestBody, ApiError> {
    let Bounds { body: most, body_start, body_time, .. } = shared.bounds;
    if body.size_hint().lower() > most as u64 {
        return Err(ApiError::too_large(most));
    }
    let start = Instant::now();
    let mut whole = RequestBody { bytes: Vec::new(), memory: None, cost: JsonCost::default() };
    loop {
        let by_rate = body_start + Duration::from_secs((whole.bytes.len() / LEAST_RATE) as u64);
        let frame = match timeout_at(start + by_rate.min(body_time), next_frame(body)).await {
            Err(_) => return Err(ApiError::too_slow()),
            Ok(None) => return Ok(whole),
            Ok(Some(Err(_))) => return Err(ApiError::invalid("the body is cut off")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > most - whole.bytes.len() {
            return Err(ApiError::too_large(most));
        }
        whole.cost.push(&data);
        if whole.cost.of_values() > VALUES {
            return Err(ApiError::too_dear(VALUES));
        }
        let units = |n: usize| n.saturating_sub(FREE).div_ceil(BODY_UNIT) as u32;
        let wanted = units(whole.bytes.len() + data.len()) - units(whole.bytes.len());
        if wanted > 0 {
            let memory = Arc::clone(&shared.body_memory).try_acquire_many_owned(wanted);
            let memory = memory.map_err(|_| ApiError::unavailable("too many large requests at once"))?;
            match &mut whole.memory {
                Some(held) => held.merge(memory),
                none => *none = Some(memory),
            }
        }
        whole.bytes.extend_from_slice(&data);
    }
}

/// Takes what is left of the body of a request that was refused, for a while: a client that is still sending would not
/// read why.
pub(super) async fn drain(body: &mut Incoming) {
    let end = Instant::now() + DRAIN_TIME;
    let mut left = MOST_DRAINED;
    while left > 0
        && let Ok(Some(Ok(frame))) = timeout_at(end, next_frame(body)).await
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

async fn next_frame(body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// What a response says.
pub(super) enum Content {
    /// All of it.
    Whole(Bytes),
    /// Events as they come.
    Events(Box<EventBody>),
}

/// The body of a response; with its end, its connection waits for the next request.
pub(super) struct ResponseBody {
    content: Content,
    _answered: Answered,
}

impl ResponseBody {
    /// That of an answer.
    pub fn new(content: Content, answered: Answered) -> ResponseBody {
        ResponseBody { content, _answered: answered }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Events(events) => events.poll(cx).map(|text| text.map(|text| Ok(Frame::data(text.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Events(_) => SizeHint::default(),
        }
    }
}
