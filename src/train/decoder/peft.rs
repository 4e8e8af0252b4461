//! Adapters in training, from and to the files of PEFT.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;

use crate::model::local::adapter::{AdapterWeights, CONFIG_FILE, PeftConfig, Site, WEIGHTS_FILE};
use crate::run::directory::write_whole;
use crate::train::decoder::{Adapter, Network};

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    F32,
    /// For use, in half the space.
    F16,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
        }
    }

    fn bytes(self, numbers: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Self::F16 => {
                numbers.iter().flat_map(|n| half::f16::from_f32(*n).to_le_bytes()).collect()
            }
        }
    }
}

impl Adapter {
    /// Reads an adapter of a network; projections that it does not name get none.
    ///
    /// # Errors
    ///
    /// It is another kind of adapter, or one for a network of other shapes, which are named.
    pub fn read(folder: &Path, network: &Network) -> anyhow::Result<Self> {
        let mut weights = AdapterWeights::read(&folder.into())?;
        let mut adapter = Self { layers: Vec::new() };
        for (idx, layer) in network.layers.iter().enumerate() {
            let mut sites = [const { None }; 7];
            for site in Site::ALL {
                let linear = &layer.linears[site as usize];
                let shape = [linear.n_out(), linear.n_in];
                sites[site as usize] = weights.take(idx, site, shape)?;
            }
            adapter.layers.push(sites);
        }
        weights.finish()?;
        Ok(adapter)
    }

    /// The same in the form that an engine takes.
    pub fn weights(&self) -> AdapterWeights {
        let mut tensors = BTreeMap::new();
        let (mut rank, mut scale) = (1, 1.0);
        for (idx, layer) in self.layers.iter().enumerate() {
            for (site, low_rank) in Site::ALL.iter().zip(layer) {
                let Some(low_rank) = low_rank else { continue };
                (rank, scale) = (low_rank.rank, low_rank.scale);
                let mut insert = |part, numbers: &Vec<f32>, shape| {
                    tensors.insert(site.tensor_name(idx, part), (shape, numbers.clone()));
                };
                insert("lora_A", &low_rank.a, [rank, low_rank.a.len() / rank]);
                insert("lora_B", &low_rank.b, [low_rank.b.len() / rank, rank]);
            }
        }
        AdapterWeights::new(rank, scale, tensors)
    }

