//! Looks at the pictures of requests before these are seated, one picture after the other: read on a thread of its own,
//! then run through the tower a piece at a time, between the passes of others. One picture at a time has pixels in
//! memory.

use super::error::ApiError;
use super::job::{Fault, Job};
use super::metrics::Metrics;
use super::pictures::PictureFile;
use super::queue::Queue;
use crate::compute::Compute;
use crate::vision::eyes::{Looking, Prepared, Seen};
use crate::vision::picture_reader::PictureReader;
use crate::vision::{Look, Viewer};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Looks at pictures.
pub(super) struct Looker {
    viewer: Viewer,
    line: VecDeque<Shown>,
    stage: Stage,
    /// To and from the thread that reads.
    files: Sender<PictureFile>,
    read: Receiver<Result<Prepared, ApiError>>,
}

/// A request and what was seen of its pictures so far.
struct Shown {
    job: Job,
    seen: Vec<Seen>,
}

/// What becomes of the next picture of the first in line.
enum Stage {
    /// Nothing yet.
    None,
    /// It is read. If the request was given up meanwhile, nobody wants it.
    Reading { wanted: bool },
    /// The tower is at work.
    Looking(Box<Looking>),
}

/// A request whose pictures were looked at, and what came of it.
pub(super) type Seated = (Job, Result<Vec<Seen>, ApiError>);

impl Looker {
    /// One that looks with `viewer`; pictures are read as `reader` does it, and `queue` is woken when one is.
    ///
    /// # Errors
    /// There is no thread.
    pub fn new(
        viewer: Viewer,
        reader: PictureReader,
        queue: Arc<Queue>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Looker> {
        let (files, incoming) = channel::<PictureFile>();
        let (outgoing, read) = channel();
        thread::Builder::new().name("pictures".to_owned()).spawn(move || {
            for file in incoming {
                let (bytes, at) = file.into_parts();
                let prepared = catch_unwind(AssertUnwindSafe(|| reader.read(bytes)));
                let prepared = match prepared {
                    Ok(prepared) => prepared.map_err(|error| ApiError::field(at, error.to_string())),
                    Err(_) => {
                        metrics.panics.fetch_add(1, Ordering::Relaxed);
                        Err(ApiError::server("a fault of the program ended the reading of a picture"))
                    }
                };
                if outgoing.send(prepared).is_err() {
                    return;
                }
                queue.wake();
            }
        })?;
        Ok(Looker { viewer, line: VecDeque::new(), stage: Stage::None, files, read })
    }

    /// Takes a request with pictures.
    pub fn push(&mut self, job: Job) {
        self.line.push_back(Shown { job, seen: Vec::new() });
    }

    /// Seats that requests in line will take.
    pub fn n_seat(&self) -> usize {
        self.line.iter().map(|shown| shown.job.n).sum()
    }

    /// Whether nobody is in line.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Whether the engine has something to do here.
    pub fn is_ready(&self) -> bool {
        !self.line.is_empty() && matches!(self.stage, Stage::None | Stage::Looking(_))
    }

    /// All who are in line: nobody is any more. What the tower was at is given up.
    pub fn take_all(&mut self) -> impl Iterator<Item = Job> {
        self.give_up();
        std::mem::take(&mut self.line).into_iter().map(|shown| shown.job)
    }

    /// Gives up the picture at hand, and the request that is first in line.
    pub fn abandon(&mut self) -> Option<Job> {
        self.give_up();
        self.line.pop_front().map(|shown| shown.job)
    }

    /// Nobody wants the picture at hand any more.
    fn give_up(&mut self) {
        match &mut self.stage {
            Stage::Reading { wanted } => *wanted = false,
            stage => *stage = Stage::None,
        }
    }

    /// Forgets those whose clients have left.
    pub fn drop_gone(&mut self) {
        if self.line.front().is_some_and(|shown| shown.job.events.is_closed()) {
            self.give_up();
        }
        self.line.retain(|shown| !shown.job.events.is_closed());
    }

    /// Does a piece of work, of one step of the tower at most; a request that is through, if one is. The rows of the
    /// next picture may take so many tokens.
    pub fn go_on(&mut self, compute: &mut Compute, room: usize) -> Option<Seated> {
        if let Stage::Reading { wanted } = self.stage {
            let prepared = self.read.try_recv().ok()?;
            self.stage = Stage::None;
            match prepared {
                _ if !wanted => {}
                Ok(prepared) => self.stage = Stage::Looking(Box::new(self.viewer.begin(prepared, compute))),
                Err(error) => return self.line.pop_front().map(|shown| (shown.job, Err(error))),
            }
            return None;
        }
        let shown = self.line.front_mut()?;
        if let Stage::Looking(looking) = &mut self.stage {
            assert!(shown.job.fault != Some(Fault::AtPicture), "a test asked for a fault at a picture");
            let Look { seen, .. } = self.viewer.go_on(looking, compute)?;
            shown.seen.push(seen);
            self.stage = Stage::None;
        }
        if shown.seen.is_empty() && shown.job.pictures.n_token > room {
            return None;
        }
        match shown.job.pictures.files.pop_front() {
            Some(file) => {
                self.stage = Stage::Reading { wanted: true };
                // The thread ends after this.
                let _ = self.files.send(file);
                None
            }
            None => {
                let Shown { mut job, seen } = self.line.pop_front()?;
                job.pictures.memory = None;
                Some((job, Ok(seen)))
            }
        }
    }
}
