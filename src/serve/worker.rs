//! The engine's thread: seats requests, runs the passes that all of them share, and hands what was read to those who keep
//! it for the next turn.

use super::error::ApiError;
use super::event::{Event, Finish, Reason};
use super::follower::{Follower, Scan};
use super::job::Job;
use super::known::{Beginning, Known};
use super::looker::Looker;
use super::metrics::Share;
use super::score::Score;
use super::served::Served;
use super::shared::Shared;
use super::shutdown::Phase;
use super::slots::Slot;
use super::told::Told;
use crate::compute::Compute;
use crate::engine::answers::{Answers, Conversation, Finished, Waits};
use crate::engine::context::text_rows;
use crate::engine::generate::{Answer, Error, Outcome, Stop, Task};
use crate::engine::prompt_cache::{Reuse, WORTH};
use crate::engine::runner::Runner;
use crate::engine::sequence::Sequence;
use crate::engine::shelf::{self, Lease};
use crate::model::input::InputRow;
use crate::sampler::Sampler;
use crate::vision;
use crate::vision::eyes::Seen;
use crate::vision::positions::{VisionIds, Walk};
use crate::vision::prompt::arrange;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the engine sleeps where all who listen are slow.
const SLOW: Duration = Duration::from_millis(5);

/// How long it sleeps where a picture is being read: its client may leave.
const GONE: Duration = Duration::from_millis(50);

/// How long running answers, and prompts that come, wait for what else is read.
const WAITS: Waits = Waits { written: Duration::from_millis(120), alone: Duration::from_millis(240) };

/// How long it sleeps where there is nothing to do: it is woken.
const IDLE: Duration = Duration::from_secs(3600);

/// Makes answers.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    /// The number of its model among those of the server.
    model: usize,
    served: Arc<Served>,
    banned: Vec<u32>,
    /// Who sits on each seat.
    seats: Vec<Option<AtWork>>,
    known: Known,
    /// Requests that wait for what another one is reading.
    followers: Vec<Waiting>,
    sight: Option<Sight>,
    /// Answers in the making, as they are counted.
    counted: Share,
    /// Requests so far.
    n_request: u64,
}

/// A request that waits until the one on a seat has read what both prompts begin with.
struct Waiting {
    job: Job,
    leader: Rc<Job>,
    seat: usize,
    /// Rows that both begin with.
    n: usize,
}

/// What becomes of pictures.
pub(super) struct Sight {
    pub looker: Looker,
    pub ids: VisionIds,
    /// Tokens of all pictures of requests at work at most.
    pub most_tokens: usize,
}

/// What is made on a seat.
struct AtWork {
    job: Rc<Job>,
    stage: Stage,
    /// Tokens of the prompt that no choice had to read.
    n_cached: usize,
    /// Why they are no more.
    reuse: Reuse,
    /// The memory that is set aside for it.
    lease: Lease,
    /// The conversation as it was before a stop string may have begun: a prompt that goes on has nothing of that.
    before_stop: Option<Sequence>,
}

enum Stage {
    /// The prompt is read, for all choices of a request; these are their seats.
    Reading(Vec<usize>),
    /// The same but for its last token, with the probabilities of its tokens.
    Scoring(Vec<usize>, Box<Score>),
    /// The prompt is read on another seat.
    Waiting,
    /// A choice is written.
    Writing { choice: usize, scan: Scan },
}

impl AtWork {
    /// Remembers what the conversation is as long as a stop string may have begun behind it.
    fn mind_stop(&mut self, sequence: &Sequence) {
        let Stage::Writing { scan, .. } = &self.stage else { return };
        let scan = scan.borrow();
        if !scan.is_holding() && !scan.is_stopped() {
            self.before_stop = None;
        } else if self.before_stop.is_none() && scan.is_holding() && self.lease.has_spare() {
            self.before_stop = Some(sequence.fork());
        }
    }
}

