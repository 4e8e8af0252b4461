//! Runs a program on all inputs of its tests: one sandbox, one process.

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

use crate::general::livecodebench::data::{Problem, Test};
use crate::general::livecodebench::grade::{Grade, parse_told};
use crate::repo::change::{FileContent, PathChange, PathChanges};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::Snapshot;
use crate::sandbox::Sandbox;
use crate::sandbox::scratch::ScratchCopy;

/// What programs are run with.
#[derive(Debug, Clone)]
pub struct Runner {
    pub sandbox: Sandbox,
    /// An empty folder, in whose place programs see their own.
    pub root: PathBuf,
    /// Where scratch copies are made.
    pub scratch: PathBuf,
    /// Seconds of one test.
    pub seconds: u64,
}

/// What the program in the sandbox is told.
#[derive(Serialize)]
struct Job<'a> {
    code: &'a str,
    /// The method to call; nothing for a whole program.
    function: Option<&'a str>,
    inputs: Vec<&'a str>,
    seconds: u64,
}

const RUNNER: &str = include_str!("runner.py");

/// Bytes of output besides the expected ones, which a right program may need for its own way of
/// writing them.
const SPARE_BYTES: u64 = 16 << 20;

impl Runner {
    /// Runs a program and judges it.
    ///
    /// # Errors
    ///
    /// The sandbox cannot be made: nothing is known of the program.
    pub async fn grade(
        &self,
        problem: &Problem,
        tests: &[Test],
        code: &str,
    ) -> anyhow::Result<Grade> {
        if code.trim().is_empty() {
            return Ok(Grade::no_code());
        }
        let function = problem.function.as_deref();
        let inputs = tests.iter().map(|test| test.input.as_str()).collect();
        let job = Job { code, function, inputs, seconds: self.seconds };
        let job = serde_json::to_vec(&job).context("rendering a job")?;
        let copy = self.scratch_copy(job)?;
        let expected: u64 = tests.iter().map(|test| test.output.len() as u64).sum();
        let sandbox = self.sandbox.with_options(|options| {
            let limits = &mut options.limits;
            // As much as the reference gives.
            limits.seconds = (self.seconds + 1) * tests.len() as u64 + 5;
            limits.output_bytes = 4 * expected + SPARE_BYTES;
        });
        let execution = sandbox.run("exec python3 runner.py", &copy).await?;
        let told = parse_told(&execution.output);
        Ok(Grade::new(tests, function.is_some(), &told, &execution.end.to_string()))
    }

    fn scratch_copy(&self, job: Vec<u8>) -> anyhow::Result<ScratchCopy> {
        let file = |name: &str, bytes: Vec<u8>| {
            let after = Some(FileContent { bytes, executable: false });
            Ok((RepoPath::parse(name)?, PathChange { before: None, after }))
        };
        let files = [file("runner.py", RUNNER.as_bytes().to_vec()), file("job.json", job)];
        let files: PathChanges = files.into_iter().collect::<anyhow::Result<_>>()?;
        let nothing = Snapshot::from_files(std::collections::BTreeMap::new());
        tokio::task::block_in_place(|| {
            ScratchCopy::create(&nothing, &self.root, &files, &self.scratch)
        })
    }
}
