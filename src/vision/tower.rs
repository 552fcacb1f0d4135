//! The forward pass of the vision tower (`VISION.md` §5 to §8): patches in, one row for each token out.
//!
//! ```text
//! x = patch_embd(pixels) + position(row, col)
//! each block:  x += attn_out(attend(rope(attn_q|k(ln1 x)), attn_v(ln1 x))) ;  x += ffn_down(gelu_tanh(ffn_up(ln2 x)))
//! y = mm_2(gelu_erf(mm_0(post_ln x of 4 patches)))
//! ```
//!
//! Attention is full within a picture or within a temporal group of a clip, and never crosses to another. Keys and
//! values of all patches of a group are packed first; then chunks of [`CHUNK`] patches run through the whole rest of the
//! block. So what a large picture needs beyond its residual stream is its packed keys and values, of one block.

use super::config::{ROPE_BASE, VisionConfig};
use super::preprocess::{GridThw, MERGE, PATCH_VALUES, PixelValues};
use super::video;
use super::weights::{Linear, Norm, VisionModel};
use crate::compute::Compute;
use crate::compute::team::Grid;
use kernels::dense::{DenseHead, DenseRows, Precision, Store};
use kernels::{Kernels, Rows};
use std::time::Instant;

/// Most patches that go through a block together.
const CHUNK: usize = 2048;

/// Chunks are a whole number of these: keys are packed in such groups.
const CHUNK_UNIT: usize = 128;

/// Queries of one work item of attention.
const QUERIES: usize = 120;

/// Fewest rows of one work item of a product, where there are as many: decoding its weights is a small part of it.
const ROWS: usize = 256;

/// What a thread works in: panels of weights, scores of a block of queries.
const THREAD_BYTES: usize = 4 << 20;

/// Columns of one work item: a whole number of every level's panels.
const COLUMNS: usize = 64;

/// Patches of each chunk but the last: as equal as can be.
fn chunk(patches: usize) -> usize {
    patches.div_ceil(patches.div_ceil(CHUNK)).next_multiple_of(CHUNK_UNIT)
}

/// Bytes the tower takes at most for a picture (`frames` 1) or clip (`frames` 2) of `tokens` tokens, its pixels included,
/// beside the weights; `u64::MAX` where it is more than that. The sizes of `config` need not be those of tensors that are
/// there.
pub fn bytes(config: &VisionConfig, tokens: usize, frames: usize, threads: usize) -> u64 {
    // Sizes of a header are below 2^20, tokens below 2^64: 128 bits hold their products.
    let wide = |n: usize| n as u128;
    let merge = wide(MERGE * MERGE);
    let (tokens, patches) = (wide(tokens), wide(tokens) * merge);
    // A pair of frames of a clip is at most a picture of that size.
    let group = if frames == 1 { patches } else { patches.min(wide(video::PAIR_TOKENS) * merge) };
    let (h, ff, head, chunk) =
        (wide(config.n_embd), wide(config.n_ff), wide(config.head_dim()), patches.min(wide(CHUNK)));
    let row = wide(frames) * wide(PATCH_VALUES);
    // Pixels, and as many bytes of resized pictures; the residual stream; the merged rows.
    let whole = patches * (row * 4 + row + h * 4) + tokens * wide(config.n_out) * 4;
    // Packed keys and values with their padding, and the angles.
    let packed = group * (2 * h + head) * 4 + wide(config.n_head) * 64 * head;
    // Rows of products, projections, attention and the feed-forward. A vector that grows may have twice its length.
    let chunks = chunk * (2 * ff.max(h) + row + 3 * h) * 4 * 3 / 2;
    let total = whole + packed + chunks + wide(threads) * wide(THREAD_BYTES);
    u64::try_from(total).unwrap_or(u64::MAX)
}

