//! The forward pass gives what the float reference gives, at every instruction-set level of this CPU. The golden values
//! come from an independent implementation; `fixtures/make_models.py` says how.

use crate::support;
use crate::support::{
    FLOAT, FLOAT_KL, Fixture, KL_FACTOR, MEAN_KL_FACTOR, QUANTISED, allowed, argmax, assert_close, context, levels,
    mean_kl, read, rows, way,
};
use kernels::Way;
use qwen_edge::engine::context::text_rows;
use qwen_edge::model::input::{Embedding, Input, InputRow};
use std::sync::Arc;

#[test]
fn float_models_give_the_reference_logits() {
    for (name, tolerance) in FLOAT {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let golden = fixture.golden.floats("logits");
        for kernels in levels() {
            for (chunk, way) in [(prompt.len(), "at once"), (1, "step by step")] {
                let logits = read(&mut context(&model, kernels, prompt.len(), chunk), &prompt, chunk);
                let what = format!("{name}, {}, {way}", kernels.isa());
                assert_close(&logits, &golden, allowed(tolerance, kernels, chunk), &what);
                let kl = mean_kl(&golden, &logits, model.n_vocab);
                assert!(kl <= allowed(FLOAT_KL, kernels, chunk), "{what}: mean KL {kl:.2e} nat");
            }
        }
    }
}

#[test]
fn float_models_give_the_reference_state_behind_every_layer() {
    for (name, tolerance) in FLOAT {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let n_layer = model.config.n_layer();
        for kernels in levels() {
            let tolerance = allowed(tolerance, kernels, prompt.len());
            let mut context = context(&model, kernels, prompt.len(), prompt.len());
            let mut seen = Vec::new();
            let observer = &mut |il, x: &[f32]| seen.push((il, x.to_vec()));
            context.run_observed(&text_rows(&prompt, 0), Way::Prompt, observer).unwrap();
            seen.push((n_layer, context.hidden(0, prompt.len()).to_vec()));
            assert_eq!(seen.iter().map(|(il, _)| *il).collect::<Vec<_>>(), (0..=n_layer).collect::<Vec<_>>());
            for (il, x) in seen {
                let golden = fixture.golden.floats(&format!("hidden.{il}"));
                assert_close(&x, &golden, tolerance, &format!("{name}, {}, hidden.{il}", kernels.isa()));
            }
        }
    }
}

#[test]
fn float_models_continue_with_the_reference_tokens() {
    for (name, _) in FLOAT {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let golden = fixture.golden.ints("greedy_ids");
        for kernels in levels() {
            let mut context = context(&model, kernels, prompt.len() + golden.len(), prompt.len());
            context.prefill(&text_rows(&prompt, 0), None, |_| true).unwrap();
            let mut id = argmax(context.compute_logits(0));
            let mut found = Vec::new();
            for _ in 0..golden.len() {
                found.push(id as usize);
                id = argmax(context.decode(id).unwrap());
            }
            assert_eq!(found, golden, "{name}, {}", kernels.isa());
        }
    }
}

#[test]
fn quantised_models_stay_near_the_reference() {
    let mut above = Vec::new();
    for kernels in levels() {
        for step in [false, true] {
            let way = if step { "step by step" } else { "at once" };
            let mut sums = [0.0; 2];
            for (name, values) in QUANTISED {
                let measured = support::measured(values, kernels, step);
                let fixture = Fixture::open(name);
                let (model, prompt) = (fixture.model(), fixture.prompt());
                let chunk = if step { 1 } else { prompt.len() };
                let logits = read(&mut context(&model, kernels, prompt.len(), chunk), &prompt, chunk);
                let found = rows(&logits, model.n_vocab, &fixture.golden.ints("positions"));
                let kl = mean_kl(&fixture.golden.floats("logits"), &found, model.n_vocab);
                let line = format!("{name}, {}, {way}: mean KL {kl:.2e} nat, measured {measured:.2e}", kernels.isa());
                println!("{line}");
                if kl.is_nan() || kl > KL_FACTOR * measured {
                    above.push(line);
                }
                sums[0] += kl;
                sums[1] += measured;
            }
            let ratio = sums[0] / sums[1];
            println!("all models, {}, {way}: {ratio:.3} of what was measured", kernels.isa());
            if ratio > MEAN_KL_FACTOR {
                above.push(format!("all models, {}, {way}: {ratio:.3} of what was measured", kernels.isa()));
            }
        }
    }
    assert!(above.is_empty(), "too far from the reference:\n{}", above.join("\n"));
}

/// The prompt of a fixture with an image in it, whose rows have positions of their own on each axis.
#[test]
fn images_stand_at_positions_of_three_axes() {
    for (name, tolerance) in FLOAT {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let (golden, g) = (fixture.golden.floats("image.logits"), &fixture.golden);
        let (image, before) = (Arc::<[f32]>::from(g.floats("image.embeddings")), g.ints("image.before")[0]);
        let (positions, wanted) = (g.ints("image.positions"), g.ints("image.rows"));

        let text = |id: &u32| Input::Token(*id);
        let inputs = prompt[..before]
            .iter()
            .map(text)
            .chain(Embedding::rows_of(&image, model.config.n_embd).map(Input::Embedding))
            .chain(prompt[before..].iter().map(text));
        let n = positions.len() / 3;
        let input_rows: Vec<InputRow> = inputs
            .enumerate()
            .map(|(i, input)| InputRow { input, position: [0, 1, 2].map(|axis| positions[axis * n + i] as u32) })
            .collect();
        assert_eq!(input_rows.len(), n);
        for kernels in levels() {
            for chunk in [n, 7, 1] {
                let mut context = context(&model, kernels, n, chunk);
                let mut logits = Vec::new();
                for batch in input_rows.chunks(chunk) {
                    context.run(batch, way(chunk), batch.len()).unwrap();
                    logits.extend_from_slice(context.compute_logits_of(0, batch.len()));
                }
                let what = format!("{name}, {}, batches of {chunk}", kernels.isa());
                let tolerance = allowed(tolerance, kernels, chunk);
                assert_close(&rows(&logits, model.n_vocab, &wanted), &golden, tolerance, &what);
                assert_eq!(context.next_position() as usize, positions[n - 1] + 1, "{what}");
            }
        }
    }
}
