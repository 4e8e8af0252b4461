//! A grammar in llguidance's dialect of Lark, which vLLM and other servers take.
//!
//! Free text is given line by line: a lexer takes the longest piece it can, and would otherwise
//! not see where free text ends and a marker begins.

use crate::grammar::Grammar;
use crate::grammar::rendering::{Notation, render};

/// The grammar as Lark; its rule `start` is where a completion begins. Limits of tokens become
/// limits of lines.
pub fn render_lark(grammar: &Grammar) -> String {
    let notation = Notation {
        start: "start",
        defines: ": ",
        rule_name: |name| format!("r_{name}"),
        // Upper case makes a terminal, which the lexer takes as one piece.
        helper_name: |number| format!("H_{number}"),
        classes: |classes| format!("/{classes}/"),
    };
    render(grammar, &notation)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::expect;
    use llguidance::ParserFactory;
    use llguidance::api::TopLevelGrammar;
    use llguidance::toktrie::ApproximateTokEnv;

    use super::*;
    use crate::grammar::judge::satisfies;
    use crate::grammar::rendering::tests::sample_grammar;

    #[test]
    fn every_kind_of_node_is_rendered() {
        expect![[r#"
            start: (H_0){0,10} "```\n" (r_edit){1,3} "```\n"
            r_edit: ("a.py" | "a.pyi" | r_new_file) "\n\"SEARCH\"\\\n" (H_1){0,2} "=>\n"
            r_new_file: "src/" H_2
            H_0: /([^\x00\r\n\x60][^\x00\r\n]*|[\x60]([^\x00\r\n\x60][^\x00\r\n]*|[\x60]([^\x00\r\n\x60][^\x00\r\n]*)?)?)?[\n]/
            H_1: /([^\x00\r\n\x3D][^\x00\r\n]*|[\x3D]([^\x00\r\n\x3E][^\x00\r\n]*)?)?[\n]/
            H_2: /[A-Za-z0-9_][A-Za-z0-9_.\x2D]{0,8}/
        "#]].assert_eq(&render_lark(&sample_grammar()));
    }

    /// Whether llguidance, reading our Lark, takes the text byte by byte to its end.
    fn llguidance_takes(lark: &str, text: &str) -> bool {
        let mut factory = ParserFactory::new_simple(&ApproximateTokEnv::single_byte_env()).unwrap();
        factory.quiet();
        let grammar = TopLevelGrammar::from_lark(lark.to_owned());
        let parser = factory.create_parser(grammar).unwrap();
        let mut matcher = llguidance::Matcher::new(Ok(parser));
        let env: Arc<_> = ApproximateTokEnv::single_byte_env();
        let tokens = env.tokenize(text);
        matcher.try_consume_tokens(&tokens).unwrap() == tokens.len()
            && matcher.is_accepting().unwrap()
    }

    #[test]
    fn llguidance_reads_it_as_the_judge_does() {
        let grammar = sample_grammar();
        let lark = render_lark(&grammar);
        for (text, is_allowed) in [
            ("```\na.py\n\"SEARCH\"\\\n=>\n```\n", true),
            ("Think ` first.\n\n```\na.pyi\n\"SEARCH\"\\\n  x = > 1\n=\n=>\n```\n", true),
            ("```\nsrc/x-1.py\n\"SEARCH\"\\\n=>\na.py\n\"SEARCH\"\\\n=>\n```\n", true),
            ("```\nb.py\n\"SEARCH\"\\\n=>\n```\n", false),
            ("```\na.py\n\"SEARCH\"\\\n=> x\n=>\n```\n", false),
            ("```\n```\n", false),
        ] {
            assert_eq!(satisfies(&grammar, text), is_allowed, "{text:?}");
            assert_eq!(llguidance_takes(&lark, text), is_allowed, "{text:?}\n{lark}");
        }
    }
}
