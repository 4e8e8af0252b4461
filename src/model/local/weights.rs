//! The tensors of a model under one set of names, whatever file they come from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;

use crate::model::local::config::DecoderConfig;
use crate::model::local::gguf::{Encoding, Gguf};
use crate::model::local::safetensors::SafetensorsFiles;

/// Where a model's tensors come from.
pub enum Weights {
    Gguf(Gguf),
    Safetensors(SafetensorsFiles),
    InMemory(InMemory),
}

/// Numbers in 32 bits under Hugging Face's names, as training holds them: shape and bytes.
#[derive(Debug, Default)]
pub struct InMemory(pub BTreeMap<String, (Vec<usize>, Vec<u8>)>);

/// A tensor as stored.
#[derive(Debug, Clone)]
pub struct StoredTensor<'a> {
    pub encoding: Encoding,
    /// (out, in) of a matrix, (length) of a vector.
    pub shape: Vec<usize>,
    pub bytes: Cow<'a, [u8]>,
}

/// GGUF's names of a layer's tensors, and those of Hugging Face.
const LAYER_NAMES: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

impl Weights {
    /// Gives back the memory that tensors read so far take; they can be read again.
    pub fn forget_read(&self) {
        match self {
            Self::Gguf(gguf) => gguf.forget_read(),
            Self::Safetensors(files) => files.forget_read(),
            Self::InMemory(_) => {}
        }
    }

    /// The tensor of that GGUF name, if the model has it.
    pub fn find(&self, name: &str) -> Option<StoredTensor<'_>> {
        match self {
            Self::Gguf(gguf) => {
                let (info, bytes) = gguf.tensor(name)?;
                let shape = info.shape.clone();
                Some(StoredTensor { encoding: info.encoding, shape, bytes: Cow::Borrowed(bytes) })
            }
            Self::Safetensors(files) => files.tensor(&hugging_face_name(name)?),
            Self::InMemory(InMemory(tensors)) => {
                let (shape, bytes) = tensors.get(&hugging_face_name(name)?)?;
                let (shape, bytes) = (shape.clone(), Cow::Borrowed(&bytes[..]));
                Some(StoredTensor { encoding: Encoding::F32, shape, bytes })
            }
        }
    }

    /// A tensor that must be there, and of that shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> anyhow::Result<StoredTensor<'_>> {
        let tensor =
            self.find(name).with_context(|| format!("the model has no tensor `{name}`"))?;
        ensure!(
            tensor.shape == shape,
            "tensor `{name}` has the shape {:?} where the model's shape needs {shape:?}",
            tensor.shape
        );
        Ok(tensor)
    }

    /// A query or key projection (or its bias) of `n_heads` heads, its rows in the order where
    /// rotated pairs lie half a head apart.
    pub fn rotated(
        &self,
        name: &str,
        shape: &[usize],
        config: &DecoderConfig,
    ) -> anyhow::Result<StoredTensor<'_>> {
        let mut tensor = self.tensor(name, shape)?;
        // Only files have them side by side.
        if config.has_interleaved_rope && !matches!(self, Self::InMemory(_)) {
            let row_bytes = tensor.bytes.len() / shape[0];
            let mut bytes = Vec::with_capacity(tensor.bytes.len());
            for row in 0..shape[0] {
                let stored = interleaved(row, config.head_dim);
                bytes.extend_from_slice(&tensor.bytes[stored * row_bytes..][..row_bytes]);
            }
            tensor.bytes = Cow::Owned(bytes);
        }
        Ok(tensor)
    }
}

/// Where a row of queries or keys lies when rotated pairs lie side by side, and not half a head
/// apart.
pub fn interleaved(row: usize, head_dim: usize) -> usize {
    let (head, within, half) = (row / head_dim, row % head_dim, head_dim / 2);
    head * head_dim + within % half * 2 + within / half
}

impl StoredTensor<'_> {
    /// The numbers of a tensor; quantized ones unpacked.
    pub fn to_f32(&self) -> anyhow::Result<Vec<f32>> {
        Ok(match self.encoding {
            Encoding::F32 => self
                .bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Encoding::F16 => self
                .bytes
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Encoding::Bf16 => self
                .bytes
                .chunks_exact(2)
                .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            quantized => self.unpacked(quantized.ggml())?,
        })
    }
}

impl StoredTensor<'_> {
    fn unpacked(&self, dtype: GgmlDType) -> anyhow::Result<Vec<f32>> {
        let n_values = self.shape.iter().product();
        match dtype.from_data(Cow::Borrowed(&*self.bytes)).dequantize(n_values)? {
            CpuStorage::F32(values) => Ok(values),
            _ => anyhow::bail!("{dtype:?} does not unpack to floats"),
        }
    }
}

fn hugging_face_name(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (_, theirs) = LAYER_NAMES.iter().find(|(ours, _)| *ours == part)?;
    Some(format!("model.layers.{layer}.{theirs}.{kind}"))
}
