//! Parquet files, as verl reads them.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::train::data::row::EpisodeRow;
use crate::train::export::Part;
use crate::train::reward::episode_id;

/// The columns, in the order in which they are written.
const SCHEMA: &str = "message verl {
    REQUIRED BYTE_ARRAY data_source (UTF8);
    REQUIRED GROUP prompt (LIST) {
        REPEATED GROUP list {
            REQUIRED GROUP element {
                REQUIRED BYTE_ARRAY role (UTF8);
                REQUIRED BYTE_ARRAY content (UTF8);
            }
        }
    }
    REQUIRED BYTE_ARRAY ability (UTF8);
    REQUIRED GROUP reward_model {
        REQUIRED BYTE_ARRAY style (UTF8);
        REQUIRED BYTE_ARRAY ground_truth (UTF8);
    }
    REQUIRED GROUP extra_info {
        REQUIRED BYTE_ARRAY split (UTF8);
        REQUIRED INT64 index;
        REQUIRED BYTE_ARRAY instance_id (UTF8);
        REQUIRED BYTE_ARRAY stage (UTF8);
    }
}";

/// Rows in a group, which is made in memory.
const GROUP: usize = 1000;

/// A leaf of the schema.
enum Column {
    Texts(Vec<ByteArray>),
    /// The texts of lists, and for each whether it goes on with the list before it.
    Lists(Vec<ByteArray>, Vec<i16>),
    Numbers(Vec<i64>),
}

/// Prompts with the ids of their episodes as truth, for verl's reward functions.
pub(super) fn verl_episodes(split: &str, rows: &[EpisodeRow]) -> anyhow::Result<Part> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    for (group_idx, group) in rows.chunks(GROUP).enumerate() {
        let mut columns = columns(split, group_idx * GROUP, group)?.into_iter();
        let mut group = writer.next_row_group()?;
        while let Some(mut column) = group.next_column()? {
            match columns.next().context("a column for each leaf")? {
                Column::Texts(texts) => {
                    column.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
                }
                Column::Lists(texts, repetitions) => {
                    let definitions = vec![1; texts.len()];
                    column.typed::<ByteArrayType>().write_batch(
                        &texts,
                        Some(&definitions),
                        Some(&repetitions),
                    )?;
                }
                Column::Numbers(numbers) => {
                    column.typed::<Int64Type>().write_batch(&numbers, None, None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(Part { n: rows.len(), bytes })
}

fn columns(split: &str, start: usize, rows: &[EpisodeRow]) -> anyhow::Result<Vec<Column>> {
    let texts = |text: &dyn Fn(&EpisodeRow) -> String| {
        Column::Texts(rows.iter().map(|row| ByteArray::from(text(row).into_bytes())).collect())
    };
    let (mut roles, mut contents, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let messages = &row.episode.prompt.messages;
        ensure!(!messages.is_empty(), "an episode of `{}` has an empty prompt", row.instance_id);
        for (idx, message) in messages.iter().enumerate() {
            let role = serde_json::to_value(message.role)?;
            roles.push(ByteArray::from(role.as_str().context("a role's name")?));
            contents.push(ByteArray::from(message.content.clone().into_bytes()));
            repetitions.push(i16::from(0 < idx));
        }
    }
    Ok(vec![
        texts(&|row| format!("sorft/{}", row.stage.name())),
        Column::Lists(roles, repetitions.clone()),
        Column::Lists(contents, repetitions),
        texts(&|_| "code".to_owned()),
        texts(&|_| "rule".to_owned()),
        texts(&|row| episode_id(&row.instance_id, row.stage)),
        texts(&|_| split.to_owned()),
        Column::Numbers((start..start + rows.len()).map(|idx| idx as i64).collect()),
        texts(&|row| row.instance_id.clone()),
        texts(&|row| row.stage.name().to_owned()),
    ])
}
