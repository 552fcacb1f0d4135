//! A model's file, opened: what can be known of it before any weight is read, and the start of a session with it.

use super::draft::Draft;
use super::expert_uses::ExpertUses;
use super::load::{draft_load, experts, feed_forwards, kept, mapped_load, names, own_embedding};
use super::plan::{DraftLoad, Expectation, Load, Looking, Plan, Wish};
use super::ready::Ready;
use super::run_error::RunError;
use super::runner::Runner;
use super::session::{AnswerOptions, Session, prompt_ids};
use super::shortage::NotEnoughMemory;
use crate::chat::offer::Offer;
use crate::chat::{self, Template};
use crate::compute::Compute;
use crate::gguf::{self, Fingerprint, Gguf, Note};
use crate::model::config::YarnConfig;
use crate::model::draft_file::DraftFile;
use crate::model::ffn_slots::SlotsError;
use crate::model::kv_type::HeadSize;
use crate::model::stream::Streaming;
use crate::model::{self, Config, Model};
use crate::platform::machine::{self, Facts};
use crate::sampler::Settings;
use crate::tokenizer::{self, Tokenizer};
use crate::vision::memory::VisionLoad;
use crate::vision::positions::VisionIds;
use crate::vision::viewer::{SizeLimit, Viewer, ViewerOptions};
use crate::vision::{self, VisionModel, weights};
use kernels::{Isa, Kernels};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Bytes that are read to find out how fast memory is.
const MEASURED: usize = 128 << 20;

/// Bytes of a second that a thread reads from memory where nothing is there to measure it with.
const ASSUMED: u64 = 8_000_000_000;

/// What a written token of a sparse model reaches of that rate beside its computing. On two cores of a Zen 4 the 35B-A3B, with
/// 77 % of its experts kept, was seen to reach 0.61.
const SHARE: f64 = 0.6;

/// A model's file with its vocabulary and template.
pub struct ModelFile {
    gguf: Gguf,
    config: Config,
    tokenizer: Arc<Tokenizer>,
    template: Template,
    notes: Vec<Note>,
}

/// Why a file is no model to talk to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be read, or is no GGUF.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// It is no model that this program runs.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Its vocabulary is not usable.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// Its chat template is not usable.
    #[error(transparent)]
    Template(#[from] chat::Error),
}

