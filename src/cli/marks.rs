//! Where a message has its pictures and clips: `<image>` and `<video>` in its text mark their places. A backslash
//! before a mark makes it text.

use anyhow::bail;
use qwen_edge::engine::message::{Message, Part};
use serde_json::{Value, json};

/// A mark, what it stands for in a message, and what that is called.
const MARKS: [(&str, &str, &str); 2] = [("<image>", "image", "pictures"), ("<video>", "video", "clips")];

/// A message's text as it is typed, and text that goes with it and has no marks, such as a file.
pub(super) struct Typed<'a> {
    pub text: &'a str,
    pub attached: &'a str,
}

impl<'a> From<&'a str> for Typed<'a> {
    fn from(text: &'a str) -> Self {
        Typed { text, attached: "" }
    }
}

/// The content of a message with so many pictures and clips: where its text marks their places, they go there, else in
/// front of it. Text alone stays text.
///
/// # Errors
/// If the text marks more or fewer places than there are pictures or clips.
pub(super) fn content(typed: &Typed<'_>, images: usize, clips: usize) -> anyhow::Result<Value> {
    let given = [images, clips];
    let mut marked = [0; 2];
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = typed.text;
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        let mark = MARKS.iter().position(|(mark, ..)| from.starts_with(mark));
        // A lone `<` is text like any other.
        let len = mark.map_or(1, |mark| MARKS[mark].0.len());
        match mark {
            Some(mark) if !before.ends_with('\\') && given[mark] > 0 => {
                text.push_str(before);
                if !text.is_empty() {
                    parts.push(json!({"type": "text", "text": std::mem::take(&mut text)}));
                }
                parts.push(json!({ "type": MARKS[mark].1 }));
                marked[mark] += 1;
            }
            mark => {
                text.push_str(if mark.is_some() { before.strip_suffix('\\').unwrap_or(before) } else { before });
                text.push_str(&from[..len]);
            }
        }
        rest = &from[len..];
    }
    text.push_str(rest);
    attach(&mut text, typed.attached);
    if given == [0, 0] {
        return Ok(text.into());
    }
    if !text.is_empty() {
        parts.push(json!({"type": "text", "text": text}));
    }
    let mut in_front = Vec::new();
    for (i, (mark, kind, what)) in MARKS.into_iter().enumerate() {
        let (n, marks) = (given[i], marked[i]);
        if marks == 0 {
            in_front.extend((0..n).map(|_| json!({ "type": kind })));
        } else if marks != n {
            bail!("the message marks places for {marks} {what} with {mark}, and {n} are given; \\{mark} is text");
        }
    }
    in_front.extend(parts);
    Ok(in_front.into())
}

/// The message of what is typed and these pictures and clips, each kind in its own order.
///
/// # Errors
/// As [`content`].
pub(super) fn message(typed: &Typed<'_>, shown: &[Part]) -> anyhow::Result<Message> {
    let of = |kind: fn(&Part) -> bool| shown.iter().filter(move |part| kind(part));
    let mut images = of(|part| matches!(part, Part::Image(_)));
    let mut clips = of(|part| matches!(part, Part::Clip(_)));
    let content = content(typed, images.clone().count(), clips.clone().count())?;
    let mut message = Message::user("");
    message.parts = match content {
        Value::String(text) => vec![Part::Text(text)],
        parts => parts
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|part| match (part["type"].as_str(), part["text"].as_str()) {
                (Some("image"), _) => images.next().cloned(),
                (Some("video"), _) => clips.next().cloned(),
                (_, text) => text.map(|text| Part::Text(text.to_owned())),
            })
            .collect(),
    };
    Ok(message)
}

/// Puts a blank line and `attached` behind `text`, unless there is nothing to attach.
pub(super) fn attach(text: &mut String, attached: &str) {
    if !attached.is_empty() {
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        text.push_str("\n\n");
        text.push_str(attached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str, images: usize, clips: usize) -> anyhow::Result<Value> {
        super::content(&text.into(), images, clips)
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    fn kind(kind: &str) -> Value {
        json!({ "type": kind })
    }

    #[test]
    fn pictures_go_where_the_text_marks_them() {
        assert_eq!(content("hi <image>", 0, 0).unwrap(), json!("hi <image>"));
        let (image, video) = (kind("image"), kind("video"));
        assert_eq!(content("what?", 2, 0).unwrap(), json!([image, image, text("what?")]));
        let marked = content("from <image> to <image>?", 2, 1).unwrap();
        assert_eq!(marked, json!([video, text("from "), image, text(" to "), image, text("?")]));
        assert_eq!(content("<video><image>", 1, 1).unwrap(), json!([video, image]));
        assert_eq!(content("a <video> < b", 1, 0).unwrap(), json!([image, text("a <video> < b")]));
        let error = content("<image>", 2, 0).unwrap_err().to_string();
        assert!(error.contains("1 pictures") && error.contains("\\<image>"), "{error}");
    }

    #[test]
    fn a_backslash_makes_a_mark_text() {
        let image = kind("image");
        let escaped = "is \\<image> in <image>?";
        assert_eq!(content(escaped, 1, 0).unwrap(), json!([text("is <image> in "), image, text("?")]));
        assert_eq!(content("\\<image>", 1, 0).unwrap(), json!([image, text("<image>")]));
        assert_eq!(content("\\<video> \\<image>", 0, 0).unwrap(), json!("<video> <image>"));
        // Any other backslash is one.
        assert_eq!(content("\\<imag> \\< \\", 0, 0).unwrap(), json!("\\<imag> \\< \\"));
    }

    #[test]
    fn what_is_attached_has_no_marks_and_stands_behind_a_blank_line() {
        let typed = |text| Typed { text, attached: "<p>\\<image> <image>\n" };
        let expected = "what?\n\n<p>\\<image> <image>\n";
        assert_eq!(super::content(&typed("what?\r\n"), 0, 0).unwrap(), json!(expected));
        assert_eq!(super::content(&typed("what?"), 1, 0).unwrap(), json!([kind("image"), text(expected)]));
        let marked = super::content(&typed("what? <image>"), 1, 0).unwrap();
        assert_eq!(marked, json!([text("what? "), kind("image"), text("\n\n<p>\\<image> <image>\n")]));
    }

    #[test]
    fn many_marks_take_linear_time() {
        let text = "<image>".repeat(200_000);
        assert_eq!(content(&text, 0, 0).unwrap(), json!(text));
        assert!(content(&text, 1, 0).is_err());
    }
}
