//! Arguments shared by the commands that run a model: instruction-set level and threads.

use anyhow::anyhow;
use clap::Args;
use kernels::{Isa, Kernels};
use qwen_edge::compute::Compute;
use qwen_edge::platform::machine::performance_cores;

/// How to compute.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Computing")]
pub struct Runtime {
    /// Instruction-set level [default: the best this CPU has]
    #[arg(long, value_name = "LEVEL")]
    pub isa: Option<Isa>,

    /// Threads [default: one for every performance core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl Runtime {
    /// The level and the threads asked for.
    ///
    /// # Errors
    /// If this CPU lacks the level.
    pub fn compute(&self) -> anyhow::Result<Compute> {
        let kernels = Kernels::select(self.isa).map_err(|e| anyhow!(e))?;
        Ok(Compute::new(kernels, self.n_threads()))
    }

    /// The number of threads asked for.
    pub fn n_threads(&self) -> usize {
        self.threads.map_or_else(performance_cores, usize::from)
    }
}
