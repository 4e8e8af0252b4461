//! The arithmetic of a decoder on the CPU.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{bail, ensure};

use crate::model::kernels::Isa;
use crate::model::kernels::activation::{Activations, Form, rms_norm};
use crate::model::kernels::attention::{Span, attend};
use crate::model::kernels::kv::{AttentionShape, KeyPrecision, KvSegment};
use crate::model::kernels::packed::PackedMatrix;
use crate::model::kernels::product::gated::GatedPair;
use crate::model::kernels::product::{Product, Store, multiply};
use crate::model::kernels::quant::QuantType;
use crate::model::kernels::rotary::{Rotary, RotaryStyle, Turns};
use crate::model::kernels::team::Team;
use crate::model::local::buffers::{Buffers, Floats, Lent};
use crate::model::local::config::DecoderConfig;
use crate::model::local::decoder::{FeedForward, Linear, Ops, SequenceRows};
use crate::model::local::gguf::Encoding;
use crate::model::local::weights::StoredTensor;

/// The CPU's [`Ops`].
pub struct Cpu {
    team: Team,
    /// Which forms of activations the loaded matrices want.
    wants_int8: AtomicBool,
    wants_floats: AtomicBool,
    n_layers: usize,
    shape: AttentionShape,
    rotary: Rotary,
    rms_eps: f32,
    floats: Buffers<Vec<f32>>,
    inputs: Buffers<Activations>,
}

/// Activations of the shape (rows, width), row after row.
pub struct CpuTensor {
    values: Floats,
    width: usize,
}

impl Cpu {
    pub fn new(config: &DecoderConfig, team: Team) -> anyhow::Result<Self> {
        ensure!(
            config.head_dim.is_multiple_of(16),
            "heads of width {} do not run on a CPU, which takes multiples of 16",
            config.head_dim
        );
        Ok(Self {
            team,
            wants_int8: AtomicBool::new(false),
            wants_floats: AtomicBool::new(false),
            n_layers: config.n_layers,
            shape: AttentionShape {
                n_heads: config.n_heads,
                n_kv_heads: config.n_kv_heads,
                head_dim: config.head_dim,
                scale: 1.0 / (config.head_dim as f32).sqrt(),
                precision: if config.has_key_bias {
                    KeyPrecision::Int16
                } else {
                    KeyPrecision::Int8
                },
            },
            // The weights' rows are put into this order as they are loaded.
            rotary: Rotary {
                style: RotaryStyle::Halves,
                frequencies: config.rope.frequencies.clone(),
                magnitude: config.rope.magnitude,
            },
            rms_eps: config.rms_eps as f32,
            floats: Buffers::default(),
            inputs: Buffers::default(),
        })
    }

    pub fn n_threads(&self) -> usize {
        self.team.n_threads()
    }

    fn form(&self) -> Form {
        let wants = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        match (wants(&self.wants_int8), wants(&self.wants_floats)) {
            (true, true) => Form::Both,
            (_, false) => Form::Int8,
            (false, true) => Form::Float,
        }
    }
}

impl Ops for Cpu {
    type Tensor = CpuTensor;
    type Input = Lent<Activations>;
    type Matrix = PackedMatrix;
    type Vector = Vec<f32>;
    type Segment = KvSegment;
    type Turns = Turns;

    const IS_CPU: bool = true;

    fn isa(&self) -> Isa {
        self.team.isa()
    }

