//! Three-axis positions of the text model (M-RoPE) for prompts with pictures, and the expansion of placeholders
//! (`VISION.md` §9).
//!
//! Text advances all three axes together. The tokens of a picture, or of one temporal group of a clip, share the time
//! axis and spread over rows and columns; the text after it goes on from the largest position used plus one.

use super::error::{Error, Result};
use super::preprocess::{GridThw, MERGE};

/// Positions of one token: time, row, column.
pub type Position = [u32; 3];

/// Ids of the tokens that stand for vision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisionIds {
    /// `<|vision_start|>`
    pub vision_start: u32,
    /// `<|vision_end|>`
    pub vision_end: u32,
    /// `<|image_pad|>`
    pub image_pad: u32,
    /// `<|video_pad|>`
    pub video_pad: u32,
}

impl VisionIds {
    /// Looks the four tokens up in a vocabulary.
    ///
    /// # Errors
    /// Names the one that is missing.
    pub fn find(mut id_of: impl FnMut(&str) -> Option<u32>) -> Result<VisionIds> {
        let mut id = |token: &str| {
            id_of(token).ok_or_else(|| Error::Placeholders(format!("the model's vocabulary has no token {token}")))
        };
        Ok(VisionIds {
            vision_start: id("<|vision_start|>")?,
            vision_end: id("<|vision_end|>")?,
            image_pad: id("<|image_pad|>")?,
            video_pad: id("<|video_pad|>")?,
        })
    }
}

/// A picture or clip as the prompt sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// Its size in patches.
    pub grid: GridThw,
    /// For a clip: seconds at which each temporal group stands. `None` for a picture.
    pub seconds: Option<Vec<f64>>,
}

/// Repeats each placeholder of a templated prompt as often as its picture has tokens. A clip's placeholder, with the
/// `<|vision_start|>` and `<|vision_end|>` around it, becomes one run for each group, with its time in front; `text`
/// gives the ids of such a time stamp, which is ordinary text.
///
/// # Errors
/// When the prompt has not exactly one placeholder for each insert, in order.
pub fn expand(prompt: &[u32], ids: VisionIds, inserts: &[Insert], text: impl Fn(&str) -> Vec<u32>) -> Result<Vec<u32>> {
    let mut out = Vec::with_capacity(prompt.len() + inserts.iter().map(|i| i.grid.tokens()).sum::<usize>());
    let mut waiting = inserts.iter();
    let mut i = 0;
    while i < prompt.len() {
        let id = prompt[i];
        i += 1;
        if id != ids.image_pad && id != ids.video_pad {
            out.push(id);
            continue;
        }
        let Insert { grid, seconds } = waiting.next().ok_or_else(|| too_many_placeholders(inserts.len()))?;
        match seconds {
            None if id == ids.image_pad => out.extend(std::iter::repeat_n(id, grid.tokens())),
            Some(seconds) if id == ids.video_pad => {
                let wrapped = out.last() == Some(&ids.vision_start) && prompt.get(i) == Some(&ids.vision_end);
                if wrapped {
                    out.pop();
                    i += 1;
                }
                for second in seconds {
                    out.extend(text(&time_stamp(*second)));
                    out.push(ids.vision_start);
                    out.extend(std::iter::repeat_n(id, grid.group_tokens()));
                    out.push(ids.vision_end);
                }
            }
            _ => {
                return Err(Error::Placeholders("a picture stands where the prompt has a clip, or the reverse".into()));
            }
        }
    }
    match waiting.len() {
        0 => Ok(out),
        n => Err(Error::Placeholders(format!("the prompt has no placeholder for the last {n} pictures or clips"))),
    }
}

fn too_many_placeholders(inserts: usize) -> Error {
    Error::Placeholders(format!("the prompt has more placeholders than the {inserts} pictures and clips given"))
}

/// The time of a group as the processor writes it, for example `<0.2 seconds>`.
pub fn time_stamp(seconds: f64) -> String {
    format!("<{seconds:.1} seconds>")
}

/// Hands out positions, continuing from one part of a conversation to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Position of the next text token on all axes.
    pub next: u32,
}

impl Walk {
    /// Positions of `n` text tokens.
    pub fn text(&mut self, n: usize, out: &mut Vec<Position>) {
        out.extend((self.next..).take(n).map(|p| [p; 3]));
        self.next += n as u32;
    }

