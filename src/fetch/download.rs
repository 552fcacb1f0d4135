//! One file, in blocks over a few connections, checked by its hash.
//!
//! Each connection asks for one missing block after another, the first ones first, so that the hash can follow while they come.
//! Whatever ends the process, no block that was whole is asked for again: at most one block a connection is lost.

use super::client::{Answer, Client, Session};
use super::error::FetchError;
use super::part::Part;
use super::retry;
use super::url::Url;
use crate::hex::Hex;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections at once.
const CONNECTIONS: usize = 4;

/// Bytes that count as getting further: a server that sends a few and hangs up is not asked forever.
const HEADWAY: usize = 64 << 10;

/// Bytes that must come within three times the patience: a line that is slower than the slowest telephone is broken.
const SLOWEST: usize = 4 << 10;

/// How often progress is told while nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// A file at a server.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it is asked for.
    pub url: Url,
    /// Its bytes.
    pub size: u64,
    /// Its hash, 64 hexadecimal digits in small letters.
    pub sha256: String,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event {
    /// So many bytes of the file are there.
    There(u64),
    /// A server is waited for.
    Waiting {
        /// Why.
        why: String,
        /// How long.
        wait: Duration,
    },
    /// What was there from an earlier run was not the file's: it begins anew.
    Anew,
}

/// What the connections share.
struct Shared<'d> {
    client: &'d Client,
    wanted: &'d Wanted,
    part: &'d Part,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// All blocks before are taken or there.
    next: usize,
    /// Connections at work.
    running: usize,
    /// Bytes of blocks that are not whole yet, by connection.
    coming: Vec<u64>,
    /// Where the server led to, which holds for a while.
    link: Option<Url>,
    /// The connection that reads all of the file, since the server knows no ranges.
    reader: Option<usize>,
    /// Why it ended.
    failed: Option<FetchError>,
    /// What was waited for since that was told last.
    waiting: Vec<(String, Duration)>,
}

/// Fetches what is missing of `part` and moves it to `place`, telling what happens.
///
/// # Errors
/// If the server does not give it, its bytes are others than announced, or cannot be written. The part stays, unless its
/// bytes are wrong.
pub fn fetch(
    client: &Client,
    wanted: &Wanted,
    part: Part,
    place: &Path,
    tell: &mut dyn FnMut(Event),
) -> Result<(), FetchError> {
    let mut taken_up = part.bytes() > 0;
    loop {
        let found = blocks(client, wanted, &part, tell)?;
        if found == wanted.sha256 {
            return part.finish(place);
        }
        if !taken_up {
            part.remove();
            return Err(FetchError::Hash { expected: wanted.sha256.clone(), found });
        }
        // A machine that lost its power may have kept a note of a block and not the block.
        tell(Event::Anew);
        part.clear()?;
        taken_up = false;
    }
}

