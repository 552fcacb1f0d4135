//! Who is in the next pass, when several conversations share a runner.
//!
//! Written rows come first: someone waits for each of them, and of them those who were served longest ago. Prompts fill
//! what is left of the pass, in pieces so short that who is written to, or comes next, does not notice a pause. Of the
//! prompts the one comes first that has the fewest rows unread: a short one does not wait for a long one. So that nobody
//! waits for ever, whoever was passed over [`PATIENCE`] times comes before all of them.

use std::time::Duration;

/// What one conversation wants of the next pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// So many rows of a prompt are unread.
    Prompt(usize),
    /// So many rows are to be written, all of them at once.
    Written(usize),
}

/// A conversation's place in a pass: so many rows of the demand with that number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The number of the demand.
    pub who: usize,
    /// Rows of it.
    pub rows: usize,
}

/// How large a pass may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows at most.
    pub rows: usize,
    /// Written rows at most.
    pub written: usize,
    /// How long the prompt rows of a pass may take.
    pub waits: Waits,
}

/// How long the prompt rows of a pass may take.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Where rows are written in it, or a prompt is read to its end: someone waits for them.
    pub written: Duration,
    /// Where nobody waits but who may come.
    pub alone: Duration,
}

/// Shares out passes, one after the other.
pub struct Scheduler {
    limits: Limits,
    /// When each conversation was served last, in passes.
    served: Vec<u64>,
    pass: u64,
    /// Seconds that a prompt row takes, as far as is known.
    prompt_row: Option<f64>,
    /// Seconds of a pass of so many written rows alone, likewise.
    written_pass: Vec<Option<f64>>,
}

/// Passes that a prompt waits for shorter ones.
const PATIENCE: u64 = 8;

/// Rows of a prompt beside written ones while it is not known how long they take, and at least: the first of them has
/// the weights read and decoded for all, so that fewer save little of the wait and cost much of the prompt's speed.
const LEAST_PIECE: usize = 32;

/// The weight of the latest pass in what rows take.
const LATEST: f64 = 0.25;

impl Scheduler {
    /// A scheduler for so many conversations, which keep their numbers.
    pub fn new(conversations: usize, limits: Limits) -> Scheduler {
        let written_pass = vec![None; limits.written + 1];
        Scheduler { limits, served: vec![0; conversations], pass: 0, prompt_row: None, written_pass }
    }

    /// Conversation `who` is another one from now on: it has waited for nothing yet.
    pub fn replace(&mut self, who: usize) {
        self.served[who] = self.pass;
    }

    /// The seats of the next pass, given what each conversation demands, if anything. There is one where there is a
    /// demand. Those who are written to have waited so long for other things than passes.
    pub fn next(&mut self, demands: &[Option<Demand>], waited: Duration) -> Vec<Seat> {
        self.pass += 1;
        let writes = |who: &usize| matches!(demands[*who], Some(Demand::Written(_)));
        let mut writers: Vec<usize> = (0..demands.len()).filter(writes).collect();
        writers.sort_by_key(|&who| self.served[who]);
        let unread = |(who, demand): (usize, &Option<Demand>)| match demand {
            Some(Demand::Prompt(unread)) => Some((who, *unread)),
            Some(Demand::Written(_)) | None => None,
        };
        let mut readers: Vec<(usize, usize)> = demands.iter().enumerate().filter_map(unread).collect();
        // Whoever has lost patience, the longest ago first; then the shortest.
        readers.sort_by_key(|&(who, unread)| {
            let passed_over = self.pass - self.served[who] > PATIENCE;
            (!passed_over, if passed_over { self.served[who] } else { unread as u64 }, self.served[who])
        });

        let mut seats = Vec::new();
        let (mut rows, mut written) = (self.limits.rows, self.limits.written.min(self.limits.rows));
        for who in writers {
            if let Some(Demand::Written(n)) = demands[who]
                && n <= written
            {
                written -= n;
                rows -= n;
                seats.push(Seat { who, rows: n });
            }
        }
        let Waits { written: wait, alone } = self.limits.waits;
        let short = self.piece(wait.saturating_sub(waited));
        let mut piece = if seats.is_empty() { self.piece(alone).max(short) } else { short };
        for (who, unread) in readers {
            let n = unread.min(rows).min(piece);
            if n == 0 {
                break;
            }
            rows -= n;
            // Whose prompt is read to its end has its first token behind this pass.
            piece = if n == unread && alone < Duration::MAX { piece.min(short.max(n)) - n } else { piece - n };
            seats.push(Seat { who, rows: n });
        }
        for seat in &seats {
            self.served[seat.who] = self.pass;
        }
        seats
    }

