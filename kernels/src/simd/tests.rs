//! The elementary functions of every level over their whole range. Vector operations themselves are tested through
//! the families.

use crate::{Isa, Kernels, simd};

/// One elementary function in place, over a multiple of 16 values.
type Function = unsafe fn(x: &mut [f32]);

struct Table {
    exp: Function,
    sigmoid: Function,
    silu: Function,
    gelu_tanh: Function,
    gelu_erf: Function,
}

simd::levels::tables! {
    exp(x: &mut [f32]);
    sigmoid(x: &mut [f32]);
    silu(x: &mut [f32]);
    gelu_tanh(x: &mut [f32]);
    gelu_erf(x: &mut [f32]);
}

mod vector {
    use crate::simd::{VectorMath, math};

    macro_rules! maps {
        ($($name:ident)*) => { $(
            #[inline(always)]
            pub(super) fn $name<S: VectorMath>(s: S, x: &mut [f32]) {
                for x in x.chunks_exact_mut(S::LANES) {
                    let v = math::$name(s, s.load(x));
                    s.store(v, x);
                }
            }
        )* };
    }

    maps! { exp sigmoid silu gelu_tanh gelu_erf }
}

/// The plain functions, so that the scalar level is a level like any other.
mod scalar {
    use crate::{Isa, Kernels};

    pub(super) const TABLE: super::Table = super::Table {
        exp: |x| x.iter_mut().for_each(|x| *x = if *x <= -86.9 { 0.0 } else { x.exp() }),
        sigmoid: |x| x.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
        silu: |x| x.iter_mut().for_each(|x| *x /= 1.0 + (-*x).exp()),
        gelu_tanh: |x| Kernels::select(Some(Isa::Scalar)).unwrap().gelu_tanh(x),
        gelu_erf: |x| Kernels::select(Some(Isa::Scalar)).unwrap().gelu_erf(x),
    };
}

/// `f(x)` at every level.
fn at_every_level(x: &[f32], f: impl Fn(Table) -> Function) -> Vec<(Isa, Vec<f32>)> {
    let levels = Isa::available().into_iter();
    levels
        .map(|isa| {
            let mut y = x.to_vec();
            // SAFETY: this CPU has the level.
            unsafe { f(Table::of(isa))(&mut y) };
            (isa, y)
        })
        .collect()
}

/// 80,000 numbers over the range of f32 results, denser near zero, and the special ones.
fn domain() -> Vec<f32> {
    let mut x: Vec<f32> = (-35_000..=35_000).map(|i| i as f32 * 3e-3).collect();
    x.extend((-5_000..=5_000).map(|i| i as f32 * 5e-5));
    x.extend([0.0, -0.0, 1e-40, -1e-40, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY]);
    x.resize(x.len().next_multiple_of(16), 0.0);
    x
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let x = domain();
    for (level, y) in at_every_level(&x, |t| t.exp) {
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
    for (level, y) in at_every_level(&[f32::NAN; 16], |t| t.exp) {
        assert!(y.iter().all(|y| y.is_nan()), "{level} {y:?}");
    }
}

#[test]
fn gates_keep_their_stated_error() {
    let x: Vec<f32> = domain().into_iter().map(|x| x.clamp(-86.0, 1e6)).collect();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let check = |level: Isa, name: &str, x: f32, y: f32, exact: f64| {
        assert!((f64::from(y) - exact).abs() <= 4e-7 * exact.abs() + 1e-38, "{level} {name}({x}) = {y}, not {exact}");
    };
    for (level, y) in at_every_level(&x, |t| t.sigmoid) {
        x.iter().zip(y).for_each(|(&x, y)| check(level, "sigmoid", x, y, sigmoid(f64::from(x))));
    }
    for (level, y) in at_every_level(&x, |t| t.silu) {
        x.iter().zip(y).for_each(|(&x, y)| check(level, "silu", x, y, f64::from(x) * sigmoid(f64::from(x))));
    }
}

#[test]
fn gelu_keeps_its_stated_error() {
    let x: Vec<f32> = domain().into_iter().map(|x| x.clamp(-1e4, 1e4)).collect();
    let mut exact = x.clone();
    let scalar = Kernels::select(Some(Isa::Scalar)).unwrap();
    scalar.gelu_tanh(&mut exact);
    let check = |level: Isa, y: Vec<f32>, exact: &[f32]| {
        for ((&x, y), exact) in x.iter().zip(y).zip(exact) {
            assert!((y - exact).abs() <= 5e-7 * x.abs().max(1.0), "{level} gelu({x}) = {y}, not {exact}");
        }
    };
    at_every_level(&x, |t| t.gelu_tanh).into_iter().for_each(|(level, y)| check(level, y, &exact));
    exact.copy_from_slice(&x);
    scalar.gelu_erf(&mut exact);
    at_every_level(&x, |t| t.gelu_erf).into_iter().for_each(|(level, y)| check(level, y, &exact));
}
