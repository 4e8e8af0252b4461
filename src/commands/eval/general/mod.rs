//! `sorft eval repoqa` and `sorft eval livecodebench`: what a tuned model may have lost.

pub mod livecodebench;
pub mod repoqa;

use clap::Args;

use crate::instance::selection::{Selection, Shard};
use crate::model::{Request, Sampling, Variety};
use crate::prompt::Prompt;

/// Which tasks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Selection")]
pub struct SelectArgs {
    /// Only these tasks, by id
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// At most so many tasks
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// In an order drawn with this seed, before --limit
    #[arg(long, value_name = "SEED")]
    pub shuffle: Option<u64>,
    /// The I-th of N parts of what is selected; their files, one after the other, are that of the
    /// whole
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
}

impl SelectArgs {
    fn selection(&self) -> Selection {
        Selection {
            only: self.only.clone(),
            shuffle: self.shuffle,
            limit: self.limit,
            shard: self.shard,
            ..Selection::default()
        }
    }
}

/// A request for `n` answers; without a temperature they are greedy.
fn request(prompt: Prompt, sampling: (usize, f64, f64), max_tokens: usize, seed: u64) -> Request {
    let (n, temperature, top_p) = sampling;
    let sampling = Sampling {
        n,
        temperature,
        top_p,
        top_k: 0,
        min_p: 0.0,
        max_tokens,
        stop: Vec::new(),
        variety: Variety::Independent,
    };
    Request { prompt, sampling, grammar: None, seed, stage: "" }
}
