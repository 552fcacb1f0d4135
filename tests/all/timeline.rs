//! A context is one timeline: how it was read, by how many threads, and what was read and taken back leave no trace.

use crate::support;
use crate::support::{FLOAT, Fixture, QUANTISED, allowed, assert_close, context, distance, levels, mean_kl, read};
use kernels::Way;
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::generate;
use qwen_edge::engine::model_file::{ModelFile, StartOptions};
use qwen_edge::engine::run_error::RunError;
use qwen_edge::engine::runner::Settings;
use qwen_edge::engine::session::SessionError;
use qwen_edge::model::input::{Embedding, Input, InputRow};
use qwen_edge::model::kv_type::KvType;

/// What the f32 model may be off by when the same tokens are read in other batches.
const TOLERANCE: f32 = 1e-3;

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for name in QUANTISED.iter().map(|(name, _)| *name).chain(FLOAT.map(|(name, _)| name)) {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        for kernels in levels() {
            // A long batch, short ones and single tokens take different ways through the kernels.
            let run = |threads| {
                let settings =
                    Settings { n_ctx: prompt.len(), n_batch: 32, kv: KvType::F16, n_checkpoint: 0, n_sequence: 1 };
                let mut context = Context::new(model.clone(), Compute::new(kernels, threads), settings).unwrap();
                let mut logits = read(&mut context, &prompt[..32], 32);
                logits.extend(read(&mut context, &prompt[32..36], 3));
                logits.extend(read(&mut context, &prompt[36..40], 1));
                bits(&logits)
            };
            let one = run(1);
            assert!(one == run(2), "{name}, {}: two threads", kernels.isa());
            assert!(one == run(3), "{name}, {}: three threads", kernels.isa());
        }
    }
}

#[test]
fn any_chunk_length_gives_the_same_logits() {
    for (name, golden) in FLOAT {
        let fixture = Fixture::open(name);
        let model = fixture.model();
        // Long enough for several chunks of the chunkwise delta rule and of attention over the context.
        let prompt: Vec<u32> = fixture.prompt().into_iter().cycle().take(520).collect();
        for kernels in levels() {
            let run = |chunk| read(&mut context(&model, kernels, prompt.len(), chunk), &prompt, chunk);
            let whole = run(512);
            // Where activations are rounded to words, the last bit of a sum can make a whole step of it.
            let tolerance = allowed([golden[0] / 2.0, 1.5 * golden[1]], kernels, 512);
            for chunk in [1, 7, 64] {
                let found = run(chunk);
                assert_close(&found, &whole, tolerance, &format!("{name}, {}, chunk {chunk}", kernels.isa()));
                // All but the first are computed as a prompt.
                assert!(chunk == 1 || bits(&found) == bits(&whole), "{name}, {}, chunk {chunk}", kernels.isa());
            }
        }
    }
}

#[test]
fn only_the_wanted_outputs_are_computed_and_they_are_the_same() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let n_vocab = model.n_vocab;
    for kernels in levels() {
        let all = read(&mut context(&model, kernels, 40, 40), &prompt[..40], 40);
        for want in [1, 2, 9] {
            let mut context = context(&model, kernels, 40, 40);
            context.forward(&text_rows(&prompt[..40], 0), want).unwrap();
            let found = context.compute_logits_of(0, want);
            assert!(bits(found) == bits(&all[(40 - want) * n_vocab..]), "{}, last {want}", kernels.isa());
        }
        let mut context = context(&model, kernels, 40, 9);
        let mut told = Vec::new();
        let done = context.prefill(&text_rows(&prompt[..40], 0), None, |n| {
            told.push(n);
            true
        });
        assert_eq!((done.unwrap(), told), (40, vec![9, 18, 27, 36, 40]));
        assert!(bits(context.compute_logits(0)) == bits(&all[39 * n_vocab..]), "{}, prefill", kernels.isa());
    }
}

#[test]
fn a_stopped_prefill_says_how_far_it_came_and_can_go_on() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let kernels = levels().pop().unwrap();
    let whole = read(&mut context(&model, kernels, 40, 40), &prompt[..40], 40);
    let mut context = context(&model, kernels, 40, 10);
    assert_eq!(context.prefill(&text_rows(&prompt[..40], 0), None, |n| n < 20).unwrap(), 20);
    assert_eq!(context.n_past(), 20);
    let rest = read(&mut context, &prompt[20..40], 10);
    assert!(bits(&rest) == bits(&whole[20 * model.n_vocab..]), "the rest");
}

