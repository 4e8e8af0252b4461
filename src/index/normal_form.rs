//! The code of a file without its layout, so that patches which mean the same can be counted
//! together.

use sha2::{Digest, Sha256};
use tree_sitter::{Node, TreeCursor};

use crate::index::extract::parse;
use crate::index::language::of_path;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;

/// A hash that comments, blank lines and spacing do not change: over the syntax tree where the
/// language has a grammar, else over the lines that are not blank.
pub fn normal_form(path: &RepoPath, text: &Text) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let tree = of_path(path).and_then(|language| parse(&language.grammar(), text.content()));
    match tree {
        Some(tree) => hash_tree(&mut tree.walk(), text.content().as_bytes(), &mut hasher),
        None => {
            for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
                hasher.update(line);
                hasher.update("\n");
            }
        }
    }
    hasher.finalize().into()
}

/// Every node's kind, every leaf's text, and where nodes end: indentation that is syntax shows as
/// structure, comments are left out.
fn hash_tree(cursor: &mut TreeCursor<'_>, source: &[u8], hasher: &mut Sha256) {
    loop {
        let node = cursor.node();
        if !is_comment(node) {
            hasher.update(node.kind_id().to_le_bytes());
            if cursor.goto_first_child() {
                hasher.update("(");
                continue;
            }
            let text = source.get(node.byte_range()).unwrap_or_default();
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return;
            }
            hasher.update(")");
        }
    }
}

fn is_comment(node: Node<'_>) -> bool {
    node.is_extra() && node.kind().contains("comment")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(path: &str, source: &str) -> [u8; 32] {
        let text = Text::decode(source.as_bytes()).unwrap();
        normal_form(&RepoPath::parse(path).unwrap(), &text)
    }

    #[test]
    fn comments_and_layout_do_not_matter() {
        let plain = form("a.py", "def f(a, b):\n    return a + b\n");
        for same in [
            "def f(a, b):\n    # adds\n    return a + b\n",
            "def f(a,\n      b):\n\n    return a  +  b  # sum\n",
        ] {
            assert_eq!(form("a.py", same), plain, "{same}");
        }
    }

    #[test]
    fn comments_and_layout_do_not_matter_in_any_language() {
        let rows = [
            ("a.js", "f(a, b);\ng();\n", "// x\nf(a,\n  b); /* y */\n\n\ng();\n"),
            ("a.jsx", "const a = <b c={1} />;\n", "const a = // x\n  <b\n c={ 1 }/>;\n"),
            ("a.ts", "let a: number = 1;\n", "/** x */\nlet a :number\n  = 1; // y\n"),
            ("a.tsx", "let a = <b c={1}/>;\n", "// x\nlet a =\n <b c={1} />;\n"),
            ("a.rs", "fn f() { g(1); }\n", "/// x\nfn f() {\n    // y\n    g( 1 );\n}\n"),
            ("a.go", "func f() {\n\tg(1)\n}\n", "// x\nfunc f() {\n\n\tg( 1 ) // y\n\n}\n"),
            ("A.java", "class A { int a = 1; }\n", "/** x */\nclass A {\n  int a=1; // y\n}\n"),
            (
                "a.c",
                "int f(void) { return 1; }\n",
                "/* x */\nint f( void )\n{\n  return 1; // y\n}\n",
            ),
            ("a.cpp", "int a = f<b>(1);\n", "// x\nint a=\n  f< b >( 1 ); /* y */\n"),
            ("a.rb", "def f(a)\n  g a\nend\n", "# x\ndef f( a )\n\n  g  a # y\nend\n"),
            ("a.php", "<?php\nf($a);\n", "<?php\n// x\nf( $a ); # y\n\n"),
        ];
        for (path, plain, same) in rows {
            assert_eq!(form(path, plain), form(path, same), "{path}");
            let other = plain.replace('1', "2").replace("a)", "c)").replace("a b", "ab");
            assert_ne!(
                form(path, plain),
                form(path, &other.replace("f(a, b)", "f(b, a)")),
                "{path}"
            );
        }
    }

    #[test]
    fn tokens_strings_and_nesting_matter() {
        let forms = [
            "if a:\n    b()\n    c('x')\n",
            "if a:\n    b()\nc('x')\n",
            "if a:\n    b()\n    c('y')\n",
            "if a:\n    b()\n    c('# x')\n",
            "if a:\n    c('x')\n    b()\n",
        ];
        for (idx, one) in forms.iter().enumerate() {
            for other in &forms[idx + 1..] {
                assert_ne!(form("a.py", one), form("a.py", other), "{one}{other}");
            }
        }
    }

    #[test]
    fn without_a_grammar_lines_count_but_for_trailing_space_and_blank_ones() {
        assert_eq!(form("a.txt", "a  b\n\nc \n"), form("a.txt", "a  b\nc\n"));
        assert_ne!(form("a.txt", "a  b\nc\n"), form("a.txt", "a b\nc\n"));
    }
}
