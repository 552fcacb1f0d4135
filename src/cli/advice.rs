//! From an error of the library to what the user can type: the one place that puts options into its sentences.

use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::model_file::{OpenError, StartError};
use qwen_edge::engine::plan::Plan;
use qwen_edge::engine::runner::DEFAULT_BATCH;
use qwen_edge::engine::session::SessionError;
use qwen_edge::engine::shortage::{Layout, MemoryLimit, NotEnoughMemory, Remedy};
use qwen_edge::model::{self, FileKind};
use qwen_edge::platform::files;
use qwen_edge::vision;
use std::error::Error;
use std::io;

/// An error and its causes in one line, with what to do about them on the command line.
pub(super) fn explain(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        // What stands before the error of a file is the file's name.
        let file = (!line.is_empty()).then(|| line.clone());
        if file.is_some() {
            line.push_str(": ");
        }
        line.push_str(&sentence(cause, file.as_deref()));
    }
    line
}

/// One cause.
fn sentence(cause: &(dyn Error + 'static), file: Option<&str>) -> String {
    let cause = innermost(cause);
    if let Some(error) = cause.downcast_ref::<NotEnoughMemory>() {
        return error.describe(&limit(&error.limit), &remedy(&error.remedy));
    }
    if let Some(&SessionError::TooLong { n_prompt, .. }) = cause.downcast_ref() {
        let enough = (n_prompt + 512).next_multiple_of(1024);
        return format!("{cause}: give --ctx {enough} or more, or a shorter prompt");
    }
    if let Some(StartError::Lock(_)) = cause.downcast_ref() {
        return format!("{cause}; {}", files::LOCKING);
    }
    if let Some(model::Error::NotAModel(FileKind::VisionTower)) = cause.downcast_ref() {
        return format!("{cause}: qwen-edge run MODEL --mmproj {}", file.unwrap_or("FILE"));
    }
    if let Some(words) = cause.downcast_ref::<io::Error>().and_then(files::own_words) {
        return words.to_owned();
    }
    match cause.downcast_ref().and_then(looking) {
        Some(advice) => format!("{cause}{advice}"),
        None => cause.to_string(),
    }
}

/// The error that one of a session or a model's file passes on as it is.
fn innermost<'a>(cause: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    match (cause.downcast_ref(), cause.downcast_ref(), cause.downcast_ref()) {
        (Some(OpenError::Model(error)), ..) | (_, Some(StartError::Model(error)), _) => error,
        (_, Some(StartError::NotEnoughMemory(error)), _) => error,
        (_, Some(StartError::Vision(error)), _) | (.., Some(SessionError::Vision(error))) => error,
        _ => cause,
    }
}

/// What to do about a picture or clip, as the end of a sentence.
#[cfg(feature = "vision")]
fn looking(error: &vision::Error) -> Option<&'static str> {
    match error {
        vision::Error::NoRoom { .. } | vision::Error::NoRoomToLook { .. } => Some("; --mem allows more"),
        vision::Error::Directory => Some("; --video reads the frames in a directory"),
        vision::Error::Still => Some("; --image looks at pictures"),
        vision::Error::Frame { reason, .. } | vision::Error::FrameFile { reason, .. } => looking(reason),
        _ => None,
    }
}

#[cfg(not(feature = "vision"))]
fn looking(_: &vision::Error) -> Option<&'static str> {
    None
}

/// A limit on memory, as a part of a sentence.
fn limit(limit: &MemoryLimit) -> String {
    match limit {
        MemoryLimit::Ceiling(bytes) => format!("--mem allows {}", ByteSize(*bytes)),
        limit => limit.to_string(),
    }
}

/// What to ask for instead, as a part of a sentence.
fn remedy(remedy: &Remedy) -> String {
    match remedy {
        Remedy::AskFor(layout) => {
            let Layout { n_ctx, kv, n_batch, total, streaming, .. } = **layout;
            let batch = if n_batch == DEFAULT_BATCH { String::new() } else { format!(" --batch {n_batch}") };
            let (kv, total) = (kv.name(), ByteSize(total));
            format!("--ctx {n_ctx} --kv {kv}{batch} would fit, with {total}{streaming}")
        }
        Remedy::SetCeiling(bytes) => {
            format!("--mem says what may be taken, such as --mem {}M", bytes.div_ceil(1_000_000))
        }
        remedy => remedy.to_string(),
    }
}

/// The plan in one line.
pub(super) fn plan_line(plan: &Plan) -> String {
    let within =
        plan.limit().map_or("this system does not say what memory is free".to_owned(), |within| limit(&within));
    format!("memory: {plan}; {within}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwen_edge::model::kv_type::KvType;
    use qwen_edge::model::stream::Streaming;

    #[test]
    #[cfg(feature = "vision")]
    fn an_error_of_the_library_is_told_with_what_to_type() {
        let tower = anyhow::Error::new(model::Error::NotAModel(FileKind::VisionTower));
        assert!(explain(&tower).ends_with(": qwen-edge run MODEL --mmproj FILE"));
        let tower = explain(&tower.context("a.gguf"));
        assert!(tower.starts_with("a.gguf: not a model") && tower.ends_with(" --mmproj a.gguf"), "{tower}");

        let frame = |reason| vision::Error::Frame { index: 1, total: 2, reason: Box::new(reason) };
        for (error, advice) in [
            (vision::Error::Directory, "--video"),
            (vision::Error::Still, "--image"),
            (vision::Error::NoRoomToLook { room: 1 }, "--mem"),
            (frame(vision::Error::NoRoom { width: 1, height: 1, need: 2, room: 1 }), "--mem"),
        ] {
            let alone = error.to_string();
            assert!(!alone.contains("--"), "{alone}");
            let said = explain(&anyhow::Error::new(error).context("x.png"));
            assert!(said.starts_with(&format!("x.png: {alone}; {advice}")), "{said}");
        }
        let long = SessionError::TooLong { n_prompt: 1000, n_ctx: 512 };
        assert!(explain(&long.into()).ends_with("512: give --ctx 2048 or more, or a shorter prompt"));
        let passed_on = SessionError::Vision(vision::Error::Still);
        assert!(explain(&passed_on.into()).contains("--image"));
        assert_eq!(explain(&anyhow::anyhow!("a").context("b")), "b: a");
    }

    #[test]
    fn what_would_fit_is_told_in_options() {
        let streaming = Streaming::default();
        let layout = Layout { n_ctx: 512, kv: KvType::Q8_0, n_batch: 32, total: 900_000_000, weights: 1, streaming };
        assert_eq!(remedy(&Remedy::AskFor(Box::new(layout))), "--ctx 512 --kv q8_0 --batch 32 would fit, with 900 MB");
        let usual = Layout { n_batch: DEFAULT_BATCH, ..layout };
        assert_eq!(remedy(&Remedy::AskFor(Box::new(usual))), "--ctx 512 --kv q8_0 would fit, with 900 MB");
        assert_eq!(limit(&MemoryLimit::Ceiling(20_000_000)), "--mem allows 20 MB");
    }
}
