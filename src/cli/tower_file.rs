//! Which vision tower a run looks with: the one that was named, the one in the model's own file, or one beside it.

use super::advice;
use super::sight::Sight;
use anyhow::{Context, bail, ensure};
use qwen_edge::engine::model_file::TowerFile;
use qwen_edge::gguf::Gguf;
use qwen_edge::vision::{self, VisionModel, config, weights};
use std::fmt;
use std::path::Path;

/// Why there is no vision tower.
#[derive(Debug)]
pub enum NoTower {
    /// None was given or looked for, or none is in the model's file or beside it.
    Absent,
    /// The user wants none.
    Unwanted,
    /// What is there does not fit: which file, and what is wrong.
    Misfit(String),
    /// There is no memory for it.
    NoMemory,
    /// The program cannot look at pictures.
    NotBuilt,
}

impl NoTower {
    /// Whether it is worth saying before anything is to be looked at.
    pub fn is_news(&self) -> bool {
        matches!(self, NoTower::Misfit(_) | NoTower::NoMemory)
    }
}

impl fmt::Display for NoTower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoTower::Absent => write!(
                f,
                "no vision file: start with --mmproj FILE, or put one whose name begins with mmproj beside the model"
            ),
            NoTower::Unwanted => write!(f, "no pictures: --no-mmproj leaves the vision file out"),
            NoTower::Misfit(misfit) => write!(f, "no pictures: {misfit}"),
            NoTower::NotBuilt => write!(f, "no pictures: this program was built without them"),
            NoTower::NoMemory => write!(f, "no pictures: there is no memory for the vision file beside the model"),
        }
    }
}

/// Opens a file whose tower fits a text model of width `n_embd`.
fn open_fitting(path: &Path, n_embd: usize) -> anyhow::Result<Gguf> {
    let file = Gguf::open(path)?;
    VisionModel::check(&file, n_embd).with_context(|| path.display().to_string())?;
    Ok(file)
}

/// Finds the tower for the text model `model` of width `n_embd`, whose file is `path`: the one that `sight` names, else the one in that file,
/// else the first one beside it that fits. One that is named is checked even if it is not `needed`, that is if nothing can
/// be looked at.
///
/// # Errors
/// If the one that is named does not fit, or none does and there is something to look at.
pub fn find(
    sight: &Sight,
    path: &Path,
    (model, n_embd): (&Gguf, usize),
    needed: bool,
) -> anyhow::Result<Result<TowerFile, NoTower>> {
    if sight.no_mmproj {
        ensure!(
            sight.is_empty(),
            "pictures and clips are looked at with the vision file, and --no-mmproj leaves it out"
        );
        return Ok(Err(NoTower::Unwanted));
    }
    if let Err(error) = vision::check_built() {
        ensure!(!sight.is_wanted(), error);
        return Ok(Err(NoTower::NotBuilt));
    }
    if let Some(named) = &sight.mmproj {
        let file = open_fitting(named, n_embd)?;
        return Ok(if needed { Ok(TowerFile::Beside(file)) } else { Err(NoTower::Absent) });
    }
    if !needed {
        return Ok(Err(NoTower::Absent));
    }
    let mut misfits = Vec::new();
    if config::is_inside(model) {
        match VisionModel::check(model, n_embd) {
            Ok(_) => return Ok(Ok(TowerFile::Inside)),
            Err(error) => misfits.push(format!("the vision tower in the model's file cannot be used: {error}")),
        }
    }
    for beside in weights::find_beside(path) {
        match open_fitting(&beside, n_embd) {
            Ok(file) => return Ok(Ok(TowerFile::Beside(file))),
            Err(error) => {
                misfits.push(format!("the vision file beside the model does not fit it: {}", advice::explain(&error)))
            }
        }
    }
    let others = match misfits.len() {
        0 if sight.is_empty() => return Ok(Err(NoTower::Absent)),
        0 => bail!(
            "pictures need a vision file: give --mmproj mmproj-F16.gguf (there is none beside {})",
            path.display()
        ),
        1 => "",
        _ => " (nor can another one be used)",
    };
    let misfit = format!("{}{others}", misfits.swap_remove(0));
    ensure!(sight.is_empty(), "pictures need a vision file, and {misfit}; give one that fits with --mmproj FILE");
    Ok(Err(NoTower::Misfit(misfit)))
}