    fn for_each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T) + Sync) {
        self.team.for_each(tasks, work);
    }

    fn load_matrix(&self, stored: &StoredTensor<'_>) -> anyhow::Result<PackedMatrix> {
        let &[n_out, n_in] = stored.shape.as_slice() else {
            bail!("a matrix has the shape {:?}", stored.shape);
        };
        let (kind, bytes) = packable(stored)?;
        let matrix = PackedMatrix::pack(kind, n_out, n_in, &bytes)?;
        match matrix.form() {
            Form::Int8 => self.wants_int8.store(true, Ordering::Relaxed),
            Form::Float => self.wants_floats.store(true, Ordering::Relaxed),
            Form::Both => {
                self.wants_int8.store(true, Ordering::Relaxed);
                self.wants_floats.store(true, Ordering::Relaxed);
            }
        }
        Ok(matrix)
    }

    fn load_vector(&self, stored: &StoredTensor<'_>) -> anyhow::Result<Vec<f32>> {
        stored.to_f32()
    }

    fn new_segment(&self) -> anyhow::Result<KvSegment> {
        Ok(KvSegment::new(self.n_layers, &self.shape))
    }

    fn branch(&self, segment: &KvSegment, end: usize) -> anyhow::Result<KvSegment> {
        Ok(segment.branch(end))
    }

    fn segment_start(&self, segment: &KvSegment) -> usize {
        segment.start()
    }

    fn segment_bytes(&self, segment: &KvSegment) -> usize {
        segment.n_bytes()
    }

    fn embed(&self, table: &PackedMatrix, ids: &[u32]) -> anyhow::Result<CpuTensor> {
        let width = table.cols();
        if let Some(id) = ids.iter().find(|id| table.rows() <= **id as usize) {
            bail!("the token {id} is outside the embedding table's {} rows", table.rows());
        }
        let mut values = self.floats.floats(ids.len() * width);
        let rows = ids.iter().zip(values.chunks_exact_mut(width));
        self.team.for_each(rows.collect(), |(&id, row)| table.read_row(id as usize, row));
        Ok(CpuTensor { values, width })
    }

    fn normed(&self, x: &CpuTensor, weight: &Vec<f32>) -> anyhow::Result<Lent<Activations>> {
        let mut input = self.inputs.lend(x.values.len());
        input.quantize_normed(&self.team, &x.values, (weight, self.rms_eps), self.form());
        Ok(input)
    }

    fn gated(&self, gate: CpuTensor, up: CpuTensor) -> anyhow::Result<Lent<Activations>> {
        let mut input = self.inputs.lend(gate.values.len());
        input.quantize_gated(&self.team, (&gate.values, &up.values), gate.width, self.form());
        Ok(input)
    }

    fn plain(&self, x: CpuTensor) -> anyhow::Result<Lent<Activations>> {
        let mut input = self.inputs.lend(x.values.len());
        input.quantize(&self.team, &x.values, x.width, self.form());
        Ok(input)
    }

    fn project(
        &self,
        x: &Lent<Activations>,
        linears: &[&Linear<Self>],
    ) -> anyhow::Result<Vec<CpuTensor>> {
        let new = |linear: &&Linear<Self>| {
            let width = linear.matrix.rows();
            CpuTensor { values: self.floats.floats(x.rows() * width), width }
        };
        let mut results: Vec<CpuTensor> = linears.iter().map(new).collect();
        let mut products: Vec<Product<'_>> = linears
            .iter()
            .zip(&mut results)
            .map(|(linear, result)| Product {
                matrix: &linear.matrix,
                bias: linear.bias.as_deref(),
                store: Store::Set,
                out: &mut result.values,
            })
            .collect();
        multiply(&self.team, x, &mut products);
        Ok(results)
    }

    fn project_onto(
        &self,
        x: &Lent<Activations>,
        linear: &Linear<Self>,
        sum: &mut CpuTensor,
    ) -> anyhow::Result<()> {
        let (matrix, bias) = (&linear.matrix, linear.bias.as_deref());
        multiply(
            &self.team,
            x,
            &mut [Product { matrix, bias, store: Store::Add, out: &mut sum.values }],
        );
        Ok(())
    }

    fn feed_forward(
        &self,
        x: &Lent<Activations>,
        linears: FeedForward<'_, Self>,
        sum: &mut CpuTensor,
    ) -> anyhow::Result<()> {
        let FeedForward { gate, up, down } = &linears;
        let has_biases = gate.bias.is_some() || up.bias.is_some();
        let is_fit = !has_biases && down.matrix.form() == Form::Int8;
        match GatedPair::new(&gate.matrix, &up.matrix).filter(|_| is_fit) {
            Some(pair) => {
                let mut input = self.inputs.lend(x.rows() * down.matrix.cols());
                pair.multiply(&self.team, x, &mut input);
                self.project_onto(&input, down, sum)
            }
            None => linears.run_apart(self, x, sum),
        }
    }

    fn norm_heads(&self, x: &mut CpuTensor, weight: &Vec<f32>) -> anyhow::Result<()> {
        rms_norm(&self.team, &mut x.values, weight, self.rms_eps);
        Ok(())
    }

    fn turns(&self, positions: &[usize]) -> anyhow::Result<Turns> {
        Ok(self.rotary.turns(positions))
    }

    fn rotate(&self, x: &mut CpuTensor, turns: &Turns) -> anyhow::Result<()> {
        turns.apply(&self.team, &mut x.values, self.shape.head_dim);
        Ok(())
    }

    fn attend(
        &self,
        layer: usize,
        [q, k, v]: [CpuTensor; 3],
        sequences: &mut [SequenceRows<'_, KvSegment>],
    ) -> anyhow::Result<CpuTensor> {
        let mut row = 0;
        for sequence in &mut *sequences {
            let range = row * k.width..(row + sequence.n_rows) * k.width;
            let new = (&k.values[range.clone()], &v.values[range]);
            sequence.own.append(&self.team, layer, sequence.start, new);
            row += sequence.n_rows;
        }
        let spans: Vec<Span<'_>> = sequences
            .iter()
            .map(|sequence| Span {
                segments: sequence.shared.iter().map(Arc::as_ref).chain([&*sequence.own]).collect(),
                start: sequence.start,
                n_queries: sequence.n_rows,
            })
            .collect();
        let mut values = self.floats.floats(q.values.len());
        attend(&self.team, &self.shape, layer, &spans, (&q.values, &mut values));
        Ok(CpuTensor { values, width: q.width })
    }

    fn select(&self, x: &CpuTensor, rows: &[usize]) -> anyhow::Result<CpuTensor> {
        let mut values = self.floats.floats(rows.len() * x.width);
        for (to, row) in values.chunks_exact_mut(x.width).zip(rows) {
            to.copy_from_slice(&x.values[row * x.width..(row + 1) * x.width]);
        }
        Ok(CpuTensor { values, width: x.width })
    }

    fn to_rows(&self, x: CpuTensor) -> anyhow::Result<Floats> {
        Ok(x.values)
    }
}

