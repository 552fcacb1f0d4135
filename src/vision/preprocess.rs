//! Pictures to the rows the tower takes (`VISION.md` §3): normalised, cut into 16 x 16 patches, in the order of the
//! 2 x 2 merge.

use super::picture::Picture;
use super::resize::TOKEN_SIDE;

/// Side of a patch in pixels.
pub const PATCH: usize = 16;
/// Side of a token in patches.
pub const MERGE: usize = 2;
/// Colours of a pixel.
pub const CHANNELS: usize = 3;
/// Values of one patch of one frame: `[3, 16, 16]`.
pub const PATCH_VALUES: usize = CHANNELS * PATCH * PATCH;
/// Frames that make one row of a clip.
pub const TEMPORAL: usize = 2;

/// Size of an input in patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GridThw {
    /// Groups of two frames; 1 for a picture.
    pub t: usize,
    /// Rows of patches.
    pub h: usize,
    /// Patches in a row.
    pub w: usize,
}

impl GridThw {
    /// Patches of one temporal group.
    pub fn group_patches(self) -> usize {
        self.h * self.w
    }

    /// Patches in all.
    pub fn patches(self) -> usize {
        self.t * self.group_patches()
    }

    /// Tokens of one temporal group.
    pub fn group_tokens(self) -> usize {
        self.group_patches() / (MERGE * MERGE)
    }

    /// Tokens in all.
    pub fn tokens(self) -> usize {
        self.t * self.group_tokens()
    }

    /// Row and column of each patch of a group, in the order of the sequence: 2 x 2 blocks in row-major order, each
    /// row-major inside, so that four rows in sequence make one token.
    pub fn places(self) -> impl Iterator<Item = (usize, usize)> {
        let (rows, cols) = (self.h / MERGE, self.w / MERGE);
        (0..rows).flat_map(move |br| {
            (0..cols).flat_map(move |bc| {
                (0..MERGE).flat_map(move |r| (0..MERGE).map(move |c| (br * MERGE + r, bc * MERGE + c)))
            })
        })
    }
}

/// Normalised patches of one picture or clip.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelValues {
    /// Their places.
    pub grid: GridThw,
    /// Frames in a row: 1 for a picture, whose single frame stands for both, else [`TEMPORAL`].
    pub frames: usize,
    /// Rows `[patches, frames, 3, 16, 16]` of values in -1..=1.
    pub values: Vec<f32>,
}

/// `x / 127.5 - 1` for a byte: mean 0.5 and standard deviation 0.5 after scaling to 0..=1.
fn normalise(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

impl PixelValues {
    /// A picture, already resized.
    ///
    /// # Panics
    /// If a side is no multiple of 32.
    pub fn image(picture: &Picture) -> PixelValues {
        Self::from_frames(std::slice::from_ref(picture), 1)
    }

    /// A clip, its frames already resized to one size; an odd last frame is repeated.
    ///
    /// # Panics
    /// If there is no frame, the sizes differ or a side is no multiple of 32.
    pub fn video(frames: &[Picture]) -> PixelValues {
        Self::from_frames(frames, TEMPORAL)
    }

    fn from_frames(pictures: &[Picture], frames: usize) -> PixelValues {
        let Picture { width, height, .. } = pictures[0];
        assert!(width % TOKEN_SIDE == 0 && height % TOKEN_SIDE == 0, "{width} x {height} is not in whole tokens");
        assert!(pictures.iter().all(|p| (p.width, p.height) == (width, height)), "frames of different sizes");
        let grid = GridThw { t: pictures.len().div_ceil(frames), h: height / PATCH, w: width / PATCH };
        let table: [f32; 256] = std::array::from_fn(|byte| normalise(byte as u8));
        let mut values = vec![0.0; grid.patches() * frames * PATCH_VALUES];
        let mut rows = values.chunks_exact_mut(PATCH_VALUES);
        for t in 0..grid.t {
            for (row, col) in grid.places() {
                for slot in 0..frames {
                    let picture = &pictures[(t * frames + slot).min(pictures.len() - 1)];
                    let out = rows.next().expect("one row a patch and frame");
                    for y in 0..PATCH {
                        let start = ((row * PATCH + y) * width + col * PATCH) * 3;
                        let pixels = &picture.rgb[start..start + PATCH * 3];
                        for (x, pixel) in pixels.chunks_exact(3).enumerate() {
                            for c in 0..3 {
                                out[(c * PATCH + y) * PATCH + x] = table[pixel[c] as usize];
                            }
                        }
                    }
                }
            }
        }
        PixelValues { grid, frames, values }
    }

    /// The rows in the layout of the published processor, `[patches, 3, 2, 16, 16]`.
    pub fn to_processor_layout(&self) -> Vec<f32> {
        const PLANE: usize = PATCH * PATCH;
        let mut out = Vec::with_capacity(self.grid.patches() * TEMPORAL * PATCH_VALUES);
        for row in self.values.chunks_exact(self.frames * PATCH_VALUES) {
            for c in 0..3 {
                for slot in 0..TEMPORAL {
                    let start = slot.min(self.frames - 1) * PATCH_VALUES + c * PLANE;
                    out.extend_from_slice(&row[start..start + PLANE]);
                }
            }
        }
        out
    }

    /// The reverse of [`PixelValues::to_processor_layout`], both frames of each row kept.
    ///
    /// # Panics
    /// If `values` is not `[grid.patches(), 3, 2, 16, 16]`.
    pub fn from_processor_layout(grid: GridThw, values: &[f32]) -> PixelValues {
        const PLANE: usize = PATCH * PATCH;
        assert_eq!(values.len(), grid.patches() * TEMPORAL * PATCH_VALUES);
        let mut out = Vec::with_capacity(values.len());
        for row in values.chunks_exact(TEMPORAL * PATCH_VALUES) {
            for slot in 0..TEMPORAL {
                for c in 0..3 {
                    let start = (c * TEMPORAL + slot) * PLANE;
                    out.extend_from_slice(&row[start..start + PLANE]);
                }
            }
        }
        PixelValues { grid, frames: TEMPORAL, values: out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_come_in_blocks_of_two_by_two() {
        let places: Vec<_> = GridThw { t: 1, h: 4, w: 4 }.places().collect();
        let expected = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (2, 1), (3, 0), (3, 1)];
        assert_eq!(places[..12], expected);
        assert_eq!(places.len(), 16);
    }

    #[test]
    fn an_odd_clip_repeats_its_last_frame() {
        let frame = |value| Picture { width: 32, height: 32, rgb: vec![value; 32 * 32 * 3] };
        let clip = PixelValues::video(&[frame(0), frame(255), frame(51)]);
        assert_eq!(clip.grid, GridThw { t: 2, h: 2, w: 2 });
        let slots: Vec<f32> = clip.values.chunks_exact(PATCH_VALUES).map(|row| row[0]).collect();
        assert_eq!(slots, [-1., 1., -1., 1., -1., 1., -1., 1., -0.6, -0.6, -0.6, -0.6, -0.6, -0.6, -0.6, -0.6]);
        let there = clip.to_processor_layout();
        assert_eq!(PixelValues::from_processor_layout(clip.grid, &there), clip);
    }
}