    /// Positions of the tokens of a picture or of one temporal group, row-major.
    pub fn group(&mut self, grid: GridThw, out: &mut Vec<Position>) {
        let (rows, cols) = ((grid.h / MERGE) as u32, (grid.w / MERGE) as u32);
        for r in 0..rows {
            out.extend((0..cols).map(|c| [self.next, self.next + r, self.next + c]));
        }
        self.next += rows.max(cols);
    }

    /// Positions of an expanded prompt, whose vision tokens belong to `grids` in order.
    ///
    /// # Errors
    /// When the runs of vision tokens and the grids disagree.
    pub fn prompt(&mut self, prompt: &[u32], ids: VisionIds, grids: &[GridThw]) -> Result<Vec<Position>> {
        let is_pad = |id: u32| id == ids.image_pad || id == ids.video_pad;
        let mut groups = grids.iter().flat_map(|grid| std::iter::repeat_n(*grid, grid.t));
        let mut out = Vec::with_capacity(prompt.len());
        while out.len() < prompt.len() {
            let rest = &prompt[out.len()..];
            if !is_pad(rest[0]) {
                self.text(1, &mut out);
                continue;
            }
            let grid = groups.next().ok_or_else(|| too_many_placeholders(grids.len()))?;
            let run = rest.iter().take_while(|&&id| id == rest[0]).count();
            if run < grid.group_tokens() {
                let needed = grid.group_tokens();
                return Err(Error::Placeholders(format!(
                    "token {}: a run of {run} vision tokens for a picture of {needed}",
                    out.len()
                )));
            }
            self.group(grid, &mut out);
        }
        match groups.count() {
            0 => Ok(out),
            n => Err(Error::Placeholders(format!("{n} pictures or groups of frames have no tokens in the prompt"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: VisionIds = VisionIds { vision_start: 90, vision_end: 91, image_pad: 92, video_pad: 93 };

    fn picture(h: usize, w: usize) -> Insert {
        Insert { grid: GridThw { t: 1, h, w }, seconds: None }
    }

    #[test]
    fn text_goes_on_after_the_longest_side() {
        let mut walk = Walk::default();
        let grid = GridThw { t: 1, h: 4, w: 4 };
        let positions = walk.prompt(&[1, 92, 92, 92, 92, 2], IDS, &[grid]).unwrap();
        assert_eq!(positions, [[0; 3], [1, 1, 1], [1, 1, 2], [1, 2, 1], [1, 2, 2], [3; 3]]);
        assert_eq!(walk.next, 4);
        // A later turn continues.
        assert_eq!(
            walk.prompt(&[7, 92, 92], IDS, &[GridThw { t: 1, h: 4, w: 2 }]).unwrap(),
            [[4; 3], [5; 3], [5, 6, 5]]
        );
        assert_eq!(walk.next, 7);
    }

    #[test]
    fn pictures_expand_in_order() {
        let out = expand(&[5, 90, 92, 91, 6, 90, 92, 91], IDS, &[picture(2, 4), picture(2, 2)], |_| vec![]).unwrap();
        assert_eq!(out, [5, 90, 92, 92, 91, 6, 90, 92, 91]);
    }

    #[test]
    fn a_clip_loses_its_outer_wrapper_and_gains_its_times() {
        let clip = Insert { grid: GridThw { t: 2, h: 2, w: 2 }, seconds: Some(vec![0.25, 1.25]) };
        let text = |stamp: &str| match stamp {
            "<0.2 seconds>" => vec![20],
            "<1.2 seconds>" => vec![21],
            other => panic!("{other}"),
        };
        let out = expand(&[5, 90, 93, 91, 6], IDS, &[clip], text).unwrap();
        assert_eq!(out, [5, 20, 90, 93, 91, 21, 90, 93, 91, 6]);
    }

    #[test]
    fn placeholders_and_pictures_must_agree() {
        let text = |_: &str| vec![];
        assert!(expand(&[92, 92], IDS, &[picture(2, 2)], text).is_err());
        assert!(expand(&[1], IDS, &[picture(2, 2)], text).is_err());
        assert!(expand(&[93], IDS, &[picture(2, 2)], text).is_err());
        let grid = GridThw { t: 1, h: 4, w: 4 };
        assert!(Walk::default().prompt(&[92, 92, 1], IDS, &[grid]).is_err());
        assert!(Walk::default().prompt(&[92; 5], IDS, &[grid]).is_err());
        assert!(Walk::default().prompt(&[1], IDS, &[grid]).is_err());
    }
}
