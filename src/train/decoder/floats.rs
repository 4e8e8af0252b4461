//! All weights of a network in 32 bits: in one file, from which a run that trains them goes on, and
//! in the form that an engine takes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};

use crate::model::local::weights::{InMemory, Weights};
use crate::train::decoder::Network;
use crate::train::decoder::tensors::NamedTensor;

impl Network {
    /// Writes all weights under Hugging Face's names.
    pub fn write_floats(&self, path: &Path) -> anyhow::Result<()> {
        let context = || format!("writing `{}`", path.display());
        let tensors = self.tensors();
        let bytes: Vec<Vec<u8>> =
            tensors.iter().map(|tensor| little_endian(tensor.numbers)).collect();
        let views = tensors
            .iter()
            .zip(&bytes)
            .map(|(tensor, bytes)| {
                let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?;
                Ok((&tensor.name, view))
            })
            .collect::<anyhow::Result<Vec<_>>>()
            .with_context(context)?;
        serialize_to_file(views, None, path).with_context(context)?;
        fs::File::open(path).and_then(|file| file.sync_all()).with_context(context)
    }

    /// All weights in the form that an engine takes.
    pub fn weights(&self) -> Weights {
        let of =
            |tensor: NamedTensor<'_>| (tensor.name, (tensor.shape, little_endian(tensor.numbers)));
        Weights::InMemory(InMemory(self.tensors().into_iter().map(of).collect()))
    }

    /// Takes over all weights from a file that [`Network::write_floats`] wrote.
    ///
    /// # Errors
    ///
    /// The file has other tensors, or tensors of other shapes.
    pub fn take_floats(&mut self, path: &Path) -> anyhow::Result<()> {
        let context = || format!("reading `{}`", path.display());
        let bytes = fs::read(path).with_context(context)?;
        let found = SafeTensors::deserialize(&bytes).with_context(context)?;
        let mut tensors = self.tensors_mut();
        ensure!(
            found.len() == tensors.len(),
            "{}: {} tensors were wanted, found {}",
            context(),
            tensors.len(),
            found.len()
        );
        for (name, numbers) in &mut tensors {
            let view = found.tensor(name).with_context(context)?;
            let data = view.data();
            ensure!(
                view.dtype() == Dtype::F32 && data.len() == 4 * numbers.len(),
                "{}: `{name}` has {} bytes as {:?}; {} numbers in 32 bits were wanted",
                context(),
                data.len(),
                view.dtype(),
                numbers.len()
            );
            let data = data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            numbers.iter_mut().zip(data).for_each(|(number, found)| *number = found);
        }
        Ok(())
    }
}

fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
