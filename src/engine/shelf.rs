//! What was read, kept for the prompts to come: a tree of points of conversations, of which each has the rows behind the
//! point before it, the states there, and pages of keys and values that it shares with the others. A few rows more, its tail,
//! can be taken up with the states as far as a prompt has them; and what is behind the last of them, if that was kept.
//!
//! A prompt begins at the latest point on its way through the tree. All points together have no more bytes than were set
//! aside for them; where memory is short, that point goes first which saves the fewest rows of reading for a byte, aged by
//! use ([`super::greedy_dual`]). Its rows and pages stay as long as a point behind them needs them.

use super::greedy_dual::Level;
use super::runner::Runner;
use super::sequence::{self, Kept, Rows, Sequence};
use crate::model::Config;
use crate::model::input::InputRow;
use crate::model::memory::{Checkpoint, KeptMemory, Memory};
use crate::model::mtp::DraftMemory;
use crate::model::state::LOG_ROWS;
use std::cmp::Reverse;

/// Rows of a point at least: to read fewer takes no longer than to copy a state.
pub const LEAST: usize = 16;

/// An end of a conversation counts as so many rows at least: an answer that is read again is computed in another way than it was
/// written, and what follows may be another text.
const LEAST_END: f64 = 256.0;

/// How much less likely an end is to be of use again once a prompt has left the conversation right before it: where the next
/// turn leaves out what was thought.
const LEFT: f64 = 8.0;

/// The tree. Its points are of one runner.
pub struct Shelf {
    config: Config,
    has_block: bool,
    /// Bytes of all points, and of all that is set aside, at most.
    most: u64,
    set_aside: u64,
    points: Vec<Option<Point>>,
    level: Level,
    /// Counts whenever a point is of use.
    time: u64,
    /// The end that was kept last: it is given up last.
    newest: Option<usize>,
}

/// A point.
struct Point {
    /// The point before it, if there is one.
    before: Option<usize>,
    /// The rows behind that, up to the states.
    rows: Rows,
    /// The rows behind the states.
    tail: Rows,
    kept: Kept,
    /// The level when it was last of use, and the time.
    level: Level,
    used: u64,
    /// Whether a prompt has left the rows behind the point before it.
    is_left: bool,
    /// Whether it is the end of a conversation.
    is_end: bool,
    /// Whether it is kept elsewhere too.
    is_saved: bool,
}

/// Where a prompt can begin.
#[derive(Clone, Default, Debug)]
pub struct Found {
    point: Option<usize>,
    /// Points that the prompt leaves behind the points before them.
    left: Vec<usize>,
    /// Rows that need not be read.
    pub n: usize,
    /// Rows that were read before, with or without a point behind them.
    pub known: usize,
}

/// Memory that is set aside for a conversation at work: its states, and points that it will leave.
#[derive(Default, Debug)]
pub struct Lease {
    work: u64,
    /// Rows of its prompt.
    n_prompt: usize,
    /// The rows before each point, and its bytes.
    points: Vec<(usize, u64)>,
    /// For one point more, wherever that will be.
    spare: u64,
}

impl Lease {
    /// The rows behind which there is memory for a point, ascending.
    pub fn points(&self) -> Vec<usize> {
        self.points.iter().map(|(n, _)| *n).collect()
    }

    /// Whether there is memory for a point more.
    pub fn has_spare(&self) -> bool {
        self.spare > 0
    }
}

/// What tells rows from others, for [`Shelf::find`].
pub fn keys(rows: &[InputRow]) -> Vec<u64> {
    rows.iter().map(sequence::key).collect()
}

impl Shelf {
    /// An empty one for the sequences of a runner. It has the memory of their states and checkpoints, of which the sequences at
    /// work are a part.
    pub fn new(runner: &Runner) -> Shelf {
        let (config, settings) = (&runner.model().config, runner.settings());
        let of_each = (Memory::bytes(config) as u64)
            .saturating_add((Memory::checkpoint_bytes(config) as u64).saturating_mul(settings.n_checkpoint as u64));
        Shelf {
            config: config.clone(),
            has_block: runner.has_block(),
            most: of_each.saturating_mul(settings.n_sequence as u64),
            set_aside: 0,
            points: Vec::new(),
            level: Level::default(),
            time: 0,
            newest: None,
        }
    }

