//! The memory plan: what a model and a context will take, what there is, and the context that fits.
//!
//! The plan is made after the file's directory is read and before any weight is. It counts everything the process
//! allocates and the weights it maps, so a plan under a ceiling is a promise: [`Plan::total`] is not exceeded.

use super::byte_size::ByteSize;
use super::shortage::{Expected, Layout, MemoryLimit, NotEnoughMemory, Remedy};
use crate::engine::draft;
use crate::engine::runner::{RunnerBytes, Settings};
use crate::model::Config;
use crate::model::config::YarnConfig;
use crate::model::ffn_slots::{slot_bytes, slots_bytes};
use crate::model::forward;
use crate::model::kv_type::KvType;
use crate::model::memory::Memory;
use crate::model::mtp::{DraftMemory, Drafter};
use crate::model::stream::{ExpertsKept, StreamWay, Streaming, spread};
use crate::platform::machine::{self, Facts, Limiter};
use kernels::attention::PAGE;
use std::fmt;

/// The part of the free memory that keys and values may take when no context length is asked for: a quarter.
const KV_SHARE: u64 = 4;

/// The context that is tried when none is asked for and a quarter of the memory would hold less.
const LEAST_SHARE: usize = 4_096;

/// The shortest context that is tried when none is asked for.
const LEAST: usize = 512;

/// The context that is counted on when none is asked for and neither a ceiling nor the free memory is known.
const BLIND_CONTEXT: usize = 32_768;

/// Room for an answer that is added to a prompt whose length is known, in tokens.
const ANSWER: usize = 1_024;

/// The context when weights must be streamed and none is asked for: what would make more room is read for every token.
const STREAMING_CONTEXT: usize = 4_096;

/// Batch sizes tried when none is asked for, best first.
const BATCHES: [usize; 5] = [512, 256, 128, 64, 32];

/// Checkpoints of the state a conversation keeps to go back to, best first; fewer than the first of these only where memory is
/// short for the shortest batches.
const CHECKPOINTS: [usize; 3] = [2, 1, 0];

/// Allocated beside what is counted one by one: text, the sampler, the allocator's slack. Runs took up to 4 MB of it.
const RESERVE: u64 = 8 << 20;

/// A thread's share of that, beside its arena, which is counted: stack, and what the kernels keep for a thread. Sixteen
/// threads took 10 MB more than one, their arenas included.
const THREAD_RESERVE: u64 = 768 << 10;

/// Bytes a position of the context takes beside keys and values: what stands there, and its share of growing lists.
const POSITION: u64 = 36;

/// Bytes the system maps at once, at most, when one page of a file is touched.
const FAULT_AROUND: u64 = 64 << 10;

/// Bytes of the page cache that reads under way take where it is short.
const READING: u64 = 32 << 20;

/// Address space that a thread, of the team or the one that waits for signals, takes beside its touched memory: stack and the allocator's own arena.
const THREAD_ADDRESS_SPACE: u64 = 72 << 20;

/// What the user asked for; `None` leaves the choice to the plan.
#[derive(Clone, Copy, Default, Debug)]
pub struct Wish {
    /// Ceiling on everything.
    pub ceiling: Option<ByteSize>,
    /// Context length.
    pub n_ctx: Option<usize>,
    /// Storage of keys and values.
    pub kv: Option<KvType>,
    /// Tokens in a batch.
    pub n_batch: Option<usize>,
    /// Conversations at once, each of the context length; one where it is not said.
    pub n_sequence: Option<usize>,
    /// Checkpoints that are kept of each conversation if memory is not short; two where it is not said.
    pub n_checkpoint: Option<usize>,
    /// Bytes that the caller will take beside the model, such as those of a server's requests.
    pub beside: u64,
    /// Bytes that other models of this program may take by their plans, all else that it takes included; 0 where there
    /// are none. Beside them a plan must be about as good as it would be alone.
    pub taken: u64,
    /// How weights of a dense model are streamed that do not fit; as is sure on this system where it is not said.
    pub stream: Option<StreamWay>,
    /// Tokens of a prompt that is to be read, where they are known: without [`Wish::n_ctx`] the context is made to hold
    /// it.
    pub n_prompt: usize,
}

impl Wish {
    fn n_sequence(&self) -> usize {
        self.n_sequence.unwrap_or(1).max(1)
    }
}

/// What is to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Hyper-parameters.
    pub config: &'a Config,
    /// Rows of the vocabulary.
    pub n_vocab: usize,
    /// Bytes of the weights that every token reads; not those of blocks that stay unused.
    pub weights: u64,
    /// Bytes of an embedding that is not also the head: a token reads one row of it.
    pub embedding: u64,
    /// Of these the feed-forward of each layer of a dense model, which may be streamed; empty where none may.
    pub feed_forwards: &'a [u64],
    /// How those would be streamed.
    pub way: StreamWay,
    /// Of the weights the experts of each layer of a sparse model, which may be streamed; empty where none may.
    pub experts: &'a [ExpertLayer],
    /// How often each of them was used before, `[n_layer][n_expert]`, where that is known.
    pub expert_uses: Option<&'a [Vec<f32>]>,
    /// Whether the weights stay in the mapped file, which the system may drop and read again; else they are copied or locked.
    pub mapped: bool,
    /// Number of threads.
    pub threads: usize,
    /// What drafts tokens.
    pub drafts: DraftLoad,
    /// The vision tower beside the model, when something may be looked at.
    pub vision: Option<&'a dyn Looking>,
    /// Bytes that the caller will take beside the model.
    pub beside: u64,
}

/// The experts of a layer.
#[derive(Clone, Copy, Debug)]
pub struct ExpertLayer {
    /// How many.
    pub n: usize,
    /// Bytes of the matrices of each: gate, up and down.
    pub matrices: [usize; 3],
}

impl ExpertLayer {
    /// Bytes of each.
    fn bytes(&self) -> u64 {
        self.matrices.iter().map(|&bytes| bytes as u64).fold(0, u64::saturating_add)
    }
}

/// What drafts tokens, if anything does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DraftLoad {
    /// Nothing.
    #[default]
    None,
    /// Copying from the context.
    Copies,
    /// The multi-token-prediction block as well, whose weights are so many bytes beside [`Load::weights`].
    Block(u64),
}

impl DraftLoad {
    /// Bytes of it in a layout, for a vocabulary of `n_vocab`.
    fn bytes(self, config: &Config, n_vocab: usize, settings: &Settings) -> u64 {
        let Settings { n_ctx, n_sequence, n_batch, kv, .. } = *settings;
        // Every draft has logits of its own.
        let most = draft::MOST_EXTRA.max(draft::MOST_BLOCK.saturating_mul(n_sequence)).min(settings.limits().written);
        let logits = most.saturating_mul(n_vocab).saturating_mul(4) as u64;
        let copies = (draft::bytes(n_ctx) as u64).saturating_mul(n_sequence as u64).saturating_add(logits);
        match self {
            DraftLoad::None => 0,
            DraftLoad::Copies => copies,
            DraftLoad::Block(weights) => {
                let memories = DraftMemory::bytes(config, n_ctx).saturating_mul(n_sequence);
                let block = Drafter::bytes(config, n_ctx, n_sequence, kv).saturating_add(memories) as u64;
                // The hidden states of a batch that the block is shown.
                let trail = (n_batch as u64).saturating_mul(4 * config.n_embd as u64);
                [block, trail, copies].into_iter().fold(weights, u64::saturating_add)
            }
        }
    }
}