#[test]
fn rewinding_into_a_batch_equals_never_having_read_the_rest() {
    for (name, tolerance) in FLOAT.map(|(name, [exact, _])| (name, exact / 2.0)).into_iter().chain([("q4_k_m", 1e-3)]) {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let (draft, other) = (&prompt[20..28], &prompt[5..12]);
        for kernels in levels() {
            let expected = |keep: usize| {
                let mut context = context(&model, kernels, 40, 32);
                read(&mut context, &prompt[..20], 32);
                read(&mut context, &draft[..keep], 1);
                read(&mut context, other, 7)
            };
            for keep in 0..=draft.len() {
                let mut context = context(&model, kernels, 40, 32);
                read(&mut context, &prompt[..20], 32);
                let rows = context.text(draft);
                context.write(&rows).unwrap();
                context.take_back(draft.len() - keep).unwrap();
                assert_eq!((context.n_past(), context.next_position()), (20 + keep, 20 + keep as u32));
                let found = read(&mut context, other, 7);
                assert!(bits(&found) == bits(&expected(keep)), "{name}, {}, keep {keep}", kernels.isa());
                // One token more or less must show, or this test shows nothing.
                if keep > 0 {
                    assert!(distance(&found, &expected(keep - 1)) > 50.0 * tolerance);
                }
            }
        }
    }
}

#[test]
fn drafts_can_be_taken_back_again_and_again() {
    let fixture = Fixture::open("micro-untied");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    for kernels in levels() {
        let whole = read(&mut context(&model, kernels, 64, 4), &prompt[..60], 4);
        let mut context = context(&model, kernels, 64, 4);
        read(&mut context, &prompt[..12], 4);
        // Each round reads four tokens of which the last ones are wrong.
        for round in 0..12 {
            let at = 12 + round * 2;
            let draft = [prompt[at], prompt[at + 1], 7, 7];
            let rows = context.text(&draft);
            context.write(&rows).unwrap();
            let verified = context.compute_logits_of(0, 2).to_vec();
            let expected = &whole[at * model.n_vocab..][..2 * model.n_vocab];
            assert!(bits(&verified) == bits(expected), "{}, round {round}", kernels.isa());
            context.take_back(2).unwrap();
        }
        let rest = read(&mut context, &prompt[36..60], 4);
        assert!(bits(&rest) == bits(&whole[36 * model.n_vocab..]), "{}, the rest", kernels.isa());
    }
}

#[test]
fn a_checkpoint_is_gone_back_to_bit_for_bit() {
    for name in ["micro-f32", "micro-untied", "q4_k_m"] {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let kernels = levels().pop().unwrap();
        let question = |range: std::ops::Range<usize>| [&prompt[..20], &prompt[range]].concat();
        let fresh = |ids: &[u32]| {
            let mut context = context(&model, kernels, 40, 20);
            read(&mut context, &ids[..20], 20);
            bits(&read(&mut context, &ids[20..], 20))
        };
        let mut context = context(&model, kernels, 40, 20);
        read(&mut context, &prompt[..20], 20);
        context.checkpoint();
        read(&mut context, &prompt[20..30], 20);
        for second in [30..40, 3..17] {
            let ids = question(second);
            assert_eq!(context.rewind_to_common_prefix(&text_rows(&ids, 0)), 20, "{name}");
            assert_eq!((context.n_past(), context.next_position()), (20, 20));
            assert!(bits(&read(&mut context, &ids[20..], 20)) == fresh(&ids), "{name}");
        }
    }
}

