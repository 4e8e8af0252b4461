//! A file with its bodies left out: what a model reads to choose symbols.
//!
//! Rows say which symbol they belong to, so that a stage can leave out symbols; those around a
//! symbol that stays ([`crate::index::owner::containers_of`]) should stay too.

use crate::index::outline::{LineSpan, Outline};
use crate::repo::text::Text;

/// The rows of a skeleton, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skeleton {
    pub rows: Vec<Row>,
}

/// One line of a skeleton.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u32,
    pub text: String,
    pub part: Part,
}

/// What a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The first line of the file's own documentation.
    Doc,
    Import,
    /// A symbol, by its index in [`Outline::symbols`].
    Symbol(usize),
}

/// Longer lines are cut: a table on one line says no more by its end.
const MAX_LINE_CHARS: usize = 240;

/// The skeleton of a text that has this outline: imports; decorators, header and first line of
/// documentation of every class and function; the first line of module-level names.
pub fn skeleton_of(outline: &Outline, text: &Text) -> Skeleton {
    let mut rows = Vec::new();
    let mut add = |span: LineSpan, part: Part| {
        for line in span.first..=span.last.min(text.n_lines() as u32) {
            rows.push(Row { line, text: shorten(text.line(line as usize - 1)), part });
        }
    };
    if let Some((line, _)) = outline.doc {
        add(LineSpan { first: line, last: line }, Part::Doc);
    }
    for span in &outline.imports {
        add(*span, Part::Import);
    }
    for (idx, symbol) in outline.symbols.iter().enumerate() {
        for place in &symbol.places {
            let (span, header) = (place.span, place.header);
            add(LineSpan { first: span.first, last: header.last }, Part::Symbol(idx));
            if let Some((line, _)) = place.doc
                && !(span.first..=header.last).contains(&line)
            {
                add(LineSpan { first: line, last: line }, Part::Symbol(idx));
            }
        }
    }
    // Two symbols on one line show it once.
    rows.sort_by_key(|row| row.line);
    rows.dedup_by_key(|row| row.line);
    Skeleton { rows }
}

impl Skeleton {
    /// The rows of the parts that are kept, with a blank line before every top-level definition.
    pub fn render(&self, keeps: impl Fn(Part) -> bool) -> String {
        let mut text = String::new();
        let mut last: Option<&Row> = None;
        for row in self.rows.iter().filter(|row| keeps(row.part)) {
            let is_outermost = !row.text.starts_with([' ', '\t', '}', ')']);
            if let Some(last) = last
                && last.part != row.part
                && is_outermost
                && (last.text.starts_with([' ', '\t']) || last.part < Part::Symbol(0))
            {
                text.push('\n');
            }
            text.push_str(&row.text);
            text.push('\n');
            last = Some(row);
        }
        text
    }
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(MAX_LINE_CHARS) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::index::outline_of;
    use crate::repo::path::RepoPath;

    #[track_caller]
    fn check(path: &str, source: &str, keeps: impl Fn(Part) -> bool, expect: Expect) {
        let text = Text::decode(source.as_bytes()).unwrap();
        let outline = outline_of(&RepoPath::parse(path).unwrap(), &text);
        expect.assert_eq(&skeleton_of(&outline, &text).render(keeps));
    }

    const SOURCE: &str = r#""""What it does.

More.
"""
import os
from a import (
    b,
)

LIMITS = [
    1,
]
print(LIMITS)


@cache
def first(
    a,
    b=1,
) -> int:
    """First.

    More.
    """
    return a


class Outer(Base):
    x = 1

    def method(self): return 1

    @property
    async def value(self):
        """
        The value.
        """
        return 2
"#;

    #[test]
    fn bodies_are_left_out() {
        check(
            "a.py",
            SOURCE,
            |_| true,
            expect![[r#"
            """What it does.

            import os
            from a import (
                b,
            )

            LIMITS = [
            @cache
            def first(
                a,
                b=1,
            ) -> int:
                """First.

            class Outer(Base):
                def method(self): return 1
                @property
                async def value(self):
                    The value.
        "#]],
        );
    }

    #[test]
    fn symbols_can_be_left_out() {
        check(
            "a.py",
            SOURCE,
            |part| matches!(part, Part::Import | Part::Symbol(2)),
            expect![[r#"
            import os
            from a import (
                b,
            )

            class Outer(Base):
        "#]],
        );
    }

    #[test]
    fn braces_and_comments_above_are_known_too() {
        let source = "\
package shop;

import java.util.List;

/**
 * A cart.
 */
@Entity
public class Cart
    extends Base
{
    private int size;

    /** Its total. */
    @Override
    public int total(
        int a
    ) {
        return 1;
    }

    enum State { OPEN }
}
";
        check(
            "Cart.java",
            source,
            |_| true,
            expect![[r#"
            package shop;
            import java.util.List;
             * A cart.
            @Entity
            public class Cart
                extends Base
            {
                /** Its total. */
                @Override
                public int total(
                    int a
                ) {
                enum State { OPEN }
        "#]],
        );
    }
}
