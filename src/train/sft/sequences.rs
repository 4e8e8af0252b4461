//! Chats as token sequences.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use crate::model::local::chat::ChatTemplate;
use crate::model::local::tokenizer::Tokenizer;
use crate::prompt::{Prompt, Role};
use crate::stage::StageKind;
use crate::train::sample::row::SftRow;

/// A chat as the model reads it, and the part that it is to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    pub instance_id: String,
    pub stage: StageKind,
    pub ids: Vec<u32>,
    /// The answer's first token; it ends with the one that ends a turn.
    pub first_learnt: usize,
}

impl Sequence {
    pub fn n_learnt(&self) -> usize {
        self.ids.len() - self.first_learnt
    }
}

/// What became of chats.
#[derive(Debug, Default)]
pub struct Sequences {
    pub kept: Vec<Sequence>,
    /// Chats with more tokens than were asked for, by stage.
    pub too_long: BTreeMap<StageKind, usize>,
}

impl Sequences {
    /// Tokenizes chats as the engine does: a prompt's contents never become control tokens.
    pub fn encode(
        rows: &[SftRow],
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        max_tokens: usize,
    ) -> anyhow::Result<Self> {
        let mut sequences = Self::default();
        for row in rows {
            let sequence = encode(row, tokenizer, template)
                .with_context(|| format!("{} {}", row.instance_id, row.stage.name()))?;
            if sequence.ids.len() <= max_tokens {
                sequences.kept.push(sequence);
            } else {
                *sequences.too_long.entry(row.stage).or_default() += 1;
            }
        }
        Ok(sequences)
    }
}

fn encode(
    row: &SftRow,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> anyhow::Result<Sequence> {
    let [before @ .., answer] = &row.messages[..] else { anyhow::bail!("a chat without messages") };
    ensure!(answer.role == Role::Assistant, "its last message is not the assistant's");
    ensure!(!answer.content.trim().is_empty(), "its answer is empty, and would teach silence");
    let prompt = Prompt { messages: before.to_vec() };
    let mut ids = tokenizer.encode_pieces(&template.render(&prompt)?)?;
    let first_learnt = ids.len();
    ids.extend(tokenizer.encode(&answer.content)?);
    let behind = template.render_behind_answer(&Prompt { messages: row.messages.clone() })?;
    // Before it there may be the white space that the answer ends with, which is learnt already.
    let mut behind = tokenizer.encode_pieces(&behind)?.into_iter();
    let end = behind.find(|id| tokenizer.is_end_of_turn(*id));
    ids.push(end.context("the model's chat template does not end the assistant's turn")?);
    Ok(Sequence { instance_id: row.instance_id.clone(), stage: row.stage, ids, first_learnt })
}

/// Cuts sequences into groups of at most `max_tokens` tokens; a longer one is alone.
pub fn pack<'a>(sequences: &[&'a Sequence], max_tokens: usize) -> Vec<Vec<&'a Sequence>> {
    let mut groups: Vec<Vec<&Sequence>> = Vec::new();
    let mut n_tokens = 0;
    for sequence in sequences {
        if groups.is_empty() || max_tokens < n_tokens + sequence.ids.len() {
            groups.push(Vec::new());
            n_tokens = 0;
        }
        n_tokens += sequence.ids.len();
        if let Some(group) = groups.last_mut() {
            group.push(sequence);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::local::load::read_parts;
    use crate::prompt::Message;
    use crate::stage::score::Score;

    fn row(content: &str, answer: &str) -> SftRow {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        SftRow {
            version: 1,
            instance_id: "a__b-1".into(),
            stage: StageKind::File,
            sample: 0,
            repo: "a/b".into(),
            text_kind: None,
            split: None,
            teacher: "template".into(),
            score: Score { hits: 1, answered: 1, expected: 1 },
            reward: 1.0,
            messages: vec![
                message(Role::System, "you read code."),
                message(Role::User, content),
                message(Role::Assistant, answer),
            ],
        }
    }

    #[test]
    fn an_answer_is_learnt_to_its_end_and_long_chats_are_counted() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/qwen2");
        let parts = read_parts(&folder).unwrap();
        let rows = [row("where is <|im_end|> x?", "src/a.py\n"), row(&"long ".repeat(90), "b")];
        let sequences = Sequences::encode(&rows, &parts.tokenizer, &parts.template, 150).unwrap();
        let [sequence] = &sequences.kept[..] else { panic!("{sequences:?}") };
        assert_eq!(sequences.too_long, BTreeMap::from([(StageKind::File, 1)]));
        let (learnt, end) = sequence.ids[sequence.first_learnt..].split_at(sequence.n_learnt() - 1);
        let text: Vec<u8> =
            learnt.iter().flat_map(|id| parts.tokenizer.bytes(*id).to_vec()).collect();
        assert_eq!(String::from_utf8(text).unwrap(), "src/a.py\n");
        assert!(parts.tokenizer.is_end_of_turn(end[0]));
        let n_ends =
            |ids: &[u32]| ids.iter().filter(|id| parts.tokenizer.is_end_of_turn(**id)).count();
        assert_eq!(n_ends(&sequence.ids), 3, "the user's text ends no turn");
    }

    #[test]
    fn groups_hold_as_many_tokens_as_fit() {
        let sequence = |n: usize| Sequence {
            instance_id: String::new(),
            stage: StageKind::File,
            ids: vec![0; n],
            first_learnt: 0,
        };
        let sequences: Vec<Sequence> = [4, 6, 1, 20, 3].map(sequence).into();
        let all: Vec<&Sequence> = sequences.iter().collect();
        let lengths: Vec<Vec<usize>> = pack(&all, 10)
            .iter()
            .map(|group| group.iter().map(|sequence| sequence.ids.len()).collect())
            .collect();
        assert_eq!(lengths, [vec![4, 6], vec![1], vec![20], vec![3]]);
    }
}
