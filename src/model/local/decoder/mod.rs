//! The decoder of the llama, qwen2 and qwen3 families, in one definition.
//!
//! The network is immutable; what it remembers of a sequence is an explicit argument. It is
//! written over [`Ops`], so that a CPU and a GPU run the same definition. A row of the result
//! depends on that row's token and on what stands before it in its sequence; on the CPU to the
//! last bit, whatever else is in the batch.

mod load;
mod low_rank;

use std::sync::Arc;

use crate::model::kernels::Isa;
use crate::model::local::adapter::{AdapterWeights, Site};
use crate::model::local::buffers::Floats;
use crate::model::local::config::DecoderConfig;
use crate::model::local::decoder::low_rank::LoadedLowRank;
use crate::model::local::weights::StoredTensor;

/// The arithmetic of one kind of device, over activations of the shape (rows, width).
///
/// What a sequence remembers is a list of segments: each holds the keys and values of all layers
/// from its start on, up to the start of the next one. Sequences that begin alike share segments.
pub trait Ops: Send + Sync + 'static {
    type Tensor: Send;
    /// Activations in the form that products read.
    type Input: Send;
    type Matrix: Send + Sync;
    type Vector: Send + Sync;
    type Segment: Send + Sync;
    /// How far the heads of a batch's rows are rotated.
    type Turns: Send;

    /// Whether this machine's CPU does it all, where samples are dear.
    const IS_CPU: bool;

    /// The instructions of what is computed on the CPU: drawing tokens.
    fn isa(&self) -> Isa;
    /// Does every task, in any order and at the same time where there are threads for it.
    fn for_each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T) + Sync);

    fn load_matrix(&self, stored: &StoredTensor<'_>) -> anyhow::Result<Self::Matrix>;
    fn load_vector(&self, stored: &StoredTensor<'_>) -> anyhow::Result<Self::Vector>;

    /// An empty segment that starts at position 0.
    fn new_segment(&self) -> anyhow::Result<Self::Segment>;
    /// A segment of its own that goes on after position `end` of `segment`. It may start a little
    /// before `end`, with copies.
    fn branch(&self, segment: &Self::Segment, end: usize) -> anyhow::Result<Self::Segment>;
    fn segment_start(&self, segment: &Self::Segment) -> usize;
    fn segment_bytes(&self, segment: &Self::Segment) -> usize;

    fn embed(&self, table: &Self::Matrix, ids: &[u32]) -> anyhow::Result<Self::Tensor>;
    /// The root-mean-square norm of each row.
    fn normed(&self, x: &Self::Tensor, weight: &Self::Vector) -> anyhow::Result<Self::Input>;
    /// `silu(gate) * up`.
    fn gated(&self, gate: Self::Tensor, up: Self::Tensor) -> anyhow::Result<Self::Input>;
    fn plain(&self, x: Self::Tensor) -> anyhow::Result<Self::Input>;
    /// The product of `x` with each of several matrices.
    fn project(
        &self,
        x: &Self::Input,
        linears: &[&Linear<Self>],
    ) -> anyhow::Result<Vec<Self::Tensor>>;
    /// Adds the product of `x` with a matrix to `sum`.
    fn project_onto(
        &self,
        x: &Self::Input,
        linear: &Linear<Self>,
        sum: &mut Self::Tensor,
    ) -> anyhow::Result<()>;
    /// Adds `down` of `silu(gate) * up` of `x` to `sum`.
    fn feed_forward(
        &self,
        x: &Self::Input,
        linears: FeedForward<'_, Self>,
        sum: &mut Self::Tensor,
    ) -> anyhow::Result<()> {
        linears.run_apart(self, x, sum)
    }
    /// Root-mean-square norm of each head of each row.
    fn norm_heads(&self, x: &mut Self::Tensor, weight: &Self::Vector) -> anyhow::Result<()>;
    /// The turns of rows at `positions`; all layers have the same.
    fn turns(&self, positions: &[usize]) -> anyhow::Result<Self::Turns>;
    fn rotate(&self, x: &mut Self::Tensor, turns: &Self::Turns) -> anyhow::Result<()>;
    /// Remembers keys and values in the sequences' own segments, and lets every query attend to
    /// its sequence up to itself.
    fn attend(
        &self,
        layer: usize,
        qkv: [Self::Tensor; 3],
        sequences: &mut [SequenceRows<'_, Self::Segment>],
    ) -> anyhow::Result<Self::Tensor>;
    fn select(&self, x: &Self::Tensor, rows: &[usize]) -> anyhow::Result<Self::Tensor>;
    fn to_rows(&self, x: Self::Tensor) -> anyhow::Result<Floats>;
}

/// The projections of a gated feed-forward network.
pub struct FeedForward<'a, O: Ops + ?Sized> {
    pub gate: &'a Linear<O>,
    pub up: &'a Linear<O>,
    pub down: &'a Linear<O>,
}

impl<O: Ops + ?Sized> FeedForward<'_, O> {
    /// One product after the other.
    pub fn run_apart(self, ops: &O, x: &O::Input, sum: &mut O::Tensor) -> anyhow::Result<()> {
        let [gate, up] = split(ops.project(x, &[self.gate, self.up])?);
        ops.project_onto(&ops.gated(gate, up)?, self.down, sum)
    }
}