    /// Prompt rows that are read in that time.
    fn piece(&self, time: Duration) -> usize {
        if time == Duration::MAX {
            return usize::MAX;
        }
        let rows = |seconds: f64| (time.as_secs_f64() / seconds) as usize;
        self.prompt_row.map_or(LEAST_PIECE, |seconds| rows(seconds).max(LEAST_PIECE))
    }

    /// Takes note of the time that a pass took of so many rows of prompts and so many written ones.
    pub fn measured(&mut self, prompt_rows: usize, written_rows: usize, time: Duration) {
        let learn = |known: &mut Option<f64>, seconds: f64| {
            *known = Some(known.map_or(seconds, |known| known + LATEST * (seconds - known)));
        };
        let seconds = time.as_secs_f64();
        if prompt_rows == 0 {
            learn(&mut self.written_pass[written_rows.min(self.limits.written)], seconds);
        } else if prompt_rows >= LEAST_PIECE {
            // Of a few rows most of the time is that of reading the weights, which written rows need as well.
            let known = &self.written_pass[..=written_rows.min(self.limits.written)];
            let of_written = known.iter().rev().find_map(|seconds| *seconds).unwrap_or(0.0);
            learn(&mut self.prompt_row, ((seconds - of_written) / prompt_rows as f64).max(1e-9));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        rows: 512,
        written: 64,
        waits: Waits { written: Duration::from_millis(100), alone: Duration::from_millis(300) },
    };

    /// A made-up machine: a pass takes 20 ms, a prompt row 2 ms, a written row half a millisecond.
    fn time(seats: &[Seat], demands: &[Option<Demand>]) -> Duration {
        let of = |seat: &Seat| match demands[seat.who] {
            Some(Demand::Prompt(_)) => 2000 * seat.rows as u64,
            _ => 500 * seat.rows as u64,
        };
        Duration::from_micros(20_000 + seats.iter().map(of).sum::<u64>())
    }

    /// Numbers that look random: a linear congruential generator.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % n
        }
    }

    /// A conversation of the simulation: a prompt, then an answer of so many drafts of so many rows.
    #[derive(Clone, Copy)]
    struct Talk {
        unread: usize,
        drafts: usize,
        rows: usize,
    }

    impl Talk {
        fn demand(self) -> Option<Demand> {
            match self {
                Talk { unread: 1.., .. } => Some(Demand::Prompt(self.unread)),
                Talk { drafts: 1.., .. } => Some(Demand::Written(self.rows)),
                _ => None,
            }
        }

        fn serve(&mut self, rows: usize) {
            if self.unread > 0 { self.unread -= rows } else { self.drafts -= 1 }
        }
    }

    #[test]
    fn every_pass_keeps_the_limits_wastes_nothing_and_nobody_waits_long() {
        for seed in 0..200 {
            let mut numbers = Numbers(seed);
            let n = 1 + numbers.below(24);
            let mut scheduler = Scheduler::new(n, LIMITS);
            let talk = |numbers: &mut Numbers| {
                let longest = if numbers.below(4) == 0 { 20_000 } else { 200 };
                Talk { unread: 1 + numbers.below(longest), drafts: numbers.below(40), rows: 1 + numbers.below(16) }
            };
            let mut talks: Vec<Talk> = (0..n).map(|_| talk(&mut numbers)).collect();
            let mut waited = vec![0; n];
            let mut left = 100;
            for _ in 0..1_000_000 {
                let demands: Vec<_> = talks.iter().map(|talk| talk.demand()).collect();
                if demands.iter().all(Option::is_none) {
                    break;
                }
                let seats = scheduler.next(&demands, Duration::ZERO);
                assert!(!seats.is_empty(), "someone waits");
                let rows: usize = seats.iter().map(|seat| seat.rows).sum();
                let is_written = |seat: &&Seat| matches!(demands[seat.who], Some(Demand::Written(_)));
                let written: usize = seats.iter().filter(is_written).map(|seat| seat.rows).sum();
                assert!(rows <= LIMITS.rows && written <= LIMITS.written, "{rows} rows, {written} of them written");
                let mut seen: Vec<usize> = seats.iter().map(|seat| seat.who).collect();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), seats.len(), "nobody sits twice");
                for seat in &seats {
                    match demands[seat.who].expect("it demanded something") {
                        Demand::Written(n) => assert_eq!(seat.rows, n, "a draft comes whole"),
                        Demand::Prompt(unread) => assert!(seat.rows <= unread && seat.rows > 0),
                    }
                }
                let took = time(&seats, &demands);
                scheduler.measured(rows - written, written, took);
                let prompts = Duration::from_micros(2000 * (rows - written) as u64);
                let Waits { written: wait, alone } = LIMITS.waits;
                assert!(prompts <= alone, "who may come waits {prompts:?}");
                let is_last = |seat: &Seat| demands[seat.who] == Some(Demand::Prompt(seat.rows));
                let someone_waits = written > 0 || seats[..seats.len() - 1].iter().any(is_last);
                assert!(prompts <= wait || !someone_waits, "written rows wait {prompts:?} for prompts");
                // What there is time for is used.
                let unread: usize = talks.iter().map(|talk| talk.unread).sum();
                assert!(rows - written >= unread.min(LEAST_PIECE), "{rows} rows");
                for who in 0..n {
                    waited[who] = if demands[who].is_none() || seen.contains(&who) { 0 } else { waited[who] + 1 };
                    // Written rows of 24 conversations of 16 take 6 passes; prompts wait for shorter ones, but not for ever.
                    let most = if matches!(demands[who], Some(Demand::Written(_))) { 8 } else { PATIENCE as usize + n };
                    assert!(waited[who] <= most, "{who} of {n} waits for {} passes: {:?}", waited[who], demands[who]);
                }
                for seat in &seats {
                    talks[seat.who].serve(seat.rows);
                    if talks[seat.who].demand().is_none() && left > 0 {
                        left -= 1;
                        talks[seat.who] = talk(&mut numbers);
                        scheduler.replace(seat.who);
                    }
                }
            }
            assert!(talks.iter().all(|talk| talk.demand().is_none()), "all come to their end");
        }
    }

    /// A scheduler that knows that a prompt row takes 2 ms.
    fn experienced(conversations: usize) -> Scheduler {
        let mut scheduler = Scheduler::new(conversations, LIMITS);
        scheduler.measured(512, 0, Duration::from_millis(1024));
        scheduler
    }

    #[test]
    fn the_prompt_with_the_fewest_rows_unread_comes_first() {
        let mut scheduler = experienced(3);
        let demands = [Some(Demand::Prompt(100_000)), Some(Demand::Prompt(30)), Some(Demand::Prompt(31))];
        let seats = scheduler.next(&demands, Duration::ZERO);
        // Behind the first that is read to its end comes what the shorter wait has room for.
        assert_eq!(seats, [Seat { who: 1, rows: 30 }, Seat { who: 2, rows: 20 }]);
    }

    #[test]
    fn a_long_prompt_goes_on_while_short_ones_keep_coming() {
        let mut scheduler = experienced(2);
        let (mut passes, mut long) = (0, 1000);
        while long > 0 {
            passes += 1;
            scheduler.replace(1);
            let demands = [Some(Demand::Prompt(long)), Some(Demand::Prompt(50))];
            let seats = scheduler.next(&demands, Duration::ZERO);
            long -= seats.iter().filter(|seat| seat.who == 0).map(|seat| seat.rows).sum::<usize>();
        }
        assert!(passes <= 10 * (PATIENCE as usize + 1), "{passes} passes");
    }

    #[test]
    fn a_piece_is_what_the_wait_holds_and_shorter_where_others_made_wait() {
        let mut scheduler = Scheduler::new(2, LIMITS);
        let long = Some(Demand::Prompt(2000));
        assert_eq!(scheduler.next(&[long, None], Duration::ZERO), [Seat { who: 0, rows: LEAST_PIECE }]);
        let mut scheduler = experienced(2);
        assert_eq!(scheduler.next(&[long, None], Duration::ZERO), [Seat { who: 0, rows: 150 }]);
        let both = [long, Some(Demand::Written(1))];
        let beside = |rows| [Seat { who: 1, rows: 1 }, Seat { who: 0, rows }];
        assert_eq!(scheduler.next(&both, Duration::ZERO), beside(50));
        assert_eq!(scheduler.next(&both, Duration::from_millis(30)), beside(35));
        assert_eq!(scheduler.next(&both, Duration::from_secs(9)), beside(LEAST_PIECE));
        let waits = Waits { alone: Duration::MAX, ..LIMITS.waits };
        let mut patient = Scheduler::new(2, Limits { waits, ..LIMITS });
        assert_eq!(patient.next(&[long, None], Duration::ZERO), [Seat { who: 0, rows: 512 }]);
    }

    #[test]
    fn what_a_prompt_row_takes_is_learnt_beside_written_rows_too() {
        let mut scheduler = Scheduler::new(2, LIMITS);
        let both = [Some(Demand::Prompt(100_000)), Some(Demand::Written(1))];
        scheduler.measured(0, 1, time(&[Seat { who: 1, rows: 1 }], &both));
        let mut last = Vec::new();
        for _ in 0..50 {
            last = scheduler.next(&both, Duration::ZERO);
            scheduler.measured(last[1].rows, 1, time(&last, &both));
        }
        assert_eq!(last[1].rows, 50);
    }
}
