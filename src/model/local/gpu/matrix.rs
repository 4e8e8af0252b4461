//! Weight matrices on a device, in the form of the model's file.

use anyhow::{bail, ensure};
use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module as _, Tensor};

use crate::model::local::gguf::Encoding;
use crate::model::local::weights::StoredTensor;

/// A matrix of the shape (out, in).
pub struct Matrix {
    n_out: usize,
    weights: QMatMul,
}

impl Matrix {
    pub(super) fn load(stored: &StoredTensor<'_>, device: &Device) -> anyhow::Result<Self> {
        let &[n_out, n_in] = stored.shape.as_slice() else {
            bail!("a matrix has the shape {:?}", stored.shape);
        };
        let plain = |dtype| {
            let tensor = Tensor::from_raw_buffer(&stored.bytes, dtype, &stored.shape, device)?;
            // GPUs multiply numbers of 16 bits, CPUs unpack them anyway.
            match device.supports_bf16() {
                true => Ok(tensor),
                false => tensor.to_dtype(DType::F32),
            }
        };
        let weights = match stored.encoding {
            Encoding::F32 => QMatMul::Tensor(plain(DType::F32)?),
            Encoding::F16 => QMatMul::Tensor(plain(DType::F16)?),
            Encoding::Bf16 => QMatMul::Tensor(plain(DType::BF16)?),
            quantized => {
                let storage = with_aligned(&stored.bytes, |bytes| {
                    QStorage::from_data(bytes.into(), device, quantized.ggml())
                })?;
                QMatMul::QTensor(QTensor::new(storage, (n_out, n_in))?.into())
            }
        };
        Ok(Self { n_out, weights })
    }

    /// The product of `x`, of the shape (rows, in): 32-bit floats, which are rounded to 16 bits
    /// where the weights have 16.
    pub(super) fn multiply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match &self.weights {
            QMatMul::Tensor(plain) if plain.dtype() != x.dtype() => {
                self.weights.forward(&x.to_dtype(plain.dtype())?)?.to_dtype(x.dtype())
            }
            weights => weights.forward(x),
        }
    }

    /// Some rows as 32-bit floats.
    pub(super) fn read_rows(&self, ids: &[u32], device: &Device) -> anyhow::Result<Tensor> {
        for &id in ids {
            ensure!(
                (id as usize) < self.n_out,
                "the token {id} is outside the embedding table's {} rows",
                self.n_out
            );
        }
        Ok(self.weights.embedding(&Tensor::new(ids, device)?)?.to_dtype(DType::F32)?)
    }
}

/// Lends bytes at an address that blocks of numbers may lie at, copied where theirs is none.
fn with_aligned<T>(bytes: &[u8], read: impl FnOnce(&[u8]) -> T) -> T {
    const ALIGNMENT: usize = 8;
    if bytes.as_ptr().align_offset(ALIGNMENT) == 0 {
        return read(bytes);
    }
    let mut copy = vec![0; bytes.len() + ALIGNMENT];
    let start = copy.as_ptr().align_offset(ALIGNMENT);
    let copy = &mut copy[start..start + bytes.len()];
    copy.copy_from_slice(bytes);
    read(copy)
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::GgmlDType;

    use super::*;

    const CPU: &Device = &Device::Cpu;

    fn numbers(n_rows: usize, n_cols: usize) -> Tensor {
        let number = |idx: usize| (idx * 37 % 101) as f32 / 50.0 - 1.0;
        let numbers: Vec<f32> = (0..n_rows * n_cols).map(number).collect();
        Tensor::from_vec(numbers, (n_rows, n_cols), CPU).unwrap()
    }

    /// The largest difference of the two.
    fn distance(one: &Tensor, other: &Tensor) -> f32 {
        let difference = (one - other).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn numbers_of_16_bits_are_multiplied_and_read_as_such() {
        let (weights, x) = (numbers(5, 64), numbers(3, 64));
        let half = weights.to_dtype(DType::F16).unwrap();
        let matrix = Matrix { n_out: 5, weights: QMatMul::Tensor(half) };
        let product = x.matmul(&weights.t().unwrap()).unwrap();
        assert!(distance(&matrix.multiply(&x).unwrap(), &product) < 0.02);
        let rows = matrix.read_rows(&[4, 0], CPU).unwrap();
        let wanted = weights.index_select(&Tensor::new(&[4_u32, 0], CPU).unwrap(), 0).unwrap();
        assert!(distance(&rows, &wanted) < 1e-3);
    }

    #[test]
    fn blocks_are_taken_wherever_they_lie_in_memory() {
        let weights = numbers(5, 64);
        let blocks = QTensor::quantize(&weights, GgmlDType::Q8_0).unwrap();
        let blocks = blocks.data().unwrap();
        for offset in 0..4 {
            let mut bytes = vec![0; offset];
            bytes.extend_from_slice(&blocks);
            let stored = StoredTensor {
                encoding: Encoding::Q8_0,
                shape: vec![5, 64],
                bytes: bytes[offset..].into(),
            };
            let matrix = Matrix::load(&stored, CPU).unwrap();
            let rows = matrix.read_rows(&[0, 1, 2, 3, 4], CPU).unwrap();
            assert!(distance(&rows, &weights) < 0.01, "{offset}");
            let outside = matrix.read_rows(&[5], CPU).unwrap_err();
            assert!(outside.to_string().contains("the token 5 is outside"), "{outside}");
        }
    }
}
