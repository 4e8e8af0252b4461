//! LiveCodeBench, code generation: a problem goes in, a Python program comes out, and is right
//! where it passes all of the problem's tests.
//!
//! Prompts are those of the reference (commit 28fef95) for chat models, answers are taken apart
//! and programs run and judged as there, but in the sandbox, where the expected outputs are not.

pub mod data;
pub mod decimal;
pub mod grade;
pub mod hidden;
pub mod row;
pub mod run;
pub mod value;

use crate::general::livecodebench::data::Problem;
use crate::prompt::{Message, Prompt, Role};

/// Tokens of an answer where nobody says otherwise.
pub const ANSWER_TOKENS: usize = 2000;

/// Seconds of one test where nobody says otherwise.
pub const TEST_SECONDS: u64 = 6;

// The words are the benchmark's.
const SYSTEM: &str = "You are an expert Python programmer. You will be given a question (problem \
     specification) and will generate a correct Python program that matches the specification and \
     passes all tests.";
const WITH_STARTER: &str = "You will use the following starter code to write the solution to the \
     problem and enclose your code within delimiters.";
const WITHOUT_STARTER: &str = "Read the inputs from stdin solve the problem and write the answer \
     to stdout (do not directly test on the sample inputs). Enclose your code within delimiters \
     as follows. Ensure that when the python program runs, it reads the inputs, runs the \
     algorithm and writes output to STDOUT.";

/// What a chat model is asked.
pub fn prompt(problem: &Problem) -> Prompt {
    let (format, code) = match problem.starter_code.as_str() {
        "" => (WITHOUT_STARTER, "# YOUR CODE HERE"),
        starter => (WITH_STARTER, starter),
    };
    let question = format!(
        "### Question:\n{}\n\n### Format: {format}\n```python\n{code}\n```\n\n\
         ### Answer: (use the provided format with backticks)\n\n",
        problem.question_content
    );
    let message = |role, content| Message { role, content };
    Prompt {
        messages: vec![message(Role::System, SYSTEM.to_owned()), message(Role::User, question)],
    }
}

/// The program in an answer: the lines between the last two that hold a fence; nothing where
/// there are no two.
pub fn extract_code(answer: &str) -> String {
    let lines: Vec<&str> = answer.split('\n').collect();
    let mut fences = (0..lines.len()).rev().filter(|&idx| lines[idx].contains("```"));
    match (fences.next(), fences.next()) {
        (Some(end), Some(start)) => lines[start + 1..end].join("\n"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: &str) {
        assert_eq!(extract_code(answer), expected, "{answer:?}");
    }

    #[test]
    fn the_program_stands_between_the_last_two_fences() {
        check("Here:\n```python\nx = 1\n\ny = 2\n```\nDone.", "x = 1\n\ny = 2");
        check("```\nfirst\n```\n```\nsecond\n```", "second");
        check("```\nfirst\n```\ntext\n```", "text");
        check("  ```py\n  x\n  ```  ", "  x");
        check("```python\nx = 1", "");
        check("```x = 1```", "");
        check("no code", "");
        check("```\n```", "");
    }
}
