//! Instances that could not be evaluated.

use serde::{Deserialize, Serialize};

/// An instance that counts nowhere, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    pub instance: String,
    pub reason: String,
}

/// Instances that a line names before it counts the rest.
const NAMED: usize = 3;

/// A line for each reason, in order of the first instance that has it.
pub fn render_failures(failed: &[Failure]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for Failure { instance, reason } in failed {
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, instances)) => instances.push(instance),
            None => reasons.push((reason, vec![instance])),
        }
    }
    let line = |(reason, instances): (&str, Vec<&str>)| {
        let named = instances[..instances.len().min(NAMED)].join(", ");
        let more = match instances.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        format!("not evaluated: {named}{more}: {reason}\n")
    };
    reasons.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_with_one_reason_have_one_line() {
        let failure = |instance: &str, reason: &str| Failure {
            instance: instance.to_owned(),
            reason: reason.to_owned(),
        };
        let failed = [
            failure("a-1", "no repository"),
            failure("a-2", "no repository"),
            failure("b-1", "no commit"),
            failure("c-1", "no repository"),
            failure("c-2", "no repository"),
        ];
        assert_eq!(
            render_failures(&failed),
            "not evaluated: a-1, a-2, c-1 and 1 more: no repository\nnot evaluated: b-1: no commit\n"
        );
    }
}
