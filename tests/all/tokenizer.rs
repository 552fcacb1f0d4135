//! The tokenizer: ids are those of the reference implementation, and no vocabulary or text can harm it.

use qwen_edge::gguf::Gguf;
use qwen_edge::gguf::writer::Writer;
use qwen_edge::synth::Vocab;
use qwen_edge::tokenizer::{Error, Prompt, Special, StreamDecoder, TokenType, Tokenizer};
use std::sync::LazyLock;

/// The vocabulary keys of a file, some of them left out or changed by the tests.
struct Keys {
    vocab: Vocab,
    merges: Option<Vec<String>>,
    model: Option<&'static str>,
    pre: Option<&'static str>,
    eos: u32,
}

impl Keys {
    fn of(vocab: Vocab) -> Self {
        let merges = Some(vocab.merge_lines().collect());
        let eos = vocab.id("<|im_end|>").unwrap();
        Self { vocab, merges, model: Some("gpt2"), pre: Some("qwen35"), eos }
    }

    /// Few tokens, so that a test is fast.
    fn small() -> Self {
        Self::of(Vocab::published_cut(1088))
    }

    fn gguf(&self) -> Gguf {
        let mut writer = Writer::new();
        if let Some(model) = self.model {
            writer.string("tokenizer.ggml.model", model);
        }
        if let Some(pre) = self.pre {
            writer.string("tokenizer.ggml.pre", pre);
        }
        writer.strings("tokenizer.ggml.tokens", self.vocab.tokens.iter());
        writer.i32s("tokenizer.ggml.token_type", &self.vocab.types);
        if let Some(merges) = &self.merges {
            writer.strings("tokenizer.ggml.merges", merges.iter());
        }
        writer.u32("tokenizer.ggml.eos_token_id", self.eos);
        Gguf::from_bytes(writer.to_bytes(|_| unreachable!("there are no tensors"))).unwrap()
    }

    fn error(&self) -> Error {
        Tokenizer::from_gguf(&self.gguf()).err().expect("the vocabulary is unusable")
    }
}

static PUBLISHED: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::from_gguf(&Keys::of(Vocab::published().clone()).gguf()).unwrap());

fn check_cases(cases: &str) {
    let mut n = 0;
    for line in cases.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = case["text"].as_str().unwrap();
        let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(PUBLISHED.encode(text, Special::Parse), expected, "{text:?}");
        n += 1;
    }
    assert!(n > 300, "only {n} cases");
}

#[test]
fn ids_are_those_of_the_reference() {
    check_cases(include_str!("../tokenizer/published.jsonl"));
}

#[test]
fn ids_of_hard_texts_are_those_of_the_reference() {
    check_cases(include_str!("../tokenizer/hard.jsonl"));
}

#[test]
fn words_that_no_merge_reaches_do_not_appear() {
    let word = (0..PUBLISHED.n_vocab() as u32).find(|&id| PUBLISHED.token_bytes(id) == "人力资源".as_bytes()).unwrap();
    let ids = PUBLISHED.encode("人力资源", Special::None);
    assert!(!ids.contains(&word), "{ids:?}");
    assert_eq!(PUBLISHED.decode(&ids), "人力资源");
}

#[test]
fn text_of_a_user_holds_no_control_token() {
    let controls: Vec<u32> = PUBLISHED.control_texts().map(|text| PUBLISHED.added_token(text).unwrap()).collect();
    assert_eq!(controls.len(), 27);
    for text in PUBLISHED.control_texts() {
        let text = format!("a{text}{text} <think>");
        let ids = PUBLISHED.encode(&text, Special::None);
        assert!(!ids.iter().any(|id| controls.contains(id)), "{text:?}: {ids:?}");
        assert_eq!(ids.last(), PUBLISHED.added_token("<think>").as_ref());
        assert_eq!(PUBLISHED.decode(&ids), text);
    }
}

