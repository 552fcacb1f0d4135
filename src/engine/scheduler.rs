//! Who is in the next pass, when several conversations share a runner.
//!
//! Written rows come first: someone waits for each of them. A prompt fills what is left of the pass, in pieces short enough
//! that who is written to does not notice a pause; alone, it has the whole batch. Whoever was served longest ago comes
//! first, so that nobody waits for ever: not the short prompt behind the long one, and not the long one behind many short
//! ones.

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
    /// Time that the prompt rows of a pass may take where rows are written in it.
    pub pause: Duration,
}

/// Shares out passes, one after the other.
pub struct Scheduler {
    limits: Limits,
    /// When each conversation was served last, in passes.
    served: Vec<u64>,
    pass: u64,
    /// Seconds that a prompt row takes, as far as is known.
    prompt_row: Option<f64>,
}

/// Rows of a prompt beside written ones while it is not known how long they take, and at least.
const LEAST_PIECE: usize = 16;

/// The weight of the latest pass in what a prompt row takes.
const LATEST: f64 = 0.25;

impl Scheduler {
    /// A scheduler for so many conversations, which keep their numbers.
    pub fn new(conversations: usize, limits: Limits) -> Scheduler {
        Scheduler { limits, served: vec![0; conversations], pass: 0, prompt_row: None }
    }

    /// Conversation `who` is another one from now on: it has waited for nothing yet.
    pub fn replace(&mut self, who: usize) {
        self.served[who] = self.pass;
    }

    /// The seats of the next pass, given what each conversation demands, if anything. There is one where there is a demand.
    pub fn next(&mut self, demands: &[Option<Demand>]) -> Vec<Seat> {
        self.pass += 1;
        let mut waiting: Vec<usize> = (0..demands.len()).filter(|&who| demands[who].is_some()).collect();
        waiting.sort_by_key(|&who| self.served[who]);
        let mut seats = Vec::new();
        let (mut rows, mut written) = (self.limits.rows, self.limits.written.min(self.limits.rows));
        for &who in &waiting {
            if let Some(Demand::Written(n)) = demands[who]
                && n <= written
            {
                written -= n;
                rows -= n;
                seats.push(Seat { who, rows: n });
            }
        }
        if !seats.is_empty() {
            rows = rows.min(self.piece());
        }
        for &who in &waiting {
            if let Some(Demand::Prompt(unread)) = demands[who]
                && rows > 0
            {
                let n = unread.min(rows);
                rows -= n;
                seats.push(Seat { who, rows: n });
            }
        }
        for seat in &seats {
            self.served[seat.who] = self.pass;
        }
        seats
    }

    /// Prompt rows that fit the pause.
    fn piece(&self) -> usize {
        let rows = |seconds: f64| (self.limits.pause.as_secs_f64() / seconds) as usize;
        self.prompt_row.map_or(LEAST_PIECE, |seconds| rows(seconds).max(LEAST_PIECE))
    }

    /// Takes note of the time that a pass took whose rows were all of prompts, so many of them.
    pub fn measured(&mut self, prompt_rows: usize, time: Duration) {
        // Of a few rows most of the time is that of reading the weights.
        if prompt_rows >= LEAST_PIECE {
            let seconds = (time.as_secs_f64() / prompt_rows as f64).max(1e-9);
            self.prompt_row = Some(self.prompt_row.map_or(seconds, |known| known + LATEST * (seconds - known)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { rows: 512, written: 64, pause: Duration::from_millis(100) };

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
                let seats = scheduler.next(&demands);
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
                // A pass of prompts alone is full, or has all there is.
                let unread: usize = talks.iter().map(|talk| talk.unread).sum();
                if written == 0 {
                    assert_eq!(rows, unread.min(LIMITS.rows));
                    scheduler.measured(rows, time(&seats, &demands));
                } else {
                    let pause = Duration::from_micros(2000 * (rows - written) as u64);
                    assert!(pause <= LIMITS.pause, "written rows wait {pause:?} for prompts");
                }
                for who in 0..n {
                    waited[who] = if demands[who].is_none() || seen.contains(&who) { 0 } else { waited[who] + 1 };
                    // Written rows of 24 conversations of 16 take 6 passes; prompts take turns behind them.
                    let most = if matches!(demands[who], Some(Demand::Written(_))) { 8 } else { n };
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

    #[test]
    fn a_short_prompt_does_not_wait_for_a_long_one() {
        let mut scheduler = Scheduler::new(2, LIMITS);
        scheduler.next(&[Some(Demand::Prompt(100_000)), None]);
        scheduler.replace(1);
        let mut passes = 0;
        let mut served = false;
        while !served {
            passes += 1;
            let seats = scheduler.next(&[Some(Demand::Prompt(100_000)), Some(Demand::Prompt(30))]);
            served = seats.contains(&Seat { who: 1, rows: 30 });
        }
        assert!(passes <= 2, "{passes} passes");
    }

    #[test]
    fn a_prompt_alone_has_the_whole_batch_and_beside_an_answer_what_the_pause_holds() {
        let mut scheduler = Scheduler::new(2, LIMITS);
        assert_eq!(scheduler.next(&[Some(Demand::Prompt(2000)), None]), [Seat { who: 0, rows: 512 }]);
        scheduler.measured(512, Duration::from_millis(1024));
        let both = [Some(Demand::Prompt(1488)), Some(Demand::Written(1))];
        assert_eq!(scheduler.next(&both), [Seat { who: 1, rows: 1 }, Seat { who: 0, rows: 50 }]);
    }
}
