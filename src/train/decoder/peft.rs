//! Adapters as PEFT keeps them: a folder with `adapter_model.safetensors` and
//! `adapter_config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};

use crate::train::decoder::layer::Site;
use crate::train::decoder::linear::LowRank;
use crate::train::decoder::{Adapter, Network};

const WEIGHTS_FILE: &str = "adapter_model.safetensors";
const CONFIG_FILE: &str = "adapter_config.json";

/// What PEFT must know of an adapter. Other fields of its own are passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PeftConfig {
    peft_type: String,
    task_type: Option<String>,
    base_model_name_or_path: Option<String>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: Vec<String>,
    #[serde(default)]
    bias: String,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    inference_mode: bool,
}

impl Adapter {
    /// Reads an adapter of a network; projections that it does not name get none.
    ///
    /// # Errors
    ///
    /// It is another kind of adapter, or one for a network of other shapes, which are named.
    pub fn read(folder: &Path, network: &Network) -> anyhow::Result<Self> {
        let context = || format!("reading the adapter `{}`", folder.display());
        let text = fs::read_to_string(folder.join(CONFIG_FILE)).with_context(context)?;
        let config: PeftConfig =
            serde_json::from_str(&text).context(CONFIG_FILE).with_context(context)?;
        ensure!(
            config.peft_type == "LORA" && !config.use_rslora && !config.use_dora,
            "{}: a plain LoRA adapter was wanted, and `{}` of another kind was found",
            context(),
            config.peft_type
        );
        let bytes = fs::read(folder.join(WEIGHTS_FILE)).with_context(context)?;
        let tensors =
            SafeTensors::deserialize(&bytes).context(WEIGHTS_FILE).with_context(context)?;
        let mut left: BTreeMap<String, TensorView<'_>> =
            tensors.iter().map(|(name, view)| (name.to_owned(), view)).collect();
        let scale = (config.lora_alpha / config.r as f64) as f32;
        let mut adapter = Self { layers: Vec::new() };
        for (idx, layer) in network.layers.iter().enumerate() {
            let mut sites = [const { None }; 7];
            for site in Site::ALL {
                let linear = &layer.linears[site as usize];
                let n_out = linear.weight.len() / linear.n_in;
                let mut take = |part: &str, shape: [usize; 2]| {
                    let name = tensor_name(idx, site, part);
                    let found = left.remove(&name);
                    found.map(|view| numbers(&name, &view, shape)).transpose()
                };
                let a = take("lora_A", [config.r, linear.n_in]).with_context(context)?;
                let b = take("lora_B", [n_out, config.r]).with_context(context)?;
                sites[site as usize] =
                    a.zip(b).map(|(a, b)| LowRank { a, b, rank: config.r, scale });
            }
            adapter.layers.push(sites);
        }
        if let Some(name) = left.keys().next() {
            bail!("{}: the model has no place for its tensor `{name}`", context());
        }
        Ok(adapter)
    }

    /// Writes the two files into a folder, each whole before it has its name.
    pub fn write(&mut self, folder: &Path, base: Option<&str>) -> anyhow::Result<()> {
        let context = || format!("writing the adapter `{}`", folder.display());
        fs::create_dir_all(folder).with_context(context)?;
        let mut sites = self.layers.iter().flatten().flatten();
        let first = sites.next().context("an adapter without any addition")?;
        let (rank, scale) = (first.rank, first.scale);
        let used = |site: &Site| self.layers.iter().any(|layer| layer[*site as usize].is_some());
        let module = |site: Site| site.name().rsplit('.').next().unwrap_or_default().to_owned();
        let config = PeftConfig {
            peft_type: "LORA".to_owned(),
            task_type: Some("CAUSAL_LM".to_owned()),
            base_model_name_or_path: base.map(ToOwned::to_owned),
            r: rank,
            lora_alpha: f64::from(scale) * rank as f64,
            lora_dropout: 0.0,
            target_modules: Site::ALL.into_iter().filter(used).map(module).collect(),
            bias: "none".to_owned(),
            fan_in_fan_out: false,
            use_rslora: false,
            use_dora: false,
            inference_mode: true,
        };
        let mut tensors = BTreeMap::new();
        for (name, numbers) in self.tensors_mut() {
            let n_rows = match name.contains("lora_A") {
                true => rank,
                false => numbers.len() / rank,
            };
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            tensors.insert(name, (vec![n_rows, numbers.len() / n_rows], bytes));
        }
        let views = tensors
            .iter()
            .map(|(name, (shape, bytes))| {
                Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        write_whole(&folder.join(WEIGHTS_FILE), &serialize(views, None)?).with_context(context)?;
        let text = serde_json::to_vec_pretty(&config)?;
        write_whole(&folder.join(CONFIG_FILE), &text).with_context(context)
    }
}

fn tensor_name(layer: usize, site: Site, part: &str) -> String {
    format!("base_model.model.model.layers.{layer}.{}.{part}.weight", site.name())
}

fn numbers(name: &str, view: &TensorView<'_>, shape: [usize; 2]) -> anyhow::Result<Vec<f32>> {
    ensure!(
        view.shape() == shape,
        "its tensor `{name}` has the shape {:?} where the model needs {shape:?}: it is for another model",
        view.shape()
    );
    let bytes = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Dtype::F16 => {
            bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        Dtype::BF16 => bytes
            .chunks_exact(2)
            .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        other => bail!("its tensor `{name}` is stored as {other:?}; floats were wanted"),
    })
}

fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::local::load::read_parts;

    fn fixture(family: &str) -> Network {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(family);
        let parts = read_parts(&folder).unwrap();
        Network::read(&parts.config, &parts.weights).unwrap()
    }

    #[test]
    fn an_adapter_is_read_as_it_was_written_and_another_model_s_is_named() {
        let network = fixture("llama");
        let mut number = 0.0;
        let mut adapter = Adapter::new(&network, 4, 2.0, |_| {
            number += 0.5;
            number
        });
        let folder = tempfile::tempdir().unwrap();
        adapter.write(folder.path(), Some("tiny")).unwrap();
        assert_eq!(Adapter::read(folder.path(), &network).unwrap(), adapter);
        let mut wider = network.clone();
        wider.layers[1].linears[Site::Up as usize].weight.extend(vec![0.0; 32]);
        let message = format!("{:#}", Adapter::read(folder.path(), &wider).unwrap_err());
        let wanted = "up_proj.lora_B.weight` has the shape [64, 4] where the model needs [65, 4]";
        assert!(message.contains(wanted), "{message}");
        let mut shorter = network;
        shorter.layers.pop();
        let message = format!("{:#}", Adapter::read(folder.path(), &shorter).unwrap_err());
        assert!(message.contains("no place for its tensor"), "{message}");
        fs::write(folder.path().join(WEIGHTS_FILE), b"short").unwrap();
        let message = format!("{:#}", Adapter::read(folder.path(), &shorter).unwrap_err());
        assert!(message.contains("adapter_model.safetensors"), "{message}");
    }
}
