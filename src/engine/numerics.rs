//! What the bits of a row depend on beside the rows before it: what was kept of rows is of use only where all of it is the same.
//!
//! As bytes it is the fingerprint of the model, 32 bytes, then for each setting its length u16, little-endian, and its text.

use super::runner::Runner;
use crate::gguf::Fingerprint;
use std::io::{self, Write};

/// Another number where the same rows get other bits with the same settings.
const VERSION: &str = "1";

/// A setting that differs: what it is, and that of the runner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtherSetting {
    /// What it is.
    pub what: &'static str,
    /// What was expected.
    pub expected: String,
}

/// Why rows are not those of a runner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Mismatch {
    Model,
    Setting(OtherSetting),
    /// The bytes are cut off, or no settings.
    Damaged,
}

/// See the top of this file.
pub(super) struct Numerics {
    model: Fingerprint,
    /// What each is, and how the runner has it.
    settings: [(&'static str, String); 4],
}

impl Numerics {
    /// Those of a runner, whose model has this fingerprint.
    pub fn of(runner: &Runner, model: &Fingerprint) -> Numerics {
        let settings = [
            ("storage of keys and values", runner.settings().kv.name().to_owned()),
            ("instruction-set level", runner.kernels().isa().to_string()),
            ("setting of rotary positions", format!("{:?}", runner.model().config.rope)),
            ("version of the arithmetic", VERSION.to_owned()),
        ];
        Numerics { model: *model, settings }
    }

    /// Writes them.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(self.model.as_bytes())?;
        self.settings.iter().try_for_each(|(_, value)| {
            out.write_all(&u16::try_from(value.len()).map_err(io::Error::other)?.to_le_bytes())?;
            out.write_all(value.as_bytes())
        })
    }

    /// Takes from `bytes` what [`Numerics::write`] has written of the same.
    pub fn take(&self, bytes: &mut &[u8]) -> Result<(), Mismatch> {
        let mut take = |n: usize| bytes.split_off(..n).ok_or(Mismatch::Damaged);
        if take(self.model.as_bytes().len())? != self.model.as_bytes() {
            return Err(Mismatch::Model);
        }
        for (what, expected) in &self.settings {
            let len = u16::from_le_bytes(take(2)?.try_into().expect("two bytes"));
            if take(len.into())? != expected.as_bytes() {
                return Err(Mismatch::Setting(OtherSetting { what, expected: expected.clone() }));
            }
        }
        Ok(())
    }
}
