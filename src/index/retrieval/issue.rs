//! What an issue says outright: paths, stack frames, dotted names, identifiers, messages, words.
//!
//! Pure reading: nothing here knows the repository, so that a mention may well be of something
//! else. The work is bounded whatever the issue holds: of a very long one the start and the end
//! are read, where people and test runners put what matters.

use std::collections::{BTreeMap, BTreeSet};

use crate::index::retrieval::frames::{self, Frame};
use crate::index::retrieval::words::stop_words::is_stop_word;
use crate::index::retrieval::words::{PHRASE_WORDS, TermId, TermReader, identifiers, is_compound};

/// Bytes read from either end of a long issue.
const END_BYTES: usize = 64 << 10;

/// An issue, read. Mentions are in order of their first appearance or of their text.
#[derive(Debug, Default)]
pub struct Issue {
    pub paths: Vec<PathMention>,
    /// Innermost last where the traceback is Python's; in order of the text in any case.
    pub frames: Vec<Frame>,
    /// Names with dots between identifiers, without call brackets: `pkg.mod.Class.method`.
    pub dotted: BTreeSet<String>,
    /// Identifiers that look like names of code, as written.
    pub names: BTreeMap<String, NameMention>,
    /// Words in a row, as messages hold them, and their text.
    pub phrases: BTreeMap<TermId, String>,
    /// Terms of all words and identifiers.
    pub words: BTreeMap<TermId, WordCount>,
}

/// A path as written: perhaps absolute, perhaps only a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathMention {
    pub path: String,
    /// 1-based.
    pub line: Option<u32>,
}

/// How an identifier is mentioned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameMention {
    pub in_title: bool,
    /// In backticks, called, or a compound that prose would not hold.
    pub marked: bool,
    pub count: u32,
}

/// How often a term occurs in each part of an issue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WordCount {
    /// As first written.
    pub text: String,
    pub title: u32,
    pub prose: u32,
    /// In code blocks and logs.
    pub code: u32,
}

/// Which part of an issue a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Title,
    Prose,
    Code,
}

/// Where a word stands.
#[derive(Debug, Clone, Copy)]
struct WordPlace {
    part: Part,
    /// In backticks.
    marked: bool,
}

