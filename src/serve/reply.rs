//! Answers, streamed and whole: two folds of the same events.

use super::account::Account;
use super::error::ApiError;
use super::event::{Event, EventsOf, Finish, Reason};
use super::logprobs::TokenLogprob;
use super::parts::Parts;
use super::sse;
use crate::engine::prompt_cache::Reuse;
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Silence after which a stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Text of a stream that goes out at once, about.
const PIECE: usize = 16 << 10;

/// How an API says what happens.
pub(super) trait Dialect: Send {
    /// Of what type a stream is.
    fn media_type(&self) -> &'static str {
        sse::MEDIA_TYPE
    }
    /// Says an event of a choice in a stream.
    fn say(&mut self, choice: usize, event: &Event, out: &mut String);
    /// Ends a stream.
    fn end(&mut self, usage: &Usage, out: &mut String);
    /// Ends a stream with an error.
    fn fail(&mut self, error: &ApiError, out: &mut String);
    /// Says in a stream that it lives.
    fn keep_alive(&mut self, out: &mut String) {
        out.push_str(sse::KEEP_ALIVE);
    }
    /// Says all at once.
    ///
    /// # Errors
    /// It cannot be said so that it would be understood.
    fn whole(&mut self, choices: &[Choice], usage: &Usage) -> Result<Value, ApiError>;
}

/// A choice, whole.
#[derive(Default)]
pub(super) struct Choice {
    pub parts: Parts,
    pub tokens: Vec<TokenLogprob>,
    /// Tokens of the prompt but for the first, where they were asked for; of the first choice.
    pub scored: Vec<TokenLogprob>,
    pub reason: Option<Reason>,
}

/// Tokens and times of all choices of a request.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    pub n_prompt: usize,
    pub n_cached: usize,
    /// Why they are no more, of the last prompt.
    pub reuse: Option<Reuse>,
    pub n_completion: usize,
    pub n_reasoning: usize,
    pub prefill: Duration,
    pub decode: Duration,
    pub n_drafted: usize,
    pub n_accepted: usize,
}

impl Usage {
    /// A choice is finished; `first` of those of a prompt, which is one for all.
    fn add(&mut self, finish: &Finish, first: bool) {
        if first {
            self.n_prompt += finish.n_prompt;
            self.n_cached += finish.n_cached;
            self.reuse = finish.reuse;
        }
        self.n_completion += finish.n_completion;
        self.n_reasoning += finish.n_reasoning;
        self.prefill = self.prefill.max(finish.prefill);
        self.decode = self.decode.max(finish.decode);
        self.n_drafted += finish.n_drafted;
        self.n_accepted += finish.n_accepted;
    }

    /// For the log.
    pub fn tokens(&self) -> (usize, usize, usize) {
        (self.n_prompt, self.n_cached, self.n_completion)
    }
}

/// The events of a request, from the first that is no refusal.
pub(super) struct Admitted {
    pub dialect: Box<dyn Dialect>,
    events: EventsOf,
    first: Option<(usize, Event)>,
    /// Choices that are not finished.
    n_left: usize,
    shape: Shape,
}

/// How many prompts a request has, and how many choices of each.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub n_prompt: usize,
    pub n: usize,
}

impl Admitted {
    /// Waits until a request has its seats.
    ///
    /// # Errors
    /// Why it gets none.
    pub async fn wait(mut events: EventsOf, shape: Shape, dialect: Box<dyn Dialect>) -> Result<Admitted, ApiError> {
        match events.recv().await {
            None => Err(engine_gone()),
            Some((_, Event::Failed(error))) => Err(*error),
            first => Ok(Admitted { dialect, events, first, n_left: shape.n_prompt * shape.n, shape }),
        }
    }

    /// The whole answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn whole(mut self) -> Result<(Value, Usage), ApiError> {
        let mut choices: Vec<Choice> = (0..self.n_left).map(|_| Choice::default()).collect();
        let mut usage = Usage::default();
        while self.n_left > 0 {
            let (choice, event) = match self.first.take() {
                Some(first) => first,
                None => self.events.recv().await.ok_or_else(engine_gone)?,
            };
            let (first, choice) = (choice.is_multiple_of(self.shape.n), &mut choices[choice]);
            choice.parts.push(&event);
            match event {
                Event::Started { .. } | Event::Reading { .. } | Event::Thinking(_) => {}
                Event::CallBegun { .. } | Event::CallArguments(_) | Event::CallEnded => {}
                Event::Scored(tokens) => choice.scored.extend(tokens),
                Event::Text(_, tokens) => choice.tokens.extend(tokens),
                Event::Finished(finish) => {
                    choice.reason = Some(finish.reason);
                    usage.add(&finish, first);
                    self.n_left -= 1;
                }
                Event::Failed(error) => return Err(*error),
            }
        }
        Ok((self.dialect.whole(&choices, &usage)?, usage))
    }
}

fn engine_gone() -> ApiError {
    ApiError::server("the engine has ended")
}

/// A stream of events.
pub(super) struct EventBody {
    admitted: Admitted,
    usage: Usage,
    silence: Pin<Box<Sleep>>,
    is_done: bool,
    account: Account,
}

impl EventBody {
    /// The stream of a request.
    pub fn new(admitted: Admitted, account: Account) -> EventBody {
        let silence = Box::pin(sleep(KEEP_ALIVE));
        EventBody { admitted, usage: Usage::default(), silence, is_done: false, account }
    }

    /// Of what type it is.
    pub fn media_type(&self) -> &'static str {
        self.admitted.dialect.media_type()
    }

    /// The next piece of the stream; none at its end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        let mut out = String::new();
        while !self.is_done && out.len() < PIECE {
            let next = match self.admitted.first.take() {
                Some(first) => Poll::Ready(Some(first)),
                None => self.admitted.events.poll_recv(cx),
            };
            match next {
                Poll::Ready(Some((choice, event))) => self.take(choice, &event, &mut out),
                Poll::Ready(None) => self.take(0, &Event::Failed(Box::new(engine_gone())), &mut out),
                Poll::Pending => break,
            }
        }
        if out.is_empty() {
            if self.silence.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.admitted.dialect.keep_alive(&mut out);
        }
        self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(out))
    }

    fn take(&mut self, choice: usize, event: &Event, out: &mut String) {
        let dialect = &mut self.admitted.dialect;
        if let Event::Failed(error) = event {
            dialect.fail(error, out);
            (self.is_done, self.account.line.status) = (true, error.status);
            return;
        }
        dialect.say(choice, event, out);
        if let Event::Finished(finish) = event {
            self.usage.add(finish, choice.is_multiple_of(self.admitted.shape.n));
            self.account.line.tokens = Some(self.usage.tokens());
            self.admitted.n_left -= 1;
            if self.admitted.n_left == 0 {
                dialect.end(&self.usage, out);
                (self.is_done, self.account.line.status) = (true, 200);
            }
        }
    }
}
