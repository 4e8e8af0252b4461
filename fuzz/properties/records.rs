//! Records of a benchmark, as lines and as a list; and what another one hides and expects.

use serde_json::{Value, json};
use sorft::general::livecodebench::decimal::equal_numbers;
use sorft::general::livecodebench::hidden::unpickle;
use sorft::general::livecodebench::value::Value as Returned;
use sorft::instance::Instance;
use sorft::instance::dataset::parse_dataset;

/// What is accepted is the same when it is written again, one a line or as one list.
pub(crate) fn check(data: &[u8]) {
    check_tests(data);
    let Ok(dataset) = parse_dataset(&String::from_utf8_lossy(data)) else { return };
    for problem in &dataset.problems {
        assert!(!problem.place.is_empty() && !problem.why.is_empty());
    }
    for (at, instance) in dataset.instances.iter().enumerate() {
        let task = instance.task();
        for text in [&task.instance_id, &task.repo, &task.base_commit, &task.issue] {
            assert!(!text.trim().is_empty(), "{task:?}");
        }
        let same_id = |other: &Instance| other.task().instance_id == task.instance_id;
        assert!(!dataset.instances[..at].iter().any(same_id), "{} twice", task.instance_id);
    }
    let records: Vec<Value> = dataset.instances.iter().map(record_of).collect();
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    for text in [lines, Value::from(records).to_string()] {
        let again = parse_dataset(&text).expect("what was written by us is read");
        assert_eq!(again.problems, []);
        assert_eq!(again.instances, dataset.instances);
    }
}

/// A pickled text, an expected value and expected numbers are read or refused without harm.
fn check_tests(data: &[u8]) {
    if let Ok(text) = unpickle(data) {
        assert!(text.len() < data.len());
    }
    let text = String::from_utf8_lossy(data);
    drop(Returned::parse(&text));
    assert_eq!(equal_numbers(&text, "1 2"), equal_numbers("1 2", &text));
}

fn record_of(instance: &Instance) -> Value {
    let (task, solution) = (instance.task(), instance.solution());
    json!({
        "instance_id": task.instance_id,
        "repo": task.repo,
        "base_commit": task.base_commit,
        "problem_statement": task.issue,
        "text_kind": task.text_kind,
        "split": task.split,
        "patch": solution.patch,
        "test_patch": solution.test_patch,
        "hints_text": solution.hints,
        "FAIL_TO_PASS": solution.fail_to_pass,
        // As the published files have it.
        "PASS_TO_PASS": Value::from(solution.pass_to_pass.as_slice()).to_string(),
        "version": solution.version,
        "environment_setup_commit": solution.environment_setup_commit,
        "eval_type": solution.eval_type,
        "eval_script": solution.eval_script,
    })
}