    /// Bytes of all points and of all that is set aside.
    pub fn bytes(&self) -> u64 {
        self.points.iter().flatten().map(Point::bytes).sum::<u64>() + self.set_aside
    }

    /// Bytes that these are at most.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Points there are.
    pub fn n_point(&self) -> usize {
        self.points.iter().flatten().count()
    }

    /// Forgets everything, and takes back what was set aside.
    pub fn clear(&mut self) {
        self.points.clear();
        (self.set_aside, self.level, self.newest) = (0, Level::default(), None);
    }

    /// Where a prompt with these [`keys`] can begin. Its last row is left to be read, for an answer begins with what is behind it;
    /// unless that is known.
    pub fn find(&self, keys: &[u64]) -> Found {
        let (mut found, mut best) = (Found::default(), (0, Reverse(0)));
        let mut ways = vec![(None, 0, 0)];
        while let Some((before, n, n_written)) = ways.pop() {
            for (id, point) in self.behind(before) {
                let (same, end) = (point.rows.common(&keys[n..]), n + point.rows.len());
                found.known = found.known.max(n + same);
                if same < point.rows.len() {
                    if 0 < same && n + same < keys.len() {
                        found.left.push(id);
                    }
                    continue;
                }
                let n_written = n_written + point.rows.n_written(same);
                ways.push((Some(id), end, n_written));
                let of_tail = point.tail.common(&keys[end..]);
                found.known = found.known.max(end + of_tail);
                let is_all = end + of_tail == keys.len() && of_tail == point.tail.len();
                let is_known = is_all && point.kept.memory.tip().is_some();
                let at = if is_known { keys.len() } else { (end + of_tail).min(keys.len().saturating_sub(1)) };
                if at >= end.max(LEAST) {
                    let rank = (at, Reverse(n_written + point.tail.n_written(at - end)));
                    if rank > best {
                        best = rank;
                        (found.point, found.n) = (Some(id), at);
                    }
                }
            }
        }
        found
    }

    /// A sequence with the rows that were found.
    pub fn begin(&mut self, found: &Found, runner: &Runner) -> Sequence {
        for &left in found.left.iter().filter(|&&left| Some(left) != found.point) {
            let is_end = self.behind(Some(left)).next().is_none();
            self.points[left].iter_mut().for_each(|point| point.is_left |= is_end);
        }
        if let Some(id) = found.point {
            // What all prompts of a kind begin with is of use to each that goes on from there.
            self.touch(self.path(id)[0]);
            self.touch(id);
        }
        self.sequence(found, runner)
    }

    fn sequence(&self, found: &Found, runner: &Runner) -> Sequence {
        let mut sequence = runner.sequence();
        let Some(id) = found.point else { return sequence };
        let path = self.path(id);
        let mut rows = Rows::default();
        path.iter().filter_map(|&id| self.points[id].as_ref()).for_each(|point| rows.append(&point.rows));
        if let Some(point) = &self.points[id] {
            rows.append(&point.tail);
            let n_back = rows.len() - found.n;
            sequence.resume(&self.config, rows, &point.kept);
            sequence.take_back(n_back).expect("rows of its last pass");
        }
        sequence
    }

    /// Sets memory aside for a conversation at work that has `n_have` of the `n_prompt` rows of its prompt, whatever must be given
    /// up for it; and for points behind these rows of the prompt, ascending, as far as they are worth more than what is there.
    pub fn lease(&mut self, n_have: usize, n_prompt: usize, points: &[usize]) -> Lease {
        let work = Memory::bytes(&self.config) as u64;
        self.set_aside += work;
        while self.bytes() > self.most && self.give_up(f64::INFINITY) {}
        let mut lease = Lease { work, n_prompt, points: Vec::new(), spare: 0 };
        let mut before = n_have;
        for &n in points {
            // That with a tail may be nearer: what was asked before is found at its end.
            let is_apart = n >= before + LEAST || n >= LEAST && n_prompt - n <= LOG_ROWS;
            if is_apart && self.lease_behind(&mut lease, before, n) {
                before = n;
            }
        }
        lease
    }

