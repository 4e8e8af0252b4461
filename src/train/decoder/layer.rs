//! One layer of a decoder, forward and backward.

use crate::model::local::adapter::{LowRank, Site};
use crate::train::decoder::attention::{Attention, Qkv, QkvGradients, attend, attend_backward};
use crate::train::decoder::batch::Run;
use crate::train::decoder::buffers::Buffers;
use crate::train::decoder::gate::{gated, gated_backward};
use crate::train::decoder::linear::{Linear, LinearGradients};
use crate::train::decoder::matrix::Into;
use crate::train::decoder::norm::{rms_norm, rms_norm_backward};
use crate::train::decoder::rotary::{Rotation, from_heads, to_heads};

/// The weights of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    pub attn_norm: Vec<f32>,
    pub ffn_norm: Vec<f32>,
    /// Norms of each query and key head, in the qwen3 family.
    pub head_norms: Option<(Vec<f32>, Vec<f32>)>,
    /// By [`Site`].
    pub linears: [Linear; 7],
}

/// The low-rank additions of a layer, by [`Site`].
pub type LayerAdapter = [Option<LowRank>; 7];

/// What all layers of a step share.
pub(super) struct Step<'a> {
    pub(super) runs: &'a [Run],
    pub(super) rotation: Rotation,
    pub(super) heads: Attention,
    pub(super) eps: f32,
}

/// What the backward pass of a layer needs of the forward pass.
pub(super) struct Saved {
    x: Vec<f32>,
    /// (head, position, `head_dim`), turned; so are the keys.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// Queries and keys before their norms, where they have some.
    before_norms: Option<(Vec<f32>, Vec<f32>)>,
    /// (position, heads × `head_dim`)
    attended: Vec<f32>,
    log_sums: Vec<f32>,
    /// Between attention and feed-forward.
    mid: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// A layer with what is added to it.
#[derive(Clone, Copy)]
pub(super) struct Adapted<'a> {
    pub(super) layer: &'a Layer,
    pub(super) adapter: Option<&'a LayerAdapter>,
}

/// Where the gradients of a layer are added, as far as it is trained.
pub(super) struct LayerGradients<'a> {
    pub(super) full: Option<&'a mut Layer>,
    pub(super) adapter: Option<&'a mut LayerAdapter>,
}

impl LayerGradients<'_> {
    fn of(&mut self, site: Site) -> LinearGradients<'_> {
        LinearGradients {
            full: self.full.as_mut().map(|layer| &mut layer.linears[site as usize]),
            low_rank: self.adapter.as_mut().and_then(|sites| sites[site as usize].as_mut()),
        }
    }
}

