//! Paths with line numbers and stack frames, as the common languages and tools print them.

use crate::index::retrieval::issue::PathMention;

/// One call of a traceback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// As printed; often absolute, and of another machine.
    pub path: String,
    /// 1-based.
    pub line: Option<u32>,
    /// As printed: `f`, `Class.method`, `pkg.Class.method`.
    pub function: Option<String>,
}

/// Reads a line that is a stack frame.
pub fn parse_frame(line: &str) -> Option<Frame> {
    let line = line.trim_start_matches(|c: char| c.is_whitespace() || c == '>' || c == '|');
    parse_python(line)
        .or_else(|| parse_at(line))
        .or_else(|| parse_php(line))
        .or_else(|| parse_path_first(line))
}

/// `File "a/b.py", line 3, in f`.
fn parse_python(line: &str) -> Option<Frame> {
    let (path, rest) = line.strip_prefix("File \"")?.split_once('"')?;
    let rest = rest.trim_start_matches([',', ' ']).strip_prefix("line ")?;
    let function = rest.split_once(", in ").map(|(_, name)| name.trim());
    Some(frame(path, parse_number(rest), function))
}

/// `at f (a/b.js:10:5)`, `at a/b.js:10:5`, `at pkg.Class.method(File.java:12)`,
/// `at Class.method in a/b.cs:line 12`.
fn parse_at(line: &str) -> Option<Frame> {
    let rest = line.strip_prefix("at ")?;
    if let Some((name, place)) = rest.split_once('(') {
        let place = parse_path(place.split(')').next()?)?;
        let name = name.trim().trim_start_matches("async ").trim_start_matches("new ");
        // Java prints the file's bare name; its folder is the package of the class.
        let java = [".java", ".kt", ".scala"].iter().any(|end| place.path.ends_with(end));
        let package = name.rsplitn(3, '.').nth(2).filter(|_| java && !place.path.contains('/'));
        let path = match package {
            Some(package) => format!("{}/{}", package.replace('.', "/"), place.path),
            None => place.path,
        };
        let name = if java { name.rsplitn(3, '.').take(2).collect::<Vec<_>>() } else { vec![name] };
        let name = name.into_iter().rev().collect::<Vec<_>>().join(".");
        return Some(frame(&path, place.line, Some(&name)));
    }
    let place = parse_path(rest.split_whitespace().next()?)?;
    place.line.is_some().then(|| frame(&place.path, place.line, None))
}

/// `#0 /a/b.php(12): Class->f()`.
fn parse_php(line: &str) -> Option<Frame> {
    let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
    number.parse::<u32>().ok()?;
    let (place, call) = rest.split_once("): ")?;
    let (path, line) = place.rsplit_once('(')?;
    let name = call.split('(').next()?.replace("->", ".").replace("::", ".").replace('\\', ".");
    Some(frame(path, parse_number(line), Some(&name)))
}

/// `a/b.py:12: in f` (pytest), `a/b.rb:12:in 'f'`, `a/b.go:12 +0x1d`, `a/b.py:12: ValueError`.
fn parse_path_first(line: &str) -> Option<Frame> {
    let token = line.split_whitespace().next()?;
    let token = token.strip_prefix("from ").unwrap_or(token);
    let mention = parse_path(token)?;
    mention.line?;
    let rest = line[token.len()..].trim();
    let in_token = token.rsplit_once(":in").map(|_| "in ");
    let name = in_token
        .and(Some(rest))
        .or_else(|| rest.strip_prefix("in "))
        .map(|name| name.trim_matches(['`', '\'', '"', ' ']).replace('#', "."));
    let is_frame = name.is_some() || rest.starts_with("+0x") || is_error_name(rest);
    is_frame.then(|| frame(&mention.path, mention.line, name.as_deref()))
}

/// Whether a text is the name of an exception and nothing else.
fn is_error_name(text: &str) -> bool {
    (text.ends_with("Error") || text.ends_with("Exception") || text.ends_with("Warning"))
        && text.chars().all(|c| c == '.' || c == '_' || c.is_alphanumeric())
}

fn frame(path: &str, line: Option<u32>, function: Option<&str>) -> Frame {
    let function = function.filter(|name| !name.is_empty() && !name.starts_with('<'));
    Frame { path: slashes(path), line, function: function.map(str::to_owned) }
}