/// Why a session cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The file is no model to talk to.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A weight is missing, or not what it should be.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The file of the block for drafting has none for this model.
    #[error("the file of the block for drafting cannot be used")]
    DraftFile(#[source] model::Error),
    /// The file cannot be read.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// What was asked for does not fit into memory.
    #[error(transparent)]
    NotEnoughMemory(#[from] NotEnoughMemory),
    /// The context cannot be laid out so.
    #[error(transparent)]
    Context(#[from] RunError),
    /// Weights that do not fit cannot be read when they are used.
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// Keys and values cannot be stored so.
    #[error(transparent)]
    HeadSize(#[from] HeadSize),
    /// The vision tower is not usable.
    #[error("the vision file cannot be used")]
    Tower(#[from] weights::Error),
    /// The vocabulary has no places for pictures.
    #[error(transparent)]
    Vision(#[from] vision::Error),
    /// The system keeps no more memory in place.
    #[error("cannot lock the weights in memory")]
    Lock(#[source] std::io::Error),
    /// This CPU lacks the instruction-set level.
    #[error("{0}")]
    Isa(String),
    /// The vocabulary is larger than the embedding.
    #[error(
        "the vocabulary has {n_tokens} tokens, and token_embd.weight {n_vocab} rows: expected as many rows or more"
    )]
    Vocabulary {
        /// Tokens of the vocabulary.
        n_tokens: usize,
        /// Rows of the embedding.
        n_vocab: usize,
    },
}

/// Where the weights are while a session lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Residence {
    /// In the mapped file, which the system may drop and read again.
    #[default]
    Mapped,
    /// In the mapped file, which the system must keep in memory.
    Locked,
    /// Copied into memory.
    Copied,
}

/// Where a vision tower lies.
pub enum TowerFile {
    /// In the text model's own file.
    Inside,
    /// In a file of its own.
    Beside(Gguf),
}

impl TowerFile {
    /// The file; `model` is that of the text model.
    pub fn gguf<'g>(&'g self, model: &'g Gguf) -> &'g Gguf {
        match self {
            TowerFile::Inside => model,
            TowerFile::Beside(file) => file,
        }
    }
}

/// A vision tower to look with.
pub struct Tower {
    /// Where it lies.
    pub file: TowerFile,
    /// How closely to look.
    pub options: ViewerOptions,
    /// Pictures and clips whose rows are kept at once.
    pub n_input: usize,
    /// Whether a clip is among them.
    pub clips: bool,
    /// Whether it is needed; one that is not is left out where there is no memory for it.
    pub needed: bool,
}

impl Tower {
    /// The tower of the vision file `path`, with memory for one picture; more are a matter of [`Tower::n_input`].
    ///
    /// # Errors
    /// It cannot be read, or is no GGUF.
    pub fn open(path: impl AsRef<Path>) -> Result<Tower, gguf::Error> {
        let file = TowerFile::Beside(Gguf::open(path.as_ref())?);
        Ok(Tower { file, options: ViewerOptions::default(), n_input: 1, clips: false, needed: true })
    }
}

/// How a session starts.
#[derive(Default)]
pub struct StartOptions {
    /// What the memory plan is asked for.
    pub wish: Wish,
    /// Where the weights are.
    pub residence: Residence,
    /// Factor by which YaRN stretches the trained positions; 1 switches off what the file asks for.
    pub yarn: Option<f32>,
    /// Instruction-set level; the best of this CPU if `None`.
    pub isa: Option<Isa>,
    /// Threads; one for every performance core if `None`.
    pub threads: Option<usize>,
    /// Has the system give all memory at once.
    pub commit_memory: bool,
    /// How tokens are drafted, as far as there is memory for it.
    pub draft: Draft,
    /// What is known of how often experts are used, and where it is remembered; of use where not all fit.
    pub expert_uses: Option<ExpertUses>,
    /// A file with the block for drafting, which takes the place of the model's own.
    pub draft_file: Option<Gguf>,
    /// What looks at pictures.
    pub tower: Option<Tower>,
    /// How answers are made; as published for the model's size if `None`.
    pub answers: Option<AnswerOptions>,
    /// Seed of what is left to chance.
    pub seed: u64,
}

impl ModelFile {
    /// Opens the file of a text model, of a split one any of its files.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFile, OpenError> {
        let gguf = Gguf::open(path.as_ref())?;
        // A file of another kind is told so before anything that only a model has is missed.
        let config = Model::config(&gguf)?;
        let tokenizer = Arc::new(Tokenizer::from_gguf(&gguf)?);
        let template = Template::from_gguf(&gguf)?;
        let notes = [&config.notes[..], tokenizer.notes()].concat();
        Ok(ModelFile { gguf, config, tokenizer, template, notes })
    }

    /// The file itself.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// Tells this model from others, for what is kept of it beside its files. Computed when it is asked for.
    pub fn fingerprint(&self) -> Fingerprint {
        self.gguf.fingerprint()
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// How answers are made as published for the model's size.
    pub fn published_answers(&self, thinking: bool) -> AnswerOptions {
        AnswerOptions {
            thinking,
            think_budget: None,
            max_tokens: usize::MAX,
            loop_guard: true,
            sampling: Settings::published(self.config.is_large(), thinking, false),
        }
    }

    /// Tells this model from others wherever its files lie: for what is shipped with it.
    pub fn content_fingerprint(&self) -> Fingerprint {
        self.gguf.content_fingerprint()
    }

    /// Has the model think as hard as a word of [`chat::effort::WORDS`] says, where a prompt does not say it itself; returns the
    /// level of the template that it stands for, if there are such.
    pub fn set_effort(&mut self, word: &str) -> Option<&'static str> {
        let level = self.template.effort_of(word)?;
        self.template.set_effort(level);
        Some(level)
    }

    /// The ids of a conversation and the start of the next answer: messages as chat templates take them, with one
    /// placeholder for each picture and clip, and the functions that the model may call.
    ///
    /// # Errors
    /// When the template refuses the messages or cannot be run.
    pub fn prompt_ids(
        &self,
        messages: &[Value],
        offer: Option<&Offer>,
        thinking: bool,
    ) -> Result<Vec<u32>, chat::Error> {
        prompt_ids(&self.tokenizer, &self.template, messages, offer, thinking)
    }

    /// Starts a conversation: makes all of [`ModelFile::make_ready`] and a session of it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(self, options: StartOptions, progress: impl FnMut(u64, u64)) -> Result<Session, StartError> {
        let (seed, commit_memory) = (options.seed, options.commit_memory);
        let mut session = Session::new(self.make_ready(options, progress)?, seed);
        if commit_memory {
            session.commit_memory();
        }
        Ok(session)
    }

    /// Plans the memory, brings the weights to where they are wanted, and makes what conversations have in common.
    /// `progress` is told how much of the weights has been read, of how much.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn make_ready(
        mut self,
        mut options: StartOptions,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Ready, StartError> {
        let kernels = Kernels::select(options.isa).map_err(StartError::Isa)?;
        let threads = options.threads.unwrap_or_else(machine::performance_cores);
        if let Some(factor) = options.yarn {
            stretch(&mut self.config, factor);
        }
        let draft_file = options.draft_file.take();
        let draft_file = draft_file.as_ref().map(|file| DraftFile::new(file, &self.gguf, &self.config));
        let draft_file = draft_file.transpose().map_err(StartError::DraftFile)?;
        if let Some(file) = &draft_file {
            self.config.n_mtp = 1;
            self.config.forms = file.forms(self.config.forms);
        }
        let mut plan = self.plan(&options, draft_file.as_ref(), threads)?;
        self.load(&mut options, &plan, &mut progress)?;
        let mut model = Model::bind(&self.gguf)?;
        let uses = options.expert_uses.as_ref().map(ExpertUses::uses);
        model.stream_feed_forwards(&self.gguf, &plan.streaming, uses)?;
        if let Some(slots) = &model.slots {
            let read_rate = slots.fill(&mut progress);
            // Two threads read about twice as fast as one; more find the memory at its limit.
            let memory_rate = slots.memory_rate(MEASURED).unwrap_or(ASSUMED) as f64 * threads.min(2) as f64;
            let memory_rate = (SHARE * memory_rate) as u64;
            plan.expectation = plan.streaming.experts.and(read_rate).map(|read_rate| {
                let in_memory = (model.bytes_per_token() as u64, memory_rate);
                Expectation::new((plan.streaming.bytes, read_rate), in_memory)
            });
        }
        model.config.rope.yarn.clone_from(&self.config.rope.yarn);
        model.config.forms = self.config.forms;
        if let Some(file) = &draft_file {
            model.mtp = Some(file.block(&self.config).map_err(StartError::DraftFile)?);
            model.config.n_mtp = 1;
        }
        let (n_tokens, n_vocab) = (self.tokenizer.n_vocab(), model.n_vocab);
        if n_tokens > n_vocab {
            return Err(StartError::Vocabulary { n_tokens, n_vocab });
        }

        let answers = options.answers.take();
        let answers = answers.unwrap_or_else(|| self.published_answers(self.config.thinks_by_default()));
        let padding = self.tokenizer.padding();
        let banned = padding.chain(n_tokens as u32..n_vocab as u32).collect();

        if !matches!(plan.drafting, DraftLoad::Block(_)) {
            model.mtp = None;
        }
        let mut runner = Runner::new(Arc::new(model), Compute::new(kernels, threads), plan.settings)?;
        if let Some(uses) = options.expert_uses.take() {
            runner.remember_expert_uses(uses);
        }
        if plan.drafting != DraftLoad::None {
            runner.enable_drafts(options.draft);
        }
        let viewer = match options.tower.take_if(|_| plan.vision.total() > 0) {
            Some(tower) => Some(self.viewer(&tower, runner.compute(), &plan)?),
            None => None,
        };
        let notes = self.notes.iter().map(ToString::to_string).collect();
        let ModelFile { tokenizer, template, .. } = self;
        Ok(Ready { runner, tokenizer, template, viewer, answers, plan, notes, banned })
    }

    fn viewer(&mut self, tower: &Tower, compute: &mut Compute, plan: &Plan) -> Result<(Viewer, VisionIds), StartError> {
        let room = (plan.vision.image_tokens, plan.room_to_look());
        let viewer = Viewer::new(tower.file.gguf(&self.gguf), &tower.options, compute, room)?;
        self.notes.extend_from_slice(viewer.notes());
        let ids = vision_ids(&self.tokenizer, &self.gguf, &mut self.notes)?;
        Ok((viewer, ids))
    }

    fn plan(
        &self,
        options: &StartOptions,
        draft_file: Option<&DraftFile<'_>>,
        threads: usize,
    ) -> Result<Plan, StartError> {
        self.gguf.evict_headers();
        // Before the plan: what is planned is there.
        Model::check(&self.gguf)?;
        options.wish.kv.unwrap_or_default().check(self.config.head_dim)?;
        let held = options.residence != Residence::Mapped;
        let Some(tower) = &options.tower else { return Ok(self.plan_with(options, draft_file, None, threads)?) };
        let file = tower.file.gguf(&self.gguf);
        file.evict_headers();
        let (config, _) = VisionModel::check(file, self.config.n_embd)?;
        let vision = VisionLoad {
            config: &config,
            weights: match &tower.file {
                // With those of the model.
                TowerFile::Inside if held => 0,
                TowerFile::Beside(file) if held => file.file_bytes(),
                _ => weights::tensors(file).map(|tensor| tensor.bytes.len() as u64).sum(),
            },
            copies: weights::copies(file),
            image_tokens: match tower.options.limit {
                SizeLimit::Tokens(tokens) => Some(tokens),
                SizeLimit::Planned | SizeLimit::Time(_) => None,
            },
            n_input: tower.n_input,
            clips: tower.clips,
        };
        match self.plan_with(options, draft_file, Some(&vision), threads) {
            // A tower that only happens to be there is left out when it does not fit.
            Err(_) if !tower.needed => Ok(self.plan_with(options, draft_file, None, threads)?),
            plan => Ok(plan?),
        }
    }

    fn plan_with(
        &self,
        options: &StartOptions,
        draft_file: Option<&DraftFile<'_>>,
        vision: Option<&dyn Looking>,
        threads: usize,
    ) -> Result<Plan, NotEnoughMemory> {
        let (feed_forwards, experts) = (feed_forwards(&self.gguf, &self.config), experts(&self.gguf, &self.config));
        let way = options.wish.stream.unwrap_or_default();
        let mapped = Load { beside: options.wish.beside, ..mapped_load(&self.gguf, &self.config, threads) };
        let drafts = match draft_file {
            Some(file) if options.draft != Draft::Off => {
                DraftLoad::Block(file.tensors().map(|tensor| tensor.bytes.len() as u64).sum())
            }
            _ => draft_load(&self.gguf, &self.config, options.draft),
        };
        let load = match options.residence {
            Residence::Mapped => Load {
                vision,
                drafts,
                feed_forwards: &feed_forwards,
                way,
                experts: &experts,
                expert_uses: options.expert_uses.as_ref().map(|file| file.uses()),
                ..mapped
            },
            // All of the file is held then, and nothing of it can be dropped.
            Residence::Copied | Residence::Locked => {
                let drafts =
                    if let (DraftLoad::Block(_), None) = (drafts, draft_file) { DraftLoad::Block(0) } else { drafts };
                Load { vision, drafts, weights: self.gguf.file_bytes(), embedding: 0, mapped: false, ..mapped }
            }
        };
        Plan::choose(&load, &options.wish, &Facts::now())
    }

    /// Brings the weights to where they are wanted.
    fn load(
        &mut self,
        options: &mut StartOptions,
        plan: &Plan,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), StartError> {
        let residence = options.residence;
        let mut kept = kept(&self.gguf, &self.config, plan);
        let tower = options.tower.as_mut().filter(|_| plan.vision.total() > 0).map(|tower| &mut tower.file);
        match tower {
            None => {}
            Some(TowerFile::Inside) => kept.extend(names(weights::tensors(&self.gguf))),
            Some(TowerFile::Beside(file)) => {
                let all = names(weights::tensors(file));
                bring(file, residence, plan, &all, progress)?;
            }
        }
        bring(&mut self.gguf, residence, plan, &kept, progress)
    }
}

/// The hyper-parameters with the trained positions stretched.
fn stretch(config: &mut Config, factor: f32) {
    let n_ctx_orig = config.rope.yarn.as_ref().map_or(config.n_ctx_train, |yarn| yarn.n_ctx_orig);
    config.rope.yarn = (factor != 1.0).then(|| YarnConfig::with_factor(factor, n_ctx_orig));
}

/// Brings one file's weights to where they are wanted; of a mapped file, those of the names `kept`.
fn bring(
    gguf: &mut Gguf,
    residence: Residence,
    plan: &Plan,
    kept: &[String],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), StartError> {
    if residence == Residence::Copied {
        let total = gguf.file_bytes();
        gguf.copy_into_memory(|done| progress(done, total))?;
        return Ok(());
    }
    // An embedding that is not also the head is read a row a token: reading ahead there would only fill memory.
    if own_embedding(gguf).is_some()
        && let Some(embedding) = gguf.stored("token_embd.weight")
    {
        embedding.advise_random();
    }
    if plan.weights_fit {
        for (i, weight) in kept.iter().filter_map(|name| gguf.stored(name)).enumerate() {
            // What is streamed comes into memory when it is used.
            if plan.streaming == Streaming::default() {
                weight.load()
            } else {
                weight.prefetch()
            }
            progress(i as u64 + 1, kept.len() as u64);
        }
    }
    if residence == Residence::Locked {
        gguf.lock().map_err(StartError::Lock)?;
    }
    Ok(())
}

/// The vision tokens of a model's vocabulary: those of the well-known texts, or else of the ids that the file gives. `notes`
/// says which of its ids are ignored.
///
/// # Errors
/// If it lacks one.
pub fn vision_ids(tokenizer: &Tokenizer, gguf: &Gguf, notes: &mut Vec<Note>) -> vision::Result<VisionIds> {
    let id_of = |token: &str| {
        let key = match token {
            "<|vision_start|>" => "vision_start_token_id",
            "<|vision_end|>" => "vision_end_token_id",
            "<|image_pad|>" => "image_token_id",
            _ => "video_token_id",
        };
        let key = &format!("{}.{key}", gguf.string("general.architecture").ok().flatten().unwrap_or_default());
        let by_key = gguf.advice(key, tokenizer.n_vocab() as u64, notes).map(|id| id as u32);
        let by_text = tokenizer.added_token(token);
        if let (Some(found), Some(id)) = (by_key, by_text)
            && found != id
        {
            notes.push(Note::key(key, format!("found {found}, and {token} is {id}")));
        }
        by_text.or(by_key)
    };
    VisionIds::find(id_of)
}
