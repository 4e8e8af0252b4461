//! How many completions a core rewards in a second, by stage and kind of completion.
//!
//!     cargo bench --bench rewards [-- EPISODES]
//!
//! By default the episodes are made from a generated repository; with a file of episodes, their own
//! true answers are rewarded.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![expect(clippy::print_stdout, reason = "the result")]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sorft::diff::change::{FileChange, FileState};
use sorft::index::retrieval::{RankOptions, rank};
use sorft::index::{Index, IndexOptions};
use sorft::prompt::EstimateTokens;
use sorft::prompt::template::Templates;
use sorft::repo::path::RepoPath;
use sorft::repo::snapshot::{FileKind, MAX_FILE_BYTES, Snapshot, SnapshotOptions};
use sorft::search_replace::fence::Ended;
use sorft::stage::episode::{Expect, Truth};
use sorft::stage::episodes::episodes;
use sorft::stage::gold::{Gold, GoldFiles};
use sorft::stage::profile::Profile;
use sorft::stage::score::RewardOptions;
use sorft::stage::{Context, StageKind};
use sorft::train::data::row::{EPISODE_ROW_VERSION, EpisodeRow};
use sorft::train::reward::{Question, Rewards, episode_id};
use sorft::train::rows::read_rows;

const N_FILES: usize = 40;

/// How long a figure is measured.
const SPAN: Duration = Duration::from_secs(2);

fn file(number: usize) -> String {
    let mut text =
        format!("\"\"\"Orders of kind {number}.\"\"\"\n\n\nclass Order{number}(Base):\n");
    for method in 0..12 {
        text.push_str(&format!(
            "    def total_{method}(self, items, rate={method}):\n        \
             \"\"\"The sum of {method} kinds of items.\"\"\"\n        \
             if items is None:\n            \
             raise ValueError(f'the price of item {{rate}} is below zero')\n        \
             amount = sum(item.price_{number} * rate for item in items)\n        \
             return helper(amount, self.limit_{method})\n\n"
        ));
    }
    text
}

/// An episode of each stage for each file of a generated repository.
fn generated() -> Vec<EpisodeRow> {
    let root = tempfile::tempdir().unwrap();
    for number in 0..N_FILES {
        let folder = root.path().join(format!("shop/package_{}", number / 10));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("order_{number}.py")), file(number)).unwrap();
    }
    let options = SnapshotOptions { revision: None, max_file_bytes: MAX_FILE_BYTES, cache: None };
    let snapshot = Arc::new(Snapshot::open(root.path(), &options).unwrap());
    let index = Arc::new(Index::build(snapshot, &IndexOptions::default()).unwrap());
    let templates = Arc::new(Templates::new(&BTreeMap::new()).unwrap());
    let mut rows = Vec::new();
    for number in 0..N_FILES {
        let issue = format!("`Order{number}.total_7` of order_{number} leaves the last item out");
        let options = RankOptions { max_files: 200, max_symbols: 200, max_symbols_per_file: 24 };
        let ranking = rank(&index, &issue, &options);
        let (index, templates) = (Arc::clone(&index), Arc::clone(&templates));
        let context = Context { issue, index, ranking, templates };
        let path = format!("shop/package_{}/order_{number}.py", number / 10);
        let state = |text: String| FileState {
            path: RepoPath::parse(&path).unwrap(),
            kind: FileKind::Regular,
            bytes: text.into_bytes(),
        };
        let patched = file(number).replace("rate=7):\n", "rate=7, last=0):\n");
        let change = FileChange::Changed { before: state(file(number)), after: state(patched) };
        let golds = [Gold::new(&context.index, &[change], GoldFiles::All)];
        let instance = format!("me__shop-{number}");
        let truth = Truth { instance_id: &instance, golds: &golds, expect: Expect::InView };
        let stages = Profile::Small.stages();
        for episode in episodes(&stages, &context, &truth, &EstimateTokens).episodes {
            rows.push(EpisodeRow {
                version: EPISODE_ROW_VERSION,
                instance_id: instance.clone(),
                stage: episode.kind(),
                repo: "me/shop".to_owned(),
                text_kind: None,
                split: None,
                answer: Some(answer(episode.kind(), &path)),
                episode,
            });
        }
    }
    rows
}

fn answer(stage: StageKind, path: &str) -> String {
    let number = path.trim_end_matches(".py").rsplit('_').next().unwrap();
    match stage {
        StageKind::File => format!("```\n{path}\nshop/package_0/order_1.py\n```"),
        StageKind::Function => {
            format!(
                "```\n{path}\nfunction: Order{number}.total_7\nfunction: Order{number}.total_8\n```"
            )
        }
        StageKind::Line => format!("```\n{path}\nline: 54\nline: 55\nline: 57\n```"),
        StageKind::Edit => {
            let line = |end: &str| format!("    def total_7(self, items, rate=7{end}):\n");
            format!(
                "```\n### {path}\n<<<<<<< SEARCH\n{}=======\n{}>>>>>>> REPLACE\n```",
                line(""),
                line(", last=0")
            )
        }
    }
}

/// Answers that one core rewards in a second, and the share of them with a hit.
fn speed(rewards: &Rewards, questions: &[Question]) -> (f64, f64) {
    let start = Instant::now();
    let (mut n, mut n_hits) = (0_usize, 0_usize);
    while start.elapsed() < SPAN {
        for question in questions {
            n_hits += usize::from(black_box(rewards.judge_one(question).unwrap()).hit);
        }
        n += questions.len();
    }
    (n as f64 / start.elapsed().as_secs_f64(), n_hits as f64 / n as f64)
}

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let rows = given.map_or_else(generated, |path| read_rows(Path::new(&path)).unwrap());
    let questions: Vec<(StageKind, Question)> = rows
        .iter()
        .filter_map(|row| {
            let id = episode_id(&row.instance_id, row.stage);
            let completion = row.answer.clone()?;
            Some((row.stage, Question { id, completion, ended: Ended::ByItself }))
        })
        .collect();
    let rewards = Rewards::new(rows, RewardOptions::PAPER, None).unwrap();
    println!("{} episodes, one core", rewards.n_episodes());
    println!("{:>9} {:>8} {:>12} {:>6}", "stage", "answers", "per second", "hit");
    for stage in StageKind::ALL {
        let of_stage =
            |(kind, question): &(StageKind, Question)| (*kind == stage).then(|| question.clone());
        let questions: Vec<Question> = questions.iter().filter_map(of_stage).collect();
        if !questions.is_empty() {
            let (speed, hit) = speed(&rewards, &questions);
            println!(
                "{:>9} {:>8} {speed:>12.0} {:>5.0}%",
                stage.name(),
                questions.len(),
                100.0 * hit
            );
        }
    }
}
