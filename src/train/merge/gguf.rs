//! A merged model as a GGUF file: the base's, with other numbers in the merged projections.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::model::local::adapter::Site;
use crate::model::local::config::DecoderConfig;
use crate::model::local::gguf::Gguf;
use crate::model::local::gguf_copy::write_changed;
use crate::model::local::weights::interleaved;
use crate::train::decoder::{Adapter, Network};
use crate::train::merge::precision::Precision;
use crate::train::merge::{Merged, file_bytes, n_merged};
use crate::train::new_folder::NewFile;

/// Writes a file with the base's metadata and tensors, and a merged network's projections where
/// the adapter has additions.
pub(super) fn write(
    base: &Gguf,
    config: &DecoderConfig,
    network: &Network,
    adapter: &Adapter,
    (out, precision): (&Path, Precision),
) -> anyhow::Result<Merged> {
    let mut changed: BTreeMap<String, (Site, &Vec<f32>)> = BTreeMap::new();
    for (idx, (layer, sites)) in network.layers.iter().zip(&adapter.layers).enumerate() {
        for site in Site::ALL {
            if sites[site as usize].is_some() {
                let name = format!("blk.{idx}.{}.weight", site.gguf_name());
                let weight = layer.linears[site as usize].weight.floats();
                precision.check(&name, weight)?;
                changed.insert(name, (site, weight));
            }
        }
    }
    let mut file = NewFile::create(out)?;
    let failed = file.failed();
    let mut buffered = BufWriter::with_capacity(1 << 20, file.as_file());
    write_changed(
        base,
        &mut buffered,
        |name| changed.contains_key(name).then(|| precision.encoding()),
        |name, _| {
            let (site, weight) = changed.get(name).context("a merged projection")?;
            Ok(match site {
                Site::Q | Site::K if config.has_interleaved_rope => {
                    let n_in = config.hidden;
                    let mut rows = vec![0.0; weight.len()];
                    for (row, numbers) in weight.chunks_exact(n_in).enumerate() {
                        let stored = interleaved(row, config.head_dim);
                        rows[stored * n_in..][..n_in].copy_from_slice(numbers);
                    }
                    precision.bytes(&rows)
                }
                _ => precision.bytes(weight),
            })
        },
    )
    .and_then(|()| Ok(buffered.flush()?))
    .with_context(|| failed)?;
    drop(buffered);
    file.finish()?;
    Ok(Merged {
        version: 1,
        out: out.to_owned(),
        form: "gguf",
        precision: precision.name(),
        tensors: base.tensors().count(),
        merged: n_merged(adapter),
        bytes: file_bytes(out)?,
        tied: network.output.is_none(),
    })
}
