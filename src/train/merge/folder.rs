//! A merged model as a Hugging Face folder, with all weights in one file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use safetensors::Dtype;
use safetensors::tensor::{View, serialize_to_file};

use crate::train::decoder::Network;
use crate::train::decoder::tensors::NamedTensor;
use crate::train::merge::base::Base;
use crate::train::merge::precision::Precision;
use crate::train::merge::{Merged, file_bytes};
use crate::train::new_folder::NewFolder;

const WEIGHTS_FILE: &str = "model.safetensors";

/// A tensor whose bytes are made when they are written, so that all weights are in memory once.
struct Stored<'a> {
    tensor: NamedTensor<'a>,
    precision: Precision,
    dtype: Dtype,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.precision.bytes(self.tensor.numbers))
    }

    fn data_len(&self) -> usize {
        self.tensor.numbers.len() * self.dtype.bitsize() / 8
    }
}

/// Writes a merged network with what belongs to it.
pub(super) fn write(
    base: &Base<'_>,
    network: &Network,
    n_changed: usize,
    (out, precision): (&Path, Precision),
) -> anyhow::Result<Merged> {
    let (dtype, word) = precision.of_safetensors().context("a precision of safetensors")?;
    let folder = NewFolder::create(out)?;
    for (name, bytes) in base.files(network, word)? {
        folder.write(name, &bytes)?;
    }
    let tensors = network.tensors();
    let n_tensors = tensors.len();
    for tensor in &tensors {
        precision.check(&tensor.name, tensor.numbers)?;
    }
    let named = tensors
        .into_iter()
        .map(|tensor| (tensor.name.clone(), Stored { tensor, precision, dtype }));
    // Readers ask for the framework that wrote the file; the layout of all is the same.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let path = folder.file(WEIGHTS_FILE);
    // The library makes a file that its owner alone can read, which this one is not.
    folder.write(WEIGHTS_FILE, &[])?;
    let permissions = path.metadata()?.permissions();
    serialize_to_file(named, Some(metadata), &path)
        .map_err(anyhow::Error::from)
        .and_then(|()| {
            let file = File::open(&path)?;
            file.set_permissions(permissions)?;
            Ok(file.sync_all()?)
        })
        .with_context(|| folder.failed(WEIGHTS_FILE))?;
    let bytes = file_bytes(&path)?;
    folder.finish()?;
    Ok(Merged {
        version: 1,
        out: out.to_owned(),
        form: "folder",
        precision: precision.name(),
        tensors: n_tensors,
        merged: n_changed,
        bytes,
        tied: network.output.is_none(),
    })
}
