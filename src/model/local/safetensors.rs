//! A Hugging Face directory: `config.json`, the tokenizer's files and safetensors, sharded or
//! not. Pickled weights are never opened.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::model::local::gguf::Encoding;
use crate::model::local::mapped_file::MappedFile;
use crate::model::local::weights::StoredTensor;

/// The mapped safetensors files of one model.
pub struct SafetensorsFiles {
    maps: Vec<MappedFile>,
    tensors: BTreeMap<String, Placed>,
}

struct Placed {
    map_idx: usize,
    encoding: Encoding,
    shape: Vec<usize>,
    start: usize,
    n_bytes: usize,
}

impl SafetensorsFiles {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let mut files = Self { maps: Vec::new(), tensors: BTreeMap::new() };
        for path in list_files(folder)? {
            files
                .add(&path)
                .with_context(|| format!("cannot read the weights `{}`", path.display()))?;
        }
        Ok(files)
    }

    fn add(&mut self, path: &Path) -> anyhow::Result<()> {
        let map = MappedFile::new(&File::open(path)?)?;
        let (header_len, header) = SafeTensors::read_metadata(&map)?;
        let map_idx = self.maps.len();
        let infos: BTreeMap<_, _> = header.tensors().into_iter().collect();
        for (name, info) in infos {
            let encoding = match info.dtype {
                Dtype::F32 => Encoding::F32,
                Dtype::F16 => Encoding::F16,
                Dtype::BF16 => Encoding::Bf16,
                other => bail!("tensor `{name}` is stored as {other:?}, which is not supported"),
            };
            let (start, end) = info.data_offsets;
            // The header's own check covers order and sizes; 8 bytes of length stand before it.
            let start = 8 + header_len + start;
            let end = 8 + header_len + end;
            ensure!(start <= end && end <= map.len(), "tensor `{name}` lies outside the file");
            let shape = info.shape.clone();
            let placed = Placed { map_idx, encoding, shape, start, n_bytes: end - start };
            ensure!(
                self.tensors.insert(name.clone(), placed).is_none(),
                "tensor `{name}` appears twice"
            );
        }
        self.maps.push(map);
        Ok(())
    }

    /// Gives back the memory that tensors read so far take.
    pub fn forget_read(&self) {
        self.maps.iter().for_each(MappedFile::forget_read);
    }

    pub fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        let placed = self.tensors.get(name)?;
        let bytes = &self.maps[placed.map_idx][placed.start..placed.start + placed.n_bytes];
        Some(StoredTensor {
            encoding: placed.encoding,
            shape: placed.shape.clone(),
            bytes: Cow::Borrowed(bytes),
        })
    }
}

/// The safetensors files of a model's folder, by its index where it has one.
fn list_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).with_context(|| {
        format!(
            "`{}` has neither `model.safetensors` nor a readable `model.safetensors.index.json` \
             (pickled weights are never loaded)",
            folder.display()
        )
    })?;
    let index: Index = serde_json::from_str(&text)
        .with_context(|| format!("cannot read `{}`", index.display()))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        let is_plain = !name.contains(['/', '\\']) && name != "..";
        ensure!(
            is_plain && Path::new(name).extension().is_some_and(|ext| ext == "safetensors"),
            "the index names `{name}`, which is no safetensors file of the folder"
        );
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}