/// Fetches all blocks that are missing: the hash of all.
fn blocks(client: &Client, wanted: &Wanted, part: &Part, tell: &mut dyn FnMut(Event)) -> Result<String, FetchError> {
    let n_missing = (0..part.n_block()).filter(|&block| !part.has(block)).count();
    let n_connection = n_missing.min(CONNECTIONS);
    let state = State { running: n_connection, coming: vec![0; n_connection], ..State::default() };
    let shared = Shared { client, wanted, part, state: Mutex::new(state), changed: Condvar::new() };
    thread::scope(|scope| {
        for no in 0..n_connection {
            let shared = &shared;
            let work = move || {
                let result = shared.work(no);
                let mut state = shared.lock();
                state.running -= 1;
                state.coming[no] = 0;
                if let Err(error) = result {
                    state.failed.get_or_insert(error);
                }
                shared.changed.notify_all();
            };
            let spawned = thread::Builder::new().name(format!("fetch {no}")).spawn_scoped(scope, work);
            if let Err(reason) = spawned {
                let mut state = shared.lock();
                state.running -= 1;
                if no == 0 {
                    state.failed = Some(FetchError::File { path: part.path().to_owned(), reason });
                }
            }
        }
        let hash = shared.hash(tell);
        if let Err(error) = &hash {
            // The others are to end too.
            let path = part.path().to_owned();
            let reason = std::io::Error::other(error.to_string());
            shared.lock().failed.get_or_insert(FetchError::File { path, reason });
            shared.changed.notify_all();
        }
        hash
    })
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes the blocks in order, each once it is there, and tells how many bytes are.
    fn hash(&self, tell: &mut dyn FnMut(Event)) -> Result<String, FetchError> {
        let failed = |reason| FetchError::File { path: self.part.path().to_owned(), reason };
        let mut file = self.part.handle()?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        for block in 0..self.part.n_block() {
            while !self.part.has(block) {
                let mut state = self.lock();
                if state.running == 0 && !self.part.has(block) {
                    // Nobody is left who could bring it.
                    return Err(state
                        .failed
                        .take()
                        .unwrap_or_else(|| failed(std::io::ErrorKind::UnexpectedEof.into())));
                }
                let (mut state, _) = self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner);
                let there = self.part.bytes() + state.coming.iter().sum::<u64>();
                let waiting = std::mem::take(&mut state.waiting);
                drop(state);
                waiting.into_iter().for_each(|(why, wait)| tell(Event::Waiting { why, wait }));
                tell(Event::There(there));
            }
            let Range { start, end } = self.part.range(block);
            file.seek(SeekFrom::Start(start)).map_err(failed)?;
            let mut left = end - start;
            while left > 0 {
                let n = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                file.read_exact(&mut buffer[..n]).map_err(failed)?;
                hasher.update(&buffer[..n]);
                left -= n as u64;
            }
            tell(Event::There(self.part.bytes() + self.lock().coming.iter().sum::<u64>()));
        }
        Ok(Hex(&hasher.finalize()).to_string())
    }

    /// The next block that is missing; `None` at the end, or where there is nothing to do for this connection.
    fn take(&self, no: usize) -> Option<usize> {
        let mut state = self.lock();
        if state.failed.is_some() || state.reader.is_some_and(|reader| reader != no) {
            return None;
        }
        let block = (state.next..self.part.n_block()).find(|&block| !self.part.has(block))?;
        // Whoever reads all of the file reads on where others gave up too.
        if state.reader.is_none() {
            state.next = block + 1;
        }
        Some(block)
    }

    /// Whether it is over for all.
    fn is_over(&self) -> bool {
        self.lock().failed.is_some()
    }

    /// One connection's work.
    fn work(&self, no: usize) -> Result<(), FetchError> {
        let mut session = self.client.session();
        let mut file = self.part.handle()?;
        let most = self.part.range(0);
        let mut buffer = vec![0; usize::try_from(most.end).unwrap_or(usize::MAX)];
        while let Some(block) = self.take(no) {
            let (mut there, mut tried) = (0, 0);
            loop {
                let before = there;
                match self.block(no, &mut session, &mut file, block, (&mut buffer, &mut there)) {
                    Ok(()) => break,
                    Err(_) if self.is_over() => return Ok(()),
                    Err(error) => {
                        tried = if there >= before + HEADWAY { 1 } else { tried + 1 };
                        self.wait(error, tried)?;
                    }
                }
            }
            self.lock().coming[no] = 0;
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Waits as an error asks for.
    fn wait(&self, error: FetchError, tried: u32) -> Result<(), FetchError> {
        let Some(wait) = retry::pause(&error, tried, self.client.settings().patience) else { return Err(error) };
        if wait >= Duration::from_secs(1) {
            self.lock().waiting.push((error.to_string(), wait));
            self.changed.notify_all();
        }
        let end = Instant::now() + wait;
        while !self.is_over() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(TICK));
        }
        Ok(())
    }

    /// Fetches one block, of which some bytes may be in the buffer already.
    fn block(
        &self,
        no: usize,
        session: &mut Session<'_>,
        file: &mut File,
        block: usize,
        (buffer, there): (&mut [u8], &mut usize),
    ) -> Result<(), FetchError> {
        let Range { start, end } = self.part.range(block);
        let n = usize::try_from(end - start).unwrap_or(usize::MAX);
        let range = start + *there as u64..end;
        let link = self.lock().link.clone();
        let asked = link.as_ref().unwrap_or(&self.wanted.url);
        let answer = match session.get(asked, Some(&range)) {
            Err(error) if link.as_ref().is_some_and(|link| error.is_expired(&self.wanted.url, link)) => {
                // Asked for again, at the place that leads to it.
                self.lock().link = None;
                session.get(&self.wanted.url, Some(&range))?
            }
            answer => answer?,
        };
        if answer.url != self.wanted.url {
            self.lock().link = Some(answer.url.clone());
        }
        if answer.head.status == 200 {
            return self.read_all(no, answer, file, buffer);
        }
        let mut answer = self.check(answer, &range)?;
        self.fill(no, &mut answer, &mut buffer[..n], there)?;
        expect_end(&mut answer)?;
        self.part.write(file, block, &buffer[..n])
    }

    /// Checks that an answer is the range that was asked for, of the file that was announced.
    fn check<'s, 'c>(&self, answer: Answer<'s, 'c>, range: &Range<u64>) -> Result<Answer<'s, 'c>, FetchError> {
        let origin = &answer.url.origin;
        let wrong = |what: String| FetchError::answer(origin, what);
        let said = answer.head.get("content-range").unwrap_or_default().to_owned();
        let parts = said.strip_prefix("bytes ").and_then(|said| {
            let (of, total) = said.split_once('/')?;
            let (first, last) = of.split_once('-')?;
            Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total))
        });
        let Some((first, last, total)) = parts.filter(|_| answer.head.status == 206) else {
            return Err(wrong(format!("status {} and no range where one was asked for", answer.head.status)));
        };
        self.check_size(&answer, total.parse().ok())?;
        let expected = range.end - range.start;
        if first != range.start || last.checked_add(1) != Some(range.end) {
            return Err(wrong("another range than was asked for".into()));
        }
        match answer.length() {
            Some(length) if length != expected => Err(wrong(format!("{length} bytes where {expected} were asked for"))),
            _ => Ok(answer),
        }
    }

    fn check_size(&self, answer: &Answer<'_, '_>, total: Option<u64>) -> Result<(), FetchError> {
        match total {
            Some(found) if found != self.wanted.size => {
                let host = answer.url.origin.host.clone();
                Err(FetchError::Length { host, expected: self.wanted.size, found })
            }
            _ => Ok(()),
        }
    }

    /// Reads until the buffer is full, of which `there` bytes are.
    fn fill(
        &self,
        no: usize,
        answer: &mut Answer<'_, '_>,
        buffer: &mut [u8],
        there: &mut usize,
    ) -> Result<(), FetchError> {
        let window = 3 * self.client.settings().patience;
        let (mut since, mut at_start) = (Instant::now(), *there);
        while *there < buffer.len() {
            let n = answer.read(&mut buffer[*there..])?;
            if n == 0 {
                return Err(FetchError::connection(&answer.url.origin, std::io::ErrorKind::UnexpectedEof.into()));
            }
            *there += n;
            if since.elapsed() > window {
                if *there - at_start < SLOWEST {
                    return Err(FetchError::connection(&answer.url.origin, std::io::ErrorKind::TimedOut.into()));
                }
                (since, at_start) = (Instant::now(), *there);
            }
            let mut state = self.lock();
            state.coming[no] = *there as u64;
            if state.failed.is_some() {
                return Err(FetchError::answer(&answer.url.origin, "something that is not needed any more"));
            }
        }
        Ok(())
    }

    /// Takes all missing blocks from an answer that is the whole file, as one connection alone does it.
    fn read_all(
        &self,
        no: usize,
        mut answer: Answer<'_, '_>,
        file: &mut File,
        buffer: &mut [u8],
    ) -> Result<(), FetchError> {
        if *self.lock().reader.get_or_insert(no) != no {
            return Ok(());
        }
        self.check_size(&answer, answer.length())?;
        for block in 0..self.part.n_block() {
            let Range { start, end } = self.part.range(block);
            let n = usize::try_from(end - start).unwrap_or(usize::MAX);
            self.fill(no, &mut answer, &mut buffer[..n], &mut 0)?;
            if end == self.wanted.size {
                expect_end(&mut answer)?;
            }
            self.lock().coming[no] = 0;
            if !self.part.has(block) {
                self.part.write(file, block, &buffer[..n])?;
            }
            self.changed.notify_all();
        }
        Ok(())
    }
}

/// Checks that nothing more comes.
fn expect_end(answer: &mut Answer<'_, '_>) -> Result<(), FetchError> {
    match answer.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(FetchError::answer(&answer.url.origin, "more bytes than were announced")),
    }
}
