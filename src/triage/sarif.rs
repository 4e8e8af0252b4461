//! Findings as SARIF 2.1.0, which code hosts and editors read.
//!
//! Format: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use serde_json::{Value, json};

use crate::index::outline::SymbolKind;
use crate::triage::Findings;
use crate::triage::change::Comparison;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One run: a result for each likely symbol and for each file of which none is likely, and, where
/// a change was compared, for what it misses and what nothing points at.
pub fn render_sarif(findings: &Findings, comparison: Option<&Comparison>) -> Value {
    let mut results: Vec<Value> = Vec::new();
    for (at, symbol) in findings.symbols.iter().enumerate() {
        let what = match symbol.kind {
            SymbolKind::Module => symbol.path.to_string(),
            kind => format!("{} `{}`", kind.word(), symbol.name),
        };
        let message = format!("{what} is likely: {}", symbol.reasons.join("; "));
        let mut result =
            result("likely-place", "note", &message, symbol.path.as_str(), symbol.line);
        result["rank"] = json!(symbol.score * 100.0);
        result["properties"] = json!({ "place": at + 1 });
        results.push(result);
    }
    for file in &findings.files {
        if findings.symbols.iter().all(|symbol| symbol.path != file.path) {
            let message = format!("{} is likely: {}", file.path, file.reasons.join("; "));
            let mut result = result("likely-place", "note", &message, file.path.as_str(), 1);
            result["rank"] = json!(file.score * 100.0);
            results.push(result);
        }
    }
    if let Some(comparison) = comparison {
        for path in &comparison.missing {
            let message = format!("{path} is likely to need a change, and has none");
            results.push(result("missing-place", "warning", &message, path.as_str(), 1));
        }
        for path in &comparison.unexpected {
            let message = format!("{path} is changed, and nothing points at it");
            results.push(result("unexpected-place", "note", &message, path.as_str(), 1));
        }
    }
    let rule = |id: &str, text: &str| json!({ "id": id, "shortDescription": { "text": text } });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "sorft triage",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": [
                    rule("likely-place", "The issue or the log points here"),
                    rule("missing-place", "The issue points here, the change does not go here"),
                    rule("unexpected-place", "The change goes here, the issue does not point here"),
                ],
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(rule: &str, level: &str, message: &str, path: &str, line: u32) -> Value {
    json!({
        "ruleId": rule,
        "level": level,
        "message": { "text": message },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(path), "uriBaseId": "%SRCROOT%" },
            "region": { "startLine": line.max(1) },
        } }],
    })
}

/// A path as a relative URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            byte => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::issue::find_in_issue;
    use crate::triage::log::fixture::index_of;

    #[test]
    fn every_result_has_a_rule_a_message_and_a_place() {
        let index = index_of(&[("a b.py", "def total():\n    return 1\n"), ("c.txt", "total\n")]);
        let findings = find_in_issue(&index, "total is wrong\n");
        let sarif = render_sarif(&findings, None);
        let results = sarif["runs"][0]["results"].as_array().unwrap();
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.py");
        assert_eq!(place["region"]["startLine"], 1);
        assert!(results.iter().all(|result| result["ruleId"] == "likely-place"), "{results:#?}");
    }
}
