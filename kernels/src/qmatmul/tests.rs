use super::*;
use crate::Format;

#[test]
fn the_reference_multiplies_by_hand() {
    // Two rows of Q8_0, one block each: d = 2 and d = 0.5, quants 1, 2, 3 .. and all -1.
    let mut bytes = Vec::new();
    for (d, q) in [(2.0f32, [1i8, 2, 3].into_iter().chain([0; 29]).collect::<Vec<_>>()), (0.5, vec![-1; 32])] {
        bytes.extend(half::f16::from_f32(d).to_le_bytes());
        bytes.extend(q.iter().map(|&q| q as u8));
    }
    let w = Matrix::new(Format::Q8_0, 2, 32, &bytes);
    let kernels = Kernels::select(Some(Isa::Scalar)).unwrap();
    let mut q = QuantRows::new(2, 32);
    let mut x = [0.0; 32];
    (x[0], x[1], x[2]) = (127.0, 10.0, 1.0);
    kernels.quantize_row(&x, q.row_mut(0));
    kernels.quantize_row(&[-3.0; 32], q.row_mut(1));
    let mut y = [0.0; 4];
    kernels.matmul(w, Inputs { x: &[], q: &q }, &mut Tile::new(&mut y, 2));
    assert_eq!(y, [300.0, -69.0, -36.0, 48.0]);
}

#[test]
fn float_weights_take_the_f32_activations() {
    let w = [1.0f32, 2.0, 3.0, -1.0, 0.0, 0.5];
    let w = Matrix::new(Format::F32, 2, 3, bytemuck::cast_slice(&w));
    let kernels = Kernels::select(Some(Isa::Scalar)).unwrap();
    let q = QuantRows::new(1, 0);
    let mut y = [0.0; 2];
    kernels.matmul(w, Inputs { x: &[1.0, 10.0, 100.0], q: &q }, &mut Tile::new(&mut y, 2));
    assert_eq!(y, [321.0, 49.0]);
}
