//! The sequences of one step, side by side, and the tokens that are asked for.

use std::ops::Range;

/// Sequences of one step, one behind the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    pub ids: Vec<u32>,
    /// Together all of `ids`.
    pub runs: Vec<Run>,
    pub targets: Vec<Target>,
}

/// Rows of a batch that follow each other, behind what they share with other runs.
///
/// A row attends to the prefix and to its run up to itself: completions of one prompt are a tree,
/// whose stem is computed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub rows: Range<usize>,
    /// Rows of an earlier run that has no prefix; empty where the sequence begins here.
    pub prefix: Range<usize>,
}

/// A token to predict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The row that predicts it.
    pub row: usize,
    pub token: u32,
    /// What its loss counts.
    pub weight: f32,
}

/// What stands behind a prompt.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    pub tokens: &'a [u32],
    /// Of each token, whether the model chose it.
    pub is_drawn: &'a [bool],
    pub weight: f32,
}

impl Batch {
    /// Adds a sequence, of which the tokens from `first_learnt` on are learnt with `weight`.
    pub fn push(&mut self, ids: &[u32], first_learnt: usize, weight: f32) {
        let rows = self.push_run(ids, 0..0);
        let learnt = (first_learnt.max(1)..ids.len()).map(|at| Target {
            row: rows.start + at - 1,
            token: ids[at],
            weight,
        });
        self.targets.extend(learnt);
    }

    /// Adds a prompt and its completions; targets are the tokens that are drawn, completion by
    /// completion, each with its completion's weight.
    ///
    /// # Panics
    ///
    /// The prompt is empty, so that nothing predicts a completion's first token.
    pub fn push_tree<'a>(
        &mut self,
        prompt: &[u32],
        completions: impl IntoIterator<Item = Completion<'a>>,
    ) {
        assert!(!prompt.is_empty(), "a prompt before its completions");
        let stem = self.push_run(prompt, 0..0);
        for Completion { tokens, is_drawn, weight } in completions {
            let Some((_, seen)) = tokens.split_last() else { continue };
            let rows = self.push_run(seen, stem.clone());
            let predicting = [stem.end - 1].into_iter().chain(rows);
            let drawn = predicting.zip(tokens).zip(is_drawn).filter(|(_, is_drawn)| **is_drawn);
            self.targets.extend(drawn.map(|((row, &token), _)| Target { row, token, weight }));
        }
    }

    fn push_run(&mut self, ids: &[u32], prefix: Range<usize>) -> Range<usize> {
        let rows = self.ids.len()..self.ids.len() + ids.len();
        self.ids.extend_from_slice(ids);
        if !rows.is_empty() {
            self.runs.push(Run { rows: rows.clone(), prefix });
        }
        rows
    }

    /// How far each row is from the beginning of its sequence.
    pub(super) fn positions(&self) -> Vec<usize> {
        let positions = self.runs.iter().flat_map(|run| {
            let n_before = run.prefix.len();
            (0..run.rows.len()).map(move |at| n_before + at)
        });
        positions.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_learnt_from_the_token_that_is_named() {
        let mut batch = Batch::default();
        batch.push(&[5, 6, 7], 2, 1.0);
        batch.push(&[8, 9], 0, 0.5);
        let targets: Vec<(usize, u32, f32)> =
            batch.targets.iter().map(|t| (t.row, t.token, t.weight)).collect();
        assert_eq!(targets, [(1, 7, 1.0), (3, 9, 0.5)]);
        assert_eq!(batch.positions(), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn completions_stand_behind_their_prompt_and_their_last_token_is_only_predicted() {
        let mut batch = Batch::default();
        let completion = |tokens, is_drawn, weight| Completion { tokens, is_drawn, weight };
        batch.push_tree(
            &[1, 2],
            [
                completion(&[3, 4, 5], &[true, false, true], 1.0),
                completion(&[6], &[true], 2.0),
                completion(&[7, 8], &[true, true], 3.0),
            ],
        );
        assert_eq!(batch.ids, [1, 2, 3, 4, 7]);
        assert_eq!(batch.positions(), [0, 1, 2, 3, 2]);
        let targets: Vec<(usize, u32, f32)> =
            batch.targets.iter().map(|t| (t.row, t.token, t.weight)).collect();
        let wanted = [(1, 3, 1.0), (3, 5, 1.0), (1, 6, 2.0), (1, 7, 3.0), (4, 8, 3.0)];
        assert_eq!(targets, wanted);
        let stem = Run { rows: 0..2, prefix: 0..0 };
        let runs = [2..4, 4..5].map(|rows| Run { rows, prefix: 0..2 });
        assert_eq!(batch.runs, [&[stem][..], &runs[..]].concat());
    }
}