impl Adapted<'_> {
    fn low_rank(&self, site: Site) -> Option<&LowRank> {
        self.adapter.and_then(|sites| sites[site as usize].as_ref())
    }

    fn project(&self, site: Site, x: &[f32], buffers: &mut Buffers) -> Vec<f32> {
        self.layer.linears[site as usize].forward(self.low_rank(site), x, buffers)
    }

    fn project_back(
        &self,
        site: Site,
        (x, dy): (&[f32], &[f32]),
        dx: (&mut [f32], Into),
        gradients: &mut LayerGradients<'_>,
        buffers: &mut Buffers,
    ) {
        let linear = &self.layer.linears[site as usize];
        linear.backward(self.low_rank(site), (x, dy), dx, gradients.of(site), buffers);
    }

    /// The layer's output, (position, hidden), and what its gradients need.
    pub(super) fn forward(
        &self,
        x: Vec<f32>,
        step: &Step<'_>,
        buffers: &mut Buffers,
    ) -> (Vec<f32>, Saved) {
        let Attention { n_heads, n_kv_heads, head_dim, n_rows } = step.heads;
        let mut normed = buffers.take(x.len());
        rms_norm(&x, &self.layer.attn_norm, step.eps, &mut normed);
        let head_norms = self.layer.head_norms.as_ref();
        let (q, q_before) = self.heads_of(
            (Site::Q, n_heads, head_norms.map(|(q, _)| &q[..])),
            &normed,
            step,
            buffers,
        );
        let (k, k_before) = self.heads_of(
            (Site::K, n_kv_heads, head_norms.map(|(_, k)| &k[..])),
            &normed,
            step,
            buffers,
        );
        let rows = self.project(Site::V, &normed, buffers);
        let mut v = buffers.take(rows.len());
        to_heads(&rows, n_kv_heads, head_dim, &mut v, |_| ());
        buffers.give(rows);
        let mut by_head = buffers.take(q.len());
        let mut log_sums = buffers.take(n_heads * n_rows);
        let qkv = Qkv { q: &q, k: &k, v: &v };
        attend(step.heads, step.runs, qkv, &mut by_head, &mut log_sums);
        let mut attended = buffers.take(by_head.len());
        from_heads(&by_head, n_heads, head_dim, &mut attended);
        buffers.give(by_head);
        let mut mid = self.project(Site::O, &attended, buffers);
        add(&mut mid, &x);

        rms_norm(&mid, &self.layer.ffn_norm, step.eps, &mut normed);
        let gate = self.project(Site::Gate, &normed, buffers);
        let up = self.project(Site::Up, &normed, buffers);
        buffers.give(normed);
        let mut active = buffers.take(gate.len());
        gated(&gate, &up, &mut active);
        let mut out = self.project(Site::Down, &active, buffers);
        buffers.give(active);
        add(&mut out, &mid);
        let before_norms = q_before.zip(k_before);
        (out, Saved { x, q, k, v, before_norms, attended, log_sums, mid, gate, up })
    }

    /// Queries or keys by head, turned; and what they were before their norm.
    fn heads_of(
        &self,
        (site, n_heads, norm): (Site, usize, Option<&[f32]>),
        normed: &[f32],
        step: &Step<'_>,
        buffers: &mut Buffers,
    ) -> (Vec<f32>, Option<Vec<f32>>) {
        let head_dim = step.heads.head_dim;
        let turn = |head: &mut [f32]| step.rotation.turn(head, 1.0);
        let rows = self.project(site, normed, buffers);
        let mut heads = buffers.take(rows.len());
        let mut before = None;
        match norm {
            None => to_heads(&rows, n_heads, head_dim, &mut heads, turn),
            Some(norm) => {
                let mut plain = buffers.take(rows.len());
                to_heads(&rows, n_heads, head_dim, &mut plain, |_| ());
                rms_norm(&plain, norm, step.eps, &mut heads);
                heads.chunks_exact_mut(step.heads.n_rows * head_dim).for_each(turn);
                before = Some(plain);
            }
        }
        buffers.give(rows);
        (heads, before)
    }

    /// Turns the gradient of the output into that of the input, and adds those of what is trained.
    pub(super) fn backward(
        &self,
        saved: Saved,
        d_out: Vec<f32>,
        step: &Step<'_>,
        gradients: &mut LayerGradients<'_>,
        buffers: &mut Buffers,
    ) -> Vec<f32> {
        let Saved { x, q, k, v, before_norms, attended, log_sums, mid, gate, up } = saved;
        let Attention { n_heads, n_kv_heads, head_dim, .. } = step.heads;
        let mut active = buffers.take(gate.len());
        gated(&gate, &up, &mut active);
        let mut d_up = buffers.take(gate.len());
        let d_active = (&mut d_up[..], Into::Overwrite);
        self.project_back(Site::Down, (&active, &d_out), d_active, gradients, buffers);
        let mut d_gate = active;
        gated_backward(&gate, &up, &mut d_up, &mut d_gate);
        let mut normed = buffers.take(mid.len());
        rms_norm(&mid, &self.layer.ffn_norm, step.eps, &mut normed);
        let mut d_normed = buffers.take(mid.len());
        let into = (&mut d_normed[..], Into::Overwrite);
        self.project_back(Site::Up, (&normed, &d_up), into, gradients, buffers);
        let into = (&mut d_normed[..], Into::Add);
        self.project_back(Site::Gate, (&normed, &d_gate), into, gradients, buffers);
        [gate, up, d_up, d_gate].into_iter().for_each(|buffer| buffers.give(buffer));
        let mut d_mid = d_out;
        let d_norm = gradients.full.as_mut().map(|layer| &mut layer.ffn_norm[..]);
        rms_norm_backward(&mid, &self.layer.ffn_norm, step.eps, &d_normed, &mut d_mid, d_norm);

        let mut d_attended = buffers.take(attended.len());
        let into = (&mut d_attended[..], Into::Overwrite);
        self.project_back(Site::O, (&attended, &d_mid), into, gradients, buffers);
        let mut out_heads = buffers.take(attended.len());
        to_heads(&attended, n_heads, head_dim, &mut out_heads, |_| ());
        let mut d_out_heads = attended;
        to_heads(&d_attended, n_heads, head_dim, &mut d_out_heads, |_| ());
        let mut d_q = d_attended;
        let (mut d_k, mut d_v) = (buffers.take(k.len()), buffers.take(v.len()));
        attend_backward(
            step.heads,
            step.runs,
            Qkv { q: &q, k: &k, v: &v },
            (&out_heads, &log_sums),
            &d_out_heads,
            QkvGradients { q: &mut d_q, k: &mut d_k, v: &mut d_v },
        );
        [out_heads, d_out_heads, log_sums, v].into_iter().for_each(|buffer| buffers.give(buffer));
        for d_head in d_q.chunks_exact_mut(step.heads.n_rows * head_dim) {
            step.rotation.turn(d_head, -1.0);
        }
        for d_head in d_k.chunks_exact_mut(step.heads.n_rows * head_dim) {
            step.rotation.turn(d_head, -1.0);
        }
        if let (Some((q_before, k_before)), Some((q_norm, k_norm))) =
            (before_norms, &self.layer.head_norms)
        {
            let full = gradients.full.as_mut().and_then(|layer| layer.head_norms.as_mut());
            let (d_q_norm, d_k_norm) = match full {
                Some((q, k)) => (Some(&mut q[..]), Some(&mut k[..])),
                None => (None, None),
            };
            let mut back = |before: &[f32], norm: &[f32], d: &mut Vec<f32>, d_norm| {
                let mut d_before = buffers.zeros(before.len());
                rms_norm_backward(before, norm, step.eps, d, &mut d_before, d_norm);
                buffers.give(std::mem::replace(d, d_before));
            };
            back(&q_before, q_norm, &mut d_q, d_q_norm);
            back(&k_before, k_norm, &mut d_k, d_k_norm);
            buffers.give(q_before);
            buffers.give(k_before);
        }
        rms_norm(&x, &self.layer.attn_norm, step.eps, &mut normed);
        let parts = [
            (Site::Q, d_q, n_heads, q),
            (Site::K, d_k, n_kv_heads, k),
            (Site::V, d_v, n_kv_heads, Vec::new()),
        ];
        for (idx, (site, d_heads, n_heads, free)) in parts.into_iter().enumerate() {
            buffers.give(free);
            let mut d_rows = buffers.take(d_heads.len());
            from_heads(&d_heads, n_heads, head_dim, &mut d_rows);
            let into = if idx == 0 { Into::Overwrite } else { Into::Add };
            let into = (&mut d_normed[..], into);
            self.project_back(site, (&normed, &d_rows), into, gradients, buffers);
            buffers.give(d_heads);
            buffers.give(d_rows);
        }
        let d_norm = gradients.full.as_mut().map(|layer| &mut layer.attn_norm[..]);
        rms_norm_backward(&x, &self.layer.attn_norm, step.eps, &d_normed, &mut d_mid, d_norm);
        [normed, d_normed, x, mid].into_iter().for_each(|buffer| buffers.give(buffer));
        d_mid
    }
}

impl Saved {
    /// Keeps the layer's input alone; the rest is computed again.
    pub(super) fn input_only(self, buffers: &mut Buffers) -> Vec<f32> {
        let Self { x, q, k, v, before_norms, attended, log_sums, mid, gate, up } = self;
        [q, k, v, attended, log_sums, mid, gate, up].into_iter().for_each(|b| buffers.give(b));
        if let Some((q, k)) = before_norms {
            buffers.give(q);
            buffers.give(k);
        }
        x
    }
}

fn add(sum: &mut [f32], more: &[f32]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}
