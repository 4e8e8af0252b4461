//! The program with a real model: the 135M one, obtained once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod candle;
mod constraint;
mod model;
mod replay;
mod tokenizer;