/// Most tokens, up to `most`, of a picture or clip that [`bytes`] finds room for in `room` bytes.
pub fn tokens_within(config: &VisionConfig, room: u64, most: usize, frames: usize, threads: usize) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if bytes(config, middle, frames, threads) <= room { low = middle } else { high = middle - 1 }
    }
    low
}

/// Floating-point operations the tower takes for a picture of `patches` patches.
pub fn flop(config: &VisionConfig, patches: usize) -> f64 {
    let (n, h, ff) = (patches as f64, config.n_embd as f64, config.n_ff as f64);
    let block = 2.0 * (4.0 * h * h + 2.0 * h * ff) + 4.0 * n * h;
    let merged = config.merged() as f64;
    let merger = 2.0 * merged * (merged + config.n_out as f64) / 4.0;
    n * (block * config.n_layer as f64 + 2.0 * PATCH_VALUES as f64 * h + merger)
}

/// Floating-point operations a second this machine reaches in a block of the tower, over a picture of 64 tokens.
pub fn measure(model: &VisionModel, compute: &mut Compute) -> f64 {
    let config = &model.config;
    let grid = GridThw { t: 1, h: 16, w: 16 };
    let mut x: Vec<f32> = (0..grid.patches() * config.n_embd).map(|i| (i * 7919 % 997) as f32 / 997.0).collect();
    let angles = Angles::new(grid, config.head_dim());
    let mut buffers = Buffers::new(model, compute.kernels);
    let mut fastest = f64::INFINITY;
    for _ in 0..2 {
        let start = Instant::now();
        buffers.pack_keys_and_values(model, 0, compute, &x, &angles);
        buffers.attention(model, 0, compute, &mut x, 0, &angles);
        feed_forward(compute, config.eps, &model.blocks[0], &mut x, &mut buffers);
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    flop(config, grid.patches()) / config.n_layer as f64 / fastest
}

/// Embeds one picture or clip: rows `[tokens, n_out]`, in the order of its tokens. `progress(done, blocks)` is called
/// after each block.
pub fn embed(
    model: &VisionModel,
    compute: &mut Compute,
    pixels: &PixelValues,
    mut progress: impl FnMut(usize, usize),
) -> Vec<f32> {
    let mut passage = Passage::new(model, compute, pixels);
    let mut done = 0;
    while !passage.is_through(model) {
        passage.step(model, compute);
        if passage.blocks() > done {
            done = passage.blocks();
            progress(done, model.blocks.len());
        }
    }
    passage.finish(model, compute)
}

/// A picture or clip on its way through the tower, which can be left between two steps: a step is a chunk of the patches
/// in one block.
pub struct Passage {
    grid: GridThw,
    /// Residual stream `[patches, n_embd]`.
    x: Vec<f32>,
    angles: Angles,
    buffers: Buffers,
    /// The next step: the block, the temporal group, and the chunk in it.
    block: usize,
    group: usize,
    chunk: usize,
}

impl Passage {
    /// One that begins: its patches are embedded.
    pub fn new(model: &VisionModel, compute: &mut Compute, pixels: &PixelValues) -> Passage {
        let grid = pixels.grid;
        let x = patch_embedding(model, compute, pixels);
        let angles = Angles::new(grid, model.config.head_dim());
        let buffers = Buffers::new(model, compute.kernels);
        Passage { grid, x, angles, buffers, block: 0, group: 0, chunk: 0 }
    }

    /// Blocks that it is through.
    pub fn blocks(&self) -> usize {
        self.block
    }

    /// Whether it is through all blocks.
    pub fn is_through(&self, model: &VisionModel) -> bool {
        self.block == model.blocks.len()
    }

    /// Takes the next step.
    ///
    /// # Panics
    /// If it is through.
    pub fn step(&mut self, model: &VisionModel, compute: &mut Compute) {
        let Passage { grid, x, angles, buffers, block, group, chunk } = self;
        let (i, h) = (*block, model.config.n_embd);
        let patches = grid.group_patches();
        let x = &mut x[*group * patches * h..][..patches * h];
        if *chunk == 0 {
            buffers.pack_keys_and_values(model, i, compute, x, angles);
        }
        let size = self::chunk(patches);
        let first = *chunk * size;
        let last = patches.min(first + size);
        let part = &mut x[first * h..last * h];
        buffers.attention(model, i, compute, part, first, angles);
        feed_forward(compute, model.config.eps, &model.blocks[i], part, buffers);
        *chunk += 1;
        if last == patches {
            (*chunk, *group) = (0, *group + 1);
        }
        if *group == grid.t {
            (*group, *block) = (0, i + 1);
        }
    }

    /// The rows `[tokens, n_out]` of one that is through.
    pub fn finish(mut self, model: &VisionModel, compute: &mut Compute) -> Vec<f32> {
        merge(model, compute, &self.x, &mut self.buffers)
    }
}

/// Rows of patches times the patch embedding, and the learned position of each added.
fn patch_embedding(model: &VisionModel, compute: &mut Compute, pixels: &PixelValues) -> Vec<f32> {
    let h = model.config.n_embd;
    let grid = pixels.grid;
    let weight = model.patch_embd(pixels.frames);
    let mut x = vec![0.0; grid.patches() * h];
    let mut rows = DenseRows::new(Precision::F32);
    for (values, x) in pixels.values.chunks(CHUNK * weight.cols()).zip(x.chunks_mut(CHUNK * h)) {
        rows.reshape(values.len() / weight.cols(), weight.cols());
        rows.words_mut().copy_from_slice(bytemuck::cast_slice(values));
        product(compute, weight, &model.patch_bias, &rows, Store::Set, x);
    }
    let side = model.position_side;
    let (row_taps, col_taps) = (taps(grid.h, side), taps(grid.w, side));
    let places: Vec<_> = grid.places().collect();
    let table = |r: usize, c: usize| &model.position_embd[(r * side + c) * h..][..h];
    compute.team.split(&mut x, h, |i, x| {
        let (row, col) = places[i % places.len()];
        let ((r0, r1, fr), (c0, c1, fc)) = (row_taps[row], col_taps[col]);
        let corners = [
            (table(r0, c0), (1.0 - fr) * (1.0 - fc)),
            (table(r0, c1), (1.0 - fr) * fc),
            (table(r1, c0), fr * (1.0 - fc)),
            (table(r1, c1), fr * fc),
        ];
        for (corner, weight) in corners {
            for (x, p) in x.iter_mut().zip(corner) {
                *x += weight * p;
            }
        }
    });
    x
}

/// For each of `n` places along an axis: the two entries of a table of `side` between which it lies, corners on corners,
/// and how far it is from the first.
fn taps(n: usize, side: usize) -> Vec<(usize, usize, f32)> {
    (0..n)
        .map(|i| {
            let at = if n > 1 { i as f32 * (side - 1) as f32 / (n - 1) as f32 } else { 0.0 };
            let first = (at as usize).min(side - 1);
            (first, (first + 1).min(side - 1), at - first as f32)
        })
        .collect()
}

/// Cosines and sines of the 2-D rotation, `[patches of a group, head_dim / 2]` each: the first half of a head's pairs
/// turns with the row, the second with the column.
struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
    pairs: usize,
}