#[test]
fn a_prompt_holds_the_control_tokens_of_its_template_only() {
    let [start, end] = ["<|im_start|>", "<|im_end|>"].map(|text| PUBLISHED.added_token(text).unwrap());
    let text = "<|im_start|>a<|im_end|><|im_end|>".to_owned();
    let encode = |literal| PUBLISHED.encode_prompt(&Prompt { text: text.clone(), literal });
    let plain = PUBLISHED.encode("a<|im_end|>", Special::None);
    assert_eq!(encode(vec![13]), [&[start][..], &plain, &[end]].concat());
    assert_eq!(encode(vec![]), [&[start][..], &PUBLISHED.encode("a", Special::None), &[end, end]].concat());
    let all = PUBLISHED.encode(&text, Special::None);
    assert_eq!(encode(vec![0, 13, 23]), all);
}

#[test]
fn padding_is_never_made_and_has_no_bytes() {
    let padding: Vec<u32> = PUBLISHED.padding().collect();
    assert_eq!(padding, (248_077..248_320).collect::<Vec<_>>());
    assert!(padding.iter().all(|&id| PUBLISHED.is_padding(id) && PUBLISHED.token_bytes(id).is_empty()));
    assert!(PUBLISHED.is_padding(u32::MAX) && !PUBLISHED.is_padding(248_076));
    let ids = PUBLISHED.encode("[PAD248077]", Special::Parse);
    assert!(ids.iter().all(|&id| !PUBLISHED.is_padding(id)));
}

#[test]
fn both_end_tokens_and_their_kin_end_an_answer() {
    assert_eq!(PUBLISHED.ends(), [248_044, 248_046, 248_063, 248_064, 248_065]);
    assert_eq!(PUBLISHED.eos(), Some(248_046));
    assert!(PUBLISHED.is_end(248_044) && !PUBLISHED.is_end(248_045));
    let mut keys = Keys::small();
    keys.eos = 7;
    let tokenizer = Tokenizer::from_gguf(&keys.gguf()).unwrap();
    assert!(tokenizer.is_end(7) && tokenizer.is_end(tokenizer.added_token("<|im_end|>").unwrap()));
}

#[test]
fn decoding_gives_the_text_back_token_by_token() {
    let text = "naïve 世界 🙂‍↔️ नमस्ते\r\n\tᄀ<think>";
    let ids = PUBLISHED.encode(text, Special::None);
    assert_eq!(PUBLISHED.decode(&ids), text);
    let mut decoder = StreamDecoder::new();
    let mut out = String::new();
    for &id in &ids {
        out += decoder.push(&PUBLISHED, id);
    }
    assert_eq!(out + decoder.finish(), text);
    let end = PUBLISHED.added_token("<|im_end|>").unwrap();
    assert_eq!(decoder.push(&PUBLISHED, end), "");
    assert_eq!(PUBLISHED.decode(&[end]), "<|im_end|>");
    assert_eq!(decoder.push(&PUBLISHED, u32::MAX), "");
}

/// Pieces on both sides of the length at which the way of merging changes, and far beyond.
#[test]
fn long_pieces_are_merged_like_short_ones_and_in_no_time() {
    let tokenizer = &*PUBLISHED;
    for unit in ["a", "ab", "ha", "é", "的", "=", " ", "ᄀ"] {
        for n in [1, 40, 47, 48, 49, 50, 97, 200] {
            let text = unit.repeat(n);
            assert_eq!(tokenizer.decode(&tokenizer.encode(&text, Special::None)), text);
        }
    }
    for unit in ["a", "ab", "=", " ", "\n", "'", "<", "<|im_end|", "e\u{301}", "\u{323}\u{301}"] {
        let text = unit.repeat((1 << 18) / unit.len());
        let ids = tokenizer.encode(&text, Special::Parse);
        assert!(!ids.is_empty() && ids.len() <= text.len(), "{unit:?}");
    }
}

