//! Merged models read again: the losses of the network with its adapter, from every form.

use std::fs;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::local::adapter::Site;
use crate::model::local::gguf_copy::tests::{Entry, write_gguf};
use crate::model::local::judge::Judge;
use crate::model::local::load::LocalOptions;
use crate::model::local::weights::interleaved;
use crate::train::decoder::batch::Batch;
use crate::train::decoder::{Activations, Trainer};

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(family)
}

fn read(model: &Path) -> Network {
    let parts = read_parts(model).unwrap();
    Network::read(&parts.config, &parts.weights).unwrap()
}

fn write_adapter(network: &Network, folder: &Path) -> Adapter {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut adapter = Adapter::new(network, 4, 2.0, |_| random.random_range(-0.2..0.2));
    for (_, tensor) in adapter.tensors_mut() {
        tensor.iter_mut().for_each(|number| *number += random.random_range(-0.2..0.2));
    }
    adapter.write(folder, None, crate::train::decoder::peft::Precision::F32).unwrap();
    adapter
}

fn ids() -> Vec<u32> {
    (0..40).map(|idx| (idx * 7 + idx / 5) % 60).collect()
}

fn loss(network: &Network, adapter: Option<&Adapter>) -> f64 {
    let mut batch = Batch::default();
    batch.push(&ids(), 1, 1.0);
    Trainer::new(Activations::Keep).loss(network, adapter, &batch)
}

