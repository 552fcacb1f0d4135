//! What is on standard input beside a prompt that was given.
//!
//! `git diff | qwen-edge run model.gguf -p 'Review this'` has both. But a program also inherits a standard input that
//! nobody means it to read: of a job, of a program that starts it, of a login from afar. So only a file, a pipe or a
//! socket is read. Of the latter two, one on which nothing comes is left alone: soon where nobody but the programs
//! that this one comes from could write to it, as they do it at once or never; else later, and not while a writer is
//! at work, as far as the system tells. Once something has come, all of it is waited for.

use qwen_edge::platform::program::standard_input;
use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a pipe may be silent to which only programs can write that this one comes from.
const SILENCE: Duration = Duration::from_secs(2);

/// How long one may be silent, while nobody who could write to it does anything.
const SILENCE_OF_OTHERS: Duration = Duration::from_secs(5);

/// How often the writers are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the reading thread tells.
enum News {
    /// The first byte is there.
    Begun,
    /// The end is there, or an error.
    Read(std::io::Result<Vec<u8>>),
}

/// Standard input while it is read.
pub(super) struct Piped {
    news: Receiver<News>,
    start: Instant,
}

/// What came.
pub(super) enum Found {
    /// All there was: maybe nothing.
    Bytes(Vec<u8>),
    /// Nothing, and no end, for so long.
    Silence(Duration),
}

impl Piped {
    /// Begins to read, if there is anything that should be.
    pub fn start() -> Option<Piped> {
        if !standard_input::is_meant() {
            return None;
        }
        let (send, news) = channel();
        let reader = move || {
            let mut bytes = vec![0];
            let mut input = std::io::stdin().lock();
            let read = match input.read_exact(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
                Err(error) => Err(error),
                Ok(()) => {
                    // Nobody listens any more when the silence was too long.
                    let _ = send.send(News::Begun);
                    input.read_to_end(&mut bytes).map(|_| bytes)
                }
            };
            let _ = send.send(News::Read(read));
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(reader).ok()?;
        Some(Piped { news, start: Instant::now() })
    }

    /// Waits for the end of what comes, or for the end of patience; `waiting` is called once when that takes long.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn finish(self, waiting: impl FnOnce()) -> std::io::Result<Found> {
        let mut waiting = Some(waiting);
        let mut writers = Writers::default();
        let mut silent_since = self.start;
        loop {
            match self.news.recv_timeout(LOOK) {
                Ok(News::Read(bytes)) => return bytes.map(Found::Bytes),
                Ok(News::Begun) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(Found::Bytes(Vec::new())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            let patience = match writers.look() {
                Look::AtWork => {
                    silent_since = Instant::now();
                    continue;
                }
                Look::Idle => SILENCE_OF_OTHERS,
                Look::None => SILENCE,
            };
            if silent_since.elapsed() >= patience {
                return Ok(Found::Silence(self.start.elapsed()));
            }
        }
        match self.news.recv() {
            Ok(News::Read(bytes)) => bytes.map(Found::Bytes),
            _ => Ok(Found::Bytes(Vec::new())),
        }
    }
}

/// The processes that can write to the pipe: other ends of the same pipeline, but not the ones that this program comes
/// from, which may well hold a pipe that they never write to.
#[derive(Default)]
struct Writers {
    /// Processor time they had used when last looked at, in ticks.
    ticks: Option<u64>,
}

/// What writers are seen to do.
enum Look {
    /// There are none.
    None,
    Idle,
    /// They have used the processor since they were last looked at.
    AtWork,
}

impl Writers {
    /// The first look finds them at work.
    fn look(&mut self) -> Look {
        match standard_input::ticks_of_writers() {
            None => Look::None,
            Some(ticks) if self.ticks.replace(ticks) == Some(ticks) => Look::Idle,
            Some(_) => Look::AtWork,
        }
    }
}
