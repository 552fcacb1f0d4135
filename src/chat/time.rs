//! Dates for templates that name the day: `strftime` of Python for the directives that such templates use.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The present time (UTC) in the given format.
pub fn strftime_now(format: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    strftime(now, format)
}

/// The time `seconds` after 1970 (UTC) in the given format. A directive that is not known stays as it is.
fn strftime(seconds: u64, format: &str) -> String {
    let days = (seconds / 86_400) as i64;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = civil(days);
    // 1 January 1970 was a Thursday.
    let weekday = (days + 3).rem_euclid(7) as usize;
    let day_of_year = days - days_before(year) + 1;

    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        let directive = &rest[at + 1..];
        // `%-d`: without leading zeros
        let (padded, directive) = match directive.strip_prefix('-') {
            Some(directive) => (false, directive),
            None => (true, directive),
        };
        let number = |value: u64, width: usize| {
            if padded { format!("{value:0width$}") } else { value.to_string() }
        };
        let name = |full: &str, long: bool| full[..if long { full.len() } else { 3 }].to_owned();
        let text = match directive.chars().next() {
            Some('Y') => year.to_string(),
            Some('y') => number(year.rem_euclid(100) as u64, 2),
            Some('m') => number(month as u64 + 1, 2),
            Some('d') => number(day, 2),
            Some('e') => format!("{day:2}"),
            Some('j') => number(day_of_year as u64, 3),
            Some('H') => number(hour, 2),
            Some('I') => number((hour + 11) % 12 + 1, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('p') => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            Some(c @ ('B' | 'b' | 'h')) => name(MONTHS[month], c == 'B'),
            Some(c @ ('A' | 'a')) => name(DAYS[weekday], c == 'A'),
            Some('F') => strftime(seconds, "%Y-%m-%d"),
            Some('T') => strftime(seconds, "%H:%M:%S"),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            _ => {
                out.push('%');
                rest = &rest[at + 1..];
                continue;
            }
        };
        out += &text;
        rest = &directive[1..];
    }
    out + rest
}

/// Days from 1 January 1970 to 1 January of `year`, in the Gregorian calendar.
fn days_before(year: i64) -> i64 {
    let past = year - 1;
    past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}

/// Year, month from 0 and day from 1 of a number of days from 1 January 1970.
fn civil(days: i64) -> (i64, usize, u64) {
    // A guess that is right or one too early, since no year has more than 366 days.
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let leap = days_before(year + 1) - days_before(year) == 366;
    let mut day = days - days_before(year);
    let mut month = 0;
    for length in [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        let cases = [
            (0, "1970-01-01 Thursday 001 00:00:00 12 AM"),
            (951_782_400, "2000-02-29 Tuesday 060 00:00:00 12 AM"),
            (1_735_689_599, "2024-12-31 Tuesday 366 23:59:59 11 PM"),
            (1_772_366_400, "2026-03-01 Sunday 060 12:00:00 12 PM"),
            (4_107_542_400, "2100-03-01 Monday 060 00:00:00 12 AM"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(strftime(seconds, "%F %A %j %T %I %p"), expected);
        }
    }

    #[test]
    fn formats_that_templates_use() {
        assert_eq!(strftime(1_772_366_400, "%d %b %Y|%-d %B %y|%e|%%|%Q|%"), "01 Mar 2026|1 March 26| 1|%|%Q|%");
        assert_eq!(strftime(1_772_366_400, "é%-m%世"), "é3%世");
    }
}
