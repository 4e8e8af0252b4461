//! A decoder that can be trained: the llama, qwen2 and qwen3 families, in f32 on the CPU, with its
//! gradients written out.
//!
//! One step runs packed sequences through all layers and back. Attention stays within a sequence;
//! logits exist for a few of the learnt tokens at a time. It knows no files and no stages.

mod attention;
pub mod batch;
mod bf16;
mod buffers;
mod exp;
mod floats;
mod gate;
pub mod layer;
pub mod linear;
mod load;
mod matrix;
mod merge;
mod norm;
pub mod peft;
mod rotary;
pub mod tensors;
#[cfg(test)]
mod tests;
pub mod top;
pub mod weight;

use crate::train::decoder::attention::Attention;
use crate::train::decoder::batch::{Batch, Target};
use crate::train::decoder::buffers::Buffers;
use crate::train::decoder::layer::{Adapted, Layer, LayerAdapter, LayerGradients, Saved, Step};
use crate::train::decoder::norm::{rms_norm, rms_norm_backward};
use crate::train::decoder::rotary::Rotation;
use crate::train::decoder::top::{Top, imitate};
use crate::train::decoder::weight::BasePrecision;

/// The weights of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    pub shape: Shape,
    /// (token, hidden)
    pub embedding: Vec<f32>,
    pub layers: Vec<Layer>,
    pub norm: Vec<f32>,
    /// (token, hidden); `None`: the embedding serves for both.
    pub output: Option<Vec<f32>>,
}

/// What the weights do not tell of themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    pub hidden: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub rms_eps: f32,
    /// Radians per position, of each pair of a head.
    pub frequencies: Vec<f32>,
    /// Scales sine and cosine.
    pub magnitude: f32,
}

/// Low-rank additions to the projections of a decoder (LoRA).
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    pub layers: Vec<LayerAdapter>,
}

/// What is trained, and where its gradients are added.
#[derive(Debug, Clone, PartialEq)]
pub enum Gradients {
    /// All weights.
    Full(Box<Network>),
    /// The adapter; the network stays as it is.
    Adapter(Adapter),
}

/// What is kept of the forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// All that the backward pass needs: fastest.
    Keep,
    /// The input of each layer; the rest is computed a second time.
    Recompute,
}

/// A decoder at work, with the memory that it uses again from step to step.
pub struct Trainer {
    buffers: Buffers,
    activations: Activations,
}

/// What a layer left behind for the backward pass.
enum Left {
    All(Box<Saved>),
    Input(Vec<f32>),
}

impl Trainer {
    pub fn new(activations: Activations) -> Self {
        Self { buffers: Buffers::default(), activations }
    }

    /// The weighted sum of the targets' losses.
    pub fn loss(&mut self, network: &Network, adapter: Option<&Adapter>, batch: &Batch) -> f64 {
        self.look(network, adapter, batch, imitate)
    }

    /// The weighted sum of the targets' losses; adds the gradients of what is trained.
    pub fn step(
        &mut self,
        network: &Network,
        adapter: Option<&Adapter>,
        batch: &Batch,
        gradients: &mut Gradients,
    ) -> f64 {
        self.learn(network, adapter, batch, imitate, gradients)
    }