impl<'a> Worker<'a> {
    /// A worker for a model, with as many seats as that is served with.
    pub fn new(
        shared: &'a Shared,
        model: usize,
        served: Arc<Served>,
        banned: Vec<u32>,
        sight: Option<Sight>,
        known: Known,
    ) -> Worker<'a> {
        let seats = (0..served.n_seat).map(|_| None).collect();
        let followers = Vec::new();
        let counted = Share::default();
        Worker { shared, model, served, banned, seats, known, followers, sight, counted, n_request: 0 }
    }

    /// Works until the server ends, or the model is to leave. A fault of the program ends the answers in the making, and no
    /// more.
    pub fn run(mut self, mut runner: Runner) {
        let mut answers = Answers::new(self.seats.len(), &runner, WAITS);
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn(&mut answers, &mut runner))) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return,
                Err(_) => {
                    self.shared.metrics.panics.fetch_add(1, Ordering::Relaxed);
                    let error = ApiError::server("a fault of the program ended this answer");
                    self.fail_all(&error);
                    drop(answers);
                    runner = anew(runner);
                    answers = Answers::new(self.seats.len(), &runner, WAITS);
                }
            }
        }
    }

    /// Seats who waits, and runs a pass; or sleeps.
    fn turn(&mut self, answers: &mut Answers<'static>, runner: &mut Runner) -> ControlFlow<()> {
        let phase = self.shared.shutdown.phase();
        for waiting in std::mem::take(&mut self.followers) {
            self.follow(waiting, answers, runner);
        }
        if phase == Phase::Running {
            while let Some(job) = self.served.queue.pop(self.n_free()) {
                match &mut self.sight {
                    Some(sight) if !job.pictures.files.is_empty() => sight.looker.push(job),
                    _ => self.seat(job, Vec::new(), answers, runner),
                }
            }
        } else {
            let waiting = self.sight.as_mut().map(|sight| sight.looker.take_all());
            let followers = std::mem::take(&mut self.followers).into_iter().map(|waiting| waiting.job);
            for job in self.served.queue.close().into_iter().chain(waiting.into_iter().flatten()).chain(followers) {
                fail(&job, &ApiError::unavailable("the server ends"));
            }
        }
        let baton = self.shared.baton.take();
        let start = Instant::now();
        self.look(answers, runner);
        // What running answers have waited for the tower they need not wait for a prompt as well.
        answers.waited(start.elapsed());
        let (in_line, to_look) =
            self.sight.as_ref().map_or((false, false), |Sight { looker, .. }| (!looker.is_empty(), looker.is_ready()));
        let scores = self.score(answers, runner);
        if answers.is_empty() && scores.is_none() {
            drop(baton);
            if phase > Phase::Running || self.shared.models.may_leave(self.model) {
                self.known.save_all(runner);
                return ControlFlow::Break(());
            }
            if !to_look {
                let longest = if in_line { GONE } else { IDLE };
                self.served.queue.sleep(self.known.until_due().map_or(longest, |left| left.min(longest)));
                self.known.save_due(runner);
            }
        } else if !answers.is_ready() {
            drop(baton);
            if !to_look && scores != Some(true) {
                self.served.queue.sleep(SLOW);
            }
        } else {
            self.known.free_pages(answers.n_page_wanted(runner), runner);
            match answers.pass(runner, &self.served.tokenizer) {
                Ok(finished) => {
                    self.shared.metrics.passed(answers.n_passed());
                    for (seat, sequence) in answers.sequences_mut() {
                        let Some(at_work) = &mut self.seats[seat] else { continue };
                        self.known.keep_checkpoints(&mut at_work.lease, sequence);
                        at_work.mind_stop(sequence);
                    }
                    for finished in finished {
                        self.finish(finished, answers, runner);
                    }
                }
                Err(error) => {
                    self.fail_all(&ApiError::server(error.to_string()));
                    *answers = Answers::new(self.seats.len(), runner, WAITS);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads a piece of every prompt whose tokens' probabilities were asked for; whether the client of any takes
    /// more, if there are any.
    fn score(&mut self, answers: &mut Answers<'static>, runner: &mut Runner) -> Option<bool> {
        let mut scores = None;
        for seat in 0..self.seats.len() {
            let Some(AtWork { job, stage: Stage::Scoring(_, score), .. }) = &mut self.seats[seat] else {
                continue;
            };
            if !Score::is_ready(job) {
                scores = scores.or(Some(false));
                continue;
            }
            scores = Some(true);
            let job = Rc::clone(job);
            self.known.free_pages(score.n_page_wanted(runner), runner);
            if job.events.is_closed() {
                self.leave(seat);
            } else if self.shared.shutdown.phase() == Phase::Ending {
                fail(&job, &ApiError::unavailable("the server ends"));
                self.leave(seat);
            } else if let Err(error) = score.read(&job, runner, &self.served.tokenizer) {
                fail(&job, &failure(&error));
                self.leave(seat);
            } else if score.is_done() {
                let stage = std::mem::replace(&mut self.at_work(seat).stage, Stage::Waiting);
                if let Stage::Scoring(seats, score) = stage {
                    self.write_all(&seats, &score.sequence, answers, runner);
                }
            }
        }
        scores
    }

    /// Goes on looking at a picture, if there is one to look at, and seats a request all of whose pictures are seen. A fault
    /// there ends that request alone: the tower has touched nobody's conversation.
    fn look(&mut self, answers: &mut Answers<'static>, runner: &mut Runner) {
        let at_work = self.seats.iter().flatten();
        let n_token: usize = at_work.map(|AtWork { job, .. }| job.pictures.n_token / job.n).sum();
        let Some(Sight { looker, most_tokens, .. }) = &mut self.sight else { return };
        looker.drop_gone();
        let room = most_tokens.saturating_sub(n_token);
        match catch_unwind(AssertUnwindSafe(|| looker.go_on(runner.compute(), room))) {
            Ok(None) => {}
            Ok(Some((job, Ok(seen)))) => self.seat(job, seen, answers, runner),
            Ok(Some((job, Err(error)))) => fail(&job, &error),
            Err(_) => {
                self.shared.metrics.panics.fetch_add(1, Ordering::Relaxed);
                let error = ApiError::server("a fault of the program ended the looking at a picture");
                looker.abandon().iter().for_each(|job| fail(job, &error));
            }
        }
    }

    /// Seats that nobody has or is to have.
    fn n_free(&self) -> usize {
        let in_line = self.sight.as_ref().map_or(0, |sight| sight.looker.n_seat());
        let following: usize = self.followers.iter().map(|waiting| waiting.job.n).sum();
        (self.seats.len() - self.n_at_work()).saturating_sub(in_line + following)
    }

    fn count(&mut self) {
        let n = self.n_at_work() as u64;
        self.counted.set(&self.shared.metrics.processing, n);
    }

    fn n_at_work(&self) -> usize {
        self.seats.iter().flatten().count()
    }

    /// Gives a request its seats; there are enough.
    fn seat(&mut self, mut job: Job, seen: Vec<Seen>, answers: &mut Answers<'static>, runner: &mut Runner) {
        self.shared.metrics.seated(job.since.elapsed());
        job.rows = match self.rows(&job.ids, &seen, runner) {
            Ok(rows) => rows,
            Err(error) => return fail(&job, &ApiError::field("messages", error.to_string())),
        };
        match self.leader(&job, answers) {
            Some((seat, n)) => {
                let leader = Rc::clone(&self.at_work(seat).job);
                self.followers.push(Waiting { job, leader, seat, n });
            }
            None => self.begin(job, answers, runner),
        }
    }

    /// The seat whose prompt is being read and begins as that of a request does, for more rows than are kept; and the rows. They
    /// will be kept.
    fn leader(&mut self, job: &Job, answers: &mut Answers<'static>) -> Option<(usize, usize)> {
        if job.scores() {
            return None;
        }
        let keys = shelf::keys(&job.rows);
        let n_kept = self.known.n_kept(&keys);
        let reading = (0..self.seats.len()).filter_map(|seat| {
            let (at_work, sequence) = (self.seats[seat].as_ref()?, answers.reading(seat)?);
            let theirs = shelf::keys(&at_work.job.rows);
            let n = theirs.iter().zip(&keys).take_while(|(a, b)| a == b).count().min(keys.len() - 1);
            (n > sequence.n_past() && n >= n_kept + WORTH).then_some((n, seat))
        });
        let (n, seat) = reading.max()?;
        let lease = &mut self.seats[seat].as_mut()?.lease;
        if !self.known.lease_point(lease, n) {
            return None;
        }
        answers.checkpoint_at(seat, n);
        Some((seat, n))
    }

    /// Begins a request that has waited for another, once that has read what it was to; or is gone, or waits itself.
    fn follow(&mut self, waiting: Waiting, answers: &mut Answers<'static>, runner: &mut Runner) {
        let leads = self.seats[waiting.seat].as_ref().is_some_and(|at_work| Rc::ptr_eq(&at_work.job, &waiting.leader));
        let reads = leads && answers.reading(waiting.seat).is_some_and(|sequence| sequence.n_past() < waiting.n);
        if reads && !waiting.job.events.is_closed() {
            self.followers.push(waiting);
        } else if !waiting.job.events.is_closed() {
            self.begin(waiting.job, answers, runner);
        }
    }

    /// Begins a request whose rows are known.
    fn begin(&mut self, job: Job, answers: &mut Answers<'static>, runner: &mut Runner) {
        let scores = job.scores();
        let job = Rc::new(job);
        let Beginning { sequence, reuse, points } = if scores {
            Beginning { sequence: runner.sequence(), reuse: Reuse::NoCache, points: Vec::new() }
        } else {
            self.known.begin(&job, answers, runner)
        };
        let n_cached = sequence.n_past();
        let free = (0..self.seats.len()).filter(|&seat| self.seats[seat].is_none());
        let seats: Vec<usize> = free.take(job.n).collect();
        let first = seats[0];
        self.n_request += 1;
        for &seat in &seats {
            let points = if seat == first { &points[..] } else { &[] };
            let mut lease = self.known.lease(n_cached, job.rows.len(), points);
            self.served.slots[seat].begin(self.n_request, job.ids.len(), n_cached, job.n_max);
            if !job.stop.is_empty() {
                self.known.lease_spare(&mut lease, runner.settings().n_ctx);
            }
            self.seats[seat] =
                Some(AtWork { job: Rc::clone(&job), stage: Stage::Waiting, n_cached, reuse, lease, before_stop: None });
        }
        self.count();
        // Whoever is told so and looks, sees it on its seats.
        for choice in 0..job.n {
            let _ = job.events.try_send((job.first_choice + choice, Event::Started { n_cached }));
        }
        let n = job.rows.len();
        if n > 1 && scores {
            let score = Box::new(Score::new(&job, runner));
            self.at_work(first).stage = Stage::Scoring(seats, score);
        } else if job.n == 1 {
            self.write(first, 0, sequence, answers, runner);
        } else if sequence.n_past() == n {
            self.write_all(&seats, &sequence, answers, runner);
        } else {
            self.at_work(first).stage = Stage::Reading(seats);
            let task = Task { n_max: 0, constraint: None, calls: None, loop_guard: false, ..self.task(first) };
            self.sit(first, 0, sequence, task, answers, runner);
        }
    }

    /// What is to be written on a seat.
    fn task(&mut self, seat: usize) -> Task {
        let AtWork { job, lease, .. } = self.at_work(seat);
        let (job, checkpoint_at) = (Rc::clone(job), lease.points());
        Task {
            prompt: job.rows.clone(),
            checkpoint_at,
            n_max: job.n_max,
            thinking: job.thinks.after(&job.ids, &self.served.tokenizer),
            constraint: job.grammar.as_ref().map(|grammar| grammar.constraint()),
            call_grammar: job.call_grammar.clone(),
            calls: job.calls.as_ref().map(|calls| calls.follow(&self.served.tokenizer)),
            loop_guard: self.served.loop_guard,
        }
    }

    /// The rows of a prompt, whose pictures have been seen.
    fn rows(&self, ids: &[u32], seen: &[Seen], runner: &Runner) -> vision::Result<Vec<InputRow>> {
        match &self.sight {
            Some(Sight { ids: places, .. }) if !seen.is_empty() => {
                let prompt = arrange(ids, *places, seen, &[], |_| Vec::new())?;
                prompt.rows(*places, runner.model().config.n_embd, &mut Walk::default())
            }
            _ => Ok(text_rows(ids, 0)),
        }
    }

    fn at_work(&mut self, seat: usize) -> &mut AtWork {
        self.seats[seat].as_mut().expect("somebody at work")
    }

    /// Begins all choices of a request, of whose prompt a conversation has all, or all but the last token.
    fn write_all(&mut self, seats: &[usize], sequence: &Sequence, answers: &mut Answers<'static>, runner: &Runner) {
        for (choice, &seat) in seats.iter().enumerate() {
            self.write(seat, choice, sequence.fork(), answers, runner);
        }
    }

    /// Begins a choice.
    fn write(
        &mut self,
        seat: usize,
        choice: usize,
        sequence: Sequence,
        answers: &mut Answers<'static>,
        runner: &Runner,
    ) {
        let job = Rc::clone(&self.at_work(seat).job);
        let task = self.task(seat);
        let scan = Rc::new(RefCell::new(Told::new(job.stop.clone())));
        self.at_work(seat).stage = Stage::Writing { choice, scan };
        self.sit(seat, choice, sequence, task, answers, runner);
    }

    fn sit(
        &mut self,
        seat: usize,
        choice: usize,
        mut sequence: Sequence,
        task: Task,
        answers: &mut Answers<'static>,
        runner: &Runner,
    ) {
        let shared = self.shared;
        let AtWork { job, stage, .. } = self.seats[seat].as_ref().expect("somebody at work");
        sequence.allow_checkpoints(task.checkpoint_at.len());
        let scan = match stage {
            Stage::Writing { scan, .. } => Rc::clone(scan),
            Stage::Reading(_) | Stage::Scoring(..) | Stage::Waiting => Rc::new(RefCell::new(Told::new(Vec::new()))),
        };
        let mut sampler = Sampler::new(job.sampling, job.seed.wrapping_add(choice as u64));
        sampler.ban(self.banned.iter().copied());
        sampler.bias(job.biases.iter().copied());
        let answer = Answer::new(task, sequence.n_past(), &mut sampler);
        let answer = answer.and_then(|answer| {
            answer.check(runner, &sequence)?;
            Ok(answer)
        });
        match answer {
            Ok(answer) => {
                let follower = Follower {
                    choice: job.first_choice + choice,
                    n_shared: job.n_shared,
                    events: job.events.clone(),
                    scan,
                    logprobs: job.logprobs,
                    names: job.calls.as_ref().map(|calls| calls.names.clone()),
                    n_call: 0,
                    served: Arc::clone(&self.served),
                    seat,
                    shutdown: shared.shutdown.clone(),
                    metrics: Arc::clone(&shared.metrics),
                    fault: job.fault,
                    since: job.since,
                    last: None,
                };
                answers.sit(seat, Conversation { sequence, answer, sampler, audience: Box::new(follower) });
            }
            Err(error) => {
                let _ = job.events.try_send((job.first_choice + choice, Event::Failed(Box::new(failure(&error)))));
                self.leave(seat);
            }
        }
    }

    /// Nobody sits here any more, nor on the seats that wait for this one.
    fn leave(&mut self, seat: usize) {
        let Some(AtWork { stage, lease, .. }) = self.seats[seat].take() else { return };
        self.served.slots[seat].end();
        self.known.end(&lease);
        if let Stage::Reading(waiting) | Stage::Scoring(waiting, _) = stage {
            for seat in waiting {
                self.served.slots[seat].end();
                if let Some(AtWork { lease, .. }) = self.seats[seat].take() {
                    self.known.end(&lease);
                }
            }
        }
        self.count();
    }

    fn finish(&mut self, finished: Finished, answers: &mut Answers<'static>, runner: &Runner) {
        let Finished { seat, mut sequence, outcome } = finished;
        let Some(AtWork { job, stage, n_cached, reuse, lease, before_stop }) = &mut self.seats[seat] else { return };
        let (job, n_cached, reuse) = (Rc::clone(job), *n_cached, Some(*reuse));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                let _ = job.events.try_send((job.first_choice, Event::Failed(Box::new(failure(&error)))));
                return self.leave(seat);
            }
        };
        match stage {
            Stage::Reading(seats) if outcome.stop != Stop::Interrupted => {
                self.known.keep_checkpoints(lease, &mut sequence);
                let seats = std::mem::take(seats);
                self.write_all(&seats, &sequence, answers, runner);
            }
            Stage::Writing { choice, scan } => {
                let choice = *choice;
                let (rest, found) = scan.borrow_mut().finish();
                let n_told = scan.borrow().n_told();
                if let Some(before) = before_stop.take().filter(|_| found.is_some()) {
                    self.known.keep_spare(lease, &before);
                }
                if let Some(rest) = rest {
                    let _ = job.events.try_send((job.first_choice + choice, rest));
                }
                if outcome.stop != Stop::Interrupted || found.is_some() {
                    self.keep_turn(&job, choice, &outcome, n_told);
                }
                let mut finish = finish_of(&outcome, found);
                (finish.n_cached, finish.reuse) = (n_cached, reuse);
                self.shared.metrics.finished(&finish);
                self.keep(seat, sequence);
                let _ = job.events.try_send((job.first_choice + choice, Event::Finished(Box::new(finish))));
            }
            Stage::Reading(_) | Stage::Scoring(..) | Stage::Waiting => {
                let finish = finish_of(&outcome, None);
                for choice in 0..job.n {
                    let finish = Finish { n_cached, reuse, ..finish };
                    let _ = job.events.try_send((job.first_choice + choice, Event::Finished(Box::new(finish))));
                }
                self.keep(seat, sequence);
            }
        }
    }

    /// Keeps what was written for when it comes back in a prompt; the client was told so many bytes of its text.
    fn keep_turn(&self, job: &Job, choice: usize, outcome: &Outcome, n_told: usize) {
        if let Some(asked) = &job.turn {
            let name =
                |i| job.calls.as_ref().map_or_else(String::new, |calls| calls.names.of(job.first_choice + choice, i));
            let text = outcome.text.get(..n_told).unwrap_or(&outcome.text);
            self.served.turns.keep(asked, outcome, text, (0..).map(name));
        }
    }

    /// Keeps what an answer leaves for the next turn.
    fn keep(&mut self, seat: usize, sequence: Sequence) {
        let lease = std::mem::take(&mut self.at_work(seat).lease);
        self.known.keep(lease, sequence);
        self.leave(seat);
    }

    fn fail_all(&mut self, error: &ApiError) {
        self.served.slots.iter().for_each(Slot::end);
        for AtWork { job, .. } in self.seats.iter_mut().filter_map(Option::take) {
            fail(&job, error);
        }
        self.known.clear();
        self.count();
    }
}

/// A runner like this one, with threads, buffers and pools of its own.
fn anew(old: Runner) -> Runner {
    let (model, settings) = (Arc::clone(old.model()), *old.settings());
    let (kernels, threads, draft) = (old.kernels(), old.threads(), old.drafting());
    drop(old);
    let mut runner = Runner::new(model, Compute::new(kernels, threads), settings).expect("settings that did before");
    runner.enable_drafts(draft);
    runner
}

fn fail(job: &Job, error: &ApiError) {
    let _ = job.events.try_send((job.first_choice, Event::Failed(Box::new(error.clone()))));
}

fn failure(error: &Error) -> ApiError {
    ApiError::server(error.to_string())
}

fn finish_of(outcome: &Outcome, stop: Option<usize>) -> Finish {
    let reason = match (stop, outcome.stop) {
        (Some(stop), _) => Reason::StopString(stop),
        (None, Stop::End) if outcome.calls.iter().any(|call| call.is_whole) => Reason::Calls,
        (None, Stop::End) => Reason::Stop,
        (None, Stop::Length) => Reason::Length,
        (None, Stop::ContextFull) => Reason::ContextFull,
        (None, Stop::Repetition) => Reason::Repetition,
        // Of those whose clients have left, nobody asks.
        (None, Stop::Interrupted) => Reason::Shutdown,
    };
    Finish::new(outcome, reason)
}
