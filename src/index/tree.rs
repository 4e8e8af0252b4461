//! Paths as an indented tree: what a model reads to choose files.

use crate::repo::path::RepoPath;

/// One line per folder (with a `/` behind) and per file, indented by `indent` for each level.
/// Files stand before folders, both in order; a folder that holds only one folder shares its line.
pub fn render_tree<'a>(paths: impl IntoIterator<Item = &'a RepoPath>, indent: &str) -> String {
    let mut root = Folder::default();
    for path in paths {
        let mut folder = &mut root;
        let mut parts = path.components();
        let file = parts.next_back().unwrap_or_default();
        for part in parts {
            folder = folder.folders.entry(part).or_default();
        }
        folder.files.insert(file);
    }
    let mut text = String::new();
    root.render(0, indent, &mut text);
    text
}

#[derive(Default)]
struct Folder<'a> {
    files: std::collections::BTreeSet<&'a str>,
    folders: std::collections::BTreeMap<&'a str, Self>,
}

impl Folder<'_> {
    fn render(&self, level: usize, indent: &str, text: &mut String) {
        for file in &self.files {
            text.push_str(&indent.repeat(level));
            text.push_str(file);
            text.push('\n');
        }
        for (name, folder) in &self.folders {
            text.push_str(&indent.repeat(level));
            text.push_str(name);
            text.push('/');
            let mut shown = folder;
            while shown.files.is_empty()
                && shown.folders.len() == 1
                && let Some((name, only)) = shown.folders.first_key_value()
            {
                text.push_str(name);
                text.push('/');
                shown = only;
            }
            text.push('\n');
            shown.render(level + 1, indent, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(paths: &[&str], expect: Expect) {
        let paths: Vec<RepoPath> =
            paths.iter().map(|path| RepoPath::parse(path).unwrap()).collect();
        expect.assert_eq(&render_tree(&paths, "  "));
    }

    #[test]
    fn files_at_the_root_stay_apart_from_a_folder_of_the_same_name() {
        check(
            &["setup.py", "django/setup.py", "django/db/models/base.py", "docs/a/b/c.py"],
            expect![[r#"
            setup.py
            django/
              setup.py
              db/models/
                base.py
            docs/a/b/
              c.py
        "#]],
        );
    }

    #[test]
    fn a_folder_called_classes_functions_or_text_is_a_folder() {
        check(
            &["a/classes/x.py", "a/functions/y.py", "a/text/z.py", "a/text.py"],
            expect![[r#"
            a/
              text.py
              classes/
                x.py
              functions/
                y.py
              text/
                z.py
        "#]],
        );
    }

    #[test]
    fn a_folder_with_a_dot_in_its_name_is_shown() {
        check(
            &["v1.2/api.py", ".github/ci.py"],
            expect![[r#"
            .github/
              ci.py
            v1.2/
              api.py
        "#]],
        );
    }
}