    /// What `top` makes of the targets' hidden states.
    pub fn look<T>(
        &mut self,
        network: &Network,
        adapter: Option<&Adapter>,
        batch: &Batch,
        top: impl FnOnce(Top<'_>) -> T,
    ) -> T {
        self.buffers.begin(batch.ids.len());
        let step = network.step(batch);
        let mut x = network.embed(&batch.ids, &mut self.buffers);
        for (idx, layer) in network.layers.iter().enumerate() {
            let adapted = Adapted { layer, adapter: adapter.map(|a| &a.layers[idx]) };
            let (out, saved) = adapted.forward(x, &step, &mut self.buffers);
            let input = saved.input_only(&mut self.buffers);
            self.buffers.give(input);
            x = out;
        }
        let hidden = gather(&x, &batch.targets, network.shape.hidden, &mut self.buffers);
        let mut normed = self.buffers.take(hidden.len());
        rms_norm(&hidden, &network.norm, network.shape.rms_eps, &mut normed);
        let found = top(Top {
            targets: &batch.targets,
            hidden: &normed,
            width: network.shape.hidden,
            d_hidden: None,
            output: network.output_matrix(),
            d_output: None,
            buffers: &mut self.buffers,
        });
        [x, hidden, normed].into_iter().for_each(|buffer| self.buffers.give(buffer));
        found
    }

    /// What `top` makes of the targets' hidden states; adds the gradients of what is trained,
    /// from those that it writes.
    pub fn learn<T>(
        &mut self,
        network: &Network,
        adapter: Option<&Adapter>,
        batch: &Batch,
        top: impl FnOnce(Top<'_>) -> T,
        gradients: &mut Gradients,
    ) -> T {
        let buffers = &mut self.buffers;
        buffers.begin(batch.ids.len());
        let width = network.shape.hidden;
        let step = network.step(batch);
        let adapted = |idx: usize| Adapted {
            layer: &network.layers[idx],
            adapter: adapter.map(|adapter| &adapter.layers[idx]),
        };
        let mut x = network.embed(&batch.ids, buffers);
        let mut left = Vec::with_capacity(network.layers.len());
        for idx in 0..network.layers.len() {
            let (out, saved) = adapted(idx).forward(x, &step, buffers);
            left.push(match self.activations {
                Activations::Keep => Left::All(Box::new(saved)),
                Activations::Recompute => Left::Input(saved.input_only(buffers)),
            });
            x = out;
        }

        let hidden = gather(&x, &batch.targets, width, buffers);
        let mut normed = buffers.take(hidden.len());
        rms_norm(&hidden, &network.norm, network.shape.rms_eps, &mut normed);
        let mut d_normed = buffers.zeros(hidden.len());
        let mut full = match gradients {
            Gradients::Full(full) => Some(full),
            Gradients::Adapter(_) => None,
        };
        let found = top(Top {
            targets: &batch.targets,
            hidden: &normed,
            width,
            d_hidden: Some(&mut d_normed),
            output: network.output_matrix(),
            d_output: full.as_mut().map(|full| full.output_matrix_mut()),
            buffers,
        });
        let mut d_hidden = normed;
        d_hidden.fill(0.0);
        let d_norm = full.as_mut().map(|full| &mut full.norm[..]);
        let eps = network.shape.rms_eps;
        rms_norm_backward(&hidden, &network.norm, eps, &d_normed, &mut d_hidden, d_norm);
        let mut d_x = x;
        d_x.fill(0.0);
        for (target, d_row) in batch.targets.iter().zip(d_hidden.chunks_exact(width)) {
            let sums = &mut d_x[target.row * width..][..width];
            sums.iter_mut().zip(d_row).for_each(|(sum, d)| *sum += d);
        }
        [hidden, d_normed, d_hidden].into_iter().for_each(|buffer| buffers.give(buffer));

        for (idx, left) in left.into_iter().enumerate().rev() {
            let saved = match left {
                Left::All(saved) => *saved,
                Left::Input(x) => {
                    let (out, saved) = adapted(idx).forward(x, &step, buffers);
                    buffers.give(out);
                    saved
                }
            };
            let mut layer = match gradients {
                Gradients::Full(full) => {
                    LayerGradients { full: Some(&mut full.layers[idx]), adapter: None }
                }
                Gradients::Adapter(adapter) => {
                    LayerGradients { full: None, adapter: Some(&mut adapter.layers[idx]) }
                }
            };
            d_x = adapted(idx).backward(saved, d_x, &step, &mut layer, buffers);
        }
        if let Gradients::Full(full) = gradients {
            for (id, d_row) in batch.ids.iter().zip(d_x.chunks_exact(width)) {
                let sums = &mut full.embedding[*id as usize * width..][..width];
                sums.iter_mut().zip(d_row).for_each(|(sum, d)| *sum += d);
            }
        }
        buffers.give(d_x);
        found
    }
}

impl Network {
    /// Rounds the projections, where they are to have 16 bits: half their memory, and faster
    /// products where the processor has instructions for them. They can be neither trained
    /// nor merged into after that.
    pub fn keep_projections_in(&mut self, precision: BasePrecision) {
        if precision == BasePrecision::Bf16 {
            let linears = self.layers.iter_mut().flat_map(|layer| &mut layer.linears);
            linears.for_each(|linear| linear.weight.round());
        }
    }

    /// Tokens that it knows, and rows of its output matrix.
    pub fn n_vocab(&self) -> usize {
        self.output_matrix().len() / self.shape.hidden
    }

    fn step<'a>(&self, batch: &'a Batch) -> Step<'a> {
        let Shape { n_heads, n_kv_heads, head_dim, rms_eps, frequencies, magnitude, .. } =
            &self.shape;
        let positions = batch.positions();
        assert_eq!(positions.len(), batch.ids.len(), "the runs are all of the batch");
        Step {
            runs: &batch.runs,
            rotation: Rotation::new(&positions, frequencies, *magnitude),
            heads: Attention {
                n_heads: *n_heads,
                n_kv_heads: *n_kv_heads,
                head_dim: *head_dim,
                n_rows: batch.ids.len(),
            },
            eps: *rms_eps,
        }
    }

    fn embed(&self, ids: &[u32], buffers: &mut Buffers) -> Vec<f32> {
        let width = self.shape.hidden;
        let mut x = buffers.take(ids.len() * width);
        for (row, id) in x.chunks_exact_mut(width).zip(ids) {
            row.copy_from_slice(&self.embedding[*id as usize * width..][..width]);
        }
        x
    }

    fn output_matrix(&self) -> &[f32] {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    fn output_matrix_mut(&mut self) -> &mut [f32] {
        self.output.as_mut().unwrap_or(&mut self.embedding)
    }
}

/// The rows that predict targets.
fn gather(x: &[f32], targets: &[Target], width: usize, buffers: &mut Buffers) -> Vec<f32> {
    let mut rows = buffers.take(targets.len() * width);
    for (row, target) in rows.chunks_exact_mut(width).zip(targets) {
        row.copy_from_slice(&x[target.row * width..][..width]);
    }
    rows
}
