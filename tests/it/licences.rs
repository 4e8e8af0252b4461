//! What sorft is built of, by the list of deny.toml; `checks/deny.sh` asks the same more closely.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::machine::manifest;

/// The texts of a list in deny.toml: one a line, between `NAME = [` and `]`.
fn listed(document: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = document.split_once(&format!("\n{name} = [")).unwrap();
    let (list, _) = rest.split_once(']').unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met by allowed licences: all of the parts that `AND` joins,
/// one of those that `OR` (or, in old crates, `/`) joins.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0_i32;
    let mut words: Vec<(i32, String)> = Vec::new();
    for word in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        match word {
            "(" => depth += 1,
            ")" => depth -= 1,
            word => words.push((depth, word.to_owned())),
        }
    }
    is_met(&words, allowed)
}

fn is_met(words: &[(i32, String)], allowed: &BTreeSet<String>) -> bool {
    // `OR` binds less than `AND`, and both less than what stands in brackets.
    let outermost = words.iter().map(|(depth, _)| *depth).min().unwrap_or(0);
    for deeper in outermost..=words.iter().map(|(depth, _)| *depth).max().unwrap_or(0) {
        for (joint, is_any) in [("OR", true), ("AND", false)] {
            let mut parts = words.split(|(depth, word)| *depth == deeper && word == joint);
            if parts.clone().count() < 2 {
                continue;
            }
            let met = |part: &[(i32, String)]| is_met(part, allowed);
            return if is_any { parts.any(met) } else { parts.all(met) };
        }
    }
    let name: Vec<&str> = words.iter().map(|(_, word)| word.as_str()).collect();
    allowed.contains(&name.join(" "))
}

#[test]
fn every_dependency_has_an_allowed_licence_and_source() {
    let deny = fs::read_to_string(manifest().join("deny.toml")).unwrap();
    let (licences, registries) = (listed(&deny, "allow"), listed(&deny, "allow-registry"));
    let platform = Command::new("rustc").arg("-vV").output().unwrap();
    let platform = String::from_utf8(platform.stdout).unwrap();
    let platform = platform.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", platform])
        .current_dir(manifest())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(100 < packages.len(), "{} packages are too few", packages.len());
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_allowed(licence, &licences) {
            wrong.push(format!("{name}: licence {licence}"));
        }
        let source = package["source"].as_str().unwrap_or("registry+none");
        let is_own = package["source"].is_null() && name == "sorft";
        if !is_own && !registries.contains(source.trim_start_matches("registry+")) {
            wrong.push(format!("{name}: source {source}"));
        }
        if deny.contains(&format!("{{ crate = \"{name}\"")) {
            wrong.push(format!("{name}: is banned"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn licences_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
    let allowed: BTreeSet<String> = allowed.map(str::to_owned).into();
    let rows = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("none", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("GPL-3.0 OR MIT AND Apache-2.0", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("Apache-2.0 WITH GCC-exception", false),
    ];
    for (expression, wanted) in rows {
        assert_eq!(is_allowed(expression, &allowed), wanted, "{expression}");
    }
}