/// Something that looks at pictures and clips, beside the model.
pub trait Looking: fmt::Debug {
    /// The memory it takes where what it sees stands in a context of `n_ctx` tokens, with so many threads at work.
    fn memory(&self, n_ctx: usize, threads: usize) -> VisionMemory;
}

/// Memory that looking at pictures takes, in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct VisionMemory {
    /// Weights.
    pub weights: u64,
    /// Decoded weights.
    pub copies: u64,
    /// What the tower works in, and the rows it has made.
    pub buffers: u64,
    /// Most tokens of a picture the buffers are for.
    pub image_tokens: usize,
}

impl VisionMemory {
    /// All together.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.copies).saturating_add(self.buffers)
    }
}

/// Memory that is there.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// The user's ceiling.
    ceiling: Option<u64>,
    /// What the system still gives, and what limits it.
    free: Option<(u64, Limiter)>,
    /// Address space still free.
    address_space: Option<u64>,
    /// Memory to write to still free, and what limits it.
    data: Option<(u64, Limiter)>,
    /// Bytes the process takes already.
    allocated: u64,
}

impl<'a> Load<'a> {
    /// What a mapped model takes beside its weights, without drafts and pictures.
    pub fn without_weights(config: &'a Config, n_vocab: usize, threads: usize) -> Load<'a> {
        Load {
            config,
            n_vocab,
            weights: 0,
            embedding: 0,
            feed_forwards: &[],
            way: StreamWay::default(),
            experts: &[],
            expert_uses: None,
            mapped: true,
            threads,
            drafts: DraftLoad::None,
            vision: None,
            beside: 0,
        }
    }
}

/// What is expected of a sparse model of which not all fits, by what was measured when it was loaded.
#[derive(Clone, Copy, Debug)]
pub struct Expectation {
    /// Bytes of a second that are read of experts here and there.
    pub read_rate: u64,
    /// Tokens a second: a token's experts are read from the file, then all that it reads from memory.
    pub tokens_per_second: f64,
}

impl Expectation {
    /// Where a token reads so many bytes of experts from the file, and so many in all from memory, at rates in bytes a second.
    pub fn new((read, read_rate): (u64, u64), (in_memory, memory_rate): (u64, u64)) -> Expectation {
        let seconds = |bytes: u64, rate: u64| bytes as f64 / rate.max(1) as f64;
        let tokens_per_second = 1.0 / (seconds(read, read_rate) + seconds(in_memory, memory_rate)).max(1e-9);
        Expectation { read_rate, tokens_per_second }
    }
}

/// The choice.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Layout of the context.
    pub settings: Settings,
    /// Positions the model can tell apart: those it was trained on, stretched where YaRN is in use.
    pub longest: usize,
    /// Bytes of weights that are in memory at once.
    pub weights: u64,
    /// What is dropped after use and read again.
    pub streaming: Streaming,
    /// Bytes of the weights' memory that are read into slots, and not mapped.
    slots: u64,
    /// How fast experts are read that are not kept, and tokens written with them, where it was measured.
    pub expectation: Option<Expectation>,
    /// Whether the weights stay in the mapped file.
    pub mapped: bool,
    /// Bytes of the context, by purpose.
    pub context: RunnerBytes,
    /// Bytes of the checkpoints of the recurrent state.
    pub checkpoints: u64,
    /// Bytes that drafting takes, its block's weights included; 0 without it.
    pub drafts: u64,
    /// What drafts.
    pub drafting: DraftLoad,
    /// Bytes that looking at pictures takes; zeros without it.
    pub vision: VisionMemory,
    /// Bytes of the rest of the program.
    pub program: u64,
    /// The user's ceiling.
    pub ceiling: Option<ByteSize>,
    /// Bytes the system had free when the plan was made, and what limits it.
    pub free: Option<(u64, Limiter)>,
    /// Bytes the process took already when the plan was made.
    allocated: u64,
    /// False when the mapped weights are more than the free memory beside the rest: every pass then reads from the disk.
    pub weights_fit: bool,
}

impl Plan {
    /// Chooses the context that fits: the one wished for, or the best of those that the wish leaves open.
    ///
    /// # Errors
    /// If none fits; the error says what would.
    pub fn choose(load: &Load<'_>, wish: &Wish, facts: &Facts) -> Result<Plan, NotEnoughMemory> {
        let Facts { usage, free, address_space, data } = *facts;
        let allocated = usage.anonymous + usage.file;
        let alone = Room {
            ceiling: wish.ceiling.map(|ByteSize(n)| n),
            free,
            address_space,
            data,
            // The file pages of this moment are those of the program itself.
            allocated,
        };
        if free.is_none() && wish.ceiling.is_none() {
            // A machine that does not say what it has is not endless: who knows it says what may be taken.
            let plan = Plan::choose_within(&Load { drafts: DraftLoad::None, ..*load }, wish, &alone)?;
            let Layout { n_ctx, kv, total, .. } = plan.layout();
            let limit = MemoryLimit::Unknown;
            return Err(NotEnoughMemory { needed: total, n_ctx, kv, limit, remedy: Remedy::SetCeiling(total) });
        }
        if wish.taken == 0 {
            return Plan::choose_drafting(load, wish, &alone);
        }
        // What others are allowed and have not taken yet is free no more.
        let to_come = wish.taken.saturating_sub(allocated);
        let room = Room {
            free: alone.free.map(|(free, limiter)| (free.saturating_sub(to_come), limiter)),
            address_space: alone.address_space.map(|free| free.saturating_sub(to_come)),
            data: alone.data.map(|(free, limiter)| (free.saturating_sub(to_come), limiter)),
            allocated: allocated + to_come,
            ..alone
        };
        Plan::choose_beside(load, wish, &room, &alone)
    }

    /// The plan for a model beside others, if these do it no harm that counts.
    fn choose_beside(load: &Load<'_>, wish: &Wish, room: &Room, alone: &Room) -> Result<Plan, NotEnoughMemory> {
        let (plan, best) = (Plan::choose_drafting(load, wish, room)?, Plan::choose_drafting(load, wish, alone)?);
        let is_as_good = plan.settings.n_ctx >= best.settings.n_ctx / 2
            && plan.settings.kv == best.settings.kv
            && plan.streaming.layers == best.streaming.layers
            && plan.streaming.experts.map_or(usize::MAX, |kept| kept.n)
                >= best.streaming.experts.map_or(usize::MAX, |kept| kept.n / 2)
            && plan.weights_fit == best.weights_fit;
        if is_as_good {
            return Ok(plan);
        }
        let Layout { n_ctx, kv, total, .. } = best.layout();
        let limit = plan.limit().unwrap_or(MemoryLimit::Ceiling(wish.taken));
        Err(NotEnoughMemory { needed: total, n_ctx, kv, limit, remedy: Remedy::AskFor(Box::new(plan.layout())) })
    }

