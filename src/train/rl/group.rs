//! The completions of a step, token by token.

use crate::train::decoder::top::Predicted;
use crate::train::rl::actor::Acted;

/// The completions of one prompt.
#[derive(Debug, Clone)]
pub struct Group {
    /// The prompt's index.
    pub prompt: usize,
    pub tracks: Vec<Track>,
}

/// A completion, with what is known of each of its drawn tokens.
#[derive(Debug, Clone)]
pub struct Track {
    pub acted: Acted,
    /// What the policy said before the step's updates.
    pub old: Vec<Predicted>,
    /// Log-probabilities before reinforcement.
    pub reference: Vec<f64>,
    /// What the critic expected before each token; empty without a critic.
    pub values: Vec<f64>,
    pub advantages: Vec<f64>,
    /// What the critic is taught.
    pub returns: Vec<f64>,
}

impl Track {
    pub fn new(acted: Acted) -> Self {
        let none = Vec::new;
        Self {
            acted,
            old: Vec::new(),
            reference: none(),
            values: none(),
            advantages: none(),
            returns: none(),
        }
    }

    pub fn reward(&self) -> f64 {
        self.acted.judged.reward
    }

    pub fn n_tokens(&self) -> usize {
        self.acted.tokens.len()
    }

    /// Tokens that the policy chose: those that have losses and advantages.
    pub fn n_drawn(&self) -> usize {
        self.acted.is_drawn.iter().filter(|is_drawn| **is_drawn).count()
    }
}

impl Group {
    pub fn rewards(&self) -> Vec<f64> {
        self.tracks.iter().map(Track::reward).collect()
    }

    /// Whether all completions earned the same, so that comparing them teaches nothing.
    pub fn is_uniform(&self) -> bool {
        let is_same = |pair: &[Track]| pair[0].reward().to_bits() == pair[1].reward().to_bits();
        1 < self.tracks.len() && self.tracks.windows(2).all(is_same)
    }
}