#[test]
fn reuse_takes_what_is_common_and_known() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let kernels = levels().pop().unwrap();
    let reuse = |context: &mut Context, ids: &[u32]| context.rewind_to_common_prefix(&text_rows(ids, 0));

    // What was read is the beginning of what is wanted: all of it counts.
    let mut context = context(&model, kernels, 40, 40);
    read(&mut context, &prompt[..20], 40);
    assert_eq!(reuse(&mut context, &prompt[..25]), 20);
    // The very same again: one token must be read, and without a checkpoint that means all of them.
    assert_eq!(reuse(&mut context, &prompt[..20]), 0);
    assert_eq!((context.n_past(), context.next_position()), (0, 0));
    let fresh = read(&mut support::context(&model, kernels, 40, 40), &prompt[..12], 40);
    assert!(bits(&read(&mut context, &prompt[..12], 40)) == bits(&fresh), "after a reset");
    // Of a short pass any number of rows is taken back.
    assert_eq!(reuse(&mut context, &prompt[..12]), 11);
    assert!(bits(&read(&mut context, &prompt[11..12], 40)) == bits(&fresh[11 * model.n_vocab..]), "the last again");

    // The younger of two checkpoints serves only if what stands before it is wanted.
    context.checkpoint();
    read(&mut context, &prompt[12..20], 40);
    context.checkpoint();
    read(&mut context, &prompt[20..40], 40);
    let other = [&prompt[..15], &prompt[..20]].concat();
    assert_eq!(reuse(&mut context, &[&prompt[..22], &prompt[..3]].concat()), 20);
    // Eight rows before the checkpoint were a short pass: some of them are taken back.
    assert_eq!(reuse(&mut context, &other), 15);
    read(&mut context, &other[15..], 40);
    // The checkpoint at 20 was of another past and must not come back, but for the rows that this one has as well.
    assert_eq!(reuse(&mut context, &[&other[..30], &prompt[..1]].concat()), 15);
    let fresh = read(&mut support::context(&model, kernels, 40, 40), &other[..35], 40);
    assert!(bits(&read(&mut context, &other[15..35], 40)) == bits(&fresh[15 * model.n_vocab..]), "from there on");
    assert_eq!(reuse(&mut context, &prompt[30..35]), 0);
}

#[test]
fn a_full_context_says_so_and_stays_usable() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let kernels = levels().pop().unwrap();
    let expected = read(&mut context(&model, kernels, 40, 40), &prompt[..10], 40);
    let mut context = context(&model, kernels, 10, 10);
    read(&mut context, &prompt[..4], 10);
    let rows = context.text(&prompt[4..11]);
    for error in [context.forward(&rows, 1), context.write(&rows), context.prefill(&rows, None, |_| true).map(drop)] {
        let error = error.unwrap_err();
        assert_eq!(error, RunError::Full { n_ctx: 10, n_past: 4, n: 7 });
        assert_eq!(error.to_string(), "the context holds 10 tokens; 4 are in it and 7 more do not fit");
    }
    assert_eq!(context.n_past(), 4);
    let rest = read(&mut context, &prompt[4..10], 10);
    assert_close(&rest, &expected[4 * model.n_vocab..], TOLERANCE, "what did fit");
    assert_eq!(context.decode(1).unwrap_err(), RunError::Full { n_ctx: 10, n_past: 10, n: 1 });
}

#[test]
fn an_8_bit_cache_stays_near_a_16_bit_one() {
    // 1.3 times what was measured with the scalar kernels.
    for (name, bound) in [("q4_k_m", 1.3 * 2.59e-4), ("q5_k_m", 1.3 * 2.85e-4)] {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        for kernels in levels() {
            let run = |kv| {
                let settings = Settings { n_ctx: prompt.len(), n_batch: 32, kv, n_checkpoint: 0, n_sequence: 1 };
                read(&mut Context::new(model.clone(), Compute::new(kernels, 1), settings).unwrap(), &prompt, 32)
            };
            let kl = mean_kl(&run(KvType::F16), &run(KvType::Q8_0), model.n_vocab);
            println!("{name}, {}: mean KL {kl:.2e} nat", kernels.isa());
            assert!(kl > 0.0 && kl <= bound, "{name}, {}: mean KL {kl:.2e} nat, allowed {bound:.2e}", kernels.isa());
        }
    }
}

#[test]
fn a_checkpoint_within_what_was_taken_back_is_no_way_back() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let kernels = levels()[0];
    let mut tried = context(&model, kernels, 40, 40);
    read(&mut tried, &prompt[..8], 8);
    tried.write(&text_rows(&prompt[8..12], 8)).unwrap();
    tried.checkpoint();
    tried.take_back(3).unwrap();
    // Fourteen tokens again, of which nine are those before: the state of the mark behind twelve is that of other ones.
    let others = [&prompt[..9], &prompt[20..25]].concat();
    read(&mut tried, &others[9..], 5);
    let next = [&others[..13], &prompt[30..33]].concat();
    let rows = text_rows(&next, 0);
    let n_read = tried.rewind_to_common_prefix(&rows);
    tried.forward(&rows[n_read..], 1).unwrap();
    let found = tried.compute_logits(0).to_vec();

    let mut fresh = context(&model, kernels, 40, 40);
    fresh.forward(&rows, 1).unwrap();
    assert_close(&found, fresh.compute_logits(0), TOLERANCE, "after a rewind behind a checkpoint");
}