    /// The plan that drafts as it should, if nothing else has to shrink for that; else one with fewer sources of drafts.
    fn choose_drafting(load: &Load<'_>, wish: &Wish, room: &Room) -> Result<Plan, NotEnoughMemory> {
        let plain = Plan::choose_within(&Load { drafts: DraftLoad::None, ..*load }, wish, room)?;
        let wanted = [load.drafts, DraftLoad::Copies].into_iter().filter(|_| load.drafts != DraftLoad::None);
        let plans = wanted.filter_map(|drafts| Plan::choose_within(&Load { drafts, ..*load }, wish, room).ok());
        let is_as_good = |plan: &Plan| {
            let parts = |plan: &Plan| (plan.settings, plan.streaming.layers, plan.streaming.experts, plan.weights_fit);
            parts(plan) == parts(&plain)
        };
        Ok(plans.into_iter().find(is_as_good).unwrap_or(plain))
    }

    /// The plan of given settings, whatever the machine has.
    pub fn unlimited(load: &Load<'_>, settings: Settings) -> Plan {
        let allocated = machine::usage().anonymous;
        let room = Room { ceiling: None, free: None, address_space: None, data: None, allocated };
        Plan::of(load, settings, &room, Streamed::Nothing)
    }

    fn choose_within(load: &Load<'_>, wish: &Wish, room: &Room) -> Result<Plan, NotEnoughMemory> {
        let candidates = candidates(load.config, wish, room);
        let plans = || candidates.iter().map(|&settings| Plan::of(load, settings, room, Streamed::Nothing));
        let fits = |p: &Plan| p.fits(load, room);
        // Weights that the system can keep come first, then as many as it can; a mapped file that is larger than all of
        // that still runs, from the disk.
        let streamed = || Plan::streamed(load, wish, room).filter(fits);
        let uncached = || plans().find(|p| p.obstacle(load, room).is_none());
        if let Some(plan) = plans().find(fits).or_else(streamed).or_else(uncached) {
            return Ok(plan);
        }

        let smallest = plans().next_back().expect("there is always a candidate");
        let limit = smallest.obstacle(load, room).expect("no candidate fits");
        let free_wish =
            Wish { ceiling: wish.ceiling, n_sequence: wish.n_sequence, n_prompt: usize::MAX, ..Wish::default() };
        let open = || {
            self::candidates(load.config, &free_wish, room)
                .into_iter()
                .map(|s| Plan::of(load, s, room, Streamed::Nothing))
        };
        let would_fit = open().find(|p| p.obstacle(load, room).is_none());
        let would_fit = would_fit.or_else(|| Plan::streamed(load, &free_wish, room).filter(fits));
        let remedy = match would_fit {
            Some(plan) => Remedy::AskFor(Box::new(plan.layout())),
            None => {
                let least = open().next_back().expect("there is always a candidate");
                Remedy::SmallerModel(Box::new(Plan::of(load, least.settings, room, Streamed::most(load)).layout()))
            }
        };
        let Layout { n_ctx, kv, total, .. } = smallest.layout();
        Err(NotEnoughMemory { needed: total, n_ctx, kv, limit, remedy })
    }

