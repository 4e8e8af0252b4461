//! Token ids against those of transformers (`checks/token_ids.py` wrote the expected ones).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use sorft::model::local::engine::LocalEngine;
use sorft::model::local::load::LocalOptions;
use sorft::prompt::{Message, Prompt};

use crate::model::small_model;

#[derive(Deserialize)]
struct Expected {
    texts: BTreeMap<String, ExpectedText>,
    chats: BTreeMap<String, ExpectedChat>,
}

#[derive(Deserialize)]
struct ExpectedText {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct ExpectedChat {
    messages: Vec<Message>,
    ids: Vec<u32>,
}

#[track_caller]
fn check(model: &Path, family: &str) {
    let fixture: BTreeMap<String, Expected> =
        serde_json::from_str(include_str!("token_ids.json")).unwrap();
    let expected = &fixture[family];
    assert!(expected.texts.len() > 10 && expected.chats.len() > 2);
    let engine = LocalEngine::load(model, &LocalOptions::default()).unwrap();
    for (name, row) in &expected.texts {
        assert_eq!(engine.tokenizer().encode(&row.text).unwrap(), row.ids, "text `{name}`");
    }
    for (name, row) in &expected.chats {
        let prompt = Prompt { messages: row.messages.clone() };
        assert_eq!(engine.encode(&prompt).unwrap(), row.ids, "chat `{name}`");
    }
}

#[test]
fn ids_of_the_small_model_are_those_of_transformers() {
    check(&small_model(), "smollm");
}

#[test]
#[ignore = "needs the bigger models: checks/token_ids.sh obtains them"]
fn ids_of_qwen_models_are_those_of_transformers() {
    let models = std::env::var_os("SORFT_CHECK_QWEN_MODELS").expect("paths of the models");
    for model in std::env::split_paths(&models) {
        check(&model, "qwen2");
    }
}
