//! Files of JSON lines, as TRL and OpenRLHF read them.

use serde::Serialize;
use serde_json::json;

use crate::train::data::row::EpisodeRow;
use crate::train::export::Part;
use crate::train::reward::episode_id;
use crate::train::sample::row::SftRow;

/// Prompt and completion apart: TRL then learns the completion alone.
pub(super) fn chats(rows: &[SftRow]) -> anyhow::Result<Part> {
    lines(rows, |row| {
        let n_prompt = row.messages.len().saturating_sub(1);
        let (prompt, completion) = row.messages.split_at(n_prompt);
        json!({ "prompt": prompt, "completion": completion })
    })
}

/// Prompts for TRL's online trainers; the other columns reach the reward function.
pub(super) fn trl_episodes(rows: &[EpisodeRow]) -> anyhow::Result<Part> {
    lines(rows, |row| {
        json!({
            "prompt": row.episode.prompt.messages,
            "episode": episode_id(&row.instance_id, row.stage),
            "stage": row.stage,
        })
    })
}

/// Prompts for OpenRLHF; the label is what its reward function and remote rewards are asked with.
pub(super) fn openrlhf_episodes(rows: &[EpisodeRow]) -> anyhow::Result<Part> {
    lines(rows, |row| {
        json!({
            "input": row.episode.prompt.messages,
            "label": episode_id(&row.instance_id, row.stage),
            "datasource": format!("sorft/{}", row.stage.name()),
        })
    })
}

fn lines<T, R: Serialize>(rows: &[T], line: impl Fn(&T) -> R) -> anyhow::Result<Part> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, &line(row))?;
        bytes.push(b'\n');
    }
    Ok(Part { n: rows.len(), bytes })
}
