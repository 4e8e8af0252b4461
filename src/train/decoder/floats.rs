//! All weights of a network in one file, in 32 bits: what a run that trains them goes on from.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};

use crate::train::decoder::Network;

impl Network {
    /// Writes all weights under Hugging Face's names.
    pub fn write_floats(&self, path: &Path) -> anyhow::Result<()> {
        let context = || format!("writing `{}`", path.display());
        let tensors = self.tensors();
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|tensor| tensor.numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
            .collect();
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
