//! The multi-token-prediction block gives the reference's draft logits, and leaves the trunk alone.

use crate::support::{FLOAT, Fixture, allowed, argmax, assert_close, context, distance, levels, read, way};
use kernels::Way;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::draft::Draft;

/// Reads the prompt and returns the trunk's hidden state behind every token, `[T, n_embd]`.
fn hidden(context: &mut Context, prompt: &[u32]) -> Vec<f32> {
    context.forward(&text_rows(prompt, 0), prompt.len()).unwrap();
    context.hidden(0, prompt.len()).to_vec()
}

/// Draft logits of all pairs of a prompt, read in batches of `chunk`.
fn drafts(context: &mut Context, hidden: &[f32], prompt: &[u32], chunk: usize) -> Vec<f32> {
    let n_embd = hidden.len() / prompt.len();
    let mut logits = Vec::new();
    for (rows, hidden) in text_rows(&prompt[1..], 1).chunks(chunk).zip(hidden.chunks(chunk * n_embd)) {
        let y = context.draft(&hidden[..rows.len() * n_embd], rows, way(chunk)).unwrap().to_vec();
        logits.extend_from_slice(context.compute_logits_behind(&y));
    }
    logits
}

#[test]
fn the_block_gives_the_reference_draft_logits() {
    for (name, tolerance) in FLOAT {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let golden = fixture.golden.floats("mtp_logits");
        for kernels in levels() {
            let tolerance = allowed(tolerance, kernels, prompt.len());
            for chunk in [prompt.len(), 7, 1] {
                let mut context = context(&model, kernels, prompt.len(), prompt.len());
                assert!(context.enable_drafts(Draft::Auto));
                let hidden = hidden(&mut context, &prompt);
                let logits = drafts(&mut context, &hidden, &prompt, chunk);
                assert_eq!(context.n_draft_pair(), prompt.len() - 1);
                assert_close(&logits, &golden, tolerance, &format!("{name}, {}, batches of {chunk}", kernels.isa()));
            }
        }
    }
}

#[test]
fn guesses_that_are_taken_back_leave_no_trace() {
    let (name, [tolerance, _]) = FLOAT[0];
    let fixture = Fixture::open(name);
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let golden = fixture.golden.floats("mtp_logits");
    let (n_embd, n_vocab) = (model.config.n_embd, model.n_vocab);
    for kernels in levels() {
        let mut context = context(&model, kernels, 64, 64);
        context.enable_drafts(Draft::Auto);
        let hidden = hidden(&mut context, &prompt);
        drafts(&mut context, &hidden[..11 * n_embd], &prompt[..11], 10);
        // Three guesses, each from the block's own output.
        let mut y = hidden[10 * n_embd..11 * n_embd].to_vec();
        let mut id = prompt[11];
        for i in 0..3 {
            y = context.draft(&y, &text_rows(&[id], 11 + i), Way::Written).unwrap().to_vec();
            id = argmax(context.compute_logits_behind(&y));
        }
        assert_eq!(context.n_draft_pair(), 13);
        let rest = |context: &mut Context| {
            let rows = text_rows(&prompt[11..], 11);
            let hidden = &hidden[10 * n_embd..(prompt.len() - 1) * n_embd];
            let y = context.draft(hidden, &rows, Way::Prompt).unwrap().to_vec();
            context.compute_logits_behind(&y).to_vec()
        };
        let with_guesses = rest(&mut context);
        assert!(distance(&with_guesses, &golden[10 * n_vocab..]) > 10.0 * tolerance, "guesses must show");
        context.rewind_drafts(10);
        assert_close(&rest(&mut context), &golden[10 * n_vocab..], tolerance, &format!("{}", kernels.isa()));
    }
}

#[test]
fn pairs_follow_the_timeline_back() {
    let fixture = Fixture::open("micro-untied");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let kernels = levels().pop().unwrap();
    let mut context = context(&model, kernels, 64, 64);
    assert!(context.enable_drafts(Draft::Auto));
    let before = hidden(&mut context, &prompt[..20]);
    context.checkpoint();
    drafts(&mut context, &before, &prompt[..20], 20);
    assert_eq!(context.n_draft_pair(), 19);

    let rows = context.text(&prompt[20..24]);
    context.write(&rows).unwrap();
    let mut states = before[19 * model.config.n_embd..].to_vec();
    states.extend_from_slice(&context.hidden(0, 4)[..3 * model.config.n_embd]);
    context.draft(&states, &rows, Way::Written).unwrap();
    assert_eq!(context.n_draft_pair(), 23);
    context.take_back(3).unwrap();
    assert_eq!((context.n_past(), context.n_draft_pair()), (21, 20));

    let other = [&prompt[..20], &prompt[..3]].concat();
    assert_eq!(context.rewind_to_common_prefix(&text_rows(&other, 0)), 20);
    assert_eq!(context.n_draft_pair(), 19);
}

#[test]
fn drafting_leaves_the_trunk_alone_and_forgets_what_is_too_much() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let kernels = levels().pop().unwrap();
    let alone = read(&mut context(&model, kernels, 30, 20), &prompt[..30], 20);
    let mut context = context(&model, kernels, 30, 20);
    context.enable_drafts(Draft::Auto);
    let hidden = hidden(&mut context, &prompt[..20]);
    drafts(&mut context, &hidden, &prompt[..20], 6);
    let rest = read(&mut context, &prompt[20..30], 20);
    assert!(rest.iter().zip(&alone[20 * model.n_vocab..]).all(|(a, b)| a.to_bits() == b.to_bits()));

    // More pairs than there are places for: the oldest make room.
    let (n_embd, rows) = (model.config.n_embd, text_rows(&prompt[..12], 20));
    context.draft(&hidden[..12 * n_embd], &rows, Way::Prompt).unwrap();
    assert!((12..=30).contains(&context.n_draft_pair()), "{}", context.n_draft_pair());
}

#[test]
fn a_model_without_the_block_says_so() {
    let fixture = Fixture::open("q8_0");
    let model = fixture.model();
    let mut context = context(&model, levels()[0], 8, 8);
    assert!(!context.enable_drafts(Draft::Auto));
    assert_eq!(context.n_draft_pair(), 0);
}
