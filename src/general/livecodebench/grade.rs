//! What the tests say of a program, from what it did with their inputs.

use serde::{Deserialize, Serialize};

use crate::general::livecodebench::data::Test;
use crate::general::livecodebench::decimal::equal_numbers;
use crate::general::livecodebench::value::Value;
use crate::general::python_text::strip;

/// What the runner tells of a program.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// What it printed for the next input, its lines stripped.
    Output(String),
    /// What its function returned for the next input.
    Returned(Value),
    /// It did not get through the next input.
    Stopped { in_time: bool, why: String },
    /// It could not even begin.
    Broken(String),
    /// It got through all inputs.
    Done,
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// Of each test up to the first that it fails, as the reference numbers them: 1 right, 0 and
    /// −2 wrong, −3 too slow, −4 failed. Alone, −4 is a program that could not begin, and −2 may
    /// be one that ended without a word.
    pub results: Vec<i32>,
    pub outcome: Outcome,
    /// In words; empty where it is right.
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Right,
    Wrong,
    TooSlow,
    /// With an exception.
    Failed,
    /// It ended, or was ended, before it was through.
    Died,
    /// The answer holds no program.
    NoCode,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::TooSlow => "too slow",
            Self::Failed => "failed",
            Self::Died => "died",
            Self::NoCode => "no code",
        }
    }
}

impl Grade {
    /// Of an answer without a program.
    pub fn no_code() -> Self {
        Self {
            results: vec![FAILED],
            outcome: Outcome::NoCode,
            why: "no program between two fences".to_owned(),
        }
    }

    /// Of a program that did this with the tests' inputs; `ended` is how it ended, in words.
    pub fn new(tests: &[Test], is_function: bool, told: &[Told], ended: &str) -> Self {
        let expected: Result<Vec<Expected>, String> =
            tests.iter().map(|test| Expected::parse(&test.output, is_function)).collect();
        let expected = match expected {
            Ok(expected) => expected,
            Err(why) => {
                let why = format!("an expected output of the benchmark is no JSON: {why}");
                return Self { results: vec![FAILED], outcome: Outcome::Failed, why };
            }
        };
        let (mut results, mut told) = (Vec::new(), told.iter());
        for (idx, expected) in expected.iter().enumerate() {
            let at = |why: &str| format!("test {}: {why}", idx + 1);
            let (result, outcome, why) = match told.next() {
                Some(Told::Output(output)) => match expected.is_printed(output) {
                    true => (RIGHT, Outcome::Right, String::new()),
                    false => (WRONG_OUTPUT, Outcome::Wrong, at("another output")),
                },
                Some(Told::Returned(value)) => match expected.is_returned(value) {
                    true => (RIGHT, Outcome::Right, String::new()),
                    false => (WRONG_VALUE, Outcome::Wrong, at("another value")),
                },
                Some(Told::Stopped { in_time: false, .. }) => {
                    (TOO_SLOW, Outcome::TooSlow, at("the time was up"))
                }
                Some(Told::Stopped { why, .. }) => (FAILED, Outcome::Failed, at(why)),
                Some(Told::Broken(why)) => {
                    return Self {
                        results: vec![FAILED],
                        outcome: Outcome::Failed,
                        why: why.clone(),
                    };
                }
                Some(Told::Done) | None => {
                    let why = at(&format!("it ended before: {ended}"));
                    return Self { results: vec![DIED], outcome: Outcome::Died, why };
                }
            };
            results.push(result);
            if result != RIGHT {
                return Self { results, outcome, why };
            }
        }
        Self { results, outcome: Outcome::Right, why: String::new() }
    }

    /// Whether all tests pass.
    pub fn is_right(&self) -> bool {
        self.results.iter().all(|result| 0 < *result)
    }
}

const RIGHT: i32 = 1;
const WRONG_VALUE: i32 = 0;
const WRONG_OUTPUT: i32 = -2;
const TOO_SLOW: i32 = -3;
const FAILED: i32 = -4;
const DIED: i32 = -2;

/// What a test wants.
enum Expected {
    Lines(Vec<String>),
    Value(Value),
}

impl Expected {
    fn parse(output: &str, is_function: bool) -> Result<Self, String> {
        match is_function {
            true => Value::parse(output).map(Self::Value),
            false => Ok(Self::Lines(stripped_lines(output))),
        }
    }

    /// Whether a program that printed this is right: the same lines, or lines of the same numbers.
    fn is_printed(&self, output: &str) -> bool {
        let Self::Lines(expected) = self else { return false };
        let lines = stripped_lines(output);
        lines.len() == expected.len()
            && lines
                .iter()
                .zip(expected)
                .all(|(line, expected)| line == expected || equal_numbers(line, expected))
    }

