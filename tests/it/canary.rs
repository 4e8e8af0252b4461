//! What gives a solution away never reaches a prompt: not the other fields of a record, and
//! nothing of the repository that is younger than the base commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sorft::diff::change::FileState;
use sorft::diff::patch::Patch;
use sorft::index::retrieval::{RankOptions, rank};
use sorft::index::{Index, IndexOptions};
use sorft::instance::Instance;
use sorft::instance::dataset::parse_dataset;
use sorft::prompt::EstimateTokens;
use sorft::prompt::template::Templates;
use sorft::repo::path::RepoPath;
use sorft::repo::snapshot::{FileKind, MAX_FILE_BYTES, Snapshot, SnapshotOptions};
use sorft::stage::Context;
use sorft::stage::episode::{Expect, Truth};
use sorft::stage::episodes::episodes;
use sorft::stage::gold::{Gold, GoldFiles};
use sorft::stage::profile::Profile;

use crate::machine::{Machine, RIGHT, check_said, script};
use crate::server::Server;

/// Stands in everything that may not be seen; an issue cannot hold it by chance.
const CANARY: &str = "canary_7f3a91";
const PATH: &str = "timesheet/durations.py";
const ISSUE: &str = "parse_duration(\"1h30m\") gives 1800 and not 5400, see timesheet/durations.py";

/// The demo as a repository whose later history is full of canaries; gives its base commit.
fn history(machine: &Machine) -> String {
    let repository = machine.commit_all();
    let base = repository.head().unwrap().peel_to_commit().unwrap().id();
    let repo = machine.repo();
    let text = fs::read_to_string(repo.join(PATH)).unwrap();
    let later = text.replace("seconds = int(amount)", "seconds += int(amount)");
    fs::write(repo.join(PATH), format!("{CANARY} = 1\n{later}# {CANARY}\n")).unwrap();
    fs::write(repo.join(format!("timesheet/{CANARY}.py")), format!("def {CANARY}(): 1\n")).unwrap();
    fs::write(repo.join("README.md"), CANARY).unwrap();
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = git2::Signature::now(CANARY, "a@example.com").unwrap();
    let parent = repository.find_commit(base).unwrap();
    let message = format!("parse_duration: {CANARY}");
    let id = repository.commit(Some("HEAD"), &author, &author, &message, &tree, &[&parent]);
    let commit = repository.find_commit(id.unwrap()).unwrap();
    repository.branch(&format!("fix-parse_duration-{CANARY}"), &commit, false).unwrap();
    base.to_string()
}

/// A record with the canary in every field but those that are known when an issue is filed.
fn record(base: &str) -> Instance {
    let patch = format!(
        "diff --git a/{PATH} b/{PATH}\n--- a/{PATH}\n+++ b/{PATH}\n@@ -17 +17 @@\n\
         -        seconds = int(amount) * SECONDS_PER_UNIT[unit]\n\
         +        seconds += int(amount) * SECONDS_PER_UNIT[unit]  # {CANARY}\n"
    );
    let record = json!({
        "instance_id": "demo__timesheet-1",
        "repo": "demo/timesheet",
        "base_commit": base,
        "problem_statement": ISSUE,
        "patch": patch,
        "test_patch": CANARY,
        "hints_text": format!("parse_duration {CANARY}"),
        "FAIL_TO_PASS": [CANARY],
        "PASS_TO_PASS": [CANARY],
        "version": CANARY,
        "environment_setup_commit": CANARY,
        "eval_script": CANARY,
        "created_at": CANARY,
    });
    parse_dataset(&record.to_string()).unwrap().instances.remove(0)
}

#[test]
fn a_canary_in_the_solution_or_in_later_commits_reaches_no_prompt() {
    let machine = Machine::new();
    let instance = record(&history(&machine));
    let task = instance.task();
    let options = SnapshotOptions {
        revision: Some(task.base_commit.clone()),
        max_file_bytes: MAX_FILE_BYTES,
        cache: None,
    };
    let snapshot = Arc::new(Snapshot::open(&machine.repo(), &options).unwrap());
    let index = Arc::new(Index::build(snapshot, &IndexOptions::default()).unwrap());
    let ranking = rank(
        &index,
        &task.issue,
        &RankOptions { max_files: 200, max_symbols: 200, max_symbols_per_file: 24 },
    );
    let path = RepoPath::parse(PATH).unwrap();
    let bytes = index.snapshot().read_bytes(&path).unwrap();
    let base = FileState { path: path.clone(), kind: FileKind::Regular, bytes };
    let patch = Patch::parse(instance.solution().patch.as_bytes()).unwrap();
    let changes = patch.apply(&BTreeMap::from([(path, base)])).unwrap();
    let golds = [Gold::new(&index, &changes, GoldFiles::All)];
    let templates = Arc::new(Templates::new(&BTreeMap::new()).unwrap());
    let context = Context { issue: task.issue.clone(), index, ranking, templates };
    let truth = Truth { instance_id: &task.instance_id, golds: &golds, expect: Expect::All };
    for profile in [Profile::Small, Profile::Medium, Profile::Large] {
        let found = episodes(&profile.stages(), &context, &truth, &EstimateTokens);
        assert_eq!(found.episodes.len(), 4, "{:?}", found.left_out);
        for episode in &found.episodes {
            let prompt = serde_json::to_string(&episode.prompt).unwrap();
            assert!(prompt.contains("parse_duration"), "{prompt}");
            assert!(!prompt.contains(CANARY), "{:?}: {prompt}", episode.kind());
        }
        // The judge's side does know the solution, so the canary is where it was put.
        assert!(serde_json::to_string(&found.episodes).unwrap().contains(CANARY));
    }
}

#[test]
fn a_canary_in_later_commits_is_not_asked_about() {
    let machine = Machine::new();
    let base = history(&machine);
    let server = Server::start(script(vec![RIGHT]));
    let (url, repo) = (server.url(), Path::new("repo"));
    let fix = |more: &[&str]| {
        let mut arguments = vec!["fix", repo.to_str().unwrap(), "--issue-text", ISSUE];
        arguments.extend(["--endpoint", &url, "--effort", "quick"].iter().chain(more));
        machine.sorft(&arguments)
    };
    check_said(&fix(&["--at", &base]), 0, &["UNVERIFIED:"]);
    assert!(server.prompts().contains("parse_duration"));
    assert!(!server.prompts().contains(CANARY));
    // The canary would be seen: at the later commit it is.
    let _output = fix(&["--at", "HEAD"]);
    assert!(server.prompts().contains(CANARY));
}
