//! Benchmarks of general ability: what may a model have lost that was tuned on the stages?
//!
//! Each reads the benchmark's own data files, and prompts and scores as the benchmark's reference
//! code does; `checks/general.sh` compares the scores of the same outputs.

pub mod livecodebench;
pub mod pass_at_k;
pub mod python_text;
pub mod repoqa;