    /// Sets memory aside for a point behind `n` rows of the prompt of a conversation at work, if that is worth it.
    pub fn lease_point(&mut self, lease: &mut Lease, n: usize) -> bool {
        let before = lease.points.iter().map(|(at, _)| *at).filter(|at| *at <= n).max();
        before == Some(n) || self.lease_behind(lease, before.unwrap_or(0), n)
    }

    fn lease_behind(&mut self, lease: &mut Lease, before: usize, n: usize) -> bool {
        // Those near the end have the rest of the prompt for a tail.
        let n_tail = Some(lease.n_prompt.saturating_sub(n)).filter(|&n| n <= LOG_ROWS).unwrap_or(0);
        let bytes = self.bytes_behind(n + n_tail, n - before, n_tail);
        let has_room = self.make_room(bytes, (n - before) as f64);
        if has_room {
            self.set_aside += bytes;
            lease.points.push((n, bytes));
            lease.points.sort_unstable();
        }
        has_room
    }

    /// Sets memory aside for a point more of a conversation at work, of `n` rows at most, if the end of one is worth it.
    pub fn lease_spare(&mut self, lease: &mut Lease, n: usize) {
        let bytes = self.bytes_behind(n, n, LOG_ROWS.min(n));
        if self.make_room(bytes, LEAST_END) {
            self.set_aside += bytes;
            lease.spare = bytes;
        }
    }

    /// Keeps another end of a conversation at work, in the memory of its lease for a point more.
    pub fn keep_spare(&mut self, lease: &mut Lease, sequence: &Sequence) {
        let bytes = std::mem::take(&mut lease.spare);
        if bytes > 0 {
            self.set_aside -= bytes;
            self.put_end(sequence);
        }
    }

    /// Keeps the checkpoints of a sequence at work, and takes them away from it.
    pub fn keep_checkpoints(&mut self, lease: &mut Lease, sequence: &mut Sequence) {
        for point in sequence.take_checkpoints() {
            if let Some(at) = lease.points.iter().position(|(n, _)| *n == point.n_base()) {
                let (_, bytes) = lease.points.remove(at);
                self.set_aside -= bytes;
                self.keep_at(sequence, point);
            }
        }
    }

    /// Keeps the end of a conversation whose work is over, and its last checkpoints.
    pub fn keep(&mut self, mut lease: Lease, mut sequence: Sequence) {
        self.keep_checkpoints(&mut lease, &mut sequence);
        self.end(&lease);
        self.newest = self.put_end(&sequence).or(self.newest);
        drop(sequence);
        while self.bytes() > self.most && self.give_up(f64::INFINITY) {}
    }

    fn put_end(&mut self, sequence: &Sequence) -> Option<usize> {
        let id = self.put(sequence.all_rows(), sequence.keep_present())?;
        self.points[id].iter_mut().for_each(|point| point.is_end = true);
        Some(id)
    }

    /// Keeps a sequence that comes from elsewhere, where it is kept too.
    pub fn keep_recalled(&mut self, sequence: &Sequence) {
        let (n, n_logged) = (sequence.n_past(), sequence.n_logged());
        if self.make_room(self.bytes_behind(n, n, n_logged), n as f64)
            && let Some(id) = self.put(sequence.all_rows(), sequence.keep_present())
        {
            self.points[id].iter_mut().for_each(|point| point.is_saved = true);
        }
    }

    /// A point that is worth keeping elsewhere and is not yet, as a sequence: the end of a conversation, or what it begins with,
    /// `apart` rows or more behind the last that is. It counts as kept there from now on.
    pub fn unsaved(&mut self, apart: usize, runner: &Runner) -> Option<Sequence> {
        let ends: Vec<usize> = (0..self.points.len()).filter(|&id| self.is_lasting_end(id)).collect();
        for end in ends {
            let (path, mut n, mut n_saved) = (self.path(end), 0, 0);
            for (i, &id) in path.iter().enumerate() {
                let Some(point) = &mut self.points[id] else { continue };
                n += point.rows.len();
                if point.is_saved {
                    n_saved = n;
                } else if (i == 0 || id == end) && n - n_saved >= apart {
                    point.is_saved = true;
                    let found = Found { point: Some(id), n: n + point.tail.len(), ..Found::default() };
                    return Some(self.sequence(&found, runner));
                }
            }
        }
        None
    }

