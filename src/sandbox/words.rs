//! A shell command as words, where it is no more than that.

/// The words of a command that a shell would pass on as they are; `None` where it does more with
/// them: operators, variables, patterns, several lines.
pub fn split_words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command.trim().chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        end if end == c => break,
                        '$' | '`' | '\\' if c == '"' => return None,
                        inside => word.push(inside),
                    }
                }
            }
            '\n' | ';' | '|' | '&' | '<' | '>' | '(' | ')' | '$' | '`' | '\\' | '*' | '?' | '['
            | ']' | '{' | '}' | '#' | '!' | '~' => return None,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// A word as a shell takes it.
pub fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=,@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Words as one command.
pub fn join_words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_commands_have_words_and_others_none() {
        let rows: &[(&str, Option<&[&str]>)] = &[
            ("pytest  -q tests/a.py", Some(&["pytest", "-q", "tests/a.py"])),
            ("pytest -k 'a and b' \"x y\"''", Some(&["pytest", "-k", "a and b", "x y"])),
            ("", Some(&[])),
            ("a && b", None),
            ("a | tee log", None),
            ("a $HOME", None),
            ("a \"$HOME\"", None),
            ("a '$HOME'", Some(&["a", "$HOME"])),
            ("a 'b", None),
            ("pytest tests/*.py", None),
            ("a\nb", None),
        ];
        for (command, words) in rows {
            let found = split_words(command);
            let found: Option<Vec<&str>> =
                found.as_ref().map(|words| words.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), *words, "{command}");
        }
    }

    #[test]
    fn words_come_back_as_they_were() {
        for command in ["pytest -q --tb=no tests/a.py", "env A=b python3 -m pytest -k 'a or b'"] {
            let words = split_words(command).unwrap();
            assert_eq!(join_words(words.iter().map(String::as_str)), command);
        }
        assert_eq!(join_words(["a b", "it's", "-x y", ""]), r"'a b' 'it'\''s' '-x y' ''");
    }
}
