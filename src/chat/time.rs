//! Dates for templates that name the day: `strftime` of Python for the directives that such templates use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// The present time (UTC) in the given format, as `datetime.now().strftime` prints it.
pub fn strftime_now(format: &str) -> String {
    strftime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), format)
}

/// The time `since` 1970 (UTC) in the given format. A directive that is not known stays as it is.
pub fn strftime(since: Duration, format: &str) -> String {
    let seconds = since.as_secs();
    let days = (seconds / 86_400) as i64;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = civil(days);
    // 1 January 1970 was a Thursday.
    let weekday = (days + 3).rem_euclid(7);
    let sunday = (weekday + 1) % 7;
    let day_of_year = days - days_before(year);
    // A week of ISO 8601 belongs to the year of its Thursday.
    let thursday = days - weekday + 3;
    let iso_year = civil(thursday).0;
    let iso_week = (thursday - days_before(iso_year)) / 7 + 1;

    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at + 1..];
        // `%-d` is without leading zeros, `%_d` has spaces for them, `%^a` is in capitals.
        let directive = rest.trim_start_matches(['-', '_', '0', '^', '#']);
        let flags = &rest[..rest.len() - directive.len()];
        let padding = flags.chars().rfind(|flag| matches!(flag, '-' | '_' | '0'));
        let padded = |value: i64, width: usize, otherwise: char| match padding.unwrap_or(otherwise) {
            '-' => value.to_string(),
            '_' => format!("{value:width$}"),
            _ => format!("{value:0width$}"),
        };
        let number = |value: i64, width: usize| padded(value, width, '0');
        let name = |full: &str, long: bool| full[..if long { full.len() } else { 3 }].to_owned();
        let hour12 = ((hour + 11) % 12 + 1) as i64;
        let half = if hour < 12 { "AM" } else { "PM" };
        let text = match directive.chars().next() {
            Some('Y') => number(year, 1),
            Some('C') => number(year.div_euclid(100), 2),
            Some('y') => number(year.rem_euclid(100), 2),
            Some('m') => number(month as i64 + 1, 2),
            Some('d') => number(day as i64, 2),
            Some('e') => padded(day as i64, 2, '_'),
            Some('j') => number(day_of_year + 1, 3),
            Some('H') => number(hour as i64, 2),
            Some('k') => padded(hour as i64, 2, '_'),
            Some('I') => number(hour12, 2),
            Some('l') => padded(hour12, 2, '_'),
            Some('M') => number(minute as i64, 2),
            Some('S') => number(second as i64, 2),
            Some('f') => format!("{:06}", since.subsec_micros()),
            Some('s') => seconds.to_string(),
            Some('p') => half.to_owned(),
            Some('P') => half.to_ascii_lowercase(),
            Some(c @ ('B' | 'b' | 'h')) => name(MONTHS[month], c == 'B'),
            Some(c @ ('A' | 'a')) => name(DAYS[weekday as usize], c == 'A'),
            Some('u') => (weekday + 1).to_string(),
            Some('w') => sunday.to_string(),
            Some('U') => number((day_of_year + 7 - sunday) / 7, 2),
            Some('W') => number((day_of_year + 7 - weekday) / 7, 2),
            Some('V') => number(iso_week, 2),
            Some('G') => number(iso_year, 1),
            Some('g') => number(iso_year.rem_euclid(100), 2),
            Some('c') => strftime(since, "%a %b %e %H:%M:%S %Y"),
            Some('x' | 'D') => strftime(since, "%m/%d/%y"),
            Some('X' | 'T') => strftime(since, "%H:%M:%S"),
            Some('F') => strftime(since, "%Y-%m-%d"),
            Some('R') => strftime(since, "%H:%M"),
            Some('r') => strftime(since, "%I:%M:%S %p"),
            // The time of `datetime.now` has no zone.
            Some('Z' | 'z') => String::new(),
            Some('n') => "\n".to_owned(),
            Some('t') => "\t".to_owned(),
            Some('%') => "%".to_owned(),
            _ => {
                out.push('%');
                continue;
            }
        };
        out += &if flags.contains(['^', '#']) { text.to_uppercase() } else { text };
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
            assert_eq!(strftime(Duration::from_secs(seconds), "%F %A %j %T %I %p"), expected);
        }
    }

    /// What Python prints for them.
    #[test]
    fn formats_that_templates_use() {
        let format = "%a|%A|%w|%d|%b|%B|%h|%m|%y|%Y|%H|%I|%p|%M|%S|%f|%z|%Z|%j|%U|%W|%c|%x|%X|%%|%G|%u|%V|%C|\
                      %D|%e|%F|%g|%k|%l|%P|%r|%R|%T|%-d|%_d|%^a|%-H|%-I|%-m|%-j|%Q|%-M|%-y|%-S";
        let cases = [
            (
                1_772_366_400,
                "Sun|Sunday|0|01|Mar|March|Mar|03|26|2026|12|12|PM|00|00|000000|||060|09|08|\
                 Sun Mar  1 12:00:00 2026|03/01/26|12:00:00|%|2026|7|09|20|03/01/26| 1|2026-03-01|26|12|12|pm|\
                 12:00:00 PM|12:00|12:00:00|1| 1|SUN|12|12|3|60|%Q|0|26|0",
            ),
            (
                951_786_123,
                "Tue|Tuesday|2|29|Feb|February|Feb|02|00|2000|01|01|AM|02|03|000000|||060|09|09|\
                 Tue Feb 29 01:02:03 2000|02/29/00|01:02:03|%|2000|2|09|20|02/29/00|29|2000-02-29|00| 1| 1|am|\
                 01:02:03 AM|01:02|01:02:03|29|29|TUE|1|1|2|60|%Q|2|0|3",
            ),
            (
                1_735_689_599,
                "Tue|Tuesday|2|31|Dec|December|Dec|12|24|2024|23|11|PM|59|59|000000|||366|52|53|\
                 Tue Dec 31 23:59:59 2024|12/31/24|23:59:59|%|2025|2|01|20|12/31/24|31|2024-12-31|25|23|11|pm|\
                 11:59:59 PM|23:59|23:59:59|31|31|TUE|23|11|12|366|%Q|59|24|59",
            ),
        ];
        for (seconds, expected) in cases {
            assert_eq!(strftime(Duration::from_secs(seconds), format), expected);
        }
        assert_eq!(strftime(Duration::from_secs(1_772_366_400), "é%-m%世%|%"), "é3%世%|%");
    }
}
