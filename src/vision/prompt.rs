//! Pictures and clips in a prompt: which placeholder is whose, and the rows the text model reads.

use super::error::{Error, Result};
use super::eyes::Seen;
use super::positions::{Insert, VisionIds, Walk, expand};
use super::preprocess::GridThw;
use crate::model::input::{Embedding, Input, InputRow};
use std::collections::VecDeque;

/// A prompt whose placeholders are as many as its pictures have tokens.
pub struct Prompt {
    /// Token ids; those of placeholders stand for rows.
    pub ids: Vec<u32>,
    /// The pictures and clips in the order of their placeholders.
    pub seen: Vec<Seen>,
}

/// Puts pictures and clips where a prompt has their placeholders, each kind in its own order. The placeholders are
/// either one for each picture and clip, as a chat template writes them, and are then repeated as needed; or they have
/// been repeated already. `text` gives the ids of a clip's time stamp.
///
/// # Errors
/// When placeholders and inputs do not agree.
pub fn arrange(
    prompt: &[u32],
    ids: VisionIds,
    images: &[Seen],
    clips: &[Seen],
    text: impl Fn(&str) -> Vec<u32>,
) -> Result<Prompt> {
    if let Some(seen) = in_expanded(prompt, ids, images, clips) {
        return Ok(Prompt { ids: prompt.to_vec(), seen });
    }
    let (mut images, mut clips) = (images.iter(), clips.iter());
    let mut seen = Vec::new();
    for &id in prompt {
        let (next, what) = match id {
            id if id == ids.image_pad => (images.next(), "pictures"),
            id if id == ids.video_pad => (clips.next(), "clips"),
            _ => continue,
        };
        let next = next.ok_or_else(|| {
            Error::Placeholders(format!("the prompt has placeholders for more {what} than are given"))
        })?;
        seen.push(next.clone());
    }
    for (left, what) in [(images.len(), "pictures"), (clips.len(), "clips")] {
        if left > 0 {
            return Err(Error::Placeholders(format!(
                "the prompt has no placeholders for the last {left} of the {what}"
            )));
        }
    }
    let inserts: Vec<Insert> = seen.iter().map(|seen| seen.insert.clone()).collect();
    Ok(Prompt { ids: expand(prompt, ids, &inserts, text)?, seen })
}

/// The inputs in the order of their placeholders, when every one of these has been repeated as often as needed.
fn in_expanded(prompt: &[u32], ids: VisionIds, images: &[Seen], clips: &[Seen]) -> Option<Vec<Seen>> {
    // For each kind: inputs, and how many groups of each are still to come.
    let queue =
        |seen: &[Seen]| -> VecDeque<(Seen, usize)> { seen.iter().map(|s| (s.clone(), s.insert.grid.t)).collect() };
    let (mut images, mut clips) = (queue(images), queue(clips));
    let mut order = Vec::new();
    let mut i = 0;
    while i < prompt.len() {
        let waiting = match prompt[i] {
            id if id == ids.image_pad => &mut images,
            id if id == ids.video_pad => &mut clips,
            _ => {
                i += 1;
                continue;
            }
        };
        let (seen, groups) = waiting.front_mut()?;
        let tokens = seen.insert.grid.group_tokens();
        if !prompt.get(i..i + tokens)?.iter().all(|id| *id == prompt[i]) {
            return None;
        }
        i += tokens;
        if *groups == seen.insert.grid.t {
            order.push(seen.clone());
        }
        *groups -= 1;
        if *groups == 0 {
            waiting.pop_front();
        }
    }
    (images.is_empty() && clips.is_empty()).then_some(order)
}

impl Prompt {
    /// What the text model reads: tokens, and rows in the places of placeholders, with their positions from `walk` on.
    ///
    /// # Errors
    /// When the prompt's placeholders are not those of its pictures.
    pub fn rows(&self, ids: VisionIds, n_embd: usize, walk: &mut Walk) -> Result<Vec<InputRow>> {
        let grids: Vec<GridThw> = self.seen.iter().map(|seen| seen.insert.grid).collect();
        let positions = walk.prompt(&self.ids, ids, &grids)?;
        let mut rows = self.seen.iter().flat_map(|seen| Embedding::rows_of(&seen.rows, n_embd));
        let slot = |(id, position): (&u32, _)| {
            let input = if *id == ids.image_pad || *id == ids.video_pad {
                Input::Embedding(rows.next().expect("as many rows as placeholders"))
            } else {
                Input::Token(*id)
            };
            InputRow { input, position }
        };
        Ok(self.ids.iter().zip(positions).map(slot).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: VisionIds = VisionIds { vision_start: 90, vision_end: 91, image_pad: 92, video_pad: 93 };

    fn seen(t: usize, h: usize, w: usize, clip: bool, value: f32) -> Seen {
        let grid = GridThw { t, h, w };
        let seconds = clip.then(|| (0..t).map(|i| i as f64).collect());
        Seen { insert: Insert { grid, seconds }, rows: vec![value; grid.tokens() * 2].into() }
    }

    fn shown(prompt: &Prompt) -> Vec<f32> {
        let slots = prompt.rows(IDS, 2, &mut Walk::default()).unwrap();
        slots
            .iter()
            .map(|slot| match &slot.input {
                Input::Token(id) => *id as f32,
                Input::Embedding(row) => row[0],
            })
            .collect()
    }

    #[test]
    fn each_kind_goes_to_its_own_placeholders_repeated_or_not() {
        let images = [seen(1, 2, 4, false, 0.1), seen(1, 2, 2, false, 0.2)];
        let clips = [seen(2, 2, 4, true, 0.5)];
        let text = |_: &str| vec![7];
        let prompt = arrange(&[1, 92, 93, 2, 92], IDS, &images, &clips, text).unwrap();
        let expected = [1., 0.1, 0.1, 7., 90., 0.5, 0.5, 91., 7., 90., 0.5, 0.5, 91., 2., 0.2];
        assert_eq!(shown(&prompt), expected);
        let again = arrange(&prompt.ids, IDS, &images, &clips, |_: &str| unreachable!()).unwrap();
        assert_eq!(shown(&again), expected);
    }

    #[test]
    fn what_does_not_agree_is_said() {
        let images = [seen(1, 2, 4, false, 0.1)];
        let text = |_: &str| vec![];
        for (prompt, images, clips, says) in [
            (&[1, 2][..], &images[..], &[][..], "no placeholders for the last 1 of the pictures"),
            (&[92, 92, 92], &images, &[], "more pictures than are given"),
            (&[93], &[], &[], "more clips than are given"),
        ] {
            let error = arrange(prompt, IDS, images, clips, text).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
