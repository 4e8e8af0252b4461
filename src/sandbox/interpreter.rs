//! Whether the interpreters of a test command came to their own end.
//!
//! Code under test runs in the process of the test runner, so it can print a summary and leave
//! before the runner prints the true one. Every Python that a command starts therefore tells the
//! supervisor of its start, before any other code runs in it, and of its end, behind all of it.

use serde::{Deserialize, Serialize};

/// The module that tells; Python loads one of this name when it starts.
pub(super) const MODULE_NAME: &str = "sitecustomize.py";
pub(super) const MODULE: &str = include_str!("sitecustomize.py");

/// The variable that names the pipe to tell through: `DESCRIPTOR:INODE`.
pub(super) const PIPE_VARIABLE: &str = "SORFT_ENDS";

/// The interpreters that told of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interpreters {
    pub started: u32,
    /// Those among them that reached the end of their program.
    pub ended: u32,
}

impl Interpreters {
    /// From what came through the pipe.
    pub(super) fn of(told: &[u8]) -> Self {
        let count = |mark| told.iter().map(|byte| u32::from(*byte == mark)).sum();
        Self { started: count(b's'), ended: count(b'e') }
    }

    /// Whether some are known, and none was ended by the code in it.
    pub fn all_ended(self) -> bool {
        0 < self.started && self.started == self.ended
    }
}
