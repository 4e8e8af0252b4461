//! The program with a real model: the 135M one, obtained once.

mod constraint;
mod model;
mod tokenizer;
