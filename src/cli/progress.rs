//! How far the fetching of a model is: on a terminal a line that is drawn over, elsewhere a line now and then.

use super::printable;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::fetch::download;
use qwen_edge::store::hub::listing::RemoteFile;
use qwen_edge::store::hub::pull::Event;
use qwen_edge::store::quant::file_name;
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often the line of a terminal is drawn, and how often a line is written elsewhere.
const DRAWN: Duration = Duration::from_millis(200);
const WRITTEN: Duration = Duration::from_secs(10);

/// What the rate is of.
const WINDOW: Duration = Duration::from_secs(8);

/// What is shown.
pub(super) struct FetchProgress {
    terminal: bool,
    /// How many bytes were there when.
    points: VecDeque<(Instant, u64)>,
    shown: Instant,
    drawn: bool,
}

impl FetchProgress {
    /// Nothing is fetched yet.
    pub fn new() -> FetchProgress {
        let terminal = std::io::stderr().is_terminal();
        FetchProgress { terminal, points: VecDeque::new(), shown: Instant::now(), drawn: false }
    }

    /// Something happened to a file.
    pub fn tell(&mut self, file: &RemoteFile, event: Event) {
        let name = printable::line(file_name(&file.path)).into_owned();
        let size = ByteSize(file.size);
        match event {
            Event::Present => self.say(&format!("{name}: {size}, here")),
            Event::Locked => self.say(&format!("{name}: another process is fetching it; waiting for that")),
            Event::Begins(0) => self.begin(0, &format!("{name}: {size}")),
            Event::Begins(there) => self.begin(there, &format!("{name}: {size}, {} of it here", ByteSize(there))),
            Event::Download(download::Event::There(there)) => self.draw(&name, there, file.size),
            Event::Download(download::Event::Waiting { why, wait }) => {
                self.say(&format!("{why}; trying again in {} s", wait.as_secs_f64().ceil()));
            }
            Event::Download(download::Event::Anew) => {
                self.say(&format!("{name}: what was here of it is damaged; it is fetched anew"));
                self.points.clear();
            }
            Event::Done => self.say(&format!("{name}: {size}, checked")),
        }
    }

    fn begin(&mut self, there: u64, line: &str) {
        self.say(line);
        self.points = VecDeque::from([(Instant::now(), there)]);
    }

    /// A line, on which nothing is drawn.
    pub fn say(&mut self, line: &str) {
        self.end();
        say!("{line}");
    }

    /// Nothing more is drawn on this line.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.drawn) {
            show!("\r\x1b[K");
        }
    }

    fn draw(&mut self, name: &str, there: u64, size: u64) {
        let now = Instant::now();
        if now - self.shown < if self.terminal { DRAWN } else { WRITTEN } {
            return;
        }
        self.shown = now;
        self.points.push_back((now, there));
        while self.points.len() > 2 && now - self.points[0].0 > WINDOW {
            self.points.pop_front();
        }
        let line = format!("{name}: {}", summary(&self.points, there, size));
        if self.terminal {
            show!("\r\x1b[K{line}");
            self.drawn = true;
        } else {
            say!("{line}");
        }
    }
}

/// Bytes, rate and the time that is left.
fn summary(points: &VecDeque<(Instant, u64)>, there: u64, size: u64) -> String {
    let percent = u128::from(there) * 100 / u128::from(size.max(1));
    let mut line = format!("{percent} % of {}", ByteSize(size));
    if let Some((since, before)) = points.front() {
        let seconds = points.back().map_or(0.0, |(last, _)| last.duration_since(*since).as_secs_f64());
        let rate = there.saturating_sub(*before) as f64 / seconds.max(1e-3);
        if seconds > 0.0 {
            line.push_str(&format!(", {}/s", ByteSize(rate as u64)));
            if rate > 0.0 {
                line.push_str(&format!(", {} left", duration(size.saturating_sub(there) as f64 / rate)));
            }
        }
    }
    line
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil().min(1e9) as u64;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_those_of_the_last_seconds() {
        let start = Instant::now();
        let points = VecDeque::from([(start, 1_000_000), (start + Duration::from_secs(2), 5_000_000)]);
        assert_eq!(summary(&points, 5_000_000, 10_000_000), "50 % of 10 MB, 2 MB/s, 3 s left");
        assert_eq!([59.1, 61.0, 7322.0].map(duration), ["1 min 0 s", "1 min 1 s", "2 h 2 min"]);
    }
}