    /// Writes the two files into a folder, each whole before it has its name.
    pub fn write(
        &mut self,
        folder: &Path,
        base: Option<&str>,
        precision: Precision,
    ) -> anyhow::Result<()> {
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
            alpha_pattern: Value::Null,
            rank_pattern: Value::Null,
            modules_to_save: Value::Null,
        };
        let mut tensors = BTreeMap::new();
        for (name, numbers) in self.tensors_mut() {
            let n_rows = match name.contains("lora_A") {
                true => rank,
                false => numbers.len() / rank,
            };
            let bytes = precision.bytes(numbers);
            tensors.insert(name, (vec![n_rows, numbers.len() / n_rows], bytes));
        }
        let views = tensors
            .iter()
            .map(|(name, (shape, bytes))| {
                Ok((name, TensorView::new(precision.dtype(), shape.clone(), bytes)?))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        write_whole(&folder.join(WEIGHTS_FILE), &serialize(views, None)?).with_context(context)?;
        let text = serde_json::to_vec_pretty(&config)?;
        write_whole(&folder.join(CONFIG_FILE), &text).with_context(context)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::model::local::adapter::{AdapterSource, SORFT_FILE};
    use crate::model::local::engine::LocalEngine;
    use crate::model::local::judge::Judge;
    use crate::model::local::load::{LocalOptions, read_parts};
    use crate::model::scripted::judging_request;
    use crate::model::{Generate as _, Request};
    use crate::prompt::{Message, Prompt, Role};
    use crate::train::decoder::batch::Batch;
    use crate::train::decoder::{Activations, Trainer};

    fn fixture(family: &str) -> Network {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(family);
        let parts = read_parts(&folder).unwrap();
        Network::read(&parts.config, &parts.weights).unwrap()
    }

    /// An adapter that changes much.
    fn random_adapter(network: &Network) -> Adapter {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut adapter = Adapter::new(network, 4, 2.0, |_| random.random_range(-0.2..0.2));
        for (_, tensor) in adapter.tensors_mut() {
            tensor.iter_mut().for_each(|number| *number += random.random_range(-0.2..0.2));
        }
        adapter
    }

    #[tokio::test]
    async fn an_adapter_for_some_stages_has_no_part_in_others() {
        let folder = tempfile::tempdir().unwrap();
        random_adapter(&fixture("qwen2")).write(folder.path(), None, Precision::F16).unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/qwen2");
        let load = |adapter: Option<&Path>| {
            let adapter = adapter.map(AdapterSource::from);
            LocalEngine::load(&model, &LocalOptions { adapter, ..LocalOptions::default() }).unwrap()
        };
        let (bare, all) = (load(None), load(Some(folder.path())));
        fs::write(folder.path().join(SORFT_FILE), r#"{ "stages": ["file"] }"#).unwrap();
        let some = load(Some(folder.path()));
        let request = |stage: &'static str| {
            let message = Message { role: Role::User, content: "which file?".to_owned() };
            let prompt = Prompt { messages: vec![message] };
            Request { stage, ..judging_request(&prompt, "") }
        };
        let ask = async |engine: &LocalEngine, stage| {
            let mut request = request(stage);
            request.sampling.max_tokens = 16;
            let completions = engine.generate(&request, &|_| ()).await.unwrap();
            (completions[0].bytes.clone(), completions[0].logprob)
        };
        let [bare_file, bare_edit] = [ask(&bare, "file").await, ask(&bare, "edit").await];
        let [all_file, all_edit] = [ask(&all, "file").await, ask(&all, "edit").await];
        assert_eq!((&bare_file, &all_file), (&bare_edit, &all_edit), "a name changes nothing");
        assert_ne!(bare_file, all_file);
        // The same prompt with and without it, at once and one after the other.
        for _ in 0..2 {
            let found = tokio::join!(ask(&some, "edit"), ask(&some, "file"), ask(&some, "edit"));
            assert_eq!(found, (bare_edit.clone(), all_file.clone(), bare_edit.clone()));
        }
    }

    #[test]
    fn parts_of_an_adapter_add_up() {
        let network = fixture("qwen2");
        let mut first = random_adapter(&network);
        let mut second = Adapter::new(&network, 2, 0.5, |idx| 0.01 * idx as f32);
        second.tensors_mut().into_iter().for_each(|(_, tensor)| tensor.fill(0.1));
        let mut second = second.only(&[Site::Q, Site::Down]);
        let folder = tempfile::tempdir().unwrap();
        let write = |adapter: &mut Adapter, name: &str| {
            let path = folder.path().join(name);
            adapter.write(&path, Some("tiny"), Precision::F32).unwrap();
            path
        };
        let parts = write(&mut first, "parts");
        write(&mut second, "parts/second");
        let one = write(&mut first.join(&second), "one");
        let alone = AdapterSource::from(&*parts).fingerprint().unwrap();
        let tell = |text: &str| fs::write(parts.join(SORFT_FILE), text).unwrap();
        tell(r#"{ "parts": ["second"] }"#);
        assert_ne!(AdapterSource::from(&*parts).fingerprint().unwrap(), alone);
        assert_eq!(Adapter::read(&parts, &network).unwrap(), first.join(&second));
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/qwen2");
        let ids: Vec<u32> = (0..40).map(|idx| (idx * 7 + idx / 5) % 60).collect();
        let [of_parts, of_one] = [&parts, &one].map(|folder| {
            let adapter = Some(folder.as_path().into());
            let options = LocalOptions { adapter, ..LocalOptions::default() };
            Judge::load(&model, &options).unwrap().logprobs(&ids).unwrap()
        });
        assert_eq!(of_parts, of_one);

        let refused = |text: &str| {
            tell(text);
            format!("{:#}", Adapter::read(&parts, &network).unwrap_err())
        };
        for name in ["", "..", "../one", "/tmp", "a/b"] {
            let message = refused(&format!(r#"{{ "parts": ["{name}"] }}"#));
            assert!(message.contains(&format!("found {name:?}")), "{message}");
        }
        let message = refused(r#"{ "parts": ["third"] }"#);
        let wanted = "`third/adapter_config.json` was wanted, and is not there";
        assert!(message.ends_with(wanted), "{message}");
        second.layers.push(second.layers[0].clone());
        write(&mut second, "parts/deeper");
        let message = refused(r#"{ "parts": ["deeper"] }"#);
        assert!(message.contains("parts/deeper` is for another model"), "{message}");
    }

    /// As a whole, and at each place by itself, so that none of them could be missing or be
    /// another's. The engine's attention takes bytes, the trainer's 32-bit floats.
    #[test]
    fn the_engine_adds_an_adapter_as_the_trainer_does() {
        for family in ["llama", "qwen2", "qwen3"] {
            let network = fixture(family);
            let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(family);
            let ids: Vec<u32> = (0..40).map(|idx| (idx * 7 + idx / 5) % 60).collect();
            let mut trainer = Trainer::new(Activations::Keep);
            let mut losses = |adapter: Option<&Adapter>| -> Vec<f64> {
                let ends = 2..=ids.len();
                let loss = ends.map(|end| {
                    let mut batch = Batch::default();
                    batch.push(&ids[..end], end - 1, 1.0);
                    trainer.loss(&network, adapter, &batch)
                });
                loss.collect()
            };
            let bare = losses(None);
            // How far the engine is from the trainer with and without the adapter, by position.
            let mut apart = |adapter: &mut Adapter| -> [Vec<f64>; 2] {
                let folder = tempfile::tempdir().unwrap();
                adapter.write(folder.path(), None, Precision::F16).unwrap();
                let adapter_source = Some(folder.path().into());
                let options = LocalOptions { adapter: adapter_source, ..LocalOptions::default() };
                let found = Judge::load(&model, &options).unwrap().logprobs(&ids).unwrap();
                [losses(Some(adapter)), bare.clone()].map(|losses| {
                    let pairs = losses.iter().zip(&found);
                    pairs.map(|(loss, found)| (loss + found).abs()).collect()
                })
            };
            let mut whole = random_adapter(&network);
            let [with, without] =
                apart(&mut whole).map(|apart| apart.into_iter().fold(0.0_f64, f64::max));
            assert!(with < 0.25, "{family}: {with} off");
            assert!(2.5 < without, "{family}: the adapter changes {without} at the most");
            for site in Site::ALL {
                let mut part = whole.clone();
                for (name, tensor) in part.tensors_mut() {
                    if !name.contains(site.name()) {
                        tensor.fill(0.0);
                    }
                }
                let [with, without] = apart(&mut part).map(|apart| {
                    let squares: f64 = apart.iter().map(|apart| apart * apart).sum();
                    (squares / apart.len() as f64).sqrt()
                });
                let message = format!("{family}, {}: {with} of {without} off", site.name());
                assert!(with < 0.06 && 10.0 * with < without, "{message}");
            }
        }
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
        adapter.write(folder.path(), Some("tiny"), Precision::F32).unwrap();
        assert_eq!(Adapter::read(folder.path(), &network).unwrap(), adapter);
        let config = fs::read_to_string(folder.path().join(CONFIG_FILE)).unwrap();
        for (option, value) in
            [("alpha_pattern", r#"{"q_proj": 640}"#), ("bias", r#""all""#), ("use_dora", "true")]
        {
            let mut changed: serde_json::Value = serde_json::from_str(&config).unwrap();
            changed[option] = serde_json::from_str(value).unwrap();
            fs::write(folder.path().join(CONFIG_FILE), changed.to_string()).unwrap();
            let message = format!("{:#}", Adapter::read(folder.path(), &network).unwrap_err());
            assert!(message.contains(&format!("one with `{option}` was found")), "{message}");
        }
        fs::write(folder.path().join(CONFIG_FILE), config).unwrap();
        let mut wider = network.clone();
        wider.layers[1].linears[Site::Up as usize].weight.floats_mut().extend(vec![0.0; 32]);
        let message = format!("{:#}", Adapter::read(folder.path(), &wider).unwrap_err());
        let wanted = "up_proj.lora_B.weight` has the shape [64, 4] where the model needs [65, 4]";
        assert!(message.contains(wanted), "{message}");
        let mut shorter = network;
        shorter.layers.pop();
        let message = format!("{:#}", Adapter::read(folder.path(), &shorter).unwrap_err());
        assert!(message.contains("has a place for its tensor"), "{message}");
        fs::write(folder.path().join(WEIGHTS_FILE), b"short").unwrap();
        let message = format!("{:#}", Adapter::read(folder.path(), &shorter).unwrap_err());
        assert!(message.contains("adapter_model.safetensors"), "{message}");
    }
}