    /// Whether a point is the end of a conversation that may go on.
    fn is_lasting_end(&self, id: usize) -> bool {
        let is_end = self.points[id].as_ref().is_some_and(|point| point.is_end && !point.is_left);
        is_end && self.behind(Some(id)).next().is_none()
    }

    /// Keeps what a sequence was at a checkpoint of it.
    fn keep_at(&mut self, sequence: &Sequence, point: Checkpoint) {
        let rows = sequence.all_rows().slice(0..point.n_past());
        self.put(&rows, sequence.keep_at(point));
    }

    /// Ends a lease of a conversation of which nothing more is kept.
    pub fn end(&mut self, lease: &Lease) {
        self.set_aside -= lease.work + lease.spare + lease.points.iter().map(|(_, bytes)| bytes).sum::<u64>();
    }

    /// Lets points go until so many pages are free, or none are left.
    pub fn free_pages(&mut self, runner: &Runner, n: usize) {
        while runner.n_free_page() < n {
            let has_pages = |point: &Point| point.kept.memory.n_own_page() > 0;
            let Some(id) = self.cheapest(has_pages).or_else(|| self.cheapest(|_| true)) else { return };
            self.remove(id);
        }
    }

    /// Lets points forget what the block for drafting remembers until so many of its pages are free, or none do.
    pub fn free_draft_pages(&mut self, runner: &Runner, n: usize) {
        while runner.n_free_draft_page() < n {
            let Some(id) = self.cheapest(|point| point.kept.drafts.is_some()) else { return };
            if let Some(point) = &mut self.points[id] {
                point.kept.drafts = None;
            }
        }
    }

    /// Bytes of a point of `n` rows at most, of which the last `n_tail` are its tail and `n_own` before these are behind the point
    /// before it.
    fn bytes_behind(&self, n: usize, n_own: usize, n_tail: usize) -> u64 {
        let drafts = if self.has_block { DraftMemory::bytes_behind(&self.config, n) } else { 0 };
        let rows = n_own.saturating_add(n_tail).saturating_mul(Rows::BYTES);
        KeptMemory::bytes_behind(&self.config, n, n_tail).saturating_add(drafts).saturating_add(rows) as u64
    }

    /// Gives up what is worth less than a point of so many rows, until it has room.
    fn make_room(&mut self, bytes: u64, n_row: f64) -> bool {
        let worth = self.level.worth(n_row, bytes);
        while self.bytes() + bytes > self.most {
            if !self.give_up(worth) {
                return false;
            }
        }
        true
    }

    /// Gives up the point that is worth least, if that is less than `below`.
    fn give_up(&mut self, below: f64) -> bool {
        let Some(id) = self.cheapest(|_| true) else { return false };
        let worth = self.points[id].as_ref().map_or(0.0, Point::worth);
        if worth >= below {
            return false;
        }
        self.level.rise(worth);
        self.remove(id);
        true
    }

    /// Of the points that will do the one that is worth least; the newest end only where there is no other.
    fn cheapest(&self, will_do: impl Fn(&Point) -> bool) -> Option<usize> {
        let points = self.points.iter().enumerate().filter_map(|(id, point)| Some((id, point.as_ref()?)));
        let is_newest = |id: usize, point: &Point| self.newest == Some(id) && !point.is_left;
        let by_rank = |(a_id, a): &(usize, &Point), (b_id, b): &(usize, &Point)| {
            let newest = is_newest(*a_id, a).cmp(&is_newest(*b_id, b));
            newest.then(a.worth().total_cmp(&b.worth())).then(a.used.cmp(&b.used))
        };
        points.filter(|(_, point)| will_do(point)).min_by(by_rank).map(|(id, _)| id)
    }

    /// The points behind another, or behind no rows.
    fn behind(&self, before: Option<usize>) -> impl Iterator<Item = (usize, &Point)> {
        let points = self.points.iter().enumerate().filter_map(|(id, point)| Some((id, point.as_ref()?)));
        points.filter(move |(_, point)| point.before == before)
    }

