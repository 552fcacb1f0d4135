//! The table of kernels of one level, chosen once at start.

use crate::{Isa, attention, deltanet, dense, qmatmul, vecmath};
use std::sync::LazyLock;

/// Every kernel of one instruction-set level. The families add their methods in their own modules.
pub struct Kernels {
    pub(crate) isa: Isa,
    pub(crate) qmatmul: qmatmul::Table,
    pub(crate) vecmath: vecmath::Table,
    pub(crate) deltanet: deltanet::Table,
    pub(crate) attention: attention::Table,
    pub(crate) dense: dense::Table,
}

impl Kernels {
    /// The kernels of `isa`, or of the best level of this CPU.
    ///
    /// # Errors
    /// A sentence naming the level and those available, when this CPU lacks it.
    pub fn select(isa: Option<Isa>) -> Result<&'static Kernels, String> {
        static TABLES: LazyLock<Vec<Kernels>> =
            LazyLock::new(|| Isa::available().into_iter().map(Kernels::table).collect());
        match isa {
            None => Ok(TABLES.last().expect("the scalar level is always there")),
            Some(isa) => TABLES.iter().find(|t| t.isa == isa).ok_or_else(|| {
                let names: Vec<_> = TABLES.iter().map(|t| t.isa.name()).collect();
                format!("this CPU has no {isa}; it has: {}", names.join(", "))
            }),
        }
    }

    /// Must only be called for an available level: the functions of the table rely on it.
    fn table(isa: Isa) -> Kernels {
        Kernels {
            isa,
            qmatmul: qmatmul::Table::of(isa),
            vecmath: vecmath::Table::of(isa),
            deltanet: deltanet::Table::of(isa),
            attention: attention::Table::of(isa),
            dense: dense::Table::of(isa),
        }
    }

    /// The level of this table.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}
