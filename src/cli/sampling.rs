//! How tokens are chosen: what the command line says, else what the model's file recommends, else what is published.

use clap::Args;
use qwen_edge::gguf::Gguf;
use qwen_edge::sampler::Settings;

/// How the next token is chosen; what is not given is as the file recommends, else as published for its size and mode.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Sampling (defaults: those in the file, else those published for the size and mode)")]
pub struct Sampling {
    /// Always take the likeliest token
    #[arg(long, conflicts_with = "temperature")]
    greedy: bool,

    /// Seed: the same one gives the same answer; -1 is random [default: random]
    #[arg(short, long, value_name = "N", value_parser = parse_seed)]
    seed: Option<Seed>,

    /// Temperature; 0 is greedy
    #[arg(long, visible_alias = "temp", value_name = "T")]
    temperature: Option<f32>,

    /// Choose among the K likeliest; 0 and -1 are all
    #[arg(long, value_name = "K", value_parser = parse_top_k)]
    top_k: Option<usize>,

    /// Choose among the likeliest that together have probability P
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,

    /// Drop tokens less likely than P times the likeliest
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,

    /// Subtracted once from the logit of every token written before
    #[arg(long, value_name = "X")]
    presence_penalty: Option<f32>,

    /// Subtracted from the logit of a token for every time it was written before
    #[arg(long, value_name = "X")]
    frequency_penalty: Option<f32>,

    /// Divides the logit of every token of the prompt and of those written before; 1 is none
    #[arg(long, visible_alias = "repeat-penalty", value_name = "X")]
    repetition_penalty: Option<f32>,
}

/// A seed, or none: a random one.
#[derive(Clone, Copy, Debug)]
struct Seed(Option<u64>);

fn parse_seed(text: &str) -> Result<Seed, String> {
    match text.parse() {
        Ok(seed) => Ok(Seed(Some(seed))),
        Err(_) if text == "-1" => Ok(Seed(None)),
        Err(_) => Err("expected a whole number, or -1 for a random one".to_owned()),
    }
}

fn parse_top_k(text: &str) -> Result<usize, String> {
    at_most(text)
        .map(|k| k.map_or(0, |k| usize::try_from(k).unwrap_or(usize::MAX)))
        .ok_or_else(|| "expected a whole number; 0 and -1 are all".to_owned())
}

/// A number of things at most; one below zero is no limit, as in other programs. `None` if it is not a whole number.
pub(super) fn at_most(text: &str) -> Option<Option<u64>> {
    match text.parse::<u64>() {
        Ok(n) => Some(Some(n)),
        Err(_) => text.parse::<i64>().ok().map(|_| None),
    }
}

impl Sampling {
    /// The settings to use, and notes about those of the file that are not used.
    ///
    /// # Errors
    /// If a setting that was given is out of its range.
    pub fn settings(&self, gguf: &Gguf, published: Settings) -> anyhow::Result<(Settings, Vec<String>)> {
        let (mut s, notes) = if self.greedy { (Settings::greedy(), Vec::new()) } else { recommended(gguf, published) };
        s.temperature = self.temperature.unwrap_or(s.temperature);
        s.top_k = self.top_k.unwrap_or(s.top_k);
        s.top_p = self.top_p.unwrap_or(s.top_p);
        s.min_p = self.min_p.unwrap_or(s.min_p);
        s.presence_penalty = self.presence_penalty.unwrap_or(s.presence_penalty);
        s.frequency_penalty = self.frequency_penalty.unwrap_or(s.frequency_penalty);
        s.repetition_penalty = self.repetition_penalty.unwrap_or(s.repetition_penalty);
        s.check()?;
        Ok((s, notes))
    }

    /// Whether a seed was given.
    pub fn gives_seed(&self) -> bool {
        self.seed.is_some_and(|seed| seed.0.is_some())
    }

    /// The seed that was given, else a random one.
    pub fn seed(&self) -> u64 {
        self.seed.and_then(|seed| seed.0).unwrap_or_else(random_seed)
    }
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Kept short enough to be typed again.
    RandomState::new().hash_one(std::process::id()) >> 32
}

