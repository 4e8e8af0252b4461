//! Weight matrices on a device, quantized or floats, as they are in the file.

use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, bail};
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Device, Module as _, Tensor};

use crate::model::local::gguf::Encoding;
use crate::model::local::weights::StoredTensor;

/// A matrix of the shape (out, in).
pub struct GpuMatrix {
    weights: Weights,
    /// The rows as floats, made when they are first looked up: of an embedding table alone.
    table: OnceLock<Tensor>,
}

enum Weights {
    Quantized {
        matrix: QMatMul,
        stored: Arc<QTensor>,
    },
    /// (in, out): transposed, not copied.
    Floats(Tensor),
}

impl GpuMatrix {
    /// Copies a tensor to a device. Floats keep their width there, since 16-bit ones of one kind
    /// may be beyond the range of the other; the CPU multiplies 32-bit ones alone at speed.
    pub(super) fn load(stored: &StoredTensor<'_>, device: &Device) -> anyhow::Result<Self> {
        let &[n_out, n_in] = stored.shape.as_slice() else {
            bail!("a matrix has the shape {:?}", stored.shape);
        };
        let weights = match stored.encoding {
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => {
                let dtype = match stored.encoding {
                    _ if device.is_cpu() => DType::F32,
                    Encoding::F16 => DType::F16,
                    Encoding::Bf16 => DType::BF16,
                    _ => DType::F32,
                };
                let numbers = Tensor::from_vec(stored.to_f32()?, (n_out, n_in), &Device::Cpu)?;
                Weights::Floats(numbers.to_dtype(dtype)?.to_device(device)?.t()?)
            }
            quantized => {
                let shape = vec![n_out, n_in];
                let tensor = qtensor_from_ggml(quantized.ggml(), &stored.bytes, shape, device)
                    .context("cannot copy a matrix to the device")?;
                let tensor = Arc::new(tensor);
                let matrix = QMatMul::from_arc(Arc::clone(&tensor))?;
                Weights::Quantized { matrix, stored: tensor }
            }
        };
        Ok(Self { weights, table: OnceLock::new() })
    }

    /// (rows, in) to (rows, out).
    pub(super) fn product(&self, x: &Tensor) -> anyhow::Result<Tensor> {
        Ok(match &self.weights {
            Weights::Quantized { matrix, .. } => matrix.forward(x)?,
            Weights::Floats(weights) => {
                x.to_dtype(weights.dtype())?.matmul(weights)?.to_dtype(DType::F32)?
            }
        })
    }

    /// Rows of a table, as 32-bit floats.
    pub(super) fn rows(&self, ids: &[u32], device: &Device) -> anyhow::Result<Tensor> {
        let table = match (self.table.get(), &self.weights) {
            (Some(table), _) => table.clone(),
            (None, Weights::Floats(weights)) => weights.t()?,
            (None, Weights::Quantized { stored, .. }) => {
                let floats = match device.is_cpu() {
                    true => stored.dequantize(device)?,
                    false => stored.dequantize_f16(device)?,
                };
                self.table.get_or_init(|| floats).clone()
            }
        };
        let n_rows = table.dim(0)?;
        if let Some(id) = ids.iter().find(|id| n_rows <= **id as usize) {
            bail!("the token {id} is outside the embedding table's {n_rows} rows");
        }
        let ids = Tensor::new(ids, device)?;
        Ok(table.contiguous()?.index_select(&ids, 0)?.to_dtype(DType::F32)?)
    }
}