impl Issue {
    /// Reads an issue whose first line is its title.
    pub fn parse(text: &str) -> Self {
        let mut issue = Self::default();
        let mut reader = TermReader::default();
        let mut title_is_read = false;
        for half in ends_of(text) {
            let plain = without_comments(half);
            let mut fence = None;
            for line in plain.lines() {
                let trimmed = line.trim_start();
                if let Some(mark) =
                    ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark))
                {
                    fence = if fence == Some(mark) { None } else { fence.or(Some(mark)) };
                    continue;
                }
                if trimmed.is_empty() {
                    continue;
                }
                let part = if !title_is_read {
                    title_is_read = true;
                    Part::Title
                } else if fence.is_some() || is_indented_code(line) {
                    Part::Code
                } else {
                    Part::Prose
                };
                issue.read_line(line, part, &mut reader);
            }
        }
        issue
    }

    fn read_line(&mut self, line: &str, part: Part, reader: &mut TermReader) {
        if let Some(frame) = frames::parse_frame(line) {
            if let Some(function) = &frame.function {
                self.add_dotted_or_name(function, part);
            }
            self.frames.push(frame);
            return;
        }
        let mut in_a_row = Vec::new();
        for (n, span) in line.split('`').enumerate() {
            let place = WordPlace { part, marked: n % 2 == 1 };
            for token in span.split_whitespace() {
                let words = if let Some((before, url)) = split_url(token) {
                    self.read_url(url);
                    before
                } else {
                    self.read_paths_and_dots(token);
                    token
                };
                self.add_words(words, place, reader, &mut in_a_row);
            }
        }
        for row in in_a_row.array_windows::<PHRASE_WORDS>() {
            let phrase = TermId::of_phrase(row.map(|(id, _)| id));
            self.phrases.entry(phrase).or_insert_with(|| row.map(|(_, text)| text).join(" "));
        }
    }

    fn read_paths_and_dots(&mut self, token: &str) {
        for piece in token.split(['"', '\'', ',', ';', '<', '>', '|', '=']) {
            if let Some(mention) = frames::parse_path(piece) {
                self.paths.push(mention);
                continue;
            }
            for name in piece.split(|c: char| !(c == '.' || c == '_' || c.is_alphanumeric())) {
                let name = name.trim_matches('.');
                if is_dotted(name) {
                    self.dotted.insert(name.to_owned());
                }
            }
        }
    }

    fn add_words<'a>(
        &mut self,
        text: &'a str,
        place: WordPlace,
        reader: &mut TermReader,
        in_a_row: &mut Vec<(TermId, &'a str)>,
    ) {
        for (at, identifier) in identifiers(text) {
            let lower = identifier.to_lowercase();
            in_a_row.push((TermId::of(&lower), identifier));
            let is_call = text[at + identifier.len()..].starts_with('(');
            let is_member = text[..at].ends_with('.');
            let looks_like_code = place.marked || is_call || is_member || is_compound(identifier);
            let has_capital = identifier.starts_with(char::is_uppercase);
            let is_stop = is_stop_word(&lower);
            if 1 < identifier.len()
                && (!is_stop || is_member || is_call)
                && (looks_like_code || has_capital || place.part == Part::Code)
            {
                self.add_name(identifier, place.part, looks_like_code);
            }
            if is_stop {
                continue;
            }
            reader.read(identifier, |term| {
                let count = self.words.entry(TermId::of(term)).or_default();
                if count.text.is_empty() {
                    identifier.clone_into(&mut count.text);
                }
                match place.part {
                    Part::Title => count.title += 1,
                    Part::Prose => count.prose += 1,
                    Part::Code => count.code += 1,
                }
            });
        }
    }

    fn add_dotted_or_name(&mut self, name: &str, part: Part) {
        if is_dotted(name) {
            self.dotted.insert(name.to_owned());
        }
        if let Some(last) = name.rsplit('.').next().filter(|last| !last.starts_with('<')) {
            self.add_name(last, part, true);
        }
    }

    fn add_name(&mut self, name: &str, part: Part, marked: bool) {
        let mention = self.names.entry(name.to_owned()).or_default();
        mention.count += 1;
        mention.in_title |= part == Part::Title;
        mention.marked |= marked;
    }

    /// A link to code names its path and line; a link to documentation, often, a dotted name.
    fn read_url(&mut self, url: &str) {
        let (page, anchor) = url.split_once('#').unwrap_or((url, ""));
        if let Some((_, tail)) = page.split_once("/blob/").or_else(|| page.split_once("/blame/"))
            && let Some((_, path)) = tail.split_once('/')
        {
            let line = anchor.strip_prefix('L').and_then(frames::parse_number);
            self.paths.push(PathMention { path: path.to_owned(), line });
            return;
        }
        let file = page.rsplit('/').next().unwrap_or_default();
        let file = file.strip_suffix(".html").unwrap_or(file);
        for name in [file, anchor] {
            if is_dotted(name) && page.matches('/').count() > 2 {
                self.dotted.insert(name.to_owned());
            }
        }
    }
}

/// The issue whole, or the start and the end of a long one, cut at line ends.
fn ends_of(text: &str) -> Vec<&str> {
    if text.len() <= 2 * END_BYTES {
        return vec![text];
    }
    let head = &text[..text.floor_char_boundary(END_BYTES)];
    let tail = &text[text.ceil_char_boundary(text.len() - END_BYTES)..];
    vec![
        head.rsplit_once('\n').map_or(head, |(lines, _)| lines),
        tail.split_once('\n').map_or(tail, |(_, lines)| lines),
    ]
}

/// Drops `<!-- … -->`: the instructions of issue templates.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("<!--") {
        kept.push_str(before);
        let Some((_, after)) = comment.split_once("-->") else { return kept };
        rest = after;
    }
    kept.push_str(rest);
    kept
}

fn is_indented_code(line: &str) -> bool {
    line.starts_with("    ") || line.starts_with('\t') || line.starts_with(">>> ")
}