impl Angles {
    fn new(grid: GridThw, head_dim: usize) -> Angles {
        let pairs = head_dim / 2;
        let frequencies: Vec<f64> = (0..pairs / 2).map(|j| ROPE_BASE.powf(-2.0 * j as f64 / pairs as f64)).collect();
        let mut angles = Angles { cos: Vec::new(), sin: Vec::new(), pairs };
        for (row, col) in grid.places() {
            for place in [row, col] {
                for frequency in &frequencies {
                    let (sin, cos) = (place as f64 * frequency).sin_cos();
                    angles.cos.push(cos as f32);
                    angles.sin.push(sin as f32);
                }
            }
        }
        angles
    }

    /// Turns every head of a patch's queries or keys.
    fn turn(&self, kernels: &Kernels, patch: usize, heads: &mut [f32]) {
        let range = patch * self.pairs..(patch + 1) * self.pairs;
        let (cos, sin) = (&self.cos[range.clone()], &self.sin[range]);
        for head in heads.chunks_exact_mut(2 * self.pairs) {
            kernels.rope(head, cos, sin);
        }
    }
}

/// `y = w·x + bias`, or added to y, shared out over the team.
fn product(
    compute: &mut Compute,
    weight: kernels::Matrix<'_>,
    bias: &[f32],
    x: &DenseRows,
    store: Store,
    y: &mut [f32],
) {
    let kernels = compute.kernels;
    // Each item decodes its weights anew: rows are cut only as far as the threads need items.
    let items = weight.rows().div_ceil(COLUMNS);
    let cuts = (4 * compute.team.threads()).div_ceil(items).min(x.rows().div_ceil(ROWS));
    let rows = x.rows().div_ceil(cuts);
    let grid = Grid::new(y, weight.rows(), rows, COLUMNS);
    compute.team.grids_with(&mut [grid], |arena, _, rows, cols, mut tile| {
        let bias = if bias.is_empty() { bias } else { &bias[cols.clone()] };
        kernels.dense_matmul(weight.slice_rows(cols), bias, (x, rows.start), store, &mut tile, &mut arena.dense);
    });
}