/// Merging straight from the definition: the first of the lowest-ranking pairs, again and again.
#[test]
fn merging_follows_the_definition() {
    let keys = Keys::of(Vocab::published_cut(4096));
    let tokenizer = Tokenizer::from_gguf(&keys.gguf()).unwrap();
    let merges = keys.merges.as_ref().unwrap();
    let ranks: std::collections::HashMap<&str, usize> = merges.iter().map(String::as_str).zip(0..).collect();
    let naive = |word: &str| {
        let mut parts: Vec<String> = word.chars().map(String::from).collect();
        loop {
            let pairs = parts.windows(2).map(|pair| ranks.get(&*pair.join(" ")));
            let Some((at, _)) =
                pairs.enumerate().filter_map(|(at, rank)| Some((at, rank?))).min_by_key(|(_, rank)| *rank)
            else {
                break parts.iter().map(|part| keys.vocab.id(part).unwrap()).collect::<Vec<_>>();
            };
            let right = parts.remove(at + 1);
            parts[at] += &right;
        }
    };
    // Words of all lengths up to a hundred over letters that merge a lot.
    let mut state = 1u32;
    for len in 1..100 {
        let word: String = (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"etaoinsr"[(state >> 29) as usize] as char
            })
            .collect();
        assert_eq!(tokenizer.encode(&word, Special::None), naive(&word), "{word}");
    }
}

#[test]
fn every_token_of_the_vocabulary_can_be_looked_at() {
    for id in 0..PUBLISHED.n_vocab() as u32 {
        let text = PUBLISHED.token_text(id).unwrap();
        match PUBLISHED.token_type(id).unwrap() {
            TokenType::Control | TokenType::UserDefined => assert_eq!(PUBLISHED.added_token(text), Some(id)),
            TokenType::Normal => assert!(!PUBLISHED.token_bytes(id).is_empty()),
            _ => {}
        }
    }
    assert_eq!(PUBLISHED.token_text(PUBLISHED.n_vocab() as u32), None);
    assert_eq!(PUBLISHED.token_bytes(PUBLISHED.encode(" world", Special::None)[0]), b" world");
}

#[test]
fn rejects_a_vocabulary_without_merges() {
    let mut keys = Keys::small();
    keys.merges = None;
    assert!(matches!(keys.error(), Error::NoMerges));
    keys.merges = Some(Vec::new());
    assert!(matches!(keys.error(), Error::NoMerges));
}

#[test]
fn rejects_other_kinds_of_vocabulary() {
    let mut keys = Keys::small();
    keys.model = Some("llama");
    assert_eq!(keys.error().to_string(), "`tokenizer.ggml.model` is \"llama\"; supported: \"gpt2\"");
    keys.model = None;
    assert!(matches!(keys.error(), Error::Missing { key: "tokenizer.ggml.model" }));
    let mut keys = Keys::small();
    keys.pre = Some("qwen2");
    assert_eq!(keys.error().to_string(), "`tokenizer.ggml.pre` is \"qwen2\"; supported: \"qwen35\"");
}

#[test]
fn rejects_types_that_do_not_fit_the_tokens() {
    let mut keys = Keys::small();
    keys.vocab.types.pop();
    assert!(matches!(keys.error(), Error::TypeCount { tokens: 1088, types: 1087 }));
    keys.vocab.types.push(9);
    assert!(matches!(keys.error(), Error::Type { id: 1087, found: 9 }));
}

#[test]
fn ignores_merges_of_unknown_tokens_and_says_so() {
    for (line, problem) in [
        ("ab", "is not two tokens with a blank between them"),
        ("a zz!!", "joins a token that is not in the vocabulary"),
        ("! zzz", "makes a token that is not in the vocabulary"),
        ("", "is not two tokens with a blank between them"),
        (" a", "joins a token that is not in the vocabulary"),
    ] {
        let mut keys = Keys::small();
        keys.merges.as_mut().unwrap()[3] = line.to_owned();
        // The second case makes a token that exists of one that does not.
        if line == "a zz!!" {
            keys.vocab.tokens[300] = "azz!!".to_owned();
            keys.merges.as_mut().unwrap().truncate(4);
        }
        let tokenizer = Tokenizer::from_gguf(&keys.gguf()).unwrap();
        let notes: Vec<String> = tokenizer.notes().iter().map(ToString::to_string).collect();
        assert_eq!(notes, [format!("merge 3 of tokenizer.ggml.merges is ignored: \"{line}\" {problem}")]);
        // The others keep their ranks.
        let mut without = Keys::small();
        let merges = without.merges.as_mut().unwrap();
        merges.truncate(keys.merges.as_ref().unwrap().len());
        let ours = merges.remove(3);
        let without = Tokenizer::from_gguf(&without.gguf()).unwrap();
        let text = format!("the quick brown fox, {} and others\n", ours.replace(' ', ""));
        assert_eq!(tokenizer.encode(&text, Special::None), without.encode(&text, Special::None));
    }
}