/// Reads a token that is a path: it ends in an extension of source code or has a folder and an
/// extension; a line number may follow as `:12`, `:12:5`, `(12)` or `#L12`.
pub fn parse_path(token: &str) -> Option<PathMention> {
    // A call: `a.b.c()`.
    if token.contains("()") {
        return None;
    }
    let token = token.trim_matches(|c: char| {
        matches!(c, '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | '*' | ',' | ';' | ':')
    });
    let token = token.trim_end_matches(['.', '!', '?']);
    let path_end = token.find([':', '(', '#', '?']);
    // A drive letter's colon ends no path.
    let path_end = match path_end {
        Some(1) => token[2..].find([':', '(', '#', '?']).map(|at| at + 2),
        other => other,
    };
    let (path, rest) = token.split_at(path_end.unwrap_or(token.len()));
    let path = slashes(path);
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
    let (stem, extension) = file.rsplit_once('.')?;
    let plain =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '@' | '~' | ' ');
    let is_path = !stem.is_empty()
        && file.chars().all(plain)
        && (SOURCE_EXTENSIONS.contains(&extension)
            || (!folder.is_empty()
                && (1..=4).contains(&extension.len())
                && extension.chars().all(|c| c.is_ascii_lowercase())));
    let line = parse_number(rest.trim_start_matches([':', '(', '#', 'L']));
    is_path.then_some(PathMention { path, line })
}

fn slashes(path: &str) -> String {
    path.replace('\\', "/")
}

/// The number that a text starts with.
pub fn parse_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// Extensions that make a bare `name.ext` a file and not an attribute of something.
const SOURCE_EXTENSIONS: &[&str] = &[
    "py", "pyi", "pyx", "js", "jsx", "mjs", "cjs", "ts", "tsx", "rs", "go", "java", "kt", "c", "h",
    "cc", "cpp", "cxx", "hpp", "hh", "rb", "php", "cs", "swift", "scala", "sql", "toml", "cfg",
    "ini", "yaml", "yml", "json", "rst", "md", "txt", "html", "css", "vue", "sh",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(&str, u32, &str)>) {
        let found = parse_frame(line);
        let found = found.as_ref().map(|frame| {
            (
                frame.path.as_str(),
                frame.line.unwrap_or_default(),
                frame.function.as_deref().unwrap_or_default(),
            )
        });
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn frames_of_common_languages_are_read() {
        check("  File \"/a/b c.py\", line 3, in f", Some(("/a/b c.py", 3, "f")));
        check("File \"a.py\", line 3", Some(("a.py", 3, "")));
        check("E     File \"a.py\", line 3", None);
        check("File \"C:\\x\\a.py\", line 9, in <module>", Some(("C:/x/a.py", 9, "")));
        check("src/a.py:12: in parse", Some(("src/a.py", 12, "parse")));
        check("src/a.py:12: ValueError", Some(("src/a.py", 12, "")));
        check("    at load (/app/src/a.js:10:5)", Some(("/app/src/a.js", 10, "load")));
        check("    at async Foo.load (src/a.ts:10:5)", Some(("src/a.ts", 10, "Foo.load")));
        check("    at src/a.js:10:5", Some(("src/a.js", 10, "")));
        check("\tat org.x.Foo.bar(Foo.java:12)", Some(("org/x/Foo.java", 12, "Foo.bar")));
        check("#0 /a/b.php(12): A\\Foo->bar(1)", Some(("/a/b.php", 12, "A.Foo.bar")));
        check("\t/a/b/main.go:12 +0x1d", Some(("/a/b/main.go", 12, "")));
        check("lib/a.rb:12:in 'Foo#bar'", Some(("lib/a.rb", 12, "Foo.bar")));
    }

    #[test]
    fn other_lines_are_no_frames() {
        for line in
            ["", "at the end of a.py", "see a.py:12 for more", "#1 is closed", "12:30: lunch"]
        {
            check(line, None);
        }
    }

    #[test]
    fn paths_are_told_from_attributes_and_versions() {
        let path = |token| parse_path(token).map(|mention| (mention.path, mention.line));
        let named = |path: &str, line| Some((path.to_owned(), line));
        assert_eq!(path("src/a/b.py"), named("src/a/b.py", None));
        assert_eq!(path("(src/a/b.py:12:5)."), named("src/a/b.py", Some(12)));
        assert_eq!(path("a.rs#L7"), named("a.rs", Some(7)));
        assert_eq!(path("C:\\x\\a.py:3"), named("C:/x/a.py", Some(3)));
        assert_eq!(path("docs/conf.tmpl"), named("docs/conf.tmpl", None));
        for token in ["np.array", "1.2.3", "e.g.", "and/or", "", ":", "é", "a.b.c()", "1/2.5"] {
            assert_eq!(path(token), None, "{token}");
        }
    }
}