    /// The plan that streams as little as will do, with the least memory for the rest; one that streams all when that is not
    /// enough, and none where nothing can be streamed.
    fn streamed(load: &Load<'_>, wish: &Wish, room: &Room) -> Option<Plan> {
        let needed = if needed(wish) > longest(load.config) { 0 } else { needed(wish) };
        let n_ctx = wish.n_ctx.unwrap_or(STREAMING_CONTEXT.max(needed).min(longest(load.config)));
        let mut candidates = candidates(load.config, &Wish { n_ctx: Some(n_ctx), ..*wish }, room);
        if !load.experts.is_empty() {
            // A batch reads nearly all experts that are missing: a large one is worth some of those that are kept.
            let kept = |plan: &Plan| plan.streaming.experts.map_or(0, |kept| kept.n);
            let least = Plan::with_most_experts(load, *candidates.last()?, room);
            let good = candidates.iter().map(|&settings| Plan::with_most_experts(load, settings, room));
            return good
                .filter(|plan| plan.fits(load, room))
                .find(|plan| 8 * kept(plan) >= 7 * kept(&least))
                .or(Some(least));
        }
        let smallest = candidates.pop().expect("there is always a candidate");
        let plan = |n| Plan::of(load, smallest, room, Streamed::Layers(n));
        // What is in memory at once saves nothing. The more are streamed, the less it takes.
        let (mut least, mut most) = (if load.way == StreamWay::Map { 2 } else { 3 }, load.feed_forwards.len());
        if most < least {
            return None;
        }
        while least < most {
            let middle = least.midpoint(most);
            if plan(middle).fits(load, room) {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
        Some(plan(least))
    }

    /// The plan of these settings that keeps as many experts as there is room for; where there is none, it keeps none.
    fn with_most_experts(load: &Load<'_>, settings: Settings, room: &Room) -> Plan {
        let plan = |n| Plan::of(load, settings, room, Streamed::Experts(n));
        let (mut least, mut most) = (0, load.experts.iter().map(|layer| layer.n).sum::<usize>());
        while least < most {
            let middle = least + (most - least).div_ceil(2);
            if plan(middle).fits(load, room) {
                least = middle;
            } else {
                most = middle - 1;
            }
        }
        plan(least)
    }

    /// Whether all of it fits, the weights that are mapped included.
    fn fits(&self, load: &Load<'_>, room: &Room) -> bool {
        self.weights_fit && self.obstacle(load, room).is_none()
    }

    fn of(load: &Load<'_>, settings: Settings, room: &Room, streamed: Streamed) -> Plan {
        let looked_up = (settings.n_ctx as u64).saturating_mul(4 * load.config.n_embd as u64 + FAULT_AROUND);
        let InMemory { streaming, absent, slots } = InMemory::of(load, streamed);
        let weights = load.weights.saturating_add(load.embedding.min(looked_up)).saturating_sub(absent);
        let weights = weights.saturating_add(slots);
        let context = RunnerBytes::of(load.config, load.n_vocab, &settings);
        let checkpoint = Memory::checkpoint_bytes(load.config) as u64;
        let arena = forward::arena_len(load.config, settings.limits(), load.threads).saturating_mul(size_of::<f32>());
        let threads = (load.threads as u64).saturating_mul(THREAD_RESERVE.saturating_add(arena as u64));
        let positions = (settings.n_ctx as u64).saturating_mul(settings.n_sequence as u64).saturating_mul(POSITION);
        let program = [copies(load.config), positions, RESERVE, threads, load.beside];
        let mut plan = Plan {
            settings,
            longest: longest(load.config),
            weights,
            streaming,
            slots,
            expectation: None,
            mapped: load.mapped,
            context,
            checkpoints: checkpoint.saturating_mul(settings.n_checkpoint as u64 * settings.n_sequence as u64),
            drafts: load.drafts.bytes(load.config, load.n_vocab, &settings),
            drafting: load.drafts,
            vision: load.vision.map_or(VisionMemory::default(), |v| v.memory(settings.n_ctx, load.threads)),
            program: program.into_iter().fold(room.allocated, u64::saturating_add),
            ceiling: room.ceiling.map(ByteSize),
            free: room.free,
            allocated: room.allocated,
            weights_fit: true,
        };
        // What is read goes through the page cache, which has no more than that then.
        let cached = if slots > 0 { READING } else { 0 };
        let fits = |bytes: u64| room.free.is_none_or(|(free, _)| bytes.saturating_add(cached) <= free);
        plan.weights_fit = fits(plan.total() - room.allocated);
        let is_streamed = !matches!(streamed, Streamed::Nothing);
        plan.streaming.uncached = is_streamed && !fits((plan.total() - room.allocated).saturating_add(absent));
        plan
    }

    /// Everything the process will have allocated, and the weights it maps, in bytes.
    pub fn total(&self) -> u64 {
        let parts = [self.context.total() as u64, self.checkpoints, self.drafts, self.vision.total(), self.program];
        parts.into_iter().fold(self.weights, u64::saturating_add)
    }

    /// The same without what the process had allocated when the plan was made.
    pub fn own(&self) -> u64 {
        self.total() - self.allocated
    }

    /// Bytes that looking at one picture or clip may take: what is planned for it, and what nothing is planned for.
    pub fn room_to_look(&self) -> u64 {
        let free = self.free.map(|(free, _)| free.saturating_add(self.allocated));
        let limit = self.ceiling.map(|ByteSize(n)| n).into_iter().chain(free).min().unwrap_or(u64::MAX);
        self.vision.buffers.saturating_add(limit.saturating_sub(self.total()))
    }

    /// The limit that this plan keeps to: the caller's ceiling, or what the system had free; `None` where neither is known.
    pub fn limit(&self) -> Option<MemoryLimit> {
        let ceiling = self.ceiling.map(|ByteSize(n)| MemoryLimit::Ceiling(n));
        ceiling.or(self.free.map(|(free, limiter)| MemoryLimit::System(limiter, free)))
    }

    /// What errors say of the plan.
    fn layout(&self) -> Layout {
        let Settings { n_ctx, kv, n_batch, .. } = self.settings;
        Layout { n_ctx, kv, n_batch, total: self.total(), weights: self.weights, streaming: self.streaming }
    }

    /// What stands in the way of this plan.
    fn obstacle(&self, load: &Load<'_>, room: &Room) -> Option<MemoryLimit> {
        if let Some(ceiling) = room.ceiling
            && self.total() > ceiling
        {
            return Some(MemoryLimit::Ceiling(ceiling));
        }
        let of_block = if let DraftLoad::Block(weights) = self.drafting { weights } else { 0 };
        let weights = if self.mapped { self.weights - self.slots + self.vision.weights + of_block } else { 0 };
        let to_allocate = self.total().saturating_sub(weights).saturating_sub(room.allocated);
        let threads = (load.threads as u64 + 1) * THREAD_ADDRESS_SPACE;
        let limits = [
            room.free.map(|(free, limiter)| (limiter, free, to_allocate)),
            room.address_space.map(|free| (Limiter::AddressSpace, free, to_allocate.saturating_add(threads))),
            room.data.map(|(free, limiter)| (limiter, free, to_allocate)),
        ];
        let exceeded = limits.into_iter().flatten().find(|&(_, free, needed)| needed > free);
        exceeded.map(|(limiter, free, _)| MemoryLimit::System(limiter, free))
    }
}

/// What is streamed.
#[derive(Clone, Copy, Debug)]
enum Streamed {
    /// Nothing: all weights stay.
    Nothing,
    /// The feed-forwards of so many layers of a dense model.
    Layers(usize),
    /// Experts; so many of all layers stay.
    Experts(usize),
}

impl Streamed {
    /// As much as can be.
    fn most(load: &Load<'_>) -> Streamed {
        if load.experts.is_empty() { Streamed::Layers(load.feed_forwards.len()) } else { Streamed::Experts(0) }
    }
}

/// Where the weights are when some are streamed.
struct InMemory {
    streaming: Streaming,
    /// Bytes of the mapped weights that are not in memory at once.
    absent: u64,
    /// Bytes of memory that they are read into.
    slots: u64,
}

impl InMemory {
    fn of(load: &Load<'_>, streamed: Streamed) -> InMemory {
        match streamed {
            Streamed::Nothing => InMemory { streaming: Streaming::default(), absent: 0, slots: 0 },
            Streamed::Layers(n) => InMemory::of_layers(load, n),
            Streamed::Experts(n) => InMemory::of_experts(load, n),
        }
    }

    fn of_layers(load: &Load<'_>, n: usize) -> InMemory {
        let mut streaming = Streaming { layers: n, way: load.way, ..Streaming::default() };
        let mut largest = 0;
        for il in spread(load.feed_forwards.len(), n) {
            streaming.bytes += load.feed_forwards[il];
            largest = largest.max(load.feed_forwards[il]);
        }
        if load.way == StreamWay::Read && n > 0 {
            // However its bytes are shared among gate, up and down.
            let slot = usize::try_from(largest).map_or(usize::MAX, |bytes| slot_bytes([bytes, 8192, 8192]));
            let layers = std::iter::repeat_n((slot, 0, 1), n);
            return InMemory { streaming, absent: apart(streaming.bytes, n), slots: slots_bytes(layers) };
        }
        InMemory { streaming, absent: apart(streaming.bytes - largest, n), slots: 0 }
    }

    fn of_experts(load: &Load<'_>, n: usize) -> InMemory {
        let n_layer = load.experts.len();
        let of = load.experts.iter().map(|layer| layer.n).sum();
        let known = load.expert_uses.is_some_and(|uses| !uses.is_empty());
        let kept = ExpertsKept { n, of, bytes: 0, known };
        let layers = load.experts.iter().enumerate();
        let slots = slots_bytes(
            layers.clone().map(|(il, layer)| (slot_bytes(layer.matrices), kept.kept_in(il, n_layer), layer.n)),
        );
        let n_used = load.config.experts.map_or(0, |experts| experts.n_used) as f64;
        let missed = |(il, layer): (usize, &ExpertLayer)| {
            let uses = load.expert_uses.and_then(|uses| uses.get(il));
            n_used * layer.bytes() as f64 * (1.0 - share_served(layer.n, kept.kept_in(il, n_layer), uses))
        };
        let streaming = Streaming {
            experts: Some(ExpertsKept { bytes: slots, ..kept }),
            way: StreamWay::Read,
            bytes: layers.map(missed).sum::<f64>() as u64,
            ..Streaming::default()
        };
        let all = |layer: &ExpertLayer| layer.bytes().saturating_mul(layer.n as u64);
        let absent = load.experts.iter().map(all).fold(0, u64::saturating_add);
        // The three tensors of a layer lie apart in some files.
        InMemory { streaming, absent: apart(absent, 3 * n_layer), slots }
    }
}

/// Bytes of weights in `n` places that stay out of memory: the pages at their ends come and go with their neighbours'.
fn apart(bytes: u64, n: usize) -> u64 {
    bytes.saturating_sub((2 * FAULT_AROUND).saturating_mul(n as u64))
}

/// The share of uses that the `kept` most used of `n` experts serve: as often as they were used before, and once more each, since
/// one that no row has used yet is not one that none will; all alike where nothing is known.
fn share_served(n: usize, kept: usize, uses: Option<&Vec<f32>>) -> f64 {
    let mut uses = uses.cloned().unwrap_or_else(|| vec![0.0; n.max(1)]);
    uses.sort_by(|a, b| b.total_cmp(a));
    let sum = |uses: &[f32]| uses.iter().map(|&uses| f64::from(uses) + 1.0).sum::<f64>();
    sum(&uses[..kept.min(uses.len())]) / sum(&uses)
}

/// Bytes of the weights that are copied and decoded when they are bound, whatever the format of the rest: projections to
/// decay and write strength, and convolution taps.
fn copies(config: &Config) -> u64 {
    let gates = 2 * config.n_v_head * config.n_embd;
    let taps = config.conv_channels() * config.conv_kernel;
    (gates as u64 + taps as u64).saturating_mul(4 * config.n_deltanet() as u64)
}

/// Positions that the rotary embedding tells apart as the model was taught to.
fn longest(config: &Config) -> usize {
    let stretched = |yarn: &YarnConfig| (yarn.n_ctx_orig as f64 * f64::from(yarn.factor)) as usize;
    config.rope.yarn.as_ref().map_or(config.n_ctx_train, stretched)
}

/// Positions that a prompt of known length takes with its answer; 0 of an unknown one.
fn needed(wish: &Wish) -> usize {
    if wish.n_prompt == 0 { 0 } else { wish.n_prompt.saturating_add(ANSWER) }
}

/// The next shorter context, in steps of a sixteenth of an octave: lengths are the same ones wherever one begins.
fn shorter(n_ctx: usize) -> usize {
    let below = n_ctx.saturating_sub(1);
    let step = (below.max(1).ilog2() as usize).saturating_sub(4);
    below >> step << step
}

/// Context lengths when none is asked for, best first: what a quarter of the free memory holds, or as much as there is
/// when the prompt needs more; then ever shorter ones.
fn contexts(config: &Config, wish: &Wish, room: &Room) -> Vec<usize> {
    let (longest, needed) = (longest(config).max(1), needed(wish));
    let kv = wish.kv.unwrap_or_default();
    let settings = Settings { n_ctx: PAGE, n_sequence: wish.n_sequence(), n_batch: 1, kv, n_checkpoint: 0 };
    let position = (RunnerBytes::of(config, 0, &settings).kv / PAGE).max(1) as u64;
    let free = room.ceiling.into_iter().chain(room.free.map(|(free, _)| free)).min();
    let share = free.map_or(BLIND_CONTEXT, |free| (free / KV_SHARE / position).min(longest as u64) as usize);
    let share = share.max(LEAST_SHARE).min(longest);
    // The longest is a context of its own, whatever the steps are.
    let share = if share == longest { share } else { shorter(share + 1) };
    let mut contexts = vec![if needed > share { longest } else { share }];
    while let next = shorter(*contexts.last().expect("the best is there"))
        && next >= LEAST
    {
        contexts.push(next);
    }
    contexts
}

/// Every layout that the wish leaves open, best first: a shorter batch rather than less exact keys and values, those
/// rather than a shorter context.
fn candidates(config: &Config, wish: &Wish, room: &Room) -> Vec<Settings> {
    let contexts = wish.n_ctx.map_or_else(|| contexts(config, wish, room), |n| vec![n]);
    // 8-bit blocks are 32 values long.
    let kvs = match wish.kv {
        Some(kv) => vec![kv],
        None if config.head_dim.is_multiple_of(32) => vec![KvType::F16, KvType::Q8_0],
        None => vec![KvType::F16],
    };
    let batches = wish.n_batch.map_or(BATCHES.to_vec(), |n| vec![n]);
    let mut all = Vec::new();
    for &n_ctx in &contexts {
        for &kv in &kvs {
            for &n_batch in &batches {
                let few = if n_batch == batches[batches.len() - 1] { &CHECKPOINTS[..] } else { &CHECKPOINTS[..1] };
                let n_checkpoints = wish.n_checkpoint.iter().filter(|&&n| n > CHECKPOINTS[0]).chain(few);
                let n_sequence = wish.n_sequence();
                all.extend(n_checkpoints.map(|&n_checkpoint| Settings {
                    n_ctx,
                    n_sequence,
                    n_batch,
                    kv,
                    n_checkpoint,
                }));
            }
        }
    }
    all
}

impl fmt::Display for Plan {
    /// One line: all of it, as a sum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { n_ctx, n_batch, kv, .. } = self.settings;
        let RunnerBytes { kv: kv_bytes, state, scratch } = self.context;
        write!(
            f,
            "{} = weights {}{}{} + KV cache {} ({n_ctx} tokens, {}) + state {} + buffers {} (batches of {n_batch}) + program {}",
            ByteSize(self.total()),
            ByteSize(self.weights),
            if self.mapped && self.slots == 0 { " mapped" } else { "" },
            Expected(&self.streaming, self.expectation),
            ByteSize(kv_bytes as u64),
            kv.name(),
            ByteSize(state as u64 + self.checkpoints),
            ByteSize(scratch as u64 + self.drafts),
            ByteSize(self.program),
        )?;
        if self.vision.total() > 0 {
            let VisionMemory { image_tokens, .. } = self.vision;
            write!(f, " + vision {} (pictures up to {image_tokens} tokens)", ByteSize(self.vision.total()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LayerKind;
    use crate::model::config::{ExpertConfig, RopeConfig, ValueHeads};
    #[cfg(target_arch = "x86_64")]
    use crate::platform::machine::Usage;
    use kernels::activations::Forms;

    /// The published 0.8B model.
    fn config() -> Config {
        let kind = |i: usize| if (i + 1).is_multiple_of(4) { LayerKind::Attention } else { LayerKind::DeltaNet };
        Config {
            layers: (0..24).map(kind).collect(),
            n_mtp: 1,
            n_ctx_train: 262_144,
            n_embd: 1024,
            n_ff: 3584,
            experts: None,
            n_head: 8,
            n_head_kv: 2,
            head_dim: 256,
            rms_eps: 1e-6,
            conv_kernel: 4,
            n_k_head: 16,
            n_v_head: 16,
            value_heads: ValueHeads::Tiled,
            head_k_dim: 128,
            head_v_dim: 128,
            rope: RopeConfig { n_rot: 64, freq_base: 1e7, sections: [11, 11, 10], yarn: None },
            forms: Forms::QUANTS,
            notes: Vec::new(),
        }
    }

    fn load(config: &Config) -> Load<'_> {
        Load {
            config,
            n_vocab: 248_320,
            weights: 500_000_000,
            embedding: 0,
            feed_forwards: &[],
            way: StreamWay::Map,
            experts: &[],
            expert_uses: None,
            mapped: true,
            threads: 2,
            drafts: DraftLoad::None,
            vision: None,
            beside: 0,
        }
    }

    /// Something that looks at pictures of half a context in the same memory.
    #[derive(Debug)]
    struct Still;

    impl Looking for Still {
        fn memory(&self, n_ctx: usize, _: usize) -> VisionMemory {
            let image_tokens = n_ctx / 2;
            VisionMemory { weights: 200_000_000, copies: 12_000_000, buffers: 100_000_000, image_tokens }
        }
    }

    fn room(ceiling: Option<u64>, free: Option<u64>) -> Room {
        let free = free.map(|free| (free, Limiter::Machine));
        Room { ceiling, free, address_space: None, data: None, allocated: 30_000_000 }
    }

    #[test]
    fn with_memory_to_spare_the_plan_is_the_best_of_everything() {
        let config = config();
        let plan = Plan::choose_within(&load(&config), &Wish::default(), &room(None, Some(16 << 30))).unwrap();
        let Settings { n_ctx, n_sequence, n_batch, kv, n_checkpoint } = plan.settings;
        assert_eq!((n_ctx, n_sequence, n_batch, kv, n_checkpoint), (262_144, 1, 512, KvType::F16, 2));
        assert_eq!(plan.context.kv, 262_144 * 12 * 1024);
        assert!(plan.weights_fit);
    }

    #[test]
    fn keys_and_values_take_a_quarter_of_the_free_memory_at_most_and_nearly_that() {
        let config = config();
        let load = load(&config);
        for free in (1_200_000_000..12_000_000_000u64).step_by(77_000_000) {
            let plan = Plan::choose_within(&load, &Wish::default(), &room(None, Some(free))).unwrap();
            let (n_ctx, kv) = (plan.settings.n_ctx, plan.context.kv as u64);
            assert!(kv <= free / 4 && kv > free / 4 * 15 / 16, "{n_ctx} tokens of {free} bytes");
        }
        // Never less than 4,096 while that fits, and never more than the model was trained on.
        let n_ctx = |config: &Config, wish: &Wish, free| {
            let load = Load { config, weights: 50_000_000, ..load };
            Plan::choose_within(&load, wish, &room(None, Some(free))).unwrap().settings.n_ctx
        };
        assert_eq!(n_ctx(&config, &Wish::default(), 190_000_000), 4_096);
        let short = Config { n_ctx_train: 5_000, ..config.clone() };
        assert_eq!(n_ctx(&short, &Wish::default(), 16 << 30), 5_000);
        assert_eq!(n_ctx(&Config { n_ctx_train: 300, ..short }, &Wish::default(), 16 << 30), 300);
    }

    #[test]
    fn a_prompt_that_needs_more_gets_as_much_as_there_is() {
        let config = config();
        let (load, room) = (load(&config), room(None, Some(2_000_000_000)));
        let wish = |n_prompt| Wish { n_prompt, ..Wish::default() };
        let plan = |n_prompt| Plan::choose_within(&load, &wish(n_prompt), &room).unwrap();
        let usual = plan(0).settings.n_ctx;
        assert_eq!(plan(usual - ANSWER).settings.n_ctx, usual);
        let long = plan(usual);
        assert!(long.settings.n_ctx > 2 * usual && long.total() <= 2_030_000_000, "{long}");
        // One that fits nowhere is no reason to take less.
        assert_eq!(plan(1 << 30).settings.n_ctx, long.settings.n_ctx);
    }

    #[test]
    fn dimensions_beyond_the_address_space_are_refused_and_do_not_wrap() {
        const MOST: usize = 1 << 24;
        let config = Config {
            n_embd: MOST,
            n_ff: MOST,
            n_head: MOST,
            n_head_kv: MOST,
            head_dim: MOST,
            n_k_head: MOST,
            n_v_head: MOST,
            head_k_dim: MOST,
            head_v_dim: MOST,
            conv_kernel: 64,
            ..config()
        };
        let load = Load { n_vocab: u32::MAX as usize, drafts: DraftLoad::Block(1 << 30), ..load(&config) };
        let error = Plan::choose_within(&load, &Wish::default(), &room(None, Some(16 << 30))).unwrap_err();
        assert!(error.to_string().contains("not enough memory"), "{error}");
    }

    #[test]
    fn planning_takes_time_in_proportion_to_the_layers() {
        let layers = vec![LayerKind::DeltaNet; 1 << 16];
        let feed_forwards = vec![1_000_000; layers.len()];
        let config = Config { layers, ..config() };
        let load = Load { feed_forwards: &feed_forwards, ..load(&config) };
        let start = std::time::Instant::now();
        assert!(Plan::choose_within(&load, &Wish::default(), &room(None, Some(1 << 30))).is_err());
        // A pass over the layers takes a tenth of a millisecond; one for every pair of layers would take minutes.
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    }

    #[test]
    fn every_plan_stays_below_its_ceiling_and_a_larger_ceiling_is_never_worse() {
        let config = config();
        let mut best = 0;
        for ceiling in (500_000_000..2_000_000_000u64).step_by(7_000_000) {
            match Plan::choose_within(&load(&config), &Wish::default(), &room(Some(ceiling), None)) {
                Ok(plan) => {
                    assert!(plan.total() <= ceiling, "{} under {ceiling}", plan.total());
                    assert!(plan.settings.n_ctx >= best, "{} at {ceiling}", plan.settings.n_ctx);
                    best = plan.settings.n_ctx;
                }
                Err(error) => assert_eq!(best, 0, "{error}"),
            }
        }
        assert!(best > 32_768, "{best}");
    }

    #[test]
    fn beside_others_a_plan_is_about_as_good_as_alone_or_there_is_none() {
        let config = config();
        let ceiling = 3_000_000_000;
        let alone = room(Some(ceiling), Some(16 << 30));
        let best = Plan::choose_drafting(&load(&config), &Wish::default(), &alone).unwrap();
        let mut fits = true;
        for taken in (100_000_000..ceiling).step_by(50_000_000) {
            let room = Room { allocated: taken, ..room(Some(ceiling), Some(16 << 30)) };
            match Plan::choose_beside(&load(&config), &Wish::default(), &room, &alone) {
                Ok(plan) => {
                    assert!(fits, "it fits beside {taken} bytes, and not beside fewer");
                    assert!(plan.total() <= ceiling && plan.own() == plan.total() - taken);
                    assert!(2 * plan.settings.n_ctx >= best.settings.n_ctx && plan.streaming.layers == 0);
                }
                Err(error) => {
                    fits = false;
                    assert!(error.to_string().contains("the ceiling is 3.00 GB"), "{error}");
                }
            }
        }
        assert!(!fits);
    }

    #[test]
    fn a_wish_is_kept_or_refused_with_what_would_fit() {
        let config = config();
        let wish = Wish { ceiling: Some(ByteSize(900_000_000)), n_ctx: Some(65_536), ..Wish::default() };
        let error = Plan::choose_within(&load(&config), &wish, &room(Some(900_000_000), None)).unwrap_err().to_string();
        assert!(
            error.contains("the ceiling is 900 MB")
                && error.contains("a context of 47104 tokens in q8_0 and batches of 32 would fit"),
            "{error}"
        );
        let wish = Wish { ceiling: Some(ByteSize(100_000_000)), ..Wish::default() };
        let error = Plan::choose_within(&load(&config), &wish, &room(Some(100_000_000), None)).unwrap_err().to_string();
        assert!(error.contains("smaller model"), "{error}");
        let wish = Wish { n_ctx: Some(262_144), kv: Some(KvType::Q8_0), ..Wish::default() };
        let plan = Plan::choose_within(&load(&config), &wish, &room(None, Some(4 << 30))).unwrap();
        assert_eq!((plan.settings.n_ctx, plan.settings.kv), (262_144, KvType::Q8_0));
        assert_eq!(plan.context.kv, 262_144 * 6 * 2 * 2 * 272);
    }

    #[test]
    fn pictures_and_drafts_are_in_the_plan() {
        let config = config();
        let total = |load: &Load<'_>, ceiling: u64| {
            Plan::choose_within(load, &Wish::default(), &room(Some(ceiling), None)).unwrap()
        };
        let (plain, roomy) = (load(&config), 4_000_000_000);
        let without = total(&plain, roomy);
        let block = DraftLoad::Block(20_000_000);
        let drafting = total(&Load { drafts: block, ..plain }, roomy);
        // Keys and values of one more layer than the six, and buffers.
        let least = 20_000_000 + without.settings.n_ctx as u64 * 2 * 1024;
        assert!(drafting.total() - without.total() >= least && drafting.drafts < 2 * least, "{drafting:?}");

        let seeing = Load { vision: Some(&Still), ..plain };
        let plan = total(&seeing, roomy);
        assert_eq!(plan.total() - without.total(), 312_000_000);
        assert_eq!(plan.room_to_look(), 100_000_000 + roomy - plan.total());
        // Short of memory, pictures shrink with the context they stand in.
        let tight = total(&seeing, 1_000_000_000);
        assert!(tight.settings.n_ctx < plan.settings.n_ctx && tight.total() <= 1_000_000_000, "{tight}");
        assert_eq!(tight.vision.image_tokens, tight.settings.n_ctx / 2);
    }

    #[test]
    fn drafting_is_given_up_before_anything_else_shrinks() {
        let config = config();
        let plain = load(&config);
        let drafting = Load { drafts: DraftLoad::Block(20_000_000), ..plain };
        let mut seen = Vec::new();
        for ceiling in (600_000_000..4_000_000_000u64).step_by(5_000_000) {
            let room = room(Some(ceiling), None);
            let without = Plan::choose_within(&plain, &Wish::default(), &room).unwrap();
            let plan = Plan::choose_drafting(&drafting, &Wish::default(), &room).unwrap();
            assert_eq!(plan.settings, without.settings, "{ceiling}");
            assert!(plan.total() <= ceiling, "{plan}");
            if seen.last() != Some(&plan.drafting) {
                seen.push(plan.drafting);
            }
        }
        assert!(seen.contains(&DraftLoad::None) && seen.contains(&DraftLoad::Copies), "{seen:?}");
        assert_eq!(seen.last(), Some(&DraftLoad::Block(20_000_000)));
    }

    #[test]
    fn mapped_weights_may_exceed_the_free_memory_copied_ones_may_not() {
        let config = config();
        let (mut load, room) = (load(&config), room(None, Some(400_000_000)));
        let plan = Plan::choose_within(&load, &Wish::default(), &room).unwrap();
        assert!(!plan.weights_fit);
        load.mapped = false;
        let error = Plan::choose_within(&load, &Wish::default(), &room).unwrap_err().to_string();
        assert!(error.contains("free memory is 400 MB"), "{error}");
    }

    #[test]
    fn weights_are_streamed_when_nothing_else_fits_and_no_more_than_must_be() {
        let config = config();
        let feed_forwards = [11_000_000; 24];
        let load = Load { feed_forwards: &feed_forwards, ..load(&config) };
        let wish = Wish { n_ctx: Some(8_192), ..Wish::default() };
        let (mut least, mut refused) = (0, 0);
        for ceiling in (300_000_000..800_000_000u64).rev().step_by(1_000_000) {
            match Plan::choose_within(&load, &wish, &room(Some(ceiling), None)) {
                Ok(plan) => {
                    assert!(plan.total() <= ceiling && refused == 0, "{plan}");
                    assert!(plan.streaming.layers >= least, "{plan}");
                    assert!(!plan.streaming.uncached, "the system has room: {plan}");
                    // One layer less would not have fitted.
                    assert!(plan.streaming.layers < 3 || plan.total() + 11_000_000 > ceiling, "{plan}");
                    least = plan.streaming.layers;
                }
                Err(error) => {
                    assert!(error.to_string().contains("would fit"), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(least == 24 && refused > 0, "{least} layers");
        // A context that is too long is refused with one that would do.
        let wish = Wish { n_ctx: Some(262_144), ..Wish::default() };
        let error = Plan::choose_within(&load, &wish, &room(Some(450_000_000), None)).unwrap_err().to_string();
        assert!(error.contains("a context of 4096 tokens in q8_0 and batches of 32 would fit, with 4"), "{error}");
        assert!(error.contains("read again for every token"), "{error}");
        // Without a ceiling it is the free memory that is short, and the page cache with it.
        let plan = Plan::choose_within(&load, &Wish::default(), &room(None, Some(450_000_000))).unwrap();
        assert!(plan.weights_fit && plan.streaming.uncached && plan.settings.n_ctx == STREAMING_CONTEXT, "{plan}");
        assert!(plan.to_string().contains("read again for every token"), "{plan}");
    }

    /// Facts in, numbers out: the same on every system. The forms of activations, and with them the buffers, are those of x86-64.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn for_given_facts_the_plan_is_these_numbers_on_every_system() {
        let config = config();
        let feed_forwards = [11_000_000; 24];
        let load = Load {
            drafts: DraftLoad::Block(20_000_000),
            vision: Some(&Still),
            feed_forwards: &feed_forwards,
            ..load(&config)
        };
        let usage = Usage { anonymous: 12_000_000, file: 9_000_000, ..Usage::default() };
        let facts = |free, data| Facts { usage, free: Some((free, Limiter::Machine)), address_space: None, data };
        let wish = |ceiling: Option<u64>| Wish { ceiling: ceiling.map(ByteSize), ..Wish::default() };
        let commit = Some((1_500_000_000, Limiter::Commit));
        let plans = [
            (facts(16 << 30, None), None),
            (facts(5_000_000_000, None), None),
            (facts(5_000_000_000, commit), None),
            (facts(5_000_000_000, None), Some(700_000_000)),
            (Facts { usage, ..Facts::default() }, Some(2_000_000_000)),
        ]
        .map(|(facts, ceiling)| Plan::choose(&load, &wish(ceiling), &facts).unwrap().to_string());
        let expected = [
            "4.89 GB = weights 500 MB mapped + KV cache 3.22 GB (262144 tokens, f16) \
             + state 84 MB + buffers 729 MB (batches of 512) + program 47 MB + vision 312 MB (pictures up to 131072 tokens)",
            "2.49 GB = weights 500 MB mapped + KV cache 1.21 GB (98304 tokens, f16) \
             + state 84 MB + buffers 345 MB (batches of 512) + program 41 MB + vision 312 MB (pictures up to 49152 tokens)",
            "2.21 GB = weights 500 MB mapped + KV cache 1.21 GB (98304 tokens, f16) \
             + state 84 MB + buffers 71 MB (batches of 256) + program 40 MB + vision 312 MB (pictures up to 49152 tokens)",
            "695 MB = weights 283 MB mapped at once (231 MB of all are read again for every token) + KV cache 27 MB (4096 tokens, q8_0) \
             + state 20 MB + buffers 18 MB (batches of 32) + program 36 MB + vision 312 MB (pictures up to 2048 tokens)",
            "1.62 GB = weights 500 MB mapped + KV cache 478 MB (38912 tokens, f16) \
             + state 84 MB + buffers 205 MB (batches of 512) + program 39 MB + vision 312 MB (pictures up to 19456 tokens)",
        ];
        assert_eq!(plans, expected);
    }

    #[test]
    fn a_machine_that_does_not_say_what_is_free_is_not_endless() {
        let config = config();
        let error = Plan::choose(&load(&config), &Wish::default(), &Facts::default()).unwrap_err();
        assert_eq!(error.limit, MemoryLimit::Unknown);
        let Remedy::SetCeiling(bytes) = error.remedy else { panic!("{error:?}") };
        let said = error.to_string();
        assert!(said.starts_with("this system does not say how much memory is free, and the weights"), "{said}");
        let wish = Wish { ceiling: Some(ByteSize(bytes)), ..Wish::default() };
        assert!(Plan::choose(&load(&config), &wish, &Facts::default()).unwrap().total() <= bytes);
    }

    #[test]
    fn as_many_experts_are_kept_as_there_is_room_for_and_the_plan_says_what_a_token_reads() {
        let experts = Some(ExpertConfig { n_expert: 64, n_used: 4, n_ff: 512, scale: 1.0 });
        let config = Config { experts, n_ff: 512, ..config() };
        // 1,536 of 600 kB: most of the weights.
        let layers = vec![ExpertLayer { n: 64, matrices: [200_000; 3] }; 24];
        let load = Load { weights: 1_000_000_000, experts: &layers, ..load(&config) };
        let wish = Wish { n_ctx: Some(4_096), ..Wish::default() };
        let (mut most, mut reads) = (0, u64::MAX);
        for ceiling in (350_000_000..1_300_000_000u64).step_by(10_000_000) {
            let Ok(plan) = Plan::choose_within(&load, &wish, &room(Some(ceiling), None)) else {
                assert_eq!(most, 0, "{ceiling}");
                continue;
            };
            assert!(plan.total() <= ceiling, "{plan}");
            let Some(kept) = plan.streaming.experts else {
                // Before that, long batches took the room of some.
                assert!(most > 1_200 && plan.streaming == Streaming::default(), "{most} before {plan}");
                return;
            };
            assert!(
                kept.n + 60 >= most && kept.of == 1_536 && plan.streaming.bytes <= reads.saturating_add(4_000_000),
                "{plan}"
            );
            // Equally used, an expert that is not kept is read as often as it is used.
            let expected = 24.0 * 4.0 * 600_000.0 * (1.0 - kept.n as f64 / 1536.0);
            assert!((plan.streaming.bytes as f64 - expected).abs() < 1e6, "{plan}");
            // Where it is known that few of them are used, a token reads less.
            let few: Vec<Vec<f32>> = vec![(0..64).map(|i| 1e5 * 0.5f32.powi(i)).collect(); 24];
            let knowing = Load { expert_uses: Some(&few), ..load };
            let knowing = Plan::choose_within(&knowing, &wish, &room(Some(ceiling), None)).unwrap();
            assert!(knowing.streaming.bytes <= plan.streaming.bytes, "{knowing}");
            assert!(kept.n < 240 || knowing.streaming.bytes < plan.streaming.bytes / 50, "{knowing}");
            (most, reads) = (kept.n, plan.streaming.bytes);
        }
        panic!("all fits in the end");
    }

    #[test]
    fn layers_that_are_read_take_memory_for_two() {
        let config = config();
        let feed_forwards = [11_000_000; 24];
        let wish = Wish { n_ctx: Some(4_096), ..Wish::default() };
        let load = Load { feed_forwards: &feed_forwards, way: StreamWay::Read, ..load(&config) };
        let plan = Plan::choose_within(&load, &wish, &room(Some(450_000_000), None)).unwrap();
        let n = plan.streaming.layers as u64;
        let two = 2 * 11_000_000 + 500_000_000 - n * 11_000_000;
        assert!(n > 2 && plan.total() <= 450_000_000, "{plan}");
        assert!(plan.weights >= two && plan.weights < two + 5_000_000, "{plan}");
    }

    #[test]
    fn an_address_space_limit_counts_what_threads_reserve() {
        let config = config();
        let mut room = room(None, None);
        room.address_space = Some(300_000_000);
        let plan = Plan::choose_within(&load(&config), &Wish::default(), &room).unwrap();
        assert!(plan.settings.n_ctx < 32_768);
        room.address_space = Some(100_000_000);
        let error = Plan::choose_within(&load(&config), &Wish::default(), &room).unwrap_err().to_string();
        assert!(error.contains("ulimit -v"), "{error}");
    }
}