    /// Whether a function that returned this is right; a tuple counts as a list.
    fn is_returned(&self, value: &Value) -> bool {
        let Self::Value(expected) = self else { return false };
        match value {
            Value::Tuple(items) => *expected == Value::List(items.clone()),
            value => value == expected,
        }
    }
}

fn stripped_lines(text: &str) -> Vec<String> {
    strip(text).split('\n').map(|line| strip(line).to_owned()).collect()
}

/// Reads what the runner wrote; lines that it did not write are stepped over.
pub fn parse_told(output: &[u8]) -> Vec<Told> {
    let told = |line: &[u8]| {
        let Value::Dict(mut entries) = Value::parse(std::str::from_utf8(line).ok()?).ok()? else {
            return None;
        };
        let mut text = |name: &str| match entries.remove(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        };
        if let Some(output) = text("output") {
            return Some(Told::Output(output));
        }
        if let Some(why) = text("broken") {
            return Some(Told::Broken(why));
        }
        if let Some(what) = text("stopped") {
            let why = text("why").unwrap_or_default();
            return Some(Told::Stopped { in_time: what != "time", why });
        }
        match (entries.remove("value"), entries.contains_key("done")) {
            (Some(value), _) => Some(Told::Returned(value.unmark())),
            (None, is_done) => is_done.then_some(Told::Done),
        }
    };
    output.split(|byte| *byte == b'\n').filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outputs: &[&str], is_function: bool, told: &str, results: &[i32], outcome: Outcome) {
        let tests: Vec<Test> = outputs
            .iter()
            .map(|output| Test { input: String::new(), output: (*output).to_owned() })
            .collect();
        let grade = Grade::new(&tests, is_function, &parse_told(told.as_bytes()), "exit status 1");
        assert_eq!((&grade.results[..], grade.outcome), (results, outcome), "{told} {grade:?}");
        assert_eq!(grade.is_right(), outcome == Outcome::Right);
        assert_eq!(grade.why.is_empty(), outcome == Outcome::Right);
    }

    #[test]
    fn a_program_is_judged_up_to_its_first_mistake() {
        let two = |a: &str, b: &str| {
            format!("{{\"output\": \"{a}\"}}\n{{\"output\": \"{b}\"}}\n{{\"done\": true}}\n")
        };
        let tests = ["1\n2 \n", "yes"];
        check(&tests, false, &two("1\\n2.0", " yes"), &[1, 1], Outcome::Right);
        check(&tests, false, &two("1\\n2", "no"), &[1, -2], Outcome::Wrong);
        check(&tests, false, &two("1 2", "yes"), &[-2], Outcome::Wrong);
        check(&tests, false, &two("1\\n\\n2", "yes"), &[-2], Outcome::Wrong);
        let then = |end: &str| format!("{{\"output\": \"1\\n2\"}}\n{end}");
        let slow = "{\"stopped\": \"time\", \"why\": \"T\"}";
        check(&tests, false, &then(slow), &[1, -3], Outcome::TooSlow);
        check(
            &tests,
            false,
            &then("{\"stopped\": \"error\", \"why\": \"E\"}"),
            &[1, -4],
            Outcome::Failed,
        );
        check(&tests, false, &then(""), &[-2], Outcome::Died);
        check(&tests, false, "{\"broken\": \"SyntaxError\"}", &[-4], Outcome::Failed);
        check(&tests, false, "", &[-2], Outcome::Died);
        // What it says later is of no use once it was wrong, nor is what is no message.
        check(&tests, false, "{\"output\": \"3\"}", &[-2], Outcome::Wrong);
        check(
            &tests,
            false,
            &format!("noise\n{{}}\n[1]\n{}", two("1\\n2", "yes")),
            &[1, 1],
            Outcome::Right,
        );
        check(&[], false, "{\"done\": true}", &[], Outcome::Right);
    }

    #[test]
    fn a_function_is_judged_by_what_it_returns() {
        let returned = |value: &str| format!("{{\"value\": {value}}}\n{{\"done\": true}}\n");
        check(&["[1, 2]"], true, &returned("[1, 2.0]"), &[1], Outcome::Right);
        check(&["[1, 2]"], true, &returned("{\"tuple\": [1, 2]}"), &[1], Outcome::Right);
        check(&["[[1, 2]]"], true, &returned("[{\"tuple\": [1, 2]}]"), &[0], Outcome::Wrong);
        check(&["true"], true, &returned("1"), &[1], Outcome::Right);
        check(&["null"], true, &returned("{\"opaque\": \"A\"}"), &[0], Outcome::Wrong);
        check(&["1", "nonsense"], true, &returned("1"), &[-4], Outcome::Failed);
        // A message of the other kind is none of the runner's.
        check(&["1"], true, "{\"output\": \"1\"}", &[-2], Outcome::Wrong);
    }
}
