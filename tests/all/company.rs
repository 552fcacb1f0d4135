//! Eight conversations together give the text that each gives alone: the demo model, its held-out questions, with pictures,
//! tools and thinking, in shuffled company.

use crate::support::heldout::{answers, questions, ready, shuffled};
use crate::support::program::emulated;
use qwen_edge::engine::draft::Draft;
use qwen_edge::sampler::Settings;

/// Asks every `nth` question alone and in company.
fn ask(nth: usize) {
    let mut ready = ready(Draft::Auto, 1);
    let prompts = questions(&mut ready, nth);
    let order: Vec<usize> = (0..prompts.len()).collect();
    let shuffled = shuffled(prompts.len());
    for settings in [Settings::greedy(), Settings { temperature: 0.9, top_k: 20, ..Settings::default() }] {
        let alone = answers(&mut ready, &prompts, &order, 1, (settings, 0));
        let together = answers(&mut ready, &prompts, &shuffled, 8, (settings, 0));
        let differing: Vec<usize> = order.iter().copied().filter(|&i| alone[i] != together[i]).collect();
        assert!(differing.is_empty(), "{} of {} answers: {differing:?}", differing.len(), prompts.len());
        assert!(alone.iter().filter(|answer| !answer.ids.is_empty()).count() > prompts.len() * 9 / 10);
    }
    println!("{} questions, greedy and sampled", prompts.len());
}

#[test]
fn eight_conversations_together_give_the_text_that_each_gives_alone() {
    ask(if emulated() { 100 } else { 16 });
}

#[test]
#[ignore = "all 394 questions take minutes: a part of `make verify`"]
fn all_held_out_questions_have_the_same_answers_in_company() {
    ask(1);
}
