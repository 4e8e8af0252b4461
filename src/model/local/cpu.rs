//! The arithmetic of a decoder on the CPU.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::bail;
use candle_core::CpuStorage;
use candle_core::quantized::{GgmlDType, QuantizedType};
use rayon::prelude::*;

use crate::model::local::config::DecoderConfig;
use crate::model::local::decoder::{Linear, Ops, SequenceRows};
use crate::model::local::gguf::Encoding;
use crate::model::local::weights::StoredTensor;

/// The CPU's [`Ops`].
pub struct Cpu {
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    rms_eps: f32,
    frequencies: Vec<f32>,
    magnitude: f32,
}

/// Activations of the shape (rows, width), row after row.
pub struct CpuTensor {
    values: Vec<f32>,
    width: usize,
}

pub struct CpuMatrix {
    weights: Box<dyn QuantizedType>,
    n_out: usize,
    n_in: usize,
}

/// Keys and values of consecutive positions, of all layers.
#[derive(Clone)]
pub struct CpuSegment {
    start: usize,
    /// By layer: rows of (keys, values).
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Cpu {
    pub fn new(config: &DecoderConfig) -> Self {
        Self {
            n_layers: config.n_layers,
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
            rms_eps: config.rms_eps as f32,
            frequencies: config.rope.frequencies.clone(),
            magnitude: config.rope.magnitude,
        }
    }

    fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    fn norm_rows(&self, values: &mut [f32], weight: &[f32]) {
        values.par_chunks_mut(weight.len()).for_each(|row| {
            let mean = dot(row, row) / row.len() as f32;
            let scale = 1.0 / (mean + self.rms_eps).sqrt();
            for (value, weight) in row.iter_mut().zip(weight) {
                *value *= scale * weight;
            }
        });
    }

    /// One query row of one head, over all positions of its sequence up to its own.
    fn attend_row(&self, query: &[f32], kv_head: usize, runs: &[Run<'_>], out: &mut [f32]) {
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let offset = kv_head * self.head_dim;
        let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0_f32);
        out.fill(0.0);
        for run in runs {
            let width = self.kv_width();
            for (key, value) in run.keys.chunks_exact(width).zip(run.values.chunks_exact(width)) {
                let score = dot(query, &key[offset..offset + self.head_dim]) * scale;
                if score > max {
                    let shrink = (max - score).exp();
                    sum *= shrink;
                    for out in out.iter_mut() {
                        *out *= shrink;
                    }
                    max = score;
                }
                let weight = (score - max).exp();
                sum += weight;
                for (out, value) in out.iter_mut().zip(&value[offset..offset + self.head_dim]) {
                    *out += weight * value;
                }
            }
        }
        for out in out {
            *out /= sum;
        }
    }
}

/// Keys and values of consecutive positions.
struct Run<'a> {
    keys: &'a [f32],
    values: &'a [f32],
}

impl Ops for Cpu {
    type Tensor = CpuTensor;
    type Input = CpuTensor;
    type Matrix = CpuMatrix;
    type Vector = Vec<f32>;
    type Segment = CpuSegment;