/// Fills `out` with rows in their multiplied form: `make(row number, temporary row)` writes each.
fn fill_rows(
    compute: &mut Compute,
    n: usize,
    cols: usize,
    out: &mut DenseRows,
    make: impl Fn(usize, &mut [f32]) + Sync,
) {
    const TOGETHER: usize = 16;
    let (kernels, precision) = (compute.kernels, out.precision());
    out.reshape(n, cols);
    let words = out.row_words();
    compute.team.split_with(out.words_mut(), TOGETHER * words, |arena, i, part| {
        let row = arena.values(cols);
        for (r, words) in part.chunks_exact_mut(words).enumerate() {
            make(i * TOGETHER + r, row);
            kernels.dense_row(precision, row, words);
        }
    });
}

/// The norm of rows `x` in their multiplied form.
fn norm_rows(compute: &mut Compute, norm: &Norm, eps: f32, x: &[f32], out: &mut DenseRows) {
    let (kernels, h) = (compute.kernels, norm.weight.len());
    fill_rows(compute, x.len() / h, h, out, |r, row| {
        kernels.layer_norm(&x[r * h..][..h], &norm.weight, &norm.bias, eps, row);
    });
}

/// Buffers of a run, shapes those of a chunk of n patches.
struct Buffers {
    /// Normalised rows, attention outputs, or feed-forward activations in their multiplied form.
    rows: DenseRows,
    /// Queries `[n, n_embd]`, or keys, then values `[2, n, n_embd]`.
    proj: Vec<f32>,
    /// Attention outputs `[n, n_embd]`.
    attn: Vec<f32>,
    /// Feed-forward activations `[n, n_ff]`.
    wide: Vec<f32>,
    /// Packed keys and values of each head, over all patches of a group.
    heads: Vec<DenseHead>,
}

impl Buffers {
    fn new(model: &VisionModel, kernels: &Kernels) -> Buffers {
        let precision = precision(model, kernels);
        Buffers {
            rows: DenseRows::new(precision),
            proj: Vec::new(),
            attn: Vec::new(),
            wide: Vec::new(),
            heads: (0..model.config.n_head).map(|_| DenseHead::new(precision)).collect(),
        }
    }

