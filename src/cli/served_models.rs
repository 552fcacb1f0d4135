//! Which models `serve` offers: the files that are named and those of a folder, each under a name of its own.

use super::run::{open_error, open_model};
use super::sight::Sight;
use super::{advice, named, tower_file};
use anyhow::{bail, ensure};
use qwen_edge::engine::model_file::{ModelFile, OpenError};
use qwen_edge::gguf::Gguf;
use qwen_edge::model::{Config, Model};
use qwen_edge::serve::{ModelCard, seconds};
use qwen_edge::store::{folder, quant};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// A model that is offered.
pub(super) struct Offered {
    /// Its file.
    pub path: PathBuf,
    /// What clients are told of it.
    pub card: ModelCard,
    /// The first one is open: it is loaded at once.
    pub file: Mutex<Option<ModelFile>>,
}

/// Where the models are, and what one of them is called.
pub(super) struct Wanted<'a> {
    /// Files, or names of models on this machine.
    pub files: &'a [PathBuf],
    /// A folder.
    pub folder: Option<&'a Path>,
    /// The name of the only one.
    pub alias: Option<&'a str>,
    /// Where its vision file is.
    pub sight: &'a Sight,
}

impl Wanted<'_> {
    /// The models, those that are named first; the notes say what is left out of the folder.
    ///
    /// # Errors
    /// If a file that is named is no model, two models would have one name, or there is none.
    pub fn find(&self, notes: &mut Vec<String>) -> anyhow::Result<Vec<Offered>> {
        let mut all = Vec::new();
        for file in self.files {
            all.push(self.offered(named::file(file)?, all.is_empty())?);
        }
        if let Some(folder) = self.folder {
            ensure!(folder.is_dir(), "--models {}: expected a folder with GGUF files", folder.display());
            for entry in folder::plain(folder).into_iter().filter(|entry| entry.complete) {
                match self.offered(entry.path, all.is_empty()) {
                    Ok(model) if all.iter().any(|other: &Offered| other.card.is_called(&model.card.id)) => {
                        let name = model.path.display();
                        notes.push(format!("note: left out: {name}: there is another model of that name"));
                    }
                    Ok(model) => all.push(model),
                    Err(error) => notes.push(format!("note: left out: {}", advice::explain(&error))),
                }
            }
            ensure!(!all.is_empty(), "--models {}: no model that this program runs is there", folder.display());
        }
        if let Some(alias) = self.alias {
            ensure!(all.len() == 1, "--alias names one model, and there are {}", all.len());
            all[0].card.id = plain(alias);
        }
        for (i, Offered { path, card, .. }) in all.iter().enumerate() {
            if let Some(other) = all[..i].iter().find(|other| other.card.is_called(&card.id)) {
                let (a, b) = (other.path.display(), path.display());
                bail!("two models would be called {}: {a} and {b}; rename one of the files", card.id);
            }
        }
        Ok(all)
    }

    /// The model at a path; of the `first` one all is read but the weights, of the others what there is to tell.
    fn offered(&self, path: PathBuf, first: bool) -> anyhow::Result<Offered> {
        let (card, file) = if first {
            let file = open_model(&path)?;
            (self.card(&path, file.gguf(), file.config())?, Some(file))
        } else {
            let gguf = Gguf::open(&path)?;
            let config = Model::config(&gguf).map_err(|error| open_error(OpenError::from(error), &path))?;
            (self.card(&path, &gguf, &config)?, None)
        };
        Ok(Offered { path, card, file: Mutex::new(file) })
    }

    /// What clients are told of a model: of its path nothing but the name.
    fn card(&self, path: &Path, gguf: &Gguf, config: &Config) -> anyhow::Result<ModelCard> {
        let rows = gguf.tensor("token_embd.weight").and_then(|tensor| tensor.shape.first().copied());
        let tower = tower_file::find(self.sight, path, (gguf, config.n_embd), true)?;
        let stem = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy());
        Ok(ModelCard {
            id: plain(&stem),
            file_name: path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            architecture: gguf.string("general.architecture").ok().flatten().unwrap_or_default().to_owned(),
            fingerprint: format!("qwen-edge-{}-{}", env!("CARGO_PKG_VERSION"), &gguf.fingerprint().to_string()[..12]),
            created: seconds(SystemTime::now()) as u64,
            n_vocab: rows.unwrap_or(0),
            n_ctx_train: config.n_ctx_train,
            size: gguf.file_bytes(),
            n_param: gguf.tensors().map(|tensor| tensor.len() as u64).sum(),
            quant: quant::of_name(&path.to_string_lossy()),
            sees: tower.is_ok(),
        })
    }
}

impl Offered {
    /// Its file, opened now if it is not open already.
    ///
    /// # Errors
    /// If it cannot be.
    pub fn open(&self) -> anyhow::Result<ModelFile> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        file.map_or_else(|| open_model(&self.path), Ok)
    }
}

/// A name that can stand in an address.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.:+".contains(c) { c } else { '-' };
    name.chars().map(plain).collect()
}
