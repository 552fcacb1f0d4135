//! The forward pass gives what the float reference gives, at every instruction-set level of this CPU. The golden values
//! come from an independent implementation; `fixtures/make_models.py` says how.

use crate::support;
use crate::support::rewrite::{Rewrite, Tensor};
use crate::support::{
    FLOAT, FLOAT_KL, Fixture, KL_FACTOR, MEAN_KL_FACTOR, QUANTISED, allowed, argmax, assert_close, context, levels,
    mean_kl, read, rows, way,
};
use kernels::{Isa, Kernels, Way};
use qwen_edge::engine::context::text_rows;
use qwen_edge::gguf::Gguf;
use qwen_edge::model::Model;
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

/// A copy of a file of f32 weights in which matrices are so many times as large and have scales beside them that make up for it:
/// every `.weight` of two dimensions one, every one of three dimensions one for each matrix.
fn with_scales(gguf: &Gguf) -> Rewrite {
    let mut file = Rewrite::of(gguf, &[]);
    let mut scales = Vec::new();
    // A convolution and a gate are no products.
    let scaled = |t: &&mut Tensor| t.shape.len() >= 2 && !t.name.contains("conv1d") && !t.name.contains("inp_shexp");
    for (at, tensor) in file.tensors.iter_mut().filter(scaled).enumerate() {
        let n = if tensor.shape.len() == 3 { tensor.shape[0] } else { 1 };
        let factors: Vec<f32> = (0..n).map(|i| [2.0, 0.25, 16.0][(at + i) % 3]).collect();
        let mut values = tensor.values();
        let len = values.len() / n;
        values.iter_mut().enumerate().for_each(|(i, value)| *value *= factors[i / len]);
        tensor.bytes = bytemuck::cast_slice(&values).to_vec();
        let stem = tensor.name.strip_suffix(".weight").unwrap();
        let inverse: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
        scales.push(Tensor::f32(&format!("{stem}.scale"), &[n], &inverse));
        scales.push(Tensor::f32(&format!("{stem}.input_scale"), &[n], &vec![3.0; n]));
    }
    file.tensors.extend(scales);
    file
}

#[test]
fn scales_of_matrices_and_of_experts_are_applied_and_those_of_inputs_are_not() {
    for name in ["micro-f32", "moe-f32"] {
        let fixture = Fixture::open(name);
        let prompt = &fixture.prompt()[..24];
        let file = with_scales(&fixture.gguf);
        let scaled = Arc::new(Model::bind(&Gguf::from_bytes(file.bytes()).unwrap()).unwrap());
        // Factors are powers of two, so that no bit changes.
        for isa in [Isa::Scalar, Kernels::select(None).unwrap().isa()] {
            let kernels = Kernels::select(Some(isa)).unwrap();
            for chunk in [24, 1] {
                let plain = read(&mut context(&fixture.model(), kernels, 24, chunk), prompt, chunk);
                let found = read(&mut context(&scaled, kernels, 24, chunk), prompt, chunk);
                assert!(plain == found, "{name}, {isa}, batches of {chunk}");
            }
        }
    }
}

#[test]
fn a_scale_of_another_shape_is_refused_by_its_name() {
    let fixture = Fixture::open("moe-f32");
    for (stem, wrong) in [("blk.0.ffn_up_exps", 1), ("blk.0.attn_gate", 2)] {
        let mut file = Rewrite::of(&fixture.gguf, &[]);
        file.tensors.push(Tensor::f32(&format!("{stem}.scale"), &[wrong], &vec![1.0; wrong]));
        let gguf = Gguf::from_bytes(file.bytes()).unwrap();
        let said = Model::bind(&gguf).err().unwrap().to_string();
        assert!(said.contains(&format!("{stem}.scale")) && said.contains(&format!("[{wrong}]")), "{said}");
        assert_eq!(Model::check(&gguf).err().unwrap().to_string(), said);
    }
}
