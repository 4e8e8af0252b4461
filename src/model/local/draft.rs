//! Guesses of what a sample says next: what followed the same tokens earlier in its prompt, or in
//! itself (prompt-lookup decoding; verified as in Leviathan et al., arXiv 2211.17192).
//!
//! Edits repeat the code that they change, so such guesses are often right. The network computes
//! guessed tokens in the same step as the token before them; each is then drawn as it would have
//! been without a guess, and what was computed after the first wrong one is forgotten. Results are
//! therefore the same with and without guesses, greedy or sampled.

/// Tokens that must have been said before for what followed them to be a guess.
const MIN_MATCH: usize = 3;
/// Longer matches are no better.
const MAX_MATCH: usize = 12;
/// A longer guess is wrong somewhere.
const MAX_LEN: usize = 12;
/// The first guess.
const FIRST_LEN: usize = 4;

/// How far a sample's next tokens are guessed: further while guesses come true.
#[derive(Debug, Clone)]
pub struct Drafting {
    len: usize,
}

impl Default for Drafting {
    fn default() -> Self {
        Self { len: FIRST_LEN }
    }
}

impl Drafting {
    /// At most `room` tokens that may go on from `prompt` with `completion` behind it.
    pub fn guess(&self, prompt: &[u32], completion: &[u32], room: usize) -> Vec<u32> {
        let len = self.len.min(room);
        if len == 0 {
            return Vec::new();
        }
        let said = Said { prompt, completion };
        said.after_longest_match().map_or_else(Vec::new, |start| {
            (start..said.len()).take(len).filter_map(|at| said.at(at)).collect()
        })
    }

    /// Takes into account that the first `n_right` of `n_guessed` tokens came true.
    pub fn learn(&mut self, n_guessed: usize, n_right: usize) {
        if n_guessed == 0 {
            return;
        }
        self.len = match n_right == n_guessed {
            true => self.len.max(2 * n_right).min(MAX_LEN),
            false => n_right.max(1),
        };
    }
}

/// A prompt and its completion as one text.
#[derive(Clone, Copy)]
struct Said<'a> {
    prompt: &'a [u32],
    completion: &'a [u32],
}

impl Said<'_> {
    fn len(&self) -> usize {
        self.prompt.len() + self.completion.len()
    }

    fn at(&self, idx: usize) -> Option<u32> {
        let in_completion = || self.completion.get(idx.checked_sub(self.prompt.len())?);
        self.prompt.get(idx).or_else(in_completion).copied()
    }

    /// Where the text went on after the longest earlier run of tokens that it now ends with; the
    /// last of several that are as long.
    fn after_longest_match(&self) -> Option<usize> {
        let n_said = self.len();
        let (mut best, mut longest) = (None, MIN_MATCH - 1);
        for end in (MIN_MATCH..n_said).rev() {
            let matches = |back: &usize| self.at(end - back) == self.at(n_said - back);
            // Most places differ in the last token already.
            let n_same = (1..=MAX_MATCH.min(end)).take_while(matches).count();
            if longest < n_same {
                (best, longest) = (Some(end), n_same);
            }
            if longest == MAX_MATCH {
                break;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guesses by characters.
    #[track_caller]
    fn check(prompt: &str, completion: &str, wanted: &str) {
        let tokens = |text: &str| text.chars().map(u32::from).collect::<Vec<_>>();
        let guess = Drafting::default().guess(&tokens(prompt), &tokens(completion), 100);
        let guess: String = guess.into_iter().filter_map(char::from_u32).collect();
        assert_eq!(guess, wanted);
    }

    #[test]
    fn what_followed_the_same_tokens_is_guessed() {
        check("def area(side): ...", "def ar", "ea(s");
        check("one two three", "two two", " thr");
        check("nothing alike", "xyz", "");
        check("", "", "");
    }

    #[test]
    fn the_longest_match_counts_and_of_equal_ones_the_last() {
        check("return a.x; yield a.y; return b.z", "return a.", "x; y");
        check("say one; say two", "say ", "twos");
    }

    #[test]
    fn a_sample_repeats_itself_too_also_across_its_prompt() {
        check("", "abcd abc", "d ab");
        check("ab", "cde abc", "de a");
    }

    #[test]
    fn guesses_grow_while_they_come_true() {
        let mut drafting = Drafting::default();
        let mut next = |n_guessed, n_right| {
            drafting.learn(n_guessed, n_right);
            drafting.len
        };
        assert_eq!([next(4, 4), next(8, 8), next(12, 12)], [8, 12, 12]);
        assert_eq!([next(12, 5), next(5, 0), next(1, 1), next(2, 2)], [5, 1, 2, 4]);
        assert_eq!(next(0, 0), 4, "nothing was guessed");
        assert_eq!(next(2, 2), 4, "a guess that had no more room says nothing against longer ones");
    }
}
