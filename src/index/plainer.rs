//! Texts that a grammar cannot read, in a plainer form of the same length and lines.

use tree_sitter::Tree;

use crate::index::extract::parse;

/// JavaScript whose JSX attributes have names that are no reserved words: `<label for="y">` is
/// right, but the grammar takes `for` as a statement's.
pub(super) fn rename_attributes(content: &str) -> Option<Vec<u8>> {
    // The grammar of TypeScript reads such names, and elements as that of JavaScript does.
    let tree = parse(&tree_sitter_typescript::LANGUAGE_TSX.into(), content)?;
    let mut plainer = content.as_bytes().to_vec();
    for at in attribute_names(&tree) {
        plainer[at] = b'_';
    }
    (plainer != content.as_bytes()).then_some(plainer)
}

/// Where the names of JSX attributes start.
fn attribute_names(tree: &Tree) -> Vec<usize> {
    let mut cursor = tree.walk();
    let mut starts = Vec::new();
    loop {
        let node = cursor.node();
        if node.kind() == "jsx_attribute"
            && let Some(name) = node.child(0)
            && name.kind() == "property_identifier"
        {
            starts.push(name.start_byte());
        }
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return starts;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::index::syntax_errors;
    use crate::repo::path::RepoPath;
    use crate::repo::text::Text;

    #[track_caller]
    fn check(path: &str, source: &str, errors: &[u32]) {
        let text = Text::decode(source.as_bytes()).unwrap();
        assert_eq!(syntax_errors(&RepoPath::parse(path).unwrap(), &text), errors, "{source}");
    }

    #[test]
    fn reserved_words_may_name_attributes_of_elements_and_nothing_else() {
        check("a.jsx", "const A = () => <label for=\"y\" class={x}>hi</label>;\n", &[]);
        check("a.js", "const A = () => <p><b class=\"q\" {...x} if typeof={1} /></p>;\n", &[]);
        check("a.jsx", "const A = () =>\n  <p class=\"x\">hi</p\nlet b;\n", &[1]);
        check("a.jsx", "const A = (s: string) => <p class=\"x\">hi</p>;\n", &[1]);
        check("a.jsx", "const class = 1;\n", &[1]);
    }
}
