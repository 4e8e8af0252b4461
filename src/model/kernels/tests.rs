//! Products and attention against their definitions in plain floats.

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::f16;
use proptest::prelude::*;

use crate::model::kernels::Isa;
use crate::model::kernels::activation::{Activations, Form, rms_norm};
use crate::model::kernels::packed::{PackError, PackedMatrix};
use crate::model::kernels::product::gated::GatedPair;
use crate::model::kernels::product::{Product, Store, multiply};
use crate::model::kernels::quant::QuantType;
use crate::model::kernels::team::Team;

fn team(isa: Isa) -> Team {
    Team::new(isa, 2).unwrap()
}

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// Numbers from a fixed generator.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as u32
    }

    /// From -1 to 1, a few much larger, as activations are.
    fn float(&mut self) -> f32 {
        let float = self.next() as f32 / 2f32.powi(30) - 1.0;
        if self.next().is_multiple_of(64) { 20.0 * float } else { float }
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// Blocks with every bit pattern in their quants and 6-bit scales, and small scales.
    fn blocks(&mut self, kind: QuantType, n: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..n * kind.block_bytes()).map(|_| self.next().to_le_bytes()[1]).collect();
        let halves: &[usize] = match kind {
            QuantType::Q4_1 | QuantType::Q4K | QuantType::Q5K => &[0, 2],
            QuantType::Q6K => &[208],
            _ => &[0],
        };
        for block in bytes.chunks_mut(kind.block_bytes()) {
            match kind {
                QuantType::F32 => block.copy_from_slice(&self.float().to_le_bytes()),
                QuantType::Bf16 => block.copy_from_slice(&self.float().to_le_bytes()[2..]),
                _ => {
                    for &at in halves {
                        let half = f16::from_f32(self.float() / 64.0);
                        block[at..at + 2].copy_from_slice(&half.to_le_bytes());
                    }
                }
            }
        }
        bytes
    }
}

