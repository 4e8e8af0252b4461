//! Search/replace edits, applied to any text.

use std::collections::BTreeMap;

use sorft::diff::change::FileChange;
use sorft::repo::snapshot::Snapshot;
use sorft::search_replace::apply::{Scope, apply_edits};
use sorft::search_replace::block::{parse_completion, parse_edits, render_answer};
use sorft::search_replace::fence::Ended;
use sorft::search_replace::minimal::minimal_edits;

use super::{demo, written};

/// Two bytes are the window (the lines before it, and its own; none: all lines), then come the
/// text of `a.py` and `b/c.py`, a zero byte, and the completion.
pub(crate) fn check(data: &[u8]) {
    let [n_above, n_shown, rest @ ..] = data else { return };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (Some(base), Some(completion)) = (parts.next(), parts.next()) else { return };
    let completion = String::from_utf8_lossy(completion);
    let Ok(edits) =
        parse_completion(&completion, Ended::ByItself).or_else(|_| parse_edits(&completion, 1))
    else {
        return;
    };
    assert_eq!(parse_completion(&render_answer(&edits), Ended::ByItself).as_ref(), Ok(&edits));
    let paths = ["a.py", "b/c.py"].map(demo::path_of);
    let snapshot =
        Snapshot::from_files(paths.iter().map(|path| (path.clone(), base.to_vec())).collect());
    let window = usize::from(*n_above)..usize::from(*n_above) + usize::from(*n_shown);
    let windows =
        (0 < *n_shown).then(|| BTreeMap::from([(paths[0].clone(), vec![window.clone()])]));
    let scope = Scope { windows, preferred: BTreeMap::new() };
    let Ok(changes) = apply_edits(&edits, &snapshot, &scope) else { return };
    assert!(!changes.is_empty());
    written::check_inside(&changes);
    written::check_patch(&changes);
    for change in &changes {
        let FileChange::Changed { before, after } = change else { continue };
        if scope.windows.is_some() && !before.bytes.is_empty() {
            let windows = if before.path == paths[0] { vec![window.clone()] } else { Vec::new() };
            written::check_windows(&before.bytes, &after.bytes, &windows);
        }
    }
    // The way back: edits made of the changes make the same changes.
    if let Ok(minimal) = minimal_edits(&changes, &Scope::default()) {
        assert_eq!(apply_edits(&minimal, &snapshot, &Scope::default()).as_ref(), Ok(&changes));
    }
}