    fn load_matrix(&self, stored: &StoredTensor<'_>) -> anyhow::Result<CpuMatrix> {
        let &[n_out, n_in] = stored.shape.as_slice() else {
            bail!("a matrix has the shape {:?}", stored.shape);
        };
        let (dtype, bytes) = match stored.encoding {
            Encoding::F32 => (GgmlDType::F32, Cow::Borrowed(&*stored.bytes)),
            Encoding::F16 | Encoding::Bf16 => {
                let values = stored.to_f32()?;
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (GgmlDType::F32, Cow::Owned(bytes))
            }
            Encoding::Q4_0 => (GgmlDType::Q4_0, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q4_1 => (GgmlDType::Q4_1, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q5_0 => (GgmlDType::Q5_0, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q5_1 => (GgmlDType::Q5_1, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q8_0 => (GgmlDType::Q8_0, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q2K => (GgmlDType::Q2K, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q3K => (GgmlDType::Q3K, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q4K => (GgmlDType::Q4K, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q5K => (GgmlDType::Q5K, Cow::Borrowed(&*stored.bytes)),
            Encoding::Q6K => (GgmlDType::Q6K, Cow::Borrowed(&*stored.bytes)),
        };
        Ok(CpuMatrix { weights: dtype.from_data(bytes), n_out, n_in })
    }

    fn load_vector(&self, stored: &StoredTensor<'_>) -> anyhow::Result<Vec<f32>> {
        stored.to_f32()
    }

    fn new_segment(&self) -> anyhow::Result<CpuSegment> {
        Ok(CpuSegment { start: 0, layers: vec![(Vec::new(), Vec::new()); self.n_layers] })
    }

    fn branch(&self, _segment: &CpuSegment, end: usize) -> anyhow::Result<CpuSegment> {
        Ok(CpuSegment { start: end, layers: vec![(Vec::new(), Vec::new()); self.n_layers] })
    }

    fn segment_start(&self, segment: &CpuSegment) -> usize {
        segment.start
    }

    fn segment_bytes(&self, segment: &CpuSegment) -> usize {
        segment.layers.iter().map(|(keys, values)| 4 * (keys.capacity() + values.capacity())).sum()
    }

    fn embed(&self, table: &CpuMatrix, ids: &[u32]) -> anyhow::Result<CpuTensor> {
        match table.weights.embedding(ids, table.n_out, table.n_in)? {
            CpuStorage::F32(values) => Ok(CpuTensor { values, width: table.n_in }),
            _ => bail!("an embedding table yields no floats"),
        }
    }

    fn normed(&self, x: &CpuTensor, weight: &Vec<f32>) -> anyhow::Result<CpuTensor> {
        let mut values = x.values.clone();
        self.norm_rows(&mut values, weight);
        Ok(CpuTensor { values, width: x.width })
    }

    fn gated(&self, mut gate: CpuTensor, up: CpuTensor) -> anyhow::Result<CpuTensor> {
        let width = gate.width;
        gate.values.par_chunks_mut(width).zip(up.values.par_chunks(width)).for_each(
            |(gate, up)| {
                for (gate, up) in gate.iter_mut().zip(up) {
                    *gate = *gate / (1.0 + (-*gate).exp()) * up;
                }
            },
        );
        Ok(gate)
    }

    fn plain(&self, x: CpuTensor) -> anyhow::Result<CpuTensor> {
        Ok(x)
    }

    fn project(&self, x: &CpuTensor, linears: &[&Linear<Self>]) -> anyhow::Result<Vec<CpuTensor>> {
        let n_rows = x.values.len() / x.width;
        let project = |linear: &&Linear<Self>| {
            let matrix = &linear.matrix;
            let mut values = vec![0.0; n_rows * matrix.n_out];
            let shape = (n_rows, matrix.n_in, matrix.n_out);
            matrix.weights.matmul_t(shape, &x.values, &mut values)?;
            if let Some(bias) = &linear.bias {
                for row in values.chunks_exact_mut(matrix.n_out) {
                    row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
                }
            }
            Ok(CpuTensor { values, width: matrix.n_out })
        };
        linears.iter().map(project).collect()
    }

    fn project_onto(
        &self,
        x: &CpuTensor,
        linear: &Linear<Self>,
        sum: &mut CpuTensor,
    ) -> anyhow::Result<()> {
        for product in self.project(x, &[linear])? {
            sum.values.iter_mut().zip(&product.values).for_each(|(sum, value)| *sum += value);
        }
        Ok(())
    }

    fn norm_heads(&self, x: &mut CpuTensor, weight: &Vec<f32>) -> anyhow::Result<()> {
        self.norm_rows(&mut x.values, weight);
        Ok(())
    }

    fn rotate(&self, x: &mut CpuTensor, positions: &[usize]) -> anyhow::Result<()> {
        let half = self.head_dim / 2;
        x.values.par_chunks_mut(x.width).zip(positions).for_each(|(row, &position)| {
            for (pair, frequency) in self.frequencies.iter().enumerate() {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                let (sin, cos) = (sin * self.magnitude, cos * self.magnitude);
                for head in row.chunks_exact_mut(self.head_dim) {
                    let (a, b) = (head[pair], head[pair + half]);
                    head[pair] = a * cos - b * sin;
                    head[pair + half] = b * cos + a * sin;
                }
            }
        });
        Ok(())
    }

    fn attend(
        &self,
        layer: usize,
        [q, k, v]: [CpuTensor; 3],
        sequences: &mut [SequenceRows<'_, CpuSegment>],
    ) -> anyhow::Result<CpuTensor> {
        let mut mixed = CpuTensor { values: vec![0.0; q.values.len()], width: q.width };
        let (kv_width, group) = (self.kv_width(), self.n_heads / self.n_kv_heads);
        let mut row = 0;
        for sequence in sequences {
            let rows = row * kv_width..(row + sequence.n_rows) * kv_width;
            let (keys, values) = &mut sequence.own.layers[layer];
            let n_own = sequence.start - sequence.own.start;
            keys.truncate(n_own * kv_width);
            values.truncate(n_own * kv_width);
            keys.extend_from_slice(&k.values[rows.clone()]);
            values.extend_from_slice(&v.values[rows]);

            let segments: Vec<&CpuSegment> =
                sequence.shared.iter().map(Arc::as_ref).chain([&*sequence.own]).collect();
            let range = row * q.width..(row + sequence.n_rows) * q.width;
            let out = mixed.values[range.clone()].par_chunks_mut(q.width);
            out.zip(q.values[range].par_chunks(q.width)).enumerate().for_each(
                |(idx, (out, query))| {
                    let n_visible = sequence.start + idx + 1;
                    let runs: Vec<Run<'_>> = segments
                        .iter()
                        .enumerate()
                        .map(|(at, segment)| {
                            let end = segments.get(at + 1).map_or(n_visible, |next| next.start);
                            let range = 0..(end - segment.start) * kv_width;
                            let (keys, values) = &segment.layers[layer];
                            Run { keys: &keys[range.clone()], values: &values[range] }
                        })
                        .collect();
                    let heads = out.chunks_exact_mut(self.head_dim);
                    for (head, (out, query)) in
                        heads.zip(query.chunks_exact(self.head_dim)).enumerate()
                    {
                        self.attend_row(query, head / group, &runs, out);
                    }
                },
            );
            row += sequence.n_rows;
        }
        Ok(mixed)
    }

    fn select(&self, x: &CpuTensor, rows: &[usize]) -> anyhow::Result<CpuTensor> {
        let row = |&row: &usize| &x.values[row * x.width..(row + 1) * x.width];
        Ok(CpuTensor { values: rows.iter().flat_map(row).copied().collect(), width: x.width })
    }

    fn to_rows(&self, x: CpuTensor) -> anyhow::Result<Vec<f32>> {
        Ok(x.values)
    }
}

/// A dot product summed in a fixed order: eight partial sums, then those.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}
