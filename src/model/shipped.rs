//! Adapters that come with this program, for models that have a short name.
//!
//! Each folder of `adapters/` has a model card that tells what it was made from, and how well it
//! does.

use std::fmt;

/// An adapter in this program's own bytes.
#[derive(PartialEq, Eq)]
pub struct ShippedAdapter {
    /// The short name of the model that it was made for.
    pub base: &'static str,
    /// The files of its folder, by their paths there.
    files: &'static [(&'static str, &'static [u8])],
}

impl ShippedAdapter {
    /// The bytes of one of its files, if it has it.
    pub fn file(&self, path: &str) -> Option<&'static [u8]> {
        self.files.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
    }
}

impl fmt::Debug for ShippedAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_bytes: usize = self.files.iter().map(|(_, bytes)| bytes.len()).sum();
        write!(f, "ShippedAdapter({}, {n_bytes} bytes)", self.base)
    }
}

/// The files of a folder of `adapters/`.
macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../adapters/", $folder, "/", $path)))),+]
    };
}

/// Tuned on the four stages by `sorft train`.
pub static QWEN2_5_CODER_0_5B: ShippedAdapter = ShippedAdapter {
    base: "qwen2.5-coder-0.5b",
    files: files!(
        "qwen2.5-coder-0.5b":
        "adapter_config.json",
        "adapter_model.safetensors",
        "reinforced/adapter_config.json",
        "reinforced/adapter_model.safetensors",
        "sorft.json",
    ),
};

#[cfg(test)]
mod tests {
    use crate::model::catalog::CATALOG;
    use crate::model::local::adapter::{AdapterSource, AdapterWeights, Site};

    #[test]
    fn a_shipped_adapter_adds_to_every_projection_of_its_model() {
        let shipped = CATALOG.iter().filter_map(|model| Some((model.alias, model.adapter?)));
        for (alias, adapter) in shipped {
            assert_eq!(adapter.base, alias);
            let mut weights = AdapterWeights::read(&AdapterSource::Shipped(adapter)).unwrap();
            assert_eq!(weights.base.as_deref(), Some(alias));
            // Qwen2.5-Coder-0.5B: 24 layers, 896 wide, 14 and 2 heads of 64, 4,864 inside.
            for layer in 0..24 {
                for site in Site::ALL {
                    let shape = match site {
                        Site::Q | Site::O => [896, 896],
                        Site::K | Site::V => [128, 896],
                        Site::Gate | Site::Up => [4864, 896],
                        Site::Down => [896, 4864],
                    };
                    // 16 of what was imitated, and 1 of what was reinforced.
                    let found = weights.take(layer, site, shape).unwrap();
                    assert_eq!(found.map(|found| found.rank), Some(17), "{layer} {site:?}");
                }
            }
            weights.finish().unwrap();
        }
    }
}
