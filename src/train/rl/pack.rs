//! What goes through the network at once: completions behind their prompts, side by side.

use std::ops::Range;
use std::sync::Arc;

use crate::model::token_trie::TokenSet;
use crate::train::decoder::batch::{Batch, Completion};
use crate::train::decoder::top::{allow, silence};
use crate::train::rl::actor::Asked;
use crate::train::rl::group::{Group, Track};

/// Parts of groups whose completions are computed together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pack(Vec<Part>);

/// Some completions of a group; a group that is too large is cut, and its prompt computed again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    group: usize,
    tracks: Range<usize>,
}

/// Cuts groups into packs of at most `max_tokens` tokens; what a single completion and its prompt
/// need beyond that, they get.
pub fn packs(groups: &[Group], asked: &[Asked], max_tokens: usize) -> Vec<Pack> {
    let mut packs: Vec<Pack> = Vec::new();
    let mut n_tokens = 0;
    for (group_idx, group) in groups.iter().enumerate() {
        let n_prompt = asked[group.prompt].ids.len();
        for (idx, track) in group.tracks.iter().enumerate() {
            let last = packs.last_mut().and_then(|pack| pack.0.last_mut());
            let goes_on = last.filter(|part| part.group == group_idx);
            // The first completion of a part brings the prompt.
            let more = track.n_tokens() + if goes_on.is_some() { 0 } else { n_prompt };
            let has_room = n_tokens + more <= max_tokens;
            if let (Some(part), true) = (goes_on, has_room) {
                part.tracks.end = idx + 1;
                n_tokens += more;
                continue;
            }
            if !has_room || packs.is_empty() {
                packs.push(Pack::default());
                n_tokens = 0;
            }
            n_tokens += n_prompt + track.n_tokens();
            if let Some(pack) = packs.last_mut() {
                pack.0.push(Part { group: group_idx, tracks: idx..idx + 1 });
            }
        }
    }
    packs
}

impl Pack {
    /// The completions, in the order of the batch's targets.
    pub fn tracks<'a>(&'a self, groups: &'a [Group]) -> impl Iterator<Item = &'a Track> {
        self.0.iter().flat_map(|part| &groups[part.group].tracks[part.tracks.clone()])
    }

    /// The batch; its targets are the drawn tokens of all completions, in order.
    pub fn batch(
        &self,
        groups: &[Group],
        asked: &[Asked],
        weight: impl Fn(&Track) -> f64,
    ) -> Batch {
        let mut batch = Batch::default();
        for Part { group, tracks } in &self.0 {
            let group = &groups[*group];
            let completions = group.tracks[tracks.clone()].iter().map(|track| Completion {
                tokens: &track.acted.tokens,
                is_drawn: &track.acted.is_drawn,
                weight: weight(track) as f32,
            });
            batch.push_tree(&asked[group.prompt].ids, completions);
        }
        batch
    }

    /// Numbers of all drawn tokens, in the order of the batch's targets.
    pub fn in_order(&self, groups: &[Group], of: impl Fn(&Track) -> &[f64]) -> Vec<f64> {
        self.tracks(groups).flat_map(|track| of(track).to_vec()).collect()
    }

    /// Hands out what is in the order of the batch's targets to the completions.
    pub fn hand_out<T>(
        &self,
        groups: &mut [Group],
        all: Vec<T>,
        mut give: impl FnMut(&mut Track, Vec<T>),
    ) {
        let mut all = all.into_iter();
        for Part { group, tracks } in &self.0 {
            for track in &mut groups[*group].tracks[tracks.clone()] {
                let of_track = all.by_ref().take(track.n_drawn()).collect();
                give(track, of_track);
            }
        }
    }
}

/// What else each target could have been: of a step without a grammar, all that is not silent.
pub struct Masks<'a> {
    silent: &'a [u32],
    allowed: Vec<Arc<TokenSet>>,
}

impl<'a> Masks<'a> {
    pub fn new(pack: &Pack, groups: &[Group], silent: &'a [u32]) -> Self {
        let allowed = pack.tracks(groups).flat_map(|track| &track.acted.allowed).cloned();
        Self { silent, allowed: allowed.collect() }
    }

    /// Lowers the logits of what target `idx` could not have been.
    pub fn apply(&self, idx: usize, logits: &mut [f32]) {
        match self.allowed.get(idx) {
            Some(allowed) => allow(logits, |id| allowed.contains(id)),
            None => silence(logits, self.silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;
    use crate::stage::StageKind;
    use crate::train::rl::actor::Acted;
    use crate::train::scored::ScoredSample;

    fn group(prompt: usize, lengths: &[usize]) -> Group {
        let track = |length: &usize| {
            Track::new(Acted {
                tokens: vec![0; *length],
                is_drawn: vec![true; *length],
                allowed: Vec::new(),
                engine_logprob: 0.0,
                judged: ScoredSample {
                    completion: String::new(),
                    rejection: None,
                    score: None,
                    resolved: None,
                    reward: 0.0,
                },
                thought_tokens: 0,
            })
        };
        Group { prompt, tracks: lengths.iter().map(track).collect() }
    }

    #[test]
    fn a_pack_holds_what_fits_and_a_large_group_is_cut() {
        let asked = [10, 4].map(|n| Asked {
            name: String::new(),
            stage: StageKind::File,
            prompt: Prompt { messages: Vec::new() },
            ids: vec![0; n],
            grammar: None,
            max_tokens: 9,
        });
        let groups = [group(0, &[5, 5, 5]), group(1, &[1, 2]), group(0, &[30])];
        let found: Vec<Vec<(usize, Range<usize>)>> = packs(&groups, &asked, 22)
            .into_iter()
            .map(|pack| pack.0.into_iter().map(|part| (part.group, part.tracks)).collect())
            .collect();
        // 10 + 5 + 5; then 10 + 5 and 4 + 1 + 2; the last is longer than a pack.
        assert_eq!(found, [vec![(0, 0..2)], vec![(0, 2..3), (1, 0..2)], vec![(2, 0..1)]]);
    }
}