/// A tensor's format and bytes as the kernels take them: the few formats that they lack are
/// unpacked to 16 bits.
fn packable<'a>(stored: &'a StoredTensor<'_>) -> anyhow::Result<(QuantType, Cow<'a, [u8]>)> {
    let bytes = Cow::Borrowed(&*stored.bytes);
    let unpacked = || {
        let halves = stored.to_f32()?;
        let halves = halves.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes());
        Ok((QuantType::F16, Cow::Owned(halves.collect())))
    };
    Ok(match stored.encoding {
        Encoding::F32 => (QuantType::F32, bytes),
        Encoding::F16 => (QuantType::F16, bytes),
        Encoding::Bf16 => (QuantType::Bf16, bytes),
        Encoding::Q4_0 => (QuantType::Q4_0, bytes),
        Encoding::Q4_1 => (QuantType::Q4_1, bytes),
        Encoding::Q5_0 => (QuantType::Q5_0, bytes),
        Encoding::Q8_0 => (QuantType::Q8_0, bytes),
        Encoding::Q4K => (QuantType::Q4K, bytes),
        Encoding::Q5K => (QuantType::Q5K, bytes),
        Encoding::Q6K => (QuantType::Q6K, bytes),
        Encoding::Q5_1 | Encoding::Q2K | Encoding::Q3K => return unpacked(),
    })
}