/// The text before a link, and the link without what closes it.
fn split_url(token: &str) -> Option<(&str, &str)> {
    let at = token.find("https://").or_else(|| token.find("http://"))?;
    let (before, url) = token.split_at(at);
    let end = url.find([')', ']', '>', '"', '\'']).unwrap_or(url.len());
    Some((before, url[..end].trim_end_matches(['.', ',', ':'])))
}

/// Whether a text is identifiers with dots between them, at least two.
fn is_dotted(text: &str) -> bool {
    let mut n_parts = 0;
    for part in text.split('.') {
        n_parts += 1;
        let mut chars = part.chars();
        let starts_well = chars.next().is_some_and(|c| c == '_' || c.is_alphabetic());
        if !starts_well || !chars.all(|c| c == '_' || c.is_alphanumeric()) {
            return false;
        }
    }
    1 < n_parts
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Expect) {
        let issue = Issue::parse(text);
        let paths = issue.paths.iter().map(|mention| match mention.line {
            Some(line) => format!("{}:{line}", mention.path),
            None => mention.path.clone(),
        });
        let names = issue.names.iter().map(|(name, mention)| {
            let title = if mention.in_title { " title" } else { "" };
            let marked = if mention.marked { " marked" } else { "" };
            format!("{name}{title}{marked} x{}", mention.count)
        });
        let words = issue
            .words
            .values()
            .map(|count| format!("{} {}/{}/{}", count.text, count.title, count.prose, count.code));
        let words = words.collect::<BTreeSet<_>>();
        let rows = [
            ("paths", paths.collect::<Vec<_>>()),
            ("frames", issue.frames.iter().map(|frame| format!("{frame:?}")).collect()),
            ("dotted", issue.dotted.iter().cloned().collect()),
            ("names", names.collect()),
            ("words", words.into_iter().collect()),
        ];
        let rows = rows.iter().filter(|(_, row)| !row.is_empty());
        expect.assert_eq(
            &rows.map(|(name, row)| format!("{name}: {}\n", row.join(", "))).collect::<String>(),
        );
    }

    #[test]
    fn code_in_prose_is_told_from_words() {
        check(
            "Parser fails\nThe `limit` of parse_line() and DataSet, see ds.to_json.",
            expect![[r#"
                dotted: ds.to_json
                names: DataSet marked x1, Parser title x1, limit marked x1, parse_line marked x1, to_json marked x1
                words: DataSet 0/1/0, Parser 1/0/0, ds 0/1/0, fails 1/0/0, limit 0/1/0, parse_line 0/1/0, to_json 0/1/0
            "#]],
        );
    }

    #[test]
    fn code_blocks_count_apart() {
        check(
            "Title\n```python\nx = load(path)\n```\n<!-- hidden -->\n>>> go(1)",
            expect![[r#"
                names: Title title x1, go marked x1, load marked x1, path x1
                words: Title 1/0/0, load 0/0/1, path 0/0/1
            "#]],
        );
    }

    #[test]
    fn links_name_paths_and_modules_but_no_words() {
        check(
            "T\nhttps://github.com/o/r/blob/1a2b/src/a.py#L12-L14 \
             [doc](https://x.io/en/api/pkg.mod.html#pkg.mod.f).",
            expect![[r#"
                paths: src/a.py:12
                dotted: pkg.mod, pkg.mod.f
                words: doc 0/1/0
            "#]],
        );
    }

    #[test]
    fn special_tokens_and_template_syntax_are_plain_text() {
        check(
            "<|im_start|> {{ secret }} {% raw %}",
            expect![[r#"
                names: im_start title marked x1
                words: im_start 1/0/0, raw 1/0/0, secret 1/0/0
            "#]],
        );
    }

    #[test]
    fn a_long_issue_is_read_at_both_ends() {
        let middle = "é middle_word\n".repeat(100_000);
        let issue = Issue::parse(&format!("first_word\n{middle}last_word"));
        assert!(issue.names.contains_key("first_word") && issue.names.contains_key("last_word"));
        assert!(issue.names["middle_word"].count < 20_000);
    }
}
