//! The completions of a step, token by token, and how they stand side by side in a batch.

use std::ops::Range;
use std::sync::Arc;

use crate::model::token_trie::TokenSet;
use crate::train::decoder::batch::{Batch, Completion};
use crate::train::decoder::top::{Predicted, allow, silence};
use crate::train::rl::actor::{Acted, Asked};

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
        self.tracks.windows(2).all(|pair| pair[0].reward().to_bits() == pair[1].reward().to_bits())
    }

    fn n_tokens(&self, asked: &[Asked]) -> usize {
        let completions: usize = self.tracks.iter().map(Track::n_tokens).sum();
        asked[self.prompt].ids.len() + completions
    }
}

/// Cuts groups into packs of at most `max_tokens` tokens; a longer group is alone.
pub fn packs(groups: &[Group], asked: &[Asked], max_tokens: usize) -> Vec<Range<usize>> {
    let mut packs: Vec<Range<usize>> = Vec::new();
    let mut n_tokens = 0;
    for (idx, group) in groups.iter().enumerate() {
        let more = group.n_tokens(asked);
        match packs.last_mut() {
            Some(pack) if n_tokens + more <= max_tokens => pack.end = idx + 1,
            _ => {
                packs.push(idx..idx + 1);
                n_tokens = 0;
            }
        }
        n_tokens += more;
    }
    packs
}

/// Groups side by side; the targets are the drawn tokens of all their tracks, in order.
pub fn batch(groups: &[Group], asked: &[Asked], weight: impl Fn(&Track) -> f64) -> Batch {
    let mut batch = Batch::default();
    for group in groups {
        let completions = group.tracks.iter().map(|track| Completion {
            tokens: &track.acted.tokens,
            is_drawn: &track.acted.is_drawn,
            weight: weight(track) as f32,
        });
        batch.push_tree(&asked[group.prompt].ids, completions);
    }
    batch
}

/// Numbers of all tracks' drawn tokens, in the order of a batch's targets.
pub fn in_order(groups: &[Group], of: impl Fn(&Track) -> &[f64]) -> Vec<f64> {
    groups.iter().flat_map(|group| &group.tracks).flat_map(|track| of(track).to_vec()).collect()
}

/// Hands out what is in the order of a batch's targets to their tracks.
pub fn hand_out<T>(groups: &mut [Group], all: Vec<T>, mut give: impl FnMut(&mut Track, Vec<T>)) {
    let mut all = all.into_iter();
    for track in groups.iter_mut().flat_map(|group| &mut group.tracks) {
        let of_track = all.by_ref().take(track.n_drawn()).collect();
        give(track, of_track);
    }
}

/// What else each target could have been: of a step without a grammar, all that is not silent.
pub struct Masks<'a> {
    silent: &'a [u32],
    allowed: Vec<Arc<TokenSet>>,
}

impl<'a> Masks<'a> {
    pub fn new(groups: &[Group], silent: &'a [u32]) -> Self {
        let tracks = groups.iter().flat_map(|group| &group.tracks);
        let allowed = tracks.flat_map(|track| &track.acted.allowed).cloned().collect();
        Self { silent, allowed }
    }

    /// Lowers the logits of what target `idx` could not have been.
    pub fn apply(&self, idx: usize, logits: &mut [f32]) {
        match self.allowed.get(idx) {
            Some(allowed) => allow(logits, |id| allowed.contains(id)),
            None => silence(logits, self.silent),
        }
    }
}
