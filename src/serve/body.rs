//! Bodies: those of requests, read within bounds of size, time and memory, and those of responses.

use super::error::ApiError;
use super::reply::EventBody;
use super::shared::{BODY_UNIT, Shared};
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

/// Time for the beginning of a body.
const FIRST: Duration = Duration::from_secs(10);

/// The body of a request, and its share of the memory for bodies.
pub(super) struct RequestBody {
    pub bytes: Vec<u8>,
    /// Given back with the body.
    pub memory: Option<OwnedSemaphorePermit>,
}

/// Reads a body.
///
/// # Errors
/// It is too large, comes too slowly or not at all, or there is no memory for it.
pub(super) async fn read(shared: &Arc<Shared>, mut body: Incoming) -> Result<RequestBody, ApiError> {
    let most = shared.bounds.body;
    if body.size_hint().lower() > most as u64 {
        return Err(ApiError::too_large(most));
    }
    let start = Instant::now();
    let mut whole = RequestBody { bytes: Vec::new(), memory: None };
    loop {
        let by_rate = FIRST + Duration::from_secs((whole.bytes.len() / LEAST_RATE) as u64);
        let deadline = start + by_rate.min(shared.bounds.body_time);
        let frame = timeout_at(deadline, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
        let frame = match frame.await {
            Err(_) => return Err(ApiError::too_slow()),
            Ok(None) => return Ok(whole),
            Ok(Some(Err(_))) => return Err(ApiError::invalid("the body is cut off")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > most - whole.bytes.len() {
            return Err(ApiError::too_large(most));
        }
        let units = |n: usize| n.div_ceil(BODY_UNIT) as u32;
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

/// The body of a response.
pub(super) enum ResponseBody {
    /// All of it.
    Whole(Bytes),
    /// Events as they come.
    Events(Box<EventBody>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            ResponseBody::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            ResponseBody::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            ResponseBody::Events(events) => events.poll(cx).map(|text| text.map(|text| Ok(Frame::data(text.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(bytes) => bytes.is_empty(),
            ResponseBody::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            ResponseBody::Events(_) => SizeHint::default(),
        }
    }
}