    /// The points up to one, the first one first.
    fn path(&self, id: usize) -> Vec<usize> {
        let mut path = vec![id];
        while let Some(before) = self.points[path[path.len() - 1]].as_ref().and_then(|point| point.before) {
            path.push(before);
        }
        path.reverse();
        path
    }

    fn touch(&mut self, id: usize) {
        self.time += 1;
        if let Some(point) = &mut self.points[id] {
            (point.level, point.used, point.is_left) = (self.level, self.time, false);
        }
    }

    /// Puts a point into the tree, behind all of `rows`; returns which it is. Of few rows there is none.
    fn put(&mut self, rows: &Rows, mut kept: Kept) -> Option<usize> {
        let n_base = rows.len() - kept.memory.n_logged();
        if n_base < LEAST {
            return None;
        }
        let (tail, rows) = (rows.slice(n_base..rows.len()), rows.slice(0..n_base));
        let (mut before, mut n) = (None, 0);
        while let Some((id, point)) = self.behind(before).find(|(_, point)| point.rows.begin(&rows, n)) {
            (before, n) = (Some(id), n + point.rows.len());
        }
        if let Some(id) = before.filter(|_| n == rows.len()) {
            self.touch(id);
            // The states are the same; of two tails the later one stays, unless less is known of it.
            let is_more = |point: &Point| {
                let n_have = if point.kept.memory.tip().is_some() { usize::MAX } else { point.tail.len() };
                kept.memory.tip().is_some() || tail.len() >= n_have
            };
            if let Some(point) = self.points[id].as_mut().filter(|point| is_more(point)) {
                kept.memory.share_pages(&point.kept.memory);
                (point.tail, point.kept) = (tail, kept);
            }
            return Some(id);
        }
        self.time += 1;
        let (level, used) = (self.level, self.time);
        let rows_behind = rows.slice(n..rows.len());
        let (is_left, is_end, is_saved) = (false, false, false);
        let mut point = Point { before, rows: rows_behind, tail, kept, level, used, is_left, is_end, is_saved };
        if let Some(before) = before.and_then(|id| self.points[id].as_ref()) {
            point.kept.memory.share_pages(&before.kept.memory);
        }
        let n_own = point.rows.len();
        let later: Vec<usize> =
            self.behind(before).filter(|(_, later)| point.rows.begin(&later.rows, 0)).map(|(id, _)| id).collect();
        let id = self.points.iter().position(Option::is_none).unwrap_or_else(|| {
            self.points.push(None);
            self.points.len() - 1
        });
        // Those that go on from here have the same rows up to here, but pages of their own if they were read apart.
        let mut sharing = later.clone();
        while let Some(next) = sharing.pop() {
            sharing.extend(self.behind(Some(next)).map(|(id, _)| id));
            if let Some(later) = &mut self.points[next] {
                later.kept.memory.share_pages(&point.kept.memory);
            }
        }
        for later in later {
            if let Some(later) = &mut self.points[later] {
                later.before = Some(id);
                later.rows = later.rows.slice(n_own..later.rows.len());
            }
        }
        self.points[id] = Some(point);
        Some(id)
    }

    /// Takes a point out of the tree; those behind it have its rows from now on.
    fn remove(&mut self, id: usize) {
        let Some(gone) = self.points[id].take() else { return };
        for later in self.points.iter_mut().flatten().filter(|point| point.before == Some(id)) {
            let mut rows = gone.rows.slice(0..gone.rows.len());
            rows.append(&later.rows);
            (later.before, later.rows) = (gone.before, rows);
        }
        self.newest = self.newest.filter(|&newest| newest != id);
    }
}

impl Point {
    fn bytes(&self) -> u64 {
        (self.kept.bytes() + (self.rows.len() + self.tail.len()) * Rows::BYTES) as u64
    }

    /// What it is worth: rows that need not be read, for each byte, above the level of its last use.
    fn worth(&self) -> f64 {
        let n_row = (self.rows.len() + self.tail.len()) as f64;
        let n_row = match self.is_end {
            true if self.is_left => n_row / LEFT,
            true => n_row.max(LEAST_END),
            false => n_row,
        };
        self.level.worth(n_row, self.bytes())
    }
}
