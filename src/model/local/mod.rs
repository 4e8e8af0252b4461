//! The local engine: GGUF files and Hugging Face directories of the llama, qwen2 and qwen3
//! families, on this machine's CPU or GPU.

pub mod adapter;
pub mod bench;
pub mod buffers;
pub mod chat;
pub mod config;
pub mod cpu;
pub mod decoder;
pub mod draft;
pub mod engine;
pub mod fork;
pub mod gguf;
pub mod gguf_copy;
pub mod gpu;
pub mod judge;
pub mod load;
pub mod mapped_file;
pub mod prefix;
pub mod safetensors;
pub mod sample;
pub mod scheduler;
pub mod speed_up;
#[cfg(test)]
mod tests;
pub mod tokenizer;
pub mod tokenizer_json;
pub mod weights;
