//! What goes where a folder has no room for what is to be written: what saves the fewest rows of reading for a byte of its own, aged
//! by use ([`crate::engine::greedy_dual`]), and the newest last.
//!
//! What comes later, in this program or another, goes on with the levels that are left in the folder:
//!
//! ```text
//! LEVEL                          of the folder
//! LEVEL USED NAME                of a file that was last of use at USED, in nanoseconds since 1970; what was of use since then
//!                                has the level of the folder
//! ```
//!
//! Levels are the bits of floats in hexadecimal digits. Where a line is missing or damaged, the level is the lowest.

use crate::engine::greedy_dual::Level;
use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a row of a picture at least: it saves the work of the tower and is no more than an embedding.
const PICTURE_ROW: f64 = 4096.0;

/// Bytes of a line at most.
const LINE: u64 = 128;

/// Something that is kept for its own sake, and not for another thing's.
pub(super) struct Owner {
    /// The name of its file.
    pub name: String,
    /// Bytes of that.
    pub bytes: u64,
    /// When it was last of use, and the level then.
    pub used: SystemTime,
    pub level: Level,
    /// Files that it needs and may share.
    pub pages: Vec<String>,
    pub saves: Saves,
}

/// What need not be done because something is kept.
pub(super) enum Saves {
    /// These rows need not be read.
    Rows(StateRows),
    /// A picture need not be looked at.
    Picture,
    /// Nothing: it is damaged, or of another version.
    Nothing,
}

/// The rows that a state stands for.
pub(super) struct StateRows {
    /// The key of no rows.
    pub base: [u8; 32],
    /// The keys of the rows, and how many of these are in the states.
    pub keys: Vec<u64>,
    pub n_base: usize,
}

impl StateRows {
    /// Rows of another that need not be read where this one is kept.
    fn n_known(&self, other: &StateRows) -> usize {
        let begins = self.base == other.base && other.keys.starts_with(&self.keys[..self.n_base]);
        if begins { self.n_base } else { 0 }
    }
}

/// The levels of a folder and of the files in it.
#[derive(Default)]
pub(super) struct Levels {
    folder: Level,
    of: HashMap<String, (u128, Level)>,
}

impl Levels {
    /// Those that were written.
    pub fn parse(text: &str) -> Levels {
        let level = |text: &str| {
            let level = f64::from_bits(u64::from_str_radix(text, 16).ok()?);
            (level.is_finite() && level >= 0.0).then_some(Level(level))
        };
        let mut lines = text.lines();
        let folder = lines.next().and_then(level).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (of, used, name) = (level(words.next()?)?, words.next()?.parse().ok()?, words.next()?);
            Some((name.to_owned(), (used, of)))
        };
        Levels { folder, of: lines.filter_map(line).collect() }
    }

    /// The level of the folder and those of what is left there, as text; none where all of them are the lowest.
    pub fn to_text(&self, owners: &[Owner]) -> Option<String> {
        let line = |owner: &Owner| {
            let Level(level) = owner.level;
            format!("{:x} {} {}\n", level.to_bits(), nanoseconds(owner.used), owner.name)
        };
        let text = || format!("{:x}\n", self.folder.0.to_bits()) + &owners.iter().map(line).collect::<String>();
        (self.folder != Level::default()).then(text)
    }

    /// Bytes of the text at most.
    pub fn most_bytes(n_owner: usize) -> u64 {
        LINE.saturating_mul(n_owner as u64 + 1)
    }

    fn of(&self, owner: &Owner) -> Level {
        let known = self.of.get(&owner.name).filter(|(used, _)| *used == nanoseconds(owner.used));
        known.map_or(self.folder, |(_, level)| *level)
    }
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos())
}

/// What is in a folder, and what is to be written.
pub(super) struct Contents<'a> {
    pub owners: &'a mut Vec<Owner>,
    /// Bytes of the pages that are there.
    pub pages: &'a HashMap<String, u64>,
    /// Pages that are to be written or stay, and the rows of what they are for.
    pub wanted: &'a HashSet<String>,
    pub new: &'a StateRows,
    /// Bytes of all that is there with what is to be written.
    pub total: u64,
}