    /// Keys and values of all patches `x [patches, n_embd]` of a group, packed by head.
    fn pack_keys_and_values(
        &mut self,
        model: &VisionModel,
        il: usize,
        compute: &mut Compute,
        x: &[f32],
        angles: &Angles,
    ) {
        let (config, block) = (&model.config, &model.blocks[il]);
        let (h, d, kernels) = (config.n_embd, config.head_dim(), compute.kernels);
        let patches = x.len() / h;
        let chunk = chunk(patches);
        for (c, x) in x.chunks(chunk * h).enumerate() {
            let (first, n) = (c * chunk, x.len() / h);
            norm_rows(compute, &block.ln1, config.eps, x, &mut self.rows);
            self.proj.resize(n * 2 * h, 0.0);
            let (keys, values) = self.proj.split_at_mut(n * h);
            product(compute, block.attn_k.weight.matrix(), &block.attn_k.bias, &self.rows, Store::Set, keys);
            product(compute, block.attn_v.weight.matrix(), &block.attn_v.bias, &self.rows, Store::Set, values);
            compute.team.split(keys, h, |i, row| angles.turn(kernels, first + i, row));
            let (keys, values) = (&*keys, &*values);
            compute.team.split(&mut self.heads, 1, |i, head| {
                let k = Rows::new(&keys[i * d..], n, d, h);
                let v = Rows::new(&values[i * d..], n, d, h);
                kernels.dense_pack(k, v, (first, patches), &mut head[0]);
            });
        }
    }

    /// `x += attn_out(attend(…))` for the patches `first..` of a group.
    fn attention(
        &mut self,
        model: &VisionModel,
        il: usize,
        compute: &mut Compute,
        x: &mut [f32],
        first: usize,
        angles: &Angles,
    ) {
        let (config, block) = (&model.config, &model.blocks[il]);
        let (h, d, kernels) = (config.n_embd, config.head_dim(), compute.kernels);
        let n = x.len() / h;
        norm_rows(compute, &block.ln1, config.eps, x, &mut self.rows);
        self.proj.resize(n * h, 0.0);
        product(compute, block.attn_q.weight.matrix(), &block.attn_q.bias, &self.rows, Store::Set, &mut self.proj);
        compute.team.split(&mut self.proj, h, |i, row| angles.turn(kernels, first + i, row));
        self.attn.resize(n * h, 0.0);
        let (proj, heads) = (&self.proj, &self.heads);
        let scale = 1.0 / (d as f32).sqrt();
        let grid = Grid::new(&mut self.attn, h, QUERIES, d);
        compute.team.grids_with(&mut [grid], |arena, _, rows, cols, mut tile| {
            let q = Rows::new(&proj[rows.start * h + cols.start..], rows.len(), d, h);
            kernels.dense_attend(q, &heads[cols.start / d], scale, &mut tile, &mut arena.dense);
        });
        let attn = &self.attn;
        fill_rows(compute, n, h, &mut self.rows, |r, row| row.copy_from_slice(&attn[r * h..][..h]));
        product(compute, block.attn_out.weight.matrix(), &block.attn_out.bias, &self.rows, Store::Add, x);
    }
}

/// The precision of a tower's products: that of its attention weights, for all of them.
pub fn precision(model: &VisionModel, kernels: &Kernels) -> Precision {
    kernels.dense_precision(model.blocks[0].attn_q.weight.format())
}

/// `x += ffn_down(gelu_tanh(ffn_up(ln2 x)))`.
fn feed_forward(compute: &mut Compute, eps: f32, block: &super::weights::Block, x: &mut [f32], buffers: &mut Buffers) {
    let kernels = compute.kernels;
    norm_rows(compute, &block.ln2, eps, x, &mut buffers.rows);
    let Linear { weight, bias } = &block.ffn_up;
    let ff = weight.rows();
    let n = buffers.rows.rows();
    buffers.wide.resize(n * ff, 0.0);
    product(compute, weight.matrix(), bias, &buffers.rows, Store::Set, &mut buffers.wide);
    let wide = &buffers.wide;
    fill_rows(compute, n, ff, &mut buffers.rows, |r, row| {
        row.copy_from_slice(&wide[r * ff..][..ff]);
        kernels.gelu_tanh(row);
    });
    product(compute, block.ffn_down.weight.matrix(), &block.ffn_down.bias, &buffers.rows, Store::Add, x);
}