/// The settings a file recommends for itself (the published files do not), and a note on each that makes no sense.
///
/// A file that names a temperature recommends a whole, in which what it does not name is off. Without one, what it
/// names changes the published settings. What makes no sense is as published.
fn recommended(gguf: &Gguf, published: Settings) -> (Settings, Vec<String>) {
    let mut notes = Vec::new();
    let mut read = |name: &str, expected: &str, meaning: &dyn Fn(f32) -> Option<f32>| {
        let key = format!("general.sampling.{name}");
        let value = gguf.get(&key)?;
        let setting = value.as_float().and_then(|v| meaning(v as f32));
        if setting.is_none() {
            notes.push(format!("note: the file's {key} should be {expected}, and is {}: ignored", value.describe()));
        }
        Some(setting)
    };
    let temperature = read("temp", "0 or more", &|v| (v >= 0.0 && v.is_finite()).then_some(v));
    // Below 1 there is no number of tokens to choose among, and above 1 no probability: no limit.
    let top_k = read("top_k", "a whole number", &|v| (v.fract() == 0.0).then(|| v.max(0.0)));
    let top_p = read("top_p", "above 0", &|v| (v > 0.0).then(|| v.min(1.0)));
    let min_p = read("min_p", "at most 1", &|v| (v <= 1.0).then(|| v.max(0.0)));
    let repetition_penalty = read("penalty_repeat", "above 0", &|v| (v > 0.0 && v.is_finite()).then_some(v));

    let whole = temperature.is_some_and(|temperature| temperature.is_some());
    let unnamed = if whole { Settings::default() } else { published };
    let pick = |read: Option<Option<f32>>, unnamed: f32, published: f32| match read {
        None => unnamed,
        Some(setting) => setting.unwrap_or(published),
    };
    let p = published;
    let settings = Settings {
        temperature: pick(temperature, unnamed.temperature, p.temperature),
        top_k: pick(top_k, unnamed.top_k as f32, p.top_k as f32) as usize,
        top_p: pick(top_p, unnamed.top_p, p.top_p),
        min_p: pick(min_p, unnamed.min_p, p.min_p),
        repetition_penalty: pick(repetition_penalty, unnamed.repetition_penalty, p.repetition_penalty),
        ..unnamed
    };
    (settings, notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwen_edge::gguf::Value;
    use qwen_edge::gguf::writer::Writer;

    const PUBLISHED: Settings = Settings { temperature: 0.7, top_p: 0.8, top_k: 20, presence_penalty: 1.5, ..NEUTRAL };
    const NEUTRAL: Settings = Settings {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repetition_penalty: 1.0,
    };

    fn of_file(keys: &[(&str, Value<'_>)]) -> (Settings, Vec<String>) {
        let mut writer = Writer::new();
        for (key, value) in keys {
            writer.key(&format!("general.sampling.{key}"), *value);
        }
        let gguf = Gguf::from_bytes(writer.to_bytes(|_| Vec::new())).unwrap();
        recommended(&gguf, PUBLISHED)
    }

    #[test]
    fn a_files_settings_are_taken_in_any_type_of_number() {
        assert_eq!(of_file(&[]), (PUBLISHED, vec![]));
        let whole = [("temp", Value::F64(0.5)), ("top_k", Value::F32(30.0)), ("min_p", Value::U8(0))];
        assert_eq!(of_file(&whole), (Settings { temperature: 0.5, top_k: 30, ..NEUTRAL }, vec![]));
        assert_eq!(of_file(&[("temp", Value::U32(0))]), (Settings { temperature: 0.0, ..NEUTRAL }, vec![]));
        // Without a temperature, the rest is published.
        let some = [("top_k", Value::I64(5)), ("penalty_repeat", Value::F32(1.25))];
        assert_eq!(of_file(&some), (Settings { top_k: 5, repetition_penalty: 1.25, ..PUBLISHED }, vec![]));
    }

    #[test]
    fn values_outside_that_mean_no_limit_are_none() {
        let temp = ("temp", Value::F32(0.5));
        for (key, value) in [
            ("top_k", Value::I32(0)),
            ("top_k", Value::I32(-1)),
            ("top_k", Value::F32(-1.0)),
            ("top_p", Value::F32(1.5)),
            ("top_p", Value::F32(f32::INFINITY)),
            ("min_p", Value::F32(-1.0)),
        ] {
            assert_eq!(of_file(&[temp, (key, value)]), (Settings { temperature: 0.5, ..NEUTRAL }, vec![]), "{key}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_noted_and_costs_nothing_else() {
        let nan = || Value::F32(f32::NAN);
        let good = ("top_k", Value::U32(7));
        for value in [nan(), Value::F32(-1.0), Value::Bool(true), Value::String(b"0.6"), Value::F32(f32::INFINITY)] {
            let (settings, notes) = of_file(&[("temp", value), good]);
            assert_eq!(settings, Settings { top_k: 7, ..PUBLISHED }, "{value:?}");
            assert_eq!(notes.len(), 1);
            assert!(notes[0].contains("general.sampling.temp should be 0 or more"), "{notes:?}");
        }
        let temp = ("temp", Value::F32(0.5));
        for (key, value, found) in [
            ("top_k", nan(), "f32 NaN"),
            ("top_k", Value::F32(1.5), "f32 1.5"),
            ("top_k", Value::String(b"many"), "a string"),
            ("top_k", Value::F32(f32::INFINITY), "f32 inf"),
            ("top_p", Value::F32(0.0), "f32 0"),
            ("top_p", Value::I8(-1), "i8 -1"),
            ("top_p", nan(), "f32 NaN"),
            ("top_p", Value::F64(1e-60), "f64 0."),
            ("min_p", Value::F32(1.5), "f32 1.5"),
            ("min_p", nan(), "f32 NaN"),
            ("penalty_repeat", Value::F32(0.0), "f32 0"),
            ("penalty_repeat", Value::F32(-1.0), "f32 -1"),
            ("penalty_repeat", Value::F32(f32::INFINITY), "f32 inf"),
        ] {
            let (settings, notes) = of_file(&[temp, (key, value)]);
            let mut expected = Settings { temperature: 0.5, ..NEUTRAL };
            match key {
                "top_k" => expected.top_k = PUBLISHED.top_k,
                "top_p" => expected.top_p = PUBLISHED.top_p,
                _ => {}
            }
            assert_eq!(settings, expected, "{key} {value:?}");
            assert!(notes.len() == 1 && notes[0].contains(&format!(" and is {found}")), "{notes:?}");
            assert_eq!(settings.check(), Ok(()));
        }
    }

    #[test]
    fn numbers_below_zero_mean_what_they_mean_elsewhere() {
        assert!(matches!(parse_seed("-1"), Ok(Seed(None))));
        assert!(matches!(parse_seed("18446744073709551615"), Ok(Seed(Some(u64::MAX)))));
        assert!(parse_seed("-2").is_err() && parse_seed("x").is_err());
        assert_eq!((parse_top_k("-1"), parse_top_k("0"), parse_top_k("40")), (Ok(0), Ok(0), Ok(40)));
        assert_eq!((at_most("-2"), at_most("7"), at_most("1.5"), at_most("")), (Some(None), Some(Some(7)), None, None));
    }
}