/// The rows of a batch that belong to one sequence.
#[derive(Debug)]
pub struct SequenceRows<'a, S> {
    pub n_rows: usize,
    /// The position of the first of them.
    pub start: usize,
    /// What stands before, shared with other sequences.
    pub shared: &'a [Arc<S>],
    /// Where these rows are remembered.
    pub own: &'a mut S,
}

/// A matrix of the shape (out, in), and what is added to its product.
pub struct Linear<O: Ops + ?Sized> {
    pub matrix: O::Matrix,
    pub bias: Option<O::Vector>,
    /// Is added to the product by [`Decoder`], not by [`Ops`].
    low_rank: Option<Box<LoadedLowRank<O>>>,
}

/// A loaded network.
pub struct Decoder<O: Ops> {
    pub config: DecoderConfig,
    ops: O,
    embedding: Linear<O>,
    layers: Vec<Layer<O>>,
    norm: O::Vector,
    /// `None`: the embedding table, transposed.
    output: Option<Linear<O>>,
}

struct Layer<O: Ops> {
    attn_norm: O::Vector,
    q_proj: Linear<O>,
    k_proj: Linear<O>,
    v_proj: Linear<O>,
    /// Norms of each query and key head, in the qwen3 family.
    head_norms: Option<(O::Vector, O::Vector)>,
    o_proj: Linear<O>,
    ffn_norm: O::Vector,
    gate_proj: Linear<O>,
    up_proj: Linear<O>,
    down_proj: Linear<O>,
}

/// What a step computes.
pub struct Batch<'a, S> {
    /// The token of each row.
    pub ids: &'a [u32],
    /// Every row belongs to one of them, in order.
    pub sequences: Vec<SequenceRows<'a, S>>,
    /// The rows whose logits are asked for.
    pub wanted: &'a [usize],
}

impl<O: Ops> Decoder<O> {
    /// Puts an adapter in the place of the one before it.
    ///
    /// # Errors
    ///
    /// It is for another model; what was there before is then partly gone.
    pub fn adapt(&mut self, mut adapter: AdapterWeights) -> anyhow::Result<()> {
        let DecoderConfig { hidden, intermediate: ffn, .. } = self.config;
        let q = self.config.n_heads * self.config.head_dim;
        let kv = self.config.n_kv_heads * self.config.head_dim;
        for (idx, layer) in self.layers.iter_mut().enumerate() {
            for site in Site::ALL {
                let (linear, shape) = match site {
                    Site::Q => (&mut layer.q_proj, [q, hidden]),
                    Site::K => (&mut layer.k_proj, [kv, hidden]),
                    Site::V => (&mut layer.v_proj, [kv, hidden]),
                    Site::O => (&mut layer.o_proj, [hidden, q]),
                    Site::Gate => (&mut layer.gate_proj, [ffn, hidden]),
                    Site::Up => (&mut layer.up_proj, [ffn, hidden]),
                    Site::Down => (&mut layer.down_proj, [hidden, ffn]),
                };
                let found = adapter.take(idx, site, shape)?;
                let load = |low_rank| LoadedLowRank::load(&self.ops, &low_rank);
                linear.low_rank = found.map(load).transpose()?.map(Box::new);
            }
        }
        adapter.finish()
    }