/// Four patches to one token: the norm of each, then two layers over all four.
fn merge(model: &VisionModel, compute: &mut Compute, x: &[f32], buffers: &mut Buffers) -> Vec<f32> {
    let config = &model.config;
    let (h, merged, kernels) = (config.n_embd, config.merged(), compute.kernels);
    let chunk = CHUNK / (MERGE * MERGE) * merged;
    let mut y = vec![0.0; x.len() / merged * config.n_out];
    for (x, y) in x.chunks(chunk).zip(y.chunks_mut(CHUNK / (MERGE * MERGE) * config.n_out)) {
        let n = x.len() / merged;
        fill_rows(compute, n, merged, &mut buffers.rows, |r, row| {
            for (x, row) in x[r * merged..][..merged].chunks_exact(h).zip(row.chunks_exact_mut(h)) {
                kernels.layer_norm(x, &model.post_ln.weight, &model.post_ln.bias, config.eps, row);
            }
        });
        buffers.wide.resize(n * merged, 0.0);
        product(compute, model.mm_0.weight.matrix(), &model.mm_0.bias, &buffers.rows, Store::Set, &mut buffers.wide);
        let wide = &buffers.wide;
        fill_rows(compute, n, merged, &mut buffers.rows, |r, row| {
            row.copy_from_slice(&wide[r * merged..][..merged]);
            kernels.gelu_erf(row);
        });
        product(compute, model.mm_2.weight.matrix(), &model.mm_2.bias, &buffers.rows, Store::Set, y);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sizes_of_a_header_overflow() {
        let area = super::super::resize::Area::IMAGE;
        let (most, some) = (1 << 20, 1 << 10);
        let config =
            |n_embd, n_ff, n_head, n_out| VisionConfig { n_layer: most, n_embd, n_ff, n_head, n_out, eps: 1e-6, area };
        let small = config(some, 4 * some, 16, some);
        let bytes_of = |config: &VisionConfig, tokens| bytes(config, tokens, 2, 4);
        for large in [config(most, most, 1, most), config(some, most, 16, some), config(some, 4 * some, 16, most)] {
            for tokens in [1, 2048, usize::MAX] {
                assert!(bytes_of(&large, tokens) >= bytes_of(&small, tokens));
            }
        }
        assert_eq!(bytes_of(&small, usize::MAX), u64::MAX);
        assert_eq!(tokens_within(&small, bytes(&small, 300, 1, 4), usize::MAX, 1, 4), 300);
    }

    #[test]
    fn table_corners_meet_grid_corners() {
        assert_eq!(taps(1, 48), [(0, 1, 0.0)]);
        assert_eq!(taps(2, 48), [(0, 1, 0.0), (47, 47, 0.0)]);
        assert_eq!(taps(3, 48)[1], (23, 24, 0.5));
        assert!(taps(48, 48).iter().enumerate().all(|(i, tap)| tap.0 == i && tap.2 == 0.0));
    }

    #[test]
    fn rows_turn_the_first_half_of_the_pairs_and_columns_the_second() {
        let angles = Angles::new(GridThw { t: 1, h: 2, w: 4 }, 72);
        // The third patch is (1, 0), the sixth (0, 3).
        let at = |patch: usize| &angles.sin[patch * 36..][..36];
        assert!((at(2)[0] - 1f32.sin()).abs() < 1e-6 && at(2)[18..].iter().all(|&v| v == 0.0));
        assert!((at(5)[18] - 3f32.sin()).abs() < 1e-6 && at(5)[..18].iter().all(|&v| v == 0.0));
        let second = (3.0 * 10_000f64.powf(-2.0 / 36.0)).sin() as f32;
        assert!((at(5)[19] - second).abs() < 1e-6);
    }
}