#[test]
fn rejects_merges_of_another_vocabulary() {
    let mut keys = Keys::small();
    keys.merges = Some(vec!["zz!! qq".to_owned(), "ab".to_owned()]);
    assert!(matches!(keys.error(), Error::NoMerge { n: 2 }));
}

#[test]
fn rejects_a_vocabulary_that_lacks_a_byte() {
    let mut keys = Keys::small();
    let at = keys.vocab.id("Ċ").unwrap() as usize;
    keys.vocab.tokens[at] = "no newline".to_owned();
    assert!(matches!(keys.error(), Error::NoByte { byte: b'\n' }));
}

#[test]
fn ignores_an_end_outside_the_vocabulary_and_says_so() {
    let mut keys = Keys::small();
    let ends = Tokenizer::from_gguf(&keys.gguf()).unwrap().ends().to_vec();
    keys.eos = 1088;
    let tokenizer = Tokenizer::from_gguf(&keys.gguf()).unwrap();
    assert_eq!((tokenizer.eos(), tokenizer.ends()), (None, &*ends));
    let notes: Vec<String> = tokenizer.notes().iter().map(ToString::to_string).collect();
    assert_eq!(notes, ["key tokenizer.ggml.eos_token_id is ignored: found 1088, expected less than 1088"]);
}

#[test]
fn rejects_texts_that_are_not_utf8() {
    let keys = Keys::small();
    for (at, text) in [(5, &b"\xff"[..]), (1087, b"ab\xc3")] {
        let tokens =
            keys.vocab.tokens.iter().enumerate().map(|(i, token)| if i == at { text } else { token.as_bytes() });
        let tokens: Vec<&[u8]> = tokens.collect();
        let mut writer = Writer::new();
        writer.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "qwen35");
        writer.strings("tokenizer.ggml.tokens", tokens.iter()).i32s("tokenizer.ggml.token_type", &keys.vocab.types);
        let gguf = Gguf::from_bytes(writer.to_bytes(|_| unreachable!())).unwrap();
        let error = Tokenizer::from_gguf(&gguf).err().unwrap();
        assert!(matches!(error, Error::NotUtf8 { id } if id == at), "{error}");
    }
}

#[test]
fn padding_that_calls_itself_words_is_padding() {
    let mut keys = Keys::small();
    let n = keys.vocab.tokens.len();
    let plain = Tokenizer::from_gguf(&keys.gguf()).unwrap();
    for (i, id) in (n - 3..n).enumerate() {
        keys.vocab.tokens[id] = format!("[PAD{i}]");
        keys.vocab.types[id] = 4;
    }
    // Not at the end: a word like any other.
    keys.vocab.tokens[300] = "[PAD7]".to_owned();
    keys.vocab.types[300] = 4;
    let tokenizer = Tokenizer::from_gguf(&keys.gguf()).unwrap();
    assert!((n - 3..n).all(|id| tokenizer.is_padding(id as u32)) && !tokenizer.is_padding(300));
    assert_eq!(tokenizer.encode("[PAD1]", Special::Parse), plain.encode("[PAD1]", Special::Parse));
    assert_eq!(tokenizer.encode("[PAD7]", Special::None), [300]);
}

#[test]
fn equal_texts_and_empty_ones_do_no_harm() {
    let mut keys = Keys::small();
    let n = keys.vocab.tokens.len();
    keys.vocab.tokens[n - 1] = "<|im_end|>".to_owned();
    keys.vocab.types[n - 1] = 3;
    keys.vocab.tokens[n - 2] = String::new();
    keys.vocab.types[n - 2] = 4;
    keys.vocab.tokens[n - 3] = "a".to_owned();
    keys.vocab.types[n - 3] = 1;
    let tokenizer = Tokenizer::from_gguf(&keys.gguf()).unwrap();
    let first = tokenizer.added_token("<|im_end|>").unwrap();
    assert!(first < n as u32 - 1);
    assert_eq!(tokenizer.encode("a<|im_end|>", Special::Parse), [keys.vocab.id("a").unwrap(), first]);
    assert!(tokenizer.encode("", Special::Parse).is_empty());
}