#[test]
fn the_same_tokens_at_other_positions_are_no_common_prefix() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let mut context = context(&model, levels()[0], 40, 40);
    context.forward(&text_rows(&prompt[..10], 0), 1).unwrap();
    context.checkpoint();
    assert_eq!(context.rewind_to_common_prefix(&text_rows(&prompt[..20], 0)), 10);
    assert_eq!(context.rewind_to_common_prefix(&text_rows(&prompt[..20], 1)), 0);
}

#[test]
#[should_panic(expected = "of 2 wanted")]
fn logits_beyond_the_outputs_wanted_are_refused() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let mut context = context(&model, levels()[0], 40, 40);
    context.forward(&text_rows(&prompt[..10], 0), 2).unwrap();
    context.compute_logits(2);
}

#[test]
fn what_no_context_can_read_is_an_error_and_changes_nothing() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let kernels = levels()[0];
    let mut read_twice = context(&model, kernels, 32, 4);
    let mut untouched = context(&model, kernels, 32, 4);
    read(&mut read_twice, &prompt[..3], 3);
    let n_vocab = model.n_vocab;
    let unknown = [prompt[0], n_vocab as u32];
    let token = RunError::Token { id: n_vocab as u32, n_vocab };
    let narrow = Embedding::rows_of(&[0.0; 3].into(), 3).next().map(Input::Embedding).unwrap();
    let row = [InputRow { input: narrow, position: [3; 3] }];
    let width = RunError::Width { found: 3, expected: model.config.n_embd };
    for (rows, want, expected) in [
        (&text_rows(&unknown, 3)[..], 1, token),
        (&text_rows(&[], 3), 0, RunError::EmptyBatch),
        (&text_rows(&prompt[..5], 3), 1, RunError::BatchTooLarge { n: 5, n_batch: 4 }),
        (&text_rows(&prompt[..2], 3), 3, RunError::TooManyOutputs { want: 3, n: 2 }),
        (&row, 1, width),
    ] {
        assert_eq!(read_twice.forward(rows, want).unwrap_err(), expected);
    }
    assert_eq!(read_twice.decode(u32::MAX).unwrap_err(), RunError::Token { id: u32::MAX, n_vocab });
    // Not even the batches before the one with that token.
    let late = [&prompt[..8], &unknown].concat();
    let rows = read_twice.text(&late);
    assert_eq!(read_twice.prefill(&rows, None, |_| true).unwrap_err(), token);
    assert_eq!(
        read_twice.draft(&[], &rows[..1], Way::Written).unwrap_err(),
        RunError::Width { found: 0, expected: model.config.n_embd }
    );
    read(&mut untouched, &prompt[..3], 3);
    assert_eq!(bits(&read(&mut read_twice, &prompt[3..6], 3)), bits(&read(&mut untouched, &prompt[3..6], 3)));

    // Heads of no whole 8-bit blocks, and batches of nothing.
    let new = |n_batch, kv| {
        let settings = Settings { n_ctx: 32, n_batch, kv, n_checkpoint: 0, n_sequence: 1 };
        Context::new(model.clone(), Compute::new(kernels, 1), settings).err().unwrap()
    };
    assert!(matches!(new(4, KvType::Q8_0), RunError::HeadSize(_)));
    assert_eq!(new(0, KvType::F16), RunError::NoBatch);
}

#[test]
fn a_session_refuses_ids_that_are_no_prompt() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-q8_0.gguf");
    let options = StartOptions { threads: Some(1), ..StartOptions::default() };
    let mut session = ModelFile::open(&path).unwrap().start(options, &mut |_, _| ()).unwrap();
    let mut error = |ids| session.answer_ids(ids, &[], &[], |_| ()).unwrap_err();
    assert!(matches!(error(vec![]), SessionError::Empty));
    let token = error(vec![1, u32::MAX]);
    let SessionError::Generate(generate::Error::Run(token)) = token else { panic!("{token}") };
    assert!(matches!(token, RunError::Token { id: u32::MAX, .. }), "{token}");
}
