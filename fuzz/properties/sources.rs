//! Source files of any language, well formed or not.

use sorft::index::outline::{LineSpan, Outline};
use sorft::index::skeleton::skeleton_of;
use sorft::index::{outline_of, syntax_errors};
use sorft::repo::path::RepoPath;
use sorft::repo::text::Text;

const ENDINGS: &[&str] =
    &["py", "js", "ts", "tsx", "rs", "go", "java", "c", "cpp", "rb", "php", "h", "jsx", "pyi"];

/// The first byte chooses the language. Every span of an outline lies within the file.
pub(crate) fn check(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let path = format!("a.{}", ENDINGS[usize::from(*first) % ENDINGS.len()]);
    let path = RepoPath::parse(&path).expect("a plain path");
    let Ok(text) = Text::decode(bytes) else { return };
    check_text(&text, bytes);
    let outline = outline_of(&path, &text);
    check_outline(&outline, &text);
    assert_eq!(outline_of(&path, &text), outline);
    for line in syntax_errors(&path, &text) {
        assert!((1..=text.n_lines().max(1) as u32).contains(&line), "an error in line {line}");
    }
    skeleton_of(&outline, &text).render(|_| true);
}

/// The raw lines are the bytes, a mark of the encoding included; the lines are the content.
fn check_text(text: &Text, bytes: &[u8]) {
    match text.n_lines() {
        0 => assert_eq!(text.mark(), bytes),
        n_lines => assert_eq!(text.raw_lines(0..n_lines), bytes),
    }
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), text.n_lines());
    let content: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    assert!(content == text.content() || content.strip_suffix('\n') == Some(text.content()));
}

fn check_outline(outline: &Outline, text: &Text) {
    let n_lines = text.n_lines() as u32;
    assert_eq!(outline.n_lines, n_lines);
    let is_inside =
        |span: &LineSpan| 1 <= span.first && span.first <= span.last && span.last <= n_lines;
    for symbol in &outline.symbols {
        assert!(!symbol.places.is_empty(), "{symbol:?}");
        for place in &symbol.places {
            assert!(is_inside(&place.span) && is_inside(&place.header), "{symbol:?}");
        }
    }
    assert!(outline.imports.iter().all(is_inside), "{:?}", outline.imports);
}