/// The fixture of a family as a GGUF file: the names, the metadata and, for llama, the order of
/// rows that such files have. Its context is not stretched, unless `stretches` divides the speed
/// of each pair.
fn as_gguf(family: &str, path: &Path, stretches: &[f32]) {
    let parts = read_parts(&fixture(family)).unwrap();
    let network = read(&fixture(family));
    let config = &parts.config;
    let vocabulary = parts.tokenizer.vocabulary();
    let text = fs::read_to_string(fixture(family).join("tokenizer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut tokens = vec![String::new(); vocabulary.tokens.len()];
    let mut kinds = vec![1; tokens.len()];
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    for added in json["added_tokens"].as_array().unwrap() {
        let id = added["id"].as_u64().unwrap() as usize;
        tokens[id] = added["content"].as_str().unwrap().to_owned();
        kinds[id] = 3;
    }
    for idx in tokens.len()..config.n_vocab {
        tokens.push(format!("[PAD{idx}]"));
        kinds.push(5);
    }
    let merges = json["model"]["merges"].as_array().unwrap().iter().map(|merge| match merge {
        serde_json::Value::String(merge) => merge.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    });
    let settings = fs::read_to_string(fixture(family).join("tokenizer_config.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    let end = parts.tokenizer.ends()[0];
    let key = |name: &str| format!("{family}.{name}");
    let raw: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(fixture(family).join("config.json")).unwrap())
            .unwrap();
    let base = [&raw["rope_theta"], &raw["rope_parameters"]["rope_theta"]];
    let base = base.into_iter().find_map(serde_json::Value::as_f64).unwrap() as f32;
    let numbers = [
        ("block_count", config.n_layers),
        ("embedding_length", config.hidden),
        ("feed_forward_length", config.intermediate),
        ("attention.head_count", config.n_heads),
        ("attention.head_count_kv", config.n_kv_heads),
        ("attention.key_length", config.head_dim),
        ("context_length", config.context_length),
    ]
    .map(|(name, number)| (key(name), number as u32));
    let (eps, theta) = (key("attention.layer_norm_rms_epsilon"), key("rope.freq_base"));
    let mut entries = vec![
        ("general.architecture", Entry::Text(family)),
        (&*eps, Entry::Float(config.rms_eps as f32)),
        (&*theta, Entry::Float(base)),
        ("tokenizer.ggml.model", Entry::Text("gpt2")),
        ("tokenizer.ggml.pre", Entry::Text("gpt-2")),
        ("tokenizer.ggml.tokens", Entry::Texts(tokens)),
        ("tokenizer.ggml.token_type", Entry::Numbers(kinds)),
        ("tokenizer.ggml.merges", Entry::Texts(merges.collect())),
        ("tokenizer.ggml.eos_token_id", Entry::Number(end)),
        ("tokenizer.chat_template", Entry::Text(settings["chat_template"].as_str().unwrap())),
    ];
    entries.extend(numbers.iter().map(|(key, number)| (&**key, Entry::Number(*number))));
    let mut tensors = Vec::new();
    for tensor in network.tensors() {
        let part = tensor.name.trim_start_matches("model.").trim_start_matches("layers.");
        let name = match part {
            "embed_tokens.weight" => "token_embd.weight".to_owned(),
            "norm.weight" => "output_norm.weight".to_owned(),
            "lm_head.weight" => "output.weight".to_owned(),
            _ => {
                let (layer, part) = part.split_once('.').unwrap();
                let (part, kind) = part.rsplit_once('.').unwrap();
                let site = Site::ALL.into_iter().find(|site| site.name() == part);
                let part = site.map_or_else(
                    || match part {
                        "input_layernorm" => "attn_norm",
                        "post_attention_layernorm" => "ffn_norm",
                        "self_attn.q_norm" => "attn_q_norm",
                        "self_attn.k_norm" => "attn_k_norm",
                        _ => panic!("{part}"),
                    },
                    Site::gguf_name,
                );
                format!("blk.{layer}.{part}.{kind}")
            }
        };
        let mut numbers = tensor.numbers.to_vec();
        if family == "llama" && (name.contains("attn_q.") || name.contains("attn_k.")) {
            let n_in = tensor.shape[1];
            for (row, theirs) in tensor.numbers.chunks_exact(n_in).enumerate() {
                let stored = interleaved(row, config.head_dim);
                numbers[stored * n_in..][..n_in].copy_from_slice(theirs);
            }
        }
        tensors.push((name, tensor.shape, numbers));
    }
    if !stretches.is_empty() {
        tensors.push(("rope_freqs.weight".to_owned(), vec![stretches.len()], stretches.to_vec()));
    }
    write_gguf(path, &entries, &tensors);
}

#[test]
fn a_merged_model_has_the_losses_of_base_and_adapter_in_every_form() {
    for family in ["llama", "qwen2", "qwen3"] {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let network = read(&fixture(family));
        let adapter = write_adapter(&network, &at("adapter"));
        as_gguf(family, &at("base.gguf"), &[]);
        let mut plain = network.clone();
        plain.shape = read(&at("base.gguf")).shape;
        assert!(read(&at("base.gguf")) == plain, "{family}: as GGUF");
        for (base, out, precision, limit) in [
            (fixture(family), "a", Precision::F32, 1e-3),
            (fixture(family), "b", Precision::Bf16, 0.1),
            (at("base.gguf"), "c", Precision::F32, 1e-3),
            (at("base.gguf"), "d", Precision::F16, 0.01),
            (at("base.gguf"), "e.gguf", Precision::F16, 0.01),
            (at("base.gguf"), "f.gguf", Precision::F32, 1e-3),
            (at("base.gguf"), "g.gguf", Precision::Q8_0, 0.1),
        ] {
            let of_gguf = base.extension().is_some();
            let network = if of_gguf { &plain } else { &network };
            let (both, bare) = (loss(network, Some(&adapter)), loss(network, None));
            let change = (both - bare).abs();
            let options = MergeOptions { out: at(out), precision: Some(precision) };
            let merged = merge(&base, &at("adapter"), &options).unwrap();
            assert_eq!(merged.merged, 7 * network.layers.len());
            assert_eq!(merged.tied, network.output.is_none());
            let error = (loss(&read(&at(out)), None) - both).abs();
            assert!(error < limit * change, "{family}, {out}: {error} of {change}");
            // What belongs to it is read by the engine, too.
            let judge = Judge::load(&at(out), &LocalOptions::default()).unwrap();
            let base = Judge::load(&base, &LocalOptions::default()).unwrap();
            let text = "def tax(net):\n    return net * 0.2  # ü\n";
            assert_eq!(judge.encode(text).unwrap(), base.encode(text).unwrap(), "{family}, {out}");
        }
    }
}

#[test]
fn a_folder_from_a_gguf_file_says_the_same_of_its_chats() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    as_gguf("qwen2", &at("base.gguf"), &[]);
    write_adapter(&read(&at("base.gguf")), &at("adapter"));
    let options = MergeOptions { out: at("out"), precision: None };
    merge(&at("base.gguf"), &at("adapter"), &options).unwrap();
    let (ours, theirs) = (read_parts(&at("out")).unwrap(), read_parts(&at("base.gguf")).unwrap());
    let mut theirs = theirs.tokenizer.vocabulary();
    assert_eq!(theirs.tokens.pop(), Some(Vec::new()), "a row that no token stands for");
    assert_eq!(ours.tokenizer.vocabulary(), theirs);
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(at("out").join(name)).unwrap()).unwrap()
    };
    let original: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("qwen2").join("tokenizer_config.json")).unwrap())
            .unwrap();
    assert_eq!(json("tokenizer_config.json")["chat_template"], original["chat_template"]);
    assert_eq!(
        json("generation_config.json")["eos_token_id"],
        serde_json::json!(ours.tokenizer.ends())
    );
    let config = json("config.json");
    assert_eq!(config["torch_dtype"], "bfloat16");
    assert_eq!(config["rms_norm_eps"].to_string(), "1e-6");
}