impl Contents<'_> {
    /// Gives up what is worth least until all together has no more than `most` bytes, or nothing is left. Returns the names of the
    /// files that are to go.
    pub fn give_up(&mut self, most: u64, levels: &mut Levels) -> Vec<String> {
        let mut gone = Vec::new();
        self.owners.iter_mut().for_each(|owner| owner.level = levels.of(owner));
        while self.total > most {
            let newest = self.owners.iter().map(|owner| owner.used).max();
            let users = self.users();
            let worth = |(at, owner): (usize, &Owner)| {
                let worth = owner.level.worth(self.n_row(owner), owner.bytes + self.own_pages(owner, &users).1);
                (Some(owner.used) == newest, worth, owner.used, at)
            };
            let by_rank = |a: &(bool, f64, SystemTime, usize), b: &(bool, f64, SystemTime, usize)| {
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
            };
            let Some((_, worth, _, at)) = self.owners.iter().enumerate().map(worth).min_by(by_rank) else { break };
            levels.folder.rise(worth);
            let owner = &self.owners[at];
            let (pages, bytes) = self.own_pages(owner, &users);
            self.total -= owner.bytes + bytes;
            gone.extend(pages);
            gone.push(self.owners.swap_remove(at).name);
        }
        gone
    }

    /// How many need each page.
    fn users(&self) -> HashMap<String, usize> {
        let mut users = HashMap::new();
        for page in self.owners.iter().flat_map(|owner| &owner.pages).chain(self.wanted) {
            *users.entry(page.clone()).or_default() += 1;
        }
        users
    }

    /// The pages that nobody else needs, and their bytes.
    fn own_pages(&self, owner: &Owner, users: &HashMap<String, usize>) -> (Vec<String>, u64) {
        let own = owner.pages.iter().filter(|page| users.get(*page) == Some(&1));
        let there: Vec<(&String, u64)> = own.filter_map(|page| Some((page, *self.pages.get(page)?))).collect();
        (there.iter().map(|(page, _)| (*page).clone()).collect(), there.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Rows that are read anew where this one goes and the others stay.
    fn n_row(&self, owner: &Owner) -> f64 {
        match &owner.saves {
            Saves::Nothing => 0.0,
            Saves::Picture => owner.bytes as f64 / PICTURE_ROW,
            Saves::Rows(rows) => {
                let others = self.owners.iter().filter(|other| other.name != owner.name);
                let states = others.filter_map(|other| match &other.saves {
                    Saves::Rows(rows) => Some(rows),
                    Saves::Picture | Saves::Nothing => None,
                });
                let n_known = states.chain([self.new]).map(|other| other.n_known(rows)).max().unwrap_or(0);
                rows.keys.len().saturating_sub(n_known) as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A state of 1,000 bytes that stands for these rows, used at second `used`, with pages of two rows of 10 bytes each.
    fn owner(name: &str, rows: &[u64], used: u64) -> Owner {
        let pages = (1..=rows.len() / 2).map(|n| format!("{:?}", &rows[..2 * n])).collect();
        let saves = Saves::Rows(state(rows));
        let (used, level) = (UNIX_EPOCH + Duration::from_secs(used), Level::default());
        Owner { name: name.to_owned(), bytes: 1000, used, level, pages, saves }
    }

    fn state(rows: &[u64]) -> StateRows {
        StateRows { base: [1; 32], keys: rows.to_vec(), n_base: rows.len() }
    }

    /// What goes so that a state of these rows can be written where there is room for so many states with their pages.
    fn gone(owners: &mut Vec<Owner>, new: &[u64], n: u64, levels: &mut Levels) -> Vec<String> {
        let pages: HashMap<String, u64> =
            owners.iter().flat_map(|owner| owner.pages.iter().map(|page| (page.clone(), 10))).collect();
        let wanted: HashSet<String> = owner("new", new, 0).pages.into_iter().collect();
        let of_pages = pages.keys().filter(|page| !wanted.contains(*page)).count() as u64 * 10;
        let total = owners.len() as u64 * 1000 + of_pages + 1000 + wanted.len() as u64 * 10;
        let (pages, wanted, new) = (&pages, &wanted, &state(new));
        let mut gone = Contents { owners, pages, wanted, new, total }.give_up(n * 1100, levels);
        gone.retain(|name| !name.starts_with('['));
        gone
    }

    #[test]
    fn what_saves_the_fewest_rows_for_a_byte_goes_first_and_the_newest_last() {
        let many: Vec<u64> = (0..16).collect();
        let mut owners = vec![
            owner("long", &many, 1),
            owner("short", &[50, 51], 2),
            owner("longer", &[&many[..], &[90]].concat(), 3),
        ];
        // The last saves one row beyond the first, but is the newest.
        let mut levels = Levels::default();
        assert_eq!(gone(&mut owners, &[70, 71], 3, &mut levels), ["short"]);
        assert_eq!(gone(&mut owners, &[70, 71], 2, &mut levels), ["long"]);
        assert_eq!(gone(&mut owners, &[70, 71], 1, &mut levels), ["longer"]);
        assert_eq!(gone(&mut owners, &[70, 71], 0, &mut levels), [""; 0]);
    }

    #[test]
    fn what_a_new_state_makes_superfluous_is_worth_little() {
        let rows: Vec<u64> = (0..16).collect();
        let mut owners = vec![owner("behind", &rows, 1), owner("other", &[20, 21, 22, 23], 2), owner("last", &[40], 3)];
        assert_eq!(gone(&mut owners, &rows[..14], 3, &mut Levels::default()), ["behind"]);
    }

    #[test]
    fn what_is_not_used_ages_and_levels_are_taken_up_from_their_text() {
        let long: Vec<u64> = (0..8).collect();
        let mut owners = vec![owner("long", &long, 1)];
        let mut levels = Levels::default();
        // Short ones come and go, each of them of use once.
        let mut gone_after = 0;
        for i in 1..100 {
            let rows = [100 + 2 * i, 101 + 2 * i];
            owners.push(owner(&format!("short{i}"), &rows, 10 * i));
            let gone = gone(&mut owners, &[9, 9], 3, &mut levels);
            levels = Levels::parse(&levels.to_text(&owners).unwrap_or_default());
            if gone.iter().any(|name| name == "long") {
                gone_after = i;
                break;
            }
        }
        assert!((4..16).contains(&gone_after), "{gone_after}");
        // One that is of use again is as good as new.
        let old = owner("old", &long, 5);
        levels.of.insert("old".to_owned(), (nanoseconds(old.used), Level(0.0)));
        assert_eq!((levels.of(&old), levels.of(&owner("old", &long, 6))), (Level(0.0), levels.folder));
        assert!(levels.folder.0 > 0.0);
    }

    #[test]
    fn damaged_levels_are_the_lowest() {
        for text in ["", "x", "7ff0000000000000\n", "fff8000000000000\nzz 1 a\n1 a\n", "\u{0}\n\n"] {
            let levels = Levels::parse(text);
            assert_eq!((levels.folder, levels.of.len()), (Level(0.0), 0), "{text:?}");
        }
    }
}