    pub fn ops(&self) -> &O {
        &self.ops
    }

    /// Runs one step and returns the logits of the wanted rows, one row after the other.
    pub fn forward(&self, batch: Batch<'_, O::Segment>) -> anyhow::Result<Floats> {
        self.run(batch, true)
    }

    /// The same without the adapter.
    pub fn forward_bare(&self, batch: Batch<'_, O::Segment>) -> anyhow::Result<Floats> {
        self.run(batch, false)
    }

    fn run(&self, mut batch: Batch<'_, O::Segment>, adapted: bool) -> anyhow::Result<Floats> {
        let ops = &self.ops;
        let positions: Vec<usize> = batch
            .sequences
            .iter()
            .flat_map(|sequence| sequence.start..sequence.start + sequence.n_rows)
            .collect();
        let turns = ops.turns(&positions)?;
        let mut x = ops.embed(&self.embedding.matrix, batch.ids)?;
        for (idx, layer) in self.layers.iter().enumerate() {
            let input = ops.normed(&x, &layer.attn_norm)?;
            let [mut q, mut k, v] = split(self.project(
                &input,
                &[&layer.q_proj, &layer.k_proj, &layer.v_proj],
                adapted,
            )?);
            if let Some((q_norm, k_norm)) = &layer.head_norms {
                ops.norm_heads(&mut q, q_norm)?;
                ops.norm_heads(&mut k, k_norm)?;
            }
            ops.rotate(&mut q, &turns)?;
            ops.rotate(&mut k, &turns)?;
            let mixed = ops.attend(idx, [q, k, v], &mut batch.sequences)?;
            self.project_onto(&ops.plain(mixed)?, &layer.o_proj, &mut x, adapted)?;

            let input = ops.normed(&x, &layer.ffn_norm)?;
            let (gate, up, down) = (&layer.gate_proj, &layer.up_proj, &layer.down_proj);
            if adapted && [gate, up, down].iter().any(|linear| linear.low_rank.is_some()) {
                let [gate, up] = split(self.project(&input, &[gate, up], adapted)?);
                self.project_onto(&ops.gated(gate, up)?, down, &mut x, adapted)?;
            } else {
                ops.feed_forward(&input, FeedForward { gate, up, down }, &mut x)?;
            }
        }
        if batch.wanted.is_empty() {
            return Ok(Floats::from(Vec::new()));
        }
        let last = ops.normed(&ops.select(&x, batch.wanted)?, &self.norm)?;
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let [logits] = split(ops.project(&last, &[output])?);
        ops.to_rows(logits)
    }

    /// The products of `x`, with what the adapter adds.
    fn project(
        &self,
        x: &O::Input,
        linears: &[&Linear<O>],
        adapted: bool,
    ) -> anyhow::Result<Vec<O::Tensor>> {
        if !adapted {
            return self.ops.project(x, linears);
        }
        let with_narrow: Vec<&Linear<O>> = linears
            .iter()
            .copied()
            .chain(linears.iter().filter_map(|linear| Some(&linear.low_rank.as_ref()?.a)))
            .collect();
        let mut wide = self.ops.project(x, &with_narrow)?;
        let mut narrow = wide.split_off(linears.len()).into_iter();
        for (sum, linear) in wide.iter_mut().zip(linears) {
            if let Some(low_rank) = &linear.low_rank
                && let Some(narrow) = narrow.next()
            {
                self.ops.project_onto(&self.ops.plain(narrow)?, &low_rank.b, sum)?;
            }
        }
        Ok(wide)
    }

    /// Adds the product of `x`, and what the adapter adds to it.
    fn project_onto(
        &self,
        x: &O::Input,
        linear: &Linear<O>,
        sum: &mut O::Tensor,
        adapted: bool,
    ) -> anyhow::Result<()> {
        self.ops.project_onto(x, linear, sum)?;
        let Some(low_rank) = linear.low_rank.as_ref().filter(|_| adapted) else { return Ok(()) };
        let [narrow] = split(self.ops.project(x, &[&low_rank.a])?);
        self.ops.project_onto(&self.ops.plain(narrow)?, &low_rank.b, sum)
    }
}

fn split<T, const N: usize>(tensors: Vec<T>) -> [T; N] {
    let Ok(array) = tensors.try_into() else { unreachable!("one result for each projection") };
    array
}
