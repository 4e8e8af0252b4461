//! Instances that could not be evaluated.

use serde::{Deserialize, Serialize};

/// An instance that counts nowhere, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    pub instance: String,
    pub reason: String,
}

/// A line for each.
pub fn render_failures(failed: &[Failure]) -> String {
    let line = |one: &Failure| format!("not evaluated: {}: {}\n", one.instance, one.reason);
    failed.iter().map(line).collect()
}