/// The weights as candle reads them.
fn dequantize(kind: QuantType, rows: usize, cols: usize, bytes: &[u8]) -> Vec<f32> {
    let kind = match kind {
        QuantType::F32 => GgmlDType::F32,
        QuantType::F16 => GgmlDType::F16,
        QuantType::Bf16 => GgmlDType::BF16,
        QuantType::Q4_0 => GgmlDType::Q4_0,
        QuantType::Q4_1 => GgmlDType::Q4_1,
        QuantType::Q5_0 => GgmlDType::Q5_0,
        QuantType::Q8_0 => GgmlDType::Q8_0,
        QuantType::Q4K => GgmlDType::Q4K,
        QuantType::Q5K => GgmlDType::Q5K,
        QuantType::Q6K => GgmlDType::Q6K,
    };
    let storage = QStorage::from_data(bytes.into(), &Device::Cpu, kind).unwrap();
    let tensor: Tensor =
        QTensor::new(storage, (rows, cols)).unwrap().dequantize(&Device::Cpu).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn product(isa: Isa, matrix: &PackedMatrix, inputs: &[f32]) -> Vec<f32> {
    product_with(&team(isa), matrix, inputs)
}

fn product_with(team: &Team, matrix: &PackedMatrix, inputs: &[f32]) -> Vec<f32> {
    let mut activations = Activations::default();
    activations.quantize(team, inputs, matrix.cols(), matrix.form());
    let mut out = vec![f32::NAN; activations.rows() * matrix.rows()];
    let product = Product { matrix, bias: None, store: Store::Set, out: &mut out };
    multiply(team, &activations, &mut [product]);
    out
}

/// What rounding activations to int8 can do to one output, with some room for float sums.
fn bound(kind: QuantType, weights: &[f32], inputs: &[f32]) -> f32 {
    let error = |(weights, inputs): (&[f32], &[f32])| -> f32 {
        let largest = inputs.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let step = match kind {
            QuantType::F32 | QuantType::F16 | QuantType::Bf16 => 0.0,
            _ => largest / 127.0 * 0.5,
        };
        let sum = |f: fn(f32, f32) -> f32| -> f32 {
            weights.iter().zip(inputs).map(|(w, x)| f(*w, *x)).sum()
        };
        step * sum(|w, _| w.abs()) + 2e-5 * sum(|w, x| (w * x).abs())
    };
    // The largest quant may be a minimum away from its weight, so sums of quants round as
    // numbers of that size do.
    1e-4 + 1.001 * weights.chunks(32).zip(inputs.chunks(32)).map(error).sum::<f32>()
}

fn check(kind: QuantType, n_rows: usize, rows: usize, blocks: usize, seed: u64) {
    let numbers = &mut Numbers(seed);
    let cols = blocks * kind.block_len().max(32);
    let bytes = numbers.blocks(kind, rows * cols / kind.block_len());
    let inputs = numbers.floats(n_rows * cols);
    let matrix = PackedMatrix::pack(kind, rows, cols, &bytes).unwrap();
    let weights = dequantize(kind, rows, cols, &bytes);
    let reference = product(Isa::Portable, &matrix, &inputs);
    for (i, inputs) in inputs.chunks(cols).enumerate() {
        for (row, weights) in weights.chunks(cols).enumerate() {
            let exact: f64 =
                weights.iter().zip(inputs).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            let found = reference[i * rows + row];
            let error = (f64::from(found) - exact).abs();
            let bound = f64::from(bound(kind, weights, inputs));
            assert!(error <= bound, "{kind:?} ({i}, {row}): {found} for {exact}, bound {bound}");
        }
    }
    let mut read = vec![0.0; cols];
    for (row, weights) in weights.chunks(cols).enumerate() {
        matrix.read_row(row, &mut read);
        let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
        for (found, wanted) in read.iter().zip(weights) {
            let error = (found - wanted).abs();
            assert!(error <= 2e-6 * largest, "{kind:?} row {row}: {found} {wanted}");
        }
    }
    for isa in available() {
        let found = product(isa, &matrix, &inputs);
        let same = found.iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{kind:?} on {} differs from portable", isa.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_stay_within_the_error_of_int8_activations(
        kind in prop::sample::select(QuantType::ALL.to_vec()),
        n_rows in 1usize..14,
        rows in 1usize..50,
        blocks in 1usize..12,
        seed: u64,
    ) {
        check(kind, n_rows, rows, blocks, seed);
    }
}

/// Every weight and activation at its extreme, with signs that pile up: 16-bit sums must hold.
#[test]
fn extreme_quants_do_not_overflow() {
    for kind in QuantType::ALL.into_iter().filter(|kind| kind.block_len() != 1) {
        for quants in [0x00u8, 0xff, 0x7f, 0x80, 0xf0, 0x0f] {
            let cols = 512;
            let mut block = vec![quants; kind.block_bytes()];
            let halves: &[usize] = match kind {
                QuantType::Q4_1 | QuantType::Q4K | QuantType::Q5K => &[0, 2],
                QuantType::Q6K => &[208],
                _ => &[0],
            };
            for &at in halves {
                block[at..at + 2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
            }
            let bytes = block.repeat(17 * cols / kind.block_len());
            let matrix = PackedMatrix::pack(kind, 17, cols, &bytes).unwrap();
            let weights = dequantize(kind, 17, cols, &bytes);
            for pattern in [[1.0; 4], [-1.0; 4], [1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]] {
                let inputs = pattern.repeat(cols / 4 * 5);
                let exact: f32 = weights[..cols].iter().zip(&inputs).map(|(w, x)| w * x).sum();
                for isa in available() {
                    for found in product(isa, &matrix, &inputs) {
                        let error = (found - exact).abs();
                        let bound = 1e-5 * weights[..cols].iter().map(|w| w.abs()).sum::<f32>();
                        assert!(error <= bound, "{kind:?} {quants:#x}: {found} for {exact}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_of_a_product_does_not_depend_on_the_other_rows() {
    for kind in QuantType::ALL {
        let numbers = &mut Numbers(7);
        let (rows, cols) = (40, 768);
        let bytes = numbers.blocks(kind, rows * cols / kind.block_len());
        let matrix = PackedMatrix::pack(kind, rows, cols, &bytes).unwrap();
        let inputs = numbers.floats(64 * cols);
        for isa in available().filter(|isa| *isa != Isa::Portable) {
            let single: Vec<f32> =
                inputs.chunks(cols).flat_map(|input| product(isa, &matrix, input)).collect();
            for n_rows in 1..=64 {
                let found = product(isa, &matrix, &inputs[..n_rows * cols]);
                assert!(
                    found.iter().zip(&single).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{kind:?} on {}: {n_rows} rows",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn products_do_not_depend_on_the_number_of_threads() {
    let numbers = &mut Numbers(3);
    let (rows, cols) = (700, 1024);
    let bytes = numbers.blocks(QuantType::Q4K, rows * cols / 256);
    let matrix = PackedMatrix::pack(QuantType::Q4K, rows, cols, &bytes).unwrap();
    let inputs = numbers.floats(9 * cols);
    let run =
        |n_threads| product_with(&Team::new(Isa::best(), n_threads).unwrap(), &matrix, &inputs);
    let alone = run(1);
    assert_eq!(alone, run(2));
    assert_eq!(alone, run(5));
}

#[test]
fn bias_and_residual_are_added_after_the_product() {
    let numbers = &mut Numbers(4);
    let (rows, cols) = (19, 64);
    let bytes = numbers.blocks(QuantType::Q5_0, rows * cols / 32);
    let matrix = PackedMatrix::pack(QuantType::Q5_0, rows, cols, &bytes).unwrap();
    let (inputs, bias, residual) =
        (numbers.floats(2 * cols), numbers.floats(rows), numbers.floats(2 * rows));
    let plain = product(Isa::best(), &matrix, &inputs);
    let mut activations = Activations::default();
    let team = team(Isa::best());
    activations.quantize(&team, &inputs, cols, Form::Both);
    let mut out = residual.clone();
    let product = Product { matrix: &matrix, bias: Some(&bias), store: Store::Add, out: &mut out };
    multiply(&team, &activations, &mut [product]);
    for i in 0..2 * rows {
        assert_eq!(out[i], residual[i] + (plain[i] + bias[i % rows]));
    }
}

#[test]
fn norm_and_gate_are_those_of_their_definitions() {
    let numbers = &mut Numbers(5);
    let cols = 96;
    let (values, weight) = (numbers.floats(3 * cols), numbers.floats(cols));
    let bytes: Vec<u8> = (0..cols * cols)
        .flat_map(|i| if i / cols == i % cols { 1f32 } else { 0.0 }.to_le_bytes())
        .collect();
    let identity = PackedMatrix::pack(QuantType::F32, cols, cols, &bytes).unwrap();
    for isa in available() {
        let team = team(isa);
        let mut activations = Activations::default();
        let mut found = vec![0.0; values.len()];
        activations.quantize_normed(&team, &values, (&weight, 1e-6), Form::Float);
        let product = Product { matrix: &identity, bias: None, store: Store::Set, out: &mut found };
        multiply(&team, &activations, &mut [product]);
        let mut in_place = values.clone();
        rms_norm(&team, &mut in_place, &weight, 1e-6);
        assert_eq!(in_place, found);
        for (row, found) in values.chunks(cols).zip(found.chunks(cols)) {
            let mean = row.iter().map(|x| f64::from(x * x)).sum::<f64>() / cols as f64;
            for ((x, weight), found) in row.iter().zip(&weight).zip(found) {
                let exact = f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(*weight);
                assert!((f64::from(*found) - exact).abs() <= 1e-5 * exact.abs() + 1e-9);
            }
        }
        let up: Vec<f32> = values.iter().rev().copied().collect();
        let gate: Vec<f32> = values.iter().map(|x| 8.0 * x).collect();
        activations.quantize_gated(&team, (&gate, &up), cols, Form::Float);
        let product = Product { matrix: &identity, bias: None, store: Store::Set, out: &mut found };
        multiply(&team, &activations, &mut [product]);
        for ((gate, up), found) in gate.iter().zip(&up).zip(&found) {
            let (gate, up) = (f64::from(*gate), f64::from(*up));
            let exact = gate / (1.0 + (-gate).exp()) * up;
            assert!((f64::from(*found) - exact).abs() <= 2e-6 * exact.abs() + 1e-30);
        }
    }
}

#[test]
fn gated_products_are_those_of_both_gated() {
    let numbers = &mut Numbers(6);
    for (n_outputs, kinds) in [
        (32, [QuantType::Q4_1, QuantType::Q4_1]),
        (320, [QuantType::Q5K, QuantType::Q5K]),
        (352, [QuantType::Q4_1, QuantType::Q8_0]),
    ] {
        let cols = 512;
        let [gate, up] = kinds.map(|kind| {
            let bytes = numbers.blocks(kind, n_outputs * cols / kind.block_len());
            PackedMatrix::pack(kind, n_outputs, cols, &bytes).unwrap()
        });
        let pair = GatedPair::new(&gate, &up).unwrap();
        for (isa, n_rows) in available().flat_map(|isa| [0, 1, 3, 17, 70].map(|n| (isa, n))) {
            let inputs = numbers.floats(n_rows * cols);
            let [gates, ups] = [&gate, &up].map(|matrix| product(isa, matrix, &inputs));
            let mut apart = Activations::default();
            apart.quantize_gated(&team(isa), (&gates, &ups), n_outputs, Form::Int8);
            let mut activations = Activations::default();
            activations.quantize(&team(isa), &inputs, cols, Form::Int8);
            // It overwrites what was there.
            let mut found = Activations::default();
            found.quantize(&team(isa), &vec![1.0; 80 * 352], 352, Form::Both);
            for n_threads in [1, 5] {
                pair.multiply(&Team::new(isa, n_threads).unwrap(), &activations, &mut found);
                assert_eq!((found.rows(), found.cols()), (n_rows, n_outputs));
                let chunks = n_outputs.div_ceil(256);
                for (chunk, row) in
                    (0..chunks).flat_map(|chunk| (0..n_rows).map(move |row| (chunk, row)))
                {
                    assert_eq!(found.parts(chunk, row), apart.parts(chunk, row), "{isa:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_gated_pair_is_told() {
    let pack = |kind: QuantType, rows: usize, cols: usize| {
        let bytes = vec![0; rows * cols / kind.block_len() * kind.block_bytes()];
        PackedMatrix::pack(kind, rows, cols, &bytes).unwrap()
    };
    let gate = pack(QuantType::Q4_0, 64, 64);
    assert!(GatedPair::new(&gate, &pack(QuantType::Q8_0, 64, 64)).is_some());
    for up in
        [pack(QuantType::F16, 64, 64), pack(QuantType::Q4_0, 96, 64), pack(QuantType::Q4_0, 64, 96)]
    {
        assert!(GatedPair::new(&gate, &up).is_none() && GatedPair::new(&up, &gate).is_none());
    }
    let odd = pack(QuantType::Q4_0, 48, 64);
    assert!(GatedPair::new(&odd, &odd).is_none());
}

#[test]
fn bytes_that_are_no_matrix_are_refused() {
    let pack = |rows, cols, n_bytes| {
        PackedMatrix::pack(QuantType::Q4K, rows, cols, &vec![0; n_bytes]).map(|_| ())
    };
    assert_eq!(pack(2, 256, 288), Ok(()));
    assert_eq!(pack(0, 256, 0), Ok(()));
    assert_eq!(pack(2, 0, 0), Err(PackError::Columns { cols: 0, block: 256 }));
    assert_eq!(pack(2, 128, 144), Err(PackError::Columns { cols: 128, block: 256 }));
    assert_eq!(pack(2, 256, 287), Err(PackError::Length { wanted: 288, found: 287 }));
    let rows = usize::MAX / 8;
    assert_eq!(pack(rows, 256, 0), Err(PackError::TooLarge { rows, cols: 256 }));
}
