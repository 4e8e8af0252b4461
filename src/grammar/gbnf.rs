//! A grammar in GBNF, which llama.cpp's servers take.

use crate::grammar::Grammar;
use crate::grammar::rendering::{Notation, render};

/// The grammar as GBNF; its rule `root` is where a completion begins. Limits of tokens become
/// limits of lines.
pub fn render_gbnf(grammar: &Grammar) -> String {
    let notation = Notation {
        start: "root",
        defines: " ::= ",
        // GBNF's names have dashes, and no underscores.
        rule_name: |name| format!("r-{}", name.replace('_', "-")),
        helper_name: |number| format!("h-{number}"),
        classes: str::to_owned,
    };
    render(grammar, &notation)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::grammar::rendering::tests::sample_grammar;

    #[test]
    fn every_kind_of_node_is_rendered() {
        expect![[r#"
            root ::= (h-0){0,10} "```\n" (r-edit){1,3} "```\n"
            r-edit ::= ("a.py" | "a.pyi" | r-new-file) "\n\"SEARCH\"\\\n" (h-1){0,2} "=>\n"
            r-new-file ::= "src/" h-2
            h-0 ::= ([^\x00\r\n\x60][^\x00\r\n]*|[\x60]([^\x00\r\n\x60][^\x00\r\n]*|[\x60]([^\x00\r\n\x60][^\x00\r\n]*)?)?)?[\n]
            h-1 ::= ([^\x00\r\n\x3D][^\x00\r\n]*|[\x3D]([^\x00\r\n\x3E][^\x00\r\n]*)?)?[\n]
            h-2 ::= [A-Za-z0-9_][A-Za-z0-9_.\x2D]{0,8}
        "#]].assert_eq(&render_gbnf(&sample_grammar()));
    }
}
