//! What the name of a GGUF file says: whether it is a model, how it is quantised, and which part of a split one it is.

/// What a file of a repository or a folder is for, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A text model, or a part of a split one.
    Model,
    /// A vision file.
    Vision,
    /// A block for drafting, in a file of its own.
    Drafting,
    /// No GGUF, or one that nothing here is done with.
    Other,
}

/// What a file is for.
pub fn purpose(path: &str) -> Purpose {
    let name = file_name(path).to_ascii_lowercase();
    let has = |word| name.contains(word);
    if !name.ends_with(".gguf") || has("imatrix") {
        Purpose::Other
    } else if has("mmproj") {
        Purpose::Vision
    } else if name.starts_with("mtp-") {
        Purpose::Drafting
    } else if ["eagle3-", "dflash-", "dspark-"].into_iter().any(has) {
        Purpose::Other
    } else {
        Purpose::Model
    }
}

/// The last part of a path that is written with slashes.
pub fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The quantisation that a file's name ends with: `Q4_K_M` of `Qwen3.5-4B-Q4_K_M.gguf`, `UD-Q4_K_XL` of
/// `Qwen3.5-4B-UD-Q4_K_XL.gguf`.
pub fn of_name(path: &str) -> Option<String> {
    let name = file_name(path);
    let (whole, _) = split(name).unwrap_or_else(|| (name.to_owned(), (1, 1)));
    let stem = whole.rsplit_once('.').map_or(whole.as_str(), |(stem, _)| stem);
    let words: Vec<&str> = stem.split(['-', '.']).collect();
    let at = words.iter().rposition(|word| bits(word).is_some())?;
    let quant = words[at].to_ascii_uppercase();
    let dynamic = at > 0 && words[at - 1].eq_ignore_ascii_case("UD");
    Some(if dynamic { format!("UD-{quant}") } else { quant })
}

/// How many bits a weight of this quantisation has, by its name: `Q4_K_M` has 4. `None` where that is no quantisation.
pub fn bits(quant: &str) -> Option<u32> {
    let quant = quant.to_ascii_uppercase();
    let quant = quant.strip_prefix("UD-").unwrap_or(&quant);
    match quant {
        "F32" => return Some(32),
        "F16" | "BF16" => return Some(16),
        "MXFP4" | "MXFP4_MOE" | "NVFP4" => return Some(4),
        _ => {}
    }
    let digits = ["IQ", "TQ", "Q"].into_iter().find_map(|kind| quant.strip_prefix(kind))?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let rest = &digits[end..];
    let sound =
        rest.is_empty() || (rest.starts_with('_') && rest[1..].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    digits[..end].parse().ok().filter(|bits| sound && (1..=8).contains(bits))
}

/// Whether a file is of the quantisation that was asked for: its name contains that, behind a character that ends a word
/// and before a `.` or `-`, in capitals or not. So `Q4_K_XL` is also `UD-Q4_K_XL`, and `Q4_K` is not `Q4_K_M`.
pub fn is_of(path: &str, quant: &str) -> bool {
    let (name, quant) = (file_name(path).to_ascii_lowercase(), quant.to_ascii_lowercase());
    name.match_indices(&quant).any(|(at, _)| {
        let before = name[..at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric());
        before && name[at + quant.len()..].starts_with(['.', '-'])
    })
}

/// Of a part of a split file, `NAME-00001-of-00003.gguf`: the name of the whole, `NAME.gguf`, the part and how many there
/// are, both counted from 1.
pub fn split(path: &str) -> Option<(String, (u32, u32))> {
    let stem = path.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (prefix, no) = rest.rsplit_once('-')?;
    let number = |text: &str| {
        let digits = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<u32>().ok() } else { None }
    };
    let (no, count) = (number(no)?, number(count)?);
    (1 <= no && no <= count).then(|| (format!("{prefix}.gguf"), (no, count)))
}

/// The names of all parts of the split file that `path` is a part of; `path` alone where it is none.
pub fn siblings(path: &str) -> Vec<String> {
    match split(path) {
        None => vec![path.to_owned()],
        Some((whole, (_, count))) => {
            let prefix = whole.strip_suffix(".gguf").unwrap_or(&whole);
            (1..=count).map(|no| format!("{prefix}-{no:05}-of-{count:05}.gguf")).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_tells_its_quantisation() {
        for (name, quant) in [
            ("Qwen3.5-0.8B-Q4_K_M.gguf", Some("Q4_K_M")),
            ("Qwen3.5-0.8B-UD-Q4_K_XL.gguf", Some("UD-Q4_K_XL")),
            ("dir/Qwen_Qwen3.5-2B-IQ4_XS.gguf", Some("IQ4_XS")),
            ("Qwen3.5-9B-BF16-00001-of-00002.gguf", Some("BF16")),
            ("demo-q8_0.gguf", Some("Q8_0")),
            ("Qwen3.5-0.8B.gguf", None),
            ("model.Q5_0.gguf", Some("Q5_0")),
        ] {
            assert_eq!(of_name(name).as_deref(), quant, "{name}");
        }
        assert_eq!(
            ["Q4_K_M", "UD-IQ2_XXS", "BF16", "Qwen3", "Q9_0", "Q"].map(bits),
            [Some(4), Some(2), Some(16), None, None, None]
        );
    }

    #[test]
    fn a_quantisation_is_found_as_llama_cpp_finds_it() {
        assert!(is_of("Qwen3.5-4B-Q4_K_M.gguf", "q4_k_m"));
        assert!(!is_of("Qwen3.5-4B-Q4_K_M.gguf", "Q4_K"));
        assert!(is_of("Qwen3.5-4B-UD-Q4_K_XL.gguf", "Q4_K_XL") && is_of("Qwen3.5-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"));
        assert!(is_of("a-BF16-00001-of-00002.gguf", "bf16"));
        assert!(!is_of("a-BF16.gguf", "F16") && !is_of("a-IQ4_NL.gguf", "Q4_NL"));
    }

    #[test]
    fn a_split_file_is_all_of_its_parts() {
        assert_eq!(split("d/a-00002-of-00003.gguf"), Some(("d/a.gguf".into(), (2, 3))));
        assert_eq!(siblings("a-00002-of-00002.gguf"), ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]);
        for no in ["a.gguf", "a-00000-of-00002.gguf", "a-00003-of-00002.gguf", "a-1-of-2.gguf"] {
            assert_eq!((split(no), siblings(no)), (None, vec![no.to_owned()]), "{no}");
        }
    }

    #[test]
    fn what_is_no_model_is_told_by_its_name() {
        for (name, what) in [
            ("Qwen3.5-4B-Q8_0.gguf", Purpose::Model),
            ("mmproj-F16.gguf", Purpose::Vision),
            ("sub/Qwen3.5-4B-mmproj-bf16.gguf", Purpose::Vision),
            ("mtp-Qwen3.5-4B-Q8_0.gguf", Purpose::Drafting),
            ("imatrix_unsloth.gguf", Purpose::Other),
            ("eagle3-x.gguf", Purpose::Other),
            ("README.md", Purpose::Other),
        ] {
            assert_eq!(purpose(name), what, "{name}");
        }
    }
}