#[test]
fn an_output_matrix_that_is_the_embedding_is_tied_and_another_one_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let network = read(&fixture("llama"));
    write_adapter(&network, &at("adapter"));
    let is_tied = network.output.is_none();
    let options = MergeOptions { out: at("first"), precision: Some(Precision::F32) };
    merge(&fixture("llama"), &at("adapter"), &options).unwrap();
    let set = |folder: &str, output: &[f32]| {
        let mut network = read(&at("first"));
        network.output = Some(output.to_vec());
        fs::create_dir(at(folder)).unwrap();
        for entry in fs::read_dir(at("first")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), at(folder).join(entry.file_name())).unwrap();
        }
        let tensors: Vec<_> = network
            .tensors()
            .into_iter()
            .map(|t| (t.name, t.shape, Precision::F32.bytes(t.numbers)))
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name.clone(), view.unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        fs::write(at(folder).join("model.safetensors"), bytes).unwrap();
    };
    set("same", &network.embedding);
    let other: Vec<f32> = network.embedding.iter().map(|n| n + 0.25).collect();
    set("other", &other);
    for (base, wanted) in [("first", is_tied), ("same", true), ("other", false)] {
        let options = MergeOptions { out: at(&format!("{base}-out")), precision: None };
        let merged = merge(&at(base), &at("adapter"), &options).unwrap();
        let config = fs::read_to_string(at(&format!("{base}-out/config.json"))).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(
            (merged.tied, &config["tie_word_embeddings"]),
            (wanted, &wanted.into()),
            "{base}"
        );
        assert_eq!(read(&at(&format!("{base}-out"))).output.is_none(), wanted, "{base}");
    }
}

#[test]
fn what_cannot_be_merged_is_told() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    write_adapter(&read(&fixture("llama")), &at("adapter"));
    let refused = |model: &str, out: &str, precision| {
        let options = MergeOptions { out: at(out), precision };
        let error = merge(&fixture(model), &at("adapter"), &options).unwrap_err();
        assert!(!at("new").exists());
        format!("{error:#}")
    };
    let message = refused("llama", "new.gguf", None);
    assert!(message.contains("is made from a GGUF file, and"), "{message}");
    let message = refused("llama", "new", Some(Precision::Q8_0));
    assert!(message.contains("safetensors have no q8_0\nhint:"), "{message}");
    let message = refused("llama", "adapter", None);
    assert!(message.contains("is there already"), "{message}");
    let n_pairs = read(&fixture("llama")).shape.frequencies.len();
    let stretches: Vec<f32> = (0..n_pairs).map(|pair| 1.0 + pair as f32).collect();
    as_gguf("llama", &at("stretched.gguf"), &stretches);
    let options = |out: &str| MergeOptions { out: at(out), precision: None };
    let error = merge(&at("stretched.gguf"), &at("adapter"), &options("new")).unwrap_err();
    assert!(error.to_string().contains("`rope_freqs.weight`, for which"), "{error}");
    assert!(!at("new").exists());
    merge(&at("stretched.gguf"), &at("adapter"), &options("new.gguf")).unwrap();
    let frequencies = |path: &str| read(&at(path)).shape.frequencies;
    assert_eq!(frequencies("new.gguf"), frequencies("stretched.gguf"));
}
