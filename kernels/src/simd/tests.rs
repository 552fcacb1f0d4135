//! The elementary functions of every level over their whole range. Vector operations themselves are tested through
//! the families.

use super::{Simd, math};
use crate::{Isa, Kernels};

/// A function of one vector, in place.
trait Function {
    fn apply<S: Simd>(s: S, x: S::F32) -> S::F32;
}

macro_rules! functions {
    ($($name:ident $f:path,)*) => { $(
        struct $name;
        impl Function for $name {
            #[inline(always)]
            fn apply<S: Simd>(s: S, x: S::F32) -> S::F32 { $f(s, x) }
        }
    )* };
}

functions! { Exp math::exp, Sigmoid math::sigmoid, Silu math::silu, GeluTanh math::gelu_tanh, GeluErf math::gelu_erf, }

#[inline(always)]
fn map<S: Simd, F: Function>(s: S, x: &mut [f32]) {
    for x in x.chunks_exact_mut(S::LANES) {
        let v = F::apply(s, s.load(x));
        s.store(v, x);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn map_avx2<F: Function>(x: &mut [f32]) {
    // SAFETY: this function is only called where the CPU has its features.
    map::<_, F>(unsafe { super::Avx2::new() }, x)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn map_avx512<F: Function>(x: &mut [f32]) {
    // SAFETY: this function is only called where the CPU has its features.
    map::<_, F>(unsafe { super::Avx512::new() }, x)
}

/// `f(x)` at every level with vectors; `x` of a multiple of 16 values.
fn at_every_level<F: Function>(x: &[f32]) -> Vec<(&'static str, Vec<f32>)> {
    let mut all = Vec::new();
    for isa in Isa::available() {
        let mut y = x.to_vec();
        // SAFETY: only available levels get here.
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { map_avx2::<F>(&mut y) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => unsafe { map_avx512::<F>(&mut y) },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => map::<_, F>(unsafe { super::Neon::new() }, &mut y),
            _ => continue,
        }
        all.push((Kernels::select(Some(isa)).unwrap().isa().name(), y));
    }
    all
}

/// 400,000 numbers over the range of f32 results, denser near zero, and the special ones.
fn domain() -> Vec<f32> {
    let mut x: Vec<f32> = (-175_000..=175_000).map(|i| i as f32 * 6e-4).collect();
    x.extend((-24_000..=24_000).map(|i| i as f32 * 1e-5));
    x.extend([0.0, -0.0, 1e-40, -1e-40, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY]);
    x.resize(x.len().next_multiple_of(16), 0.0);
    x
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let x = domain();
    for (level, y) in at_every_level::<Exp>(&x) {
        for (&x, y) in x.iter().zip(y) {
            let exact = f64::from(x).exp();
            if x <= -86.9 {
                assert_eq!(y, 0.0, "{level} exp({x})");
            } else if exact as f32 == f32::INFINITY {
                assert_eq!(y, f32::INFINITY, "{level} exp({x})");
            } else {
                let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
                assert!((f64::from(y) - exact).abs() <= 2.0 * ulp, "{level} exp({x}) = {y}");
            }
        }
    }
    for (level, y) in at_every_level::<Exp>(&[f32::NAN; 16]) {
        assert!(y.iter().all(|y| y.is_nan()), "{level} {y:?}");
    }
}

#[test]
fn gates_keep_their_stated_error() {
    let x: Vec<f32> = domain().into_iter().map(|x| x.clamp(-86.0, 1e6)).collect();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let check = |level: &str, name: &str, x: f32, y: f32, exact: f64| {
        assert!((f64::from(y) - exact).abs() <= 4e-7 * exact.abs() + 1e-38, "{level} {name}({x}) = {y}, not {exact}");
    };
    for (level, y) in at_every_level::<Sigmoid>(&x) {
        x.iter().zip(y).for_each(|(&x, y)| check(level, "sigmoid", x, y, sigmoid(f64::from(x))));
    }
    for (level, y) in at_every_level::<Silu>(&x) {
        x.iter().zip(y).for_each(|(&x, y)| check(level, "silu", x, y, f64::from(x) * sigmoid(f64::from(x))));
    }
}

#[test]
fn gelu_keeps_its_stated_error() {
    let x: Vec<f32> = domain().into_iter().map(|x| x.clamp(-1e4, 1e4)).collect();
    let mut exact = x.clone();
    let scalar = Kernels::select(Some(Isa::Scalar)).unwrap();
    scalar.gelu_tanh(&mut exact);
    let check = |level: &str, y: Vec<f32>, exact: &[f32]| {
        for ((&x, y), exact) in x.iter().zip(y).zip(exact) {
            assert!((y - exact).abs() <= 5e-7 * x.abs().max(1.0), "{level} gelu({x}) = {y}, not {exact}");
        }
    };
    at_every_level::<GeluTanh>(&x).into_iter().for_each(|(level, y)| check(level, y, &exact));
    exact.copy_from_slice(&x);
    scalar.gelu_erf(&mut exact);
    at_every_level::<GeluErf>(&x).into_iter().for_each(|(level, y)| check(level, y, &exact));
}
